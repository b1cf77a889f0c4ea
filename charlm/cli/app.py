"""The command `charlm`. Each subcommand has a file of its own, and imports heavy modules only when it runs."""

import importlib
import os
from typing import Annotated

import typer

from charlm.cli.console import reporting_errors
from charlm.cli.help import Command, Commands
from charlm.version import __version__

HELP = "Train a recurrent language model on your own text; sample from it; score sentences with it."

EXIT_CODES = """[bold]Exit codes[/]

0 done; 1 unexpected error; 2 wrong options; 3 unusable text; 4 no run, or a damaged one; \
5 training diverged; 6 out of memory, or cannot write; 129, 130 and 143 interrupted, after saving.

[bold]Settings[/]

Flags beat CHARLM_* variables, which beat --config FILE, which beats the defaults."""

app = typer.Typer(
    cls=Commands,
    help=HELP,
    epilog=EXIT_CODES,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_ON_TEXT = ("tokenize", "train", "sample", "score", "fill", "classify", "tag", "translate", "evaluate")
_ON_RUNS = ("info", "verify", "inspect", "plot", "report", "cells")
for _name in _ON_TEXT + _ON_RUNS:
    importlib.import_module(f"charlm.cli.{_name}").register(app)
for _command in app.registered_commands:
    _command.cls = Command


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"charlm {__version__}")
        raise typer.Exit


@app.callback(help=HELP, epilog=EXIT_CODES)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of `charlm` itself."""


def main() -> None:
    """Run the command line. Raises SystemExit with the exit code."""
    # Else pydantic looks for plugins in all installed packages, which takes longer than all that it does for charlm.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with reporting_errors():
        app()
