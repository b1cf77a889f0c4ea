"""The command `charlm`. Each subcommand has a file of its own, and imports heavy modules only when it runs."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from charlm.cli.console import reporting_errors
from charlm.cli.help import Command, Commands
from charlm.version import __version__

HELP = "Train recurrent language models on your own text, and use them."

EXIT_CODES = """[bold]Exit codes[/]

0 done; 1 unexpected error; 2 wrong options; 3 unusable text; 4 no run, or a damaged one; \
5 training diverged; 6 out of memory, or cannot write; 129, 130 and 143 interrupted, after saving.

[bold]Settings[/]

Flags beat CHARLM_* variables, which beat --config FILE, which beats the defaults."""

_ON_TEXT = ("tokenize", "train", "sample", "score", "fill", "classify", "tag", "translate", "evaluate")
_ON_RUNS = ("info", "verify", "inspect", "plot", "report", "cells")
COMMANDS = _ON_TEXT + _ON_RUNS


def app_with(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        cls=Commands,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP, epilog=EXIT_CODES)(_options)
    for name in names:
        importlib.import_module(f"charlm.cli.{name}").register(app)
    for command in app.registered_commands:
        command.cls = Command
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"charlm {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of `charlm` itself."""


def main() -> None:
    """Run the command line. Raises SystemExit with the exit code."""
    with reporting_errors():
        # Else pydantic looks for plugins in all installed packages, which takes longer than all it does for charlm.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        named = [name for name in sys.argv[1:2] if name in COMMANDS]  # alone it starts sooner
        app_with(named or COMMANDS)()
