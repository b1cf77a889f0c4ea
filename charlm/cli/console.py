"""The terminal: results on stdout, everything else on stderr, and how an error looks."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from charlm.device import is_out_of_memory
from charlm.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, CharlmError, ResourceError

if TYPE_CHECKING:
    from charlm.shape import Shape

SCHEMA_VERSION = 1
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CONTROLS_IN_JSON = re.compile(r"[\x7f-\x9f]")  # which JSON allows as they stand
WIDTH_ELSEWHERE = 160  # columns of a table where there is no terminal to ask


class TerminalConsole(Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> None:
        go_on_without_reader(2 if self.stderr else 1)


if sys.stdout is None:  # closed by the shell (`>&-`)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open)
out = TerminalConsole(
    highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE
)
err = TerminalConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def say(message: str, quiet: bool = False) -> None:
    """A line for the person at the terminal; never part of a result."""
    if not quiet:
        err.print(literal(message), style="dim")


def say_which(run: Path) -> None:
    """The run that answers where none was named."""
    from charlm.run_directory import about_copies

    say(f"run: {run}")
    for note in about_copies(run):
        say(note)


def write_json(value: dict[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    whole = {"schema_version": SCHEMA_VERSION, **value}
    text = CONTROLS_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(whole, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(whole)
    try:
        write_text(text + "\n", flush=True)
    except BrokenPipeError:
        go_on_without_reader(1)


def write_text(text: str, flush: bool = False) -> None:
    """Plain text on stdout, as it stands: no markup, no wrapping; what stdout cannot encode is escaped."""
    sys.stdout.write(text)
    if flush:
        sys.stdout.flush()


def visible(text: str) -> str:
    """Text that is safe on a terminal: what could steer it, but for newline and tab, is shown by its escape.

    These are control characters, the marks that turn the direction of writing, and what is no character.
    """
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def literal(text: str) -> str:
    """The same for a rich console: nor is anything in it taken for markup."""
    return escape(visible(text))


def visible_symbol(symbol: str) -> str:
    """A token as a table shows it: white space within quotes."""
    return visible(symbol) if symbol.strip() else repr(symbol)


def describe(shape: "Shape") -> str:
    """A network in words: every part that it has."""
    parts = [f"{shape.cell} {shape.num_layers} x {shape.hidden_size}"]
    if shape.proj_size:
        parts.append(f"projected to {shape.proj_size}")
    if shape.mogrifier_rounds:
        parts.append(f"{shape.mogrifier_rounds} rounds of rank {shape.mogrifier_rank}")
    if shape.residual:
        parts.append("residual")
    if shape.head_layers:
        parts.append(f"feed-forward {shape.head_layers} x {shape.head_size}")
    parts.append(f"embeddings of {shape.embedding_size}")
    return ", ".join(parts)


def show_error(error: CharlmError) -> None:
    """Three short lines: what, where, what to do."""
    err.print(f"[bold red]error:[/] {literal(error.what)}")
    for label, line in (("where:", error.where), ("to do:", error.to_do)):
        if line:
            err.print(f"[dim]{label}[/] {literal(line)}")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn every way in which a command can end into a message and its exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    when_the_reader_goes(signal.SIG_DFL)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # as nohup does
            signal.signal(getattr(signal, name), _leave)
    try:
        yield
    except CharlmError as error:
        if os.environ.get("CHARLM_DEBUG"):
            raise
        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        _unexpected(error, f"{error.strerror or error}: {error.filename or 'input or output'}", 6)
    except Exception as error:
        if is_out_of_memory(error):
            _out_of_memory()
        _unexpected(error, f"{type(error).__name__}: {error}", EXIT_UNEXPECTED)


def _leave(number: int, frame: object) -> None:
    """Leave on a signal, through every clean-up on the way."""
    sys.exit(128 + number)


def _out_of_memory() -> None:
    show_error(ResourceError("out of memory", to_do="give a smaller model, --batch-size or text"))
    sys.exit(ResourceError.exit_code)


def go_on_without_reader(descriptor: int) -> None:
    """Nobody reads stdout (1) or stderr (2) any more: what is written there goes nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def when_the_reader_goes(action: signal.Handlers) -> None:
    """A closed pipe (`| head -1`) ends most commands at once and quietly; what must save first ignores the signal."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, action)


def _unexpected(error: Exception, message: str, exit_code: int) -> None:
    if os.environ.get("CHARLM_DEBUG"):
        raise error
    err.print(f"[bold red]error:[/] {literal(message)}")
    err.print("[dim]to do:[/] run it again with CHARLM_DEBUG=1 for the whole traceback")
    sys.exit(exit_code)
