"""`charlm verify`: check every file of a run. Runs without torch."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from charlm.cli.console import out, write_json
from charlm.errors import RunError
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.lifecycle.verification import Checked

FILE_COLUMNS = 30
EXAMPLES = """[bold]Examples[/]

charlm verify stories

charlm verify runs/stories --json"""


def register(app: typer.Typer) -> None:
    app.command("verify", epilog=EXAMPLES)(verify_cli)


def verify_cli(
    run: Annotated[str, typer.Argument(help="A run: its folder, or its name under runs/.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every file of a run; exit code 4 when one is damaged."""
    from charlm.lifecycle.verification import verify
    from charlm.runs.finding import find_run

    path = find_run(run)
    checked = verify(path)
    ok = all(result.ok for result in checked)
    if json:
        write_json({"run": str(path), "ok": ok, "files": [asdict(result) for result in checked]})
    else:
        for result in checked:
            _show(result)
    if not ok:
        raise typer.Exit(RunError.exit_code)


def _show(result: "Checked") -> None:
    state = ("ok       ", "") if result.ok else ("damaged  ", "bold red")
    line = Text.assemble(state, f"{result.file:{FILE_COLUMNS}}", visible(result.detail))
    out.print(line, soft_wrap=not out.is_terminal)
