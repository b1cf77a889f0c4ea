"""The command `charlm`: one subcommand a file, each imported only when it runs or shows its help."""

import importlib
from typing import Annotated

import typer

from charlm import __version__
from charlm.cli.console import reporting_errors

app = typer.Typer()
for _command in ("tokenize", "train", "sample", "score", "info"):
    importlib.import_module(f"charlm.cli.{_command}").register(app)


def main() -> None:
    with reporting_errors():
        app()
