"""The command `charlm`: one subcommand a file; what is heavy is imported when a command runs, never for its help."""

import importlib
from typing import Annotated

import typer

from charlm.cli.console import reporting_errors
from charlm.cli.help import Command, Commands
from charlm.version import __version__

HELP = "Train a recurrent language model on your own text; sample from it; score sentences with it."

EXIT_CODES = """[bold]Exit codes[/]

0 done; 1 unexpected; 2 options; 3 the text; 4 no run, or a damaged one; \
5 training diverged; 6 memory or disk; 129, 130 and 143 interrupted, after saving.

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
for _command in ("tokenize", "train", "sample", "score", "info", "verify", "cells"):
    importlib.import_module(f"charlm.cli.{_command}").register(app)
for _registered in app.registered_commands:
    _registered.cls = Command


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charlm {__version__}")
        raise typer.Exit


@app.callback(help=HELP, epilog=EXIT_CODES)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The version, and no more.")
    ] = False,
) -> None:
    """Options of `charlm` itself."""


def main() -> None:
    with reporting_errors():
        app()
