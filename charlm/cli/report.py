"""`charlm report`: one page of HTML on a run. Runs without torch where the run's network can be run without it."""

from pathlib import Path
from typing import Annotated

import typer

from charlm.cli.console import say, write_json

EXAMPLES = """[bold]Examples[/]

charlm report stories -o stories.html"""


def register(app: typer.Typer) -> None:
    app.command("report", epilog=EXAMPLES)(report_cli)


def report_cli(
    run: Annotated[str, typer.Argument(help="A run: its folder, or its name under runs/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write: a name that ends with .html.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a page on a run: figures, curves, samples, settings."""
    from charlm.inspection.report import FORMS, report
    from charlm.inspection.writing import check_form
    from charlm.runs.finding import find_run

    check_form(output, FORMS)
    path = find_run(run)
    report(path, output)
    if json:
        write_json({"run": str(path), "file": str(output), "bytes": output.stat().st_size})
    else:
        say(f"written: {output}")
