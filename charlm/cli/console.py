"""The terminal: results on stdout, everything else on stderr, and how an error looks."""

import json
import math
import os
import re
import signal
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from charlm.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, CharlmError, ResourceError
from charlm.system.memory import is_out_of_memory

if TYPE_CHECKING:
    from charlm.network.architecture import Architecture

SCHEMA_VERSION = 1
SURROGATES = "surrogateescape"
NO_TEXT = re.compile("[\ud800-\udfff]")  # lone surrogates: bytes that are no UTF-8
STEERING = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
OF_NO_WIDTH = r"\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff"  # but joiners, which shape the letters beside
ESCAPED = re.compile(f"[{STEERING}{OF_NO_WIDTH}]")
BLANK = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")  # letters and signs, to Unicode, of which nothing is seen
BLANK_MARKS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
DOTTED_CIRCLE = "\u25cc"
CONTROLS_IN_JSON = re.compile(r"[\x7f-\x9f]")  # which JSON allows as they stand
MAX_WRITTEN = 1e6  # as a number, of perplexities
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
    """A line for the person at the terminal, wrapped at words there; never part of a result."""
    if not quiet:
        err.print(literal(message), style="dim", soft_wrap=not err.is_terminal)


def show_command(command: str, before: str = "") -> None:
    """A command to copy, which is never wrapped."""
    err.print(f"{before}[bold]{literal(command)}[/]")


def say_which(run: Path) -> None:
    """The run that answers where none was named."""
    from charlm.runs.finding import about_copies

    say(f"run: {run}")
    for note in about_copies(run):
        say(note)


def write_json(value: dict[str, Any]) -> None:
    """One JSON object as one line on stdout; what is no text in it (see `text_fields`) is U+FFFD."""
    whole = {"schema_version": SCHEMA_VERSION, **value}
    text = NO_TEXT.sub("\ufffd", json.dumps(whole, ensure_ascii=False))
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
    """A text in a JSON object. One with bytes that are no UTF-8 has U+FFFD for these, and is whole in `name`_hex."""
    if not NO_TEXT.search(text):
        return {name: text}
    return {name: NO_TEXT.sub("\ufffd", text), f"{name}_hex": text.encode("utf-8", SURROGATES).hex()}


def write_text(text: str, flush: bool = False) -> None:
    """Plain text on stdout, as it stands: no markup, no wrapping; what stdout cannot encode is escaped.

    Bytes that are no UTF-8, which come as lone surrogates, are written as the bytes that they are.
    """
    if NO_TEXT.search(text):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", SURROGATES))
    else:
        sys.stdout.write(text)
    if flush:
        sys.stdout.flush()


def visible(text: str) -> str:
    """Running text that is safe on a terminal: what could steer it and what has no width are shown by their escapes.

    These are control characters but for newline and tab, the marks that turn the direction of writing, the byte order
    mark, soft hyphens, and what is no character.
    """
    return ESCAPED.sub(lambda found: _escape(found[0]), text)


def literal(text: str) -> str:
    """The same for a rich console: nor is anything in it taken for markup."""
    return escape(visible(text))


def visible_symbol(symbol: str) -> str:
    """A token as every table shows it: one with something in it that is not seen is quoted, with escapes for that.

    A space is seen between other characters, not at an end. A combining mark without a character stands on a circle.
    """
    shown, seen = "", False
    for character in symbol:
        drawn = _drawn(character, seen)
        shown, seen = shown + drawn, drawn.endswith(character) and character != " "
    is_plain = shown == symbol and symbol == symbol.strip() and symbol != ""
    return symbol if is_plain else f"'{shown}'"


def _drawn(character: str, behind_another: bool) -> str:
    if unicodedata.category(character) in ("Mn", "Me"):
        if behind_another:
            return character
        return _escape(character) if BLANK_MARKS.match(character) else DOTTED_CIRCLE + character
    return character if character.isprintable() and not BLANK.match(character) else _escape(character)


def _escape(character: str) -> str:
    r"""A byte that is no text as \xe9, all else by its code point."""
    is_byte = "\udc80" <= character <= "\udcff"
    return rf"\x{ord(character) - 0xDC00:02x}" if is_byte else character.encode("unicode_escape").decode("ascii")


def perplexity(nats_per_token: float, digits: int) -> str:
    """exp of the nats per token as people read it: 10^104.3 for what has more digits than that says."""
    if math.isnan(nats_per_token):
        return "-"
    if nats_per_token > math.log(MAX_WRITTEN):
        return f"10^{nats_per_token / math.log(10):.1f}"
    return f"{math.exp(nats_per_token):.{digits}f}"


def describe(architecture: "Architecture") -> str:
    """A network in words: every part that it has."""
    parts = [f"{architecture.cell} {architecture.num_layers} x {architecture.hidden_size}"]
    if architecture.proj_size:
        parts.append(f"projected to {architecture.proj_size}")
    if architecture.mogrifier_rounds:
        parts.append(f"{architecture.mogrifier_rounds} rounds of rank {architecture.mogrifier_rank}")
    if architecture.residual:
        parts.append("residual")
    if architecture.head_layers:
        parts.append(f"feed-forward {architecture.head_layers} x {architecture.head_size}")
    parts.append(f"embeddings of {architecture.embedding_size}")
    return ", ".join(parts)


def show_error(error: CharlmError) -> None:
    """Three short lines: what, where, what to do."""
    err.print(f"[bold red]error:[/] {literal(error.what)}", soft_wrap=not err.is_terminal)
    for label, line in (("where:", error.where), ("to do:", error.to_do)):
        if line:
            err.print(f"[dim]{label}[/] {literal(line)}")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn every way in which a command can end into a message and its exit code."""
    _choose_encodings()
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
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one ends it at once, without a traceback
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        _unexpected(error, f"{error.strerror or error}: {error.filename or 'input or output'}", 6)
    except Exception as error:
        if is_out_of_memory(error):
            _out_of_memory()
        _unexpected(error, f"{type(error).__name__}: {error}", EXIT_UNEXPECTED)


def _choose_encodings() -> None:
    """Files and pipes get UTF-8 whatever the locale, unless PYTHONIOENCODING names another; a terminal, what it shows.

    What an encoding lacks is written by its escape.
    """
    chosen = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            encoding = None if chosen or stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


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
