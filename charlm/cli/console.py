"""The terminal: results go to stdout, everything else to stderr, and errors look alike."""

import json
import math
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape

from charlm.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, CharlmError, ResourceError
from charlm.system.memory import is_out_of_memory
from charlm.text.surrogates import SURROGATE, to_bytes
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.network.architecture import Architecture

SCHEMA_VERSION = 1
MIN_COLUMNS_FOR_ALL = 74  # a narrower terminal gets tables with fewer columns
CONTROLS_IN_JSON = re.compile(r"[\x7f-\x9f]")  # JSON allows them unescaped, but a terminal obeys them
MAX_DECIMAL_PERPLEXITY = 1e6  # larger ones are written as powers of ten
DEFAULT_COLUMNS = 160  # of a table that does not go to a terminal


class TerminalConsole(Console):
    """A console that continues when nobody reads its stream any more."""

    def on_broken_pipe(self) -> None:
        go_on_without_reader(2 if self.stderr else 1)


if sys.stdout is None:  # closed by the shell (`>&-`)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open)
out = TerminalConsole(
    highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else DEFAULT_COLUMNS
)
err = TerminalConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def say(message: str, quiet: bool = False) -> None:
    """Print a line for people on stderr, wrapped at words on a terminal."""
    if not quiet:
        err.print(literal(message), style="dim", soft_wrap=not err.is_terminal)


def show_command(command: str, before: str = "") -> None:
    """Print a command on stderr that people can copy, so it is never wrapped."""
    err.print(f"{before}[bold]{literal(command)}[/]")


def say_which(run: Path) -> None:
    """Say which run was chosen when none was named."""
    from charlm.runs.finding import about_copies

    say(f"run: {run}")
    for note in about_copies(run):
        say(note)


def write_json(value: dict[str, Any]) -> None:
    """Print a JSON object as one line on stdout; bytes that are not UTF-8 become U+FFFD (see `text_fields`)."""
    whole = {"schema_version": SCHEMA_VERSION, **value}
    text = SURROGATE.sub("\ufffd", json.dumps(whole, ensure_ascii=False))
    text = CONTROLS_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text))
    try:
        write_text(text + "\n", flush=True)
    except BrokenPipeError:
        go_on_without_reader(1)


def text_fields(name: str, text: str) -> dict[str, str]:
    """The fields of a JSON object that hold a text.

    If the text has bytes that are not UTF-8, field `name` has U+FFFD in their place, and `name`_hex all bytes as hex.
    """
    if not SURROGATE.search(text):
        return {name: text}
    return {name: SURROGATE.sub("\ufffd", text), f"{name}_hex": to_bytes(text).hex()}


def write_text(text: str, flush: bool = False) -> None:
    """Print a text on stdout unchanged: no markup, no wrapping, and escapes for what stdout cannot encode.

    Lone surrogates are written as the bytes that they stand for.
    """
    if SURROGATE.search(text):
        sys.stdout.flush()
        sys.stdout.buffer.write(to_bytes(text))
    else:
        sys.stdout.write(text)
    if flush:
        sys.stdout.flush()


def literal(text: str) -> str:
    """A text that is safe to print on a rich console: as `visible` makes it, and with nothing that counts as markup."""
    return escape(visible(text))


def perplexity(nats_per_token: float, digits: int) -> str:
    """exp(nats per token) as people read it: `digits` decimals, or 10^104.3 if it is large, or - if it is nan."""
    if math.isnan(nats_per_token):
        return "-"
    if nats_per_token > math.log(MAX_DECIMAL_PERPLEXITY):
        return f"10^{nats_per_token / math.log(10):.1f}"
    return f"{math.exp(nats_per_token):.{digits}f}"


def describe(architecture: "Architecture") -> str:
    """A network's architecture in words."""
    parts = [f"{architecture.cell} {architecture.num_layers} x {architecture.hidden_size}"]
    if architecture.is_pair:
        parts.append("a pair: one reads forward, one backward")
    elif architecture.direction == "backward":
        parts.append("reads backward")
    elif architecture.is_bidirectional:
        parts.append("each layer reads in both directions")
    if architecture.proj_size:
        parts.append(f"projected to {architecture.proj_size}")
    if architecture.mogrifier_rounds:
        parts.append(f"{architecture.mogrifier_rounds} rounds of rank {architecture.mogrifier_rank}")
    if architecture.residual:
        parts.append("residual")
    if architecture.head_layers:
        parts.append(f"feed-forward {architecture.head_layers} x {architecture.head_size}")
    parts.append(f"embeddings of {architecture.embedding_size}")
    parts += [f"{prefix.rstrip('.')} ({describe(part)})" for prefix, part in architecture.parts.items()]
    if num_labels := getattr(architecture, "num_labels", 0):
        parts.append(f"{num_labels:,} labels")
    return ", ".join(parts)


def show_error(error: CharlmError) -> None:
    """Print an error as up to three short lines: what, where, what to do."""
    err.print(f"[bold red]error:[/] {literal(error.what)}", soft_wrap=not err.is_terminal)
    for label, line in (("where:", error.where), ("to do:", error.to_do)):
        if line:
            err.print(f"[dim]{label}[/] {literal(line)}")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn every error and interruption into a message and an exit code. With CHARLM_DEBUG, errors have tracebacks."""
    _choose_encodings()
    on_closed_pipe(signal.SIG_DFL)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, _leave)
    try:
        yield
    except CharlmError as error:
        if os.environ.get("CHARLM_DEBUG"):
            raise
        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once, without a traceback
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename or 'input or output'}"
        _unexpected(error, message, ResourceError.exit_code)
    except Exception as error:
        if is_out_of_memory(error):
            _out_of_memory()
        _unexpected(error, f"{type(error).__name__}: {error}", EXIT_UNEXPECTED)


def _choose_encodings() -> None:
    """Write UTF-8 into files and pipes, whatever the locale, unless PYTHONIOENCODING names another encoding.

    A terminal keeps its own encoding. Characters that an encoding lacks are escaped.
    """
    chosen = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            encoding = None if chosen or stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _leave(number: int, frame: object) -> NoReturn:
    """End the command on a signal by SystemExit, so that all clean-up code runs."""
    sys.exit(128 + number)


def _out_of_memory() -> NoReturn:
    show_error(ResourceError("out of memory", to_do="give a smaller model, --batch-size or text"))
    sys.exit(ResourceError.exit_code)


def go_on_without_reader(descriptor: int) -> None:
    """Discard what is written to stdout (1) or stderr (2) from now on, because nobody reads it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def on_closed_pipe(action: signal.Handlers) -> None:
    """Choose what happens when the reader of a pipe goes away, as in `| head -1`.

    SIG_DFL ends the command at once and quietly. SIG_IGN is for commands that have to save something first.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, action)


def _unexpected(error: Exception, message: str, exit_code: int) -> NoReturn:
    """Report an error that has no message of its own. With CHARLM_DEBUG it is raised again."""
    if os.environ.get("CHARLM_DEBUG"):
        raise error
    err.print(f"[bold red]error:[/] {literal(message)}")
    err.print("[dim]to do:[/] run it again with CHARLM_DEBUG=1 for the whole traceback")
    sys.exit(exit_code)
