"""`charlm cells`: every recurrent cell with its equation, its size and where it is from. Runs without torch."""

import math
from typing import Annotated, Any

import typer
from rich.markup import escape

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.cli.console import out, write_json
from charlm.errors import UsageError
from charlm.network.architecture import cell_sizes
from charlm.settings import flag

NOTATION = """x: input; h, c: state before the step; h', c': after it; s(): logistic function; *: elementwise;
[a, b]: concatenation."""
EXAMPLES = """[bold]Examples[/]

charlm cells

charlm cells gru lstm --hidden-size 256

charlm train corpus.txt --cell lstm_peephole"""


def register(app: typer.Typer) -> None:
    app.command("cells", epilog=EXAMPLES)(cells_cli)


def cells_cli(
    cells: Annotated[list[str] | None, typer.Argument(help="Their names; without any, all are listed.")] = None,
    hidden_size: Annotated[int, typer.Option(min=1, max=65536, help="Units, for the number of parameters.")] = 512,
    input_size: Annotated[int, typer.Option(min=1, max=65536, help="Size of the input, for that number.")] = 128,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a cell.")] = False,
) -> None:
    """List the recurrent cells: equation, parameters of one layer, source."""
    for name in cells or CELLS:
        if name not in CELLS:
            raise UsageError(f"unknown cell {name!r}", to_do="choose from " + ", ".join(CELLS))
    described = [_describe(name, input_size, hidden_size) for name in cells or CELLS]
    if json:
        for one in described:
            write_json(one)
        return
    out.print(
        f"{escape(NOTATION)}\nParameters are those of one layer of {hidden_size} units with an input of {input_size}.",
        soft_wrap=not out.is_terminal,
    )
    for one in described:
        _show(one)


def _describe(name: str, input_size: int, hidden_size: int) -> dict[str, Any]:
    cell = CELLS[name]
    own = cell_sizes(name, hidden_size, {})
    weights = cell.weights(Sizes(input_size, hidden_size, **own))
    return {
        "cell": name,
        "equation": list(cell.equation),
        "gates": list(cell.gates),
        "input_size": input_size,
        "hidden_size": hidden_size,
        **own,
        "layer_params": sum(math.prod(weight.size) for weight in weights.values()),
        "source": cell.source,
    }


def _show(one: dict[str, Any]) -> None:
    own = ", ".join(f"{flag(name)} {one[name]}" for name in CELLS[one["cell"]].settings)
    out.print(f"\n[bold]{one['cell']}[/]  {one['layer_params']:,} parameters{f' ({own})' if own else ''}")
    for line in one["equation"]:
        out.print(f"    {escape(line)}")
    out.print(f"    [dim]{escape(one['source'])}[/]", soft_wrap=not out.is_terminal)
