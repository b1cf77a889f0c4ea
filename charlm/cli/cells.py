"""`charlm cells`: the recurrent cells, their equations, sizes and sources. Runs without torch."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from charlm.cli.console import out, write_json
from charlm.errors import UsageError
from charlm.settings import flag

if TYPE_CHECKING:
    from charlm.cells.cell import Cell

MAX_SIZE = 65536
NOTATION = """x: input; h, c: state before the step; h', c': after it; s(): logistic function; *: elementwise;
[a, b]: concatenation."""
EXAMPLES = """[bold]Examples[/]

charlm cells

charlm cells gru lstm --hidden-size 256

charlm train corpus.txt --cell lstm_peephole"""


def register(app: typer.Typer) -> None:
    app.command("cells", epilog=EXAMPLES)(cells_cli)


def cells_cli(
    cells: Annotated[list[str] | None, typer.Argument(help="Names of cells (default: all).")] = None,
    hidden_size: Annotated[
        int, typer.Option(min=1, max=MAX_SIZE, help="Units of the layer whose parameters are counted.")
    ] = 512,
    input_size: Annotated[
        int, typer.Option(min=1, max=MAX_SIZE, help="Input size of the layer whose parameters are counted.")
    ] = 128,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per cell.")] = False,
) -> None:
    """List the recurrent cells: equation, parameters, source."""
    from charlm.cells import CELLS

    for name in cells or ():
        if name not in CELLS:
            raise UsageError(f"unknown cell {name!r}", to_do="choose from " + ", ".join(CELLS))
    records = [_describe(name, CELLS[name], input_size, hidden_size) for name in cells or CELLS]
    if json:
        for record in records:
            write_json(record)
        return
    out.print(
        f"{escape(NOTATION)}\nParameters are those of one layer of {hidden_size} units with an input of {input_size}.",
        soft_wrap=not out.is_terminal,
    )
    for record in records:
        _show(record, CELLS[record["cell"]])


def _describe(name: str, cell: "Cell", input_size: int, hidden_size: int) -> dict[str, Any]:
    """The record of one cell, with the number of parameters of a layer of this size."""
    from charlm.cells.cell import Sizes
    from charlm.network.architecture import cell_sizes

    own_sizes = cell_sizes(name, hidden_size, {})
    weights = cell.weights(Sizes(input_size, hidden_size, **own_sizes))
    return {
        "cell": name,
        "equation": list(cell.equation),
        "gates": list(cell.gates),
        "input_size": input_size,
        "hidden_size": hidden_size,
        **own_sizes,
        "layer_params": sum(math.prod(weight.size) for weight in weights.values()),
        "source": cell.source,
    }


def _show(record: dict[str, Any], cell: "Cell") -> None:
    own_sizes = ", ".join(f"{flag(name)} {record[name]}" for name in cell.settings)
    shown_sizes = f" ({own_sizes})" if own_sizes else ""
    out.print(f"\n[bold]{record['cell']}[/]  {record['layer_params']:,} parameters{shown_sizes}")
    for line in record["equation"]:
        out.print(f"    {escape(line)}")
    out.print(f"    [dim]{escape(record['source'])}[/]", soft_wrap=not out.is_terminal)
