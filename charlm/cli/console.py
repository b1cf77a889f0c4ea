"""The terminal: results on stdout, everything else on stderr, and how an error looks."""

import json
import os
import signal
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from charlm.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, CharlmError

SCHEMA_VERSION = 1

WIDTH_ELSEWHERE = 160  # columns of a table where there is no terminal to ask

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str, quiet: bool = False) -> None:
    """A line for the person at the terminal; never part of a result."""
    if not quiet:
        err.print(escape(message), style="dim")


def write_json(value: dict[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **value}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write_text(text: str, flush: bool = False) -> None:
    """Plain text on stdout, as it stands: no markup, no wrapping; what stdout cannot encode is escaped."""
    sys.stdout.write(text)
    if flush:
        sys.stdout.flush()


def visible(text: str) -> str:
    """Text that is safe on a terminal: control characters but newline and tab are shown by their escapes."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else _escaped(c) for c in text)


def visible_symbol(symbol: str) -> str:
    """A token as a table shows it: white space within quotes."""
    return visible(symbol) if symbol.strip() else repr(symbol)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def show_error(error: CharlmError) -> None:
    """Three short lines: what, where, what to do."""
    err.print(f"[bold red]error:[/] {escape(error.what)}")
    for label, line in (("where:", error.where), ("to do:", error.to_do)):
        if line:
            err.print(f"[dim]{label}[/] {escape(line)}")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn every way in which a command can end into a message and its exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    when_the_reader_goes(signal.SIG_DFL)
    try:
        yield
    except CharlmError as error:
        if os.environ.get("CHARLM_DEBUG"):
            raise
        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except MemoryError:
        err.print("[bold red]error:[/] out of memory\n[dim]to do:[/] give a smaller text, model or batch")
        sys.exit(6)
    except OSError as error:
        _unexpected(error, f"{error.strerror or error}: {error.filename or 'input or output'}", 6)
    except Exception as error:
        _unexpected(error, f"{type(error).__name__}: {error}", EXIT_UNEXPECTED)


def when_the_reader_goes(action: signal.Handlers) -> None:
    """A closed pipe (`| head -1`) ends most commands at once and quietly; what must save first ignores the signal."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, action)


def _unexpected(error: Exception, message: str, exit_code: int) -> None:
    if os.environ.get("CHARLM_DEBUG"):
        raise error
    err.print(f"[bold red]error:[/] {escape(message)}")
    err.print("[dim]to do:[/] run it again with CHARLM_DEBUG=1 for the whole traceback")
    sys.exit(exit_code)
