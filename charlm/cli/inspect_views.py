"""What `charlm inspect` prints and draws: for each view its tables, its picture and its JSON."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from charlm.api import find_units, inspect_agreement, inspect_clipping, inspect_embeddings, inspect_states
from charlm.cli.charts import columns, is_ascii, print_chart
from charlm.cli.console import out, say, write_json
from charlm.cli.typed import typed_text
from charlm.inspection.writing import check_form, write_charts
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.inspection.chart import Chart
    from charlm.inspection.embeddings import Map, Neighbours
    from charlm.inspection.shading import Shaded
    from charlm.inspection.units import Found


@dataclass(frozen=True)
class Asked:
    """What to look at in which runs, and where the picture goes. `view` is the value of the view's own option."""

    runs: tuple[str, ...]
    view: Any
    output: Path | None
    json: bool
    max_distance: int | None = None
    layer: int | None = None
    neuron: int | None = None
    gate: str | None = None
    find: bool = False
    symbol: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.output:
            check_form(self.output)


def _gradients(asked: Asked) -> None:
    from charlm.api import inspect_gradients
    from charlm.inspection.gradients import chart, in_words

    results = inspect_gradients(asked.runs, typed_text(asked.view, "--gradients", False), asked.max_distance)
    distance = len(results[0].norms[0]) - 1
    records = [
        {
            "run": result.run,
            "cell": result.cell,
            "num_places": result.num_places,
            "layers": [
                {"norms": norms, "half_life": half, "share_left": left, "explodes": grows}
                for norms, half, left, grows in zip(
                    result.norms, result.half_lives, result.shares_left, result.growing, strict=True
                )
            ],
        }
        for result in results
    ]
    rows = [
        (result.run, result.cell, str(layer), in_words(half), _share(left), "yes" if grows else "no")
        for result in results
        for layer, (half, left, grows) in enumerate(
            zip(result.half_lives, result.shares_left, result.growing, strict=True), 1
        )
    ]
    headings = ("run", "cell", "layer", "half-life\n(tokens)", f"left after\n{distance} tokens", "explodes")
    _show(asked, records, headings, rows, chart(results))


def _clipping(asked: Asked) -> None:
    from charlm.inspection.axis import number
    from charlm.inspection.clipping import chart

    results = inspect_clipping(asked.runs)
    records = [
        {**asdict(result), "share_clipped": result.share_clipped, "median": result.median, "largest": result.largest}
        for result in results
    ]
    rows = [
        (
            result.run,
            f"{len(result.norms):,}",
            "-" if result.clip_norm is None else number(result.clip_norm),
            "-" if result.share_clipped is None else f"{result.share_clipped:.1%}",
            f"{result.median:.3g}",
            f"{result.largest:.3g}",
        )
        for result in results
    ]
    headings = ("run", "logged\nsteps", "threshold", "clipped", "median\nnorm", "largest\nnorm")
    _show(asked, records, headings, rows, chart(results))


def _states(asked: Asked) -> None:
    from charlm.inspection.shading import write_shaded

    (run,), text = asked.runs, typed_text(asked.view, "--states", False)
    neuron = asked.neuron
    if asked.find:
        found = find_units(run, text, layer=asked.layer, gate=asked.gate)
        neuron = found[0].unit
        _show_found(asked, found)
    if asked.find and not asked.output:
        return
    shaded = inspect_states(run, text, layer=asked.layer, neuron=neuron, gate=asked.gate)
    if asked.json and not asked.find:
        write_json(asdict(shaded))
    elif not asked.output:
        _show_shaded(shaded)
    if asked.output:
        write_shaded(shaded, asked.output, f"{run}: {shaded.what}")
        say(f"written: {asked.output}")


def _agreement(asked: Asked) -> None:
    from charlm.inspection.agreement import chart

    results = inspect_agreement(asked.runs, asked.view)
    records = [{**asdict(result), "accuracy": result.accuracy, "accuracies": result.accuracies} for result in results]
    counts = results[0].num_pairs
    rows = [
        (str(distance), f"{count:,}", *(f"{result.accuracies[distance]:.1%}" for result in results))
        for distance, count in counts.items()
    ]
    rows.append(("all", f"{sum(counts.values()):,}", *(f"{result.accuracy:.1%}" for result in results)))
    headings = ("words\nbetween", "pairs", *(f"{result.run}\nright" for result in results))
    _show(asked, records, headings, rows, chart(results))


def _embeddings(asked: Asked) -> None:
    from charlm.inspection.embeddings import chart

    found, vocabulary = inspect_embeddings(asked.runs[0], asked.symbol)
    records = [_without_names("map", vocabulary), *(_without_names("neighbours", each) for each in found)]
    rows = [
        (each.shown[0] if place == 1 else "", each.shown[place], f"{cosine:.3f}")
        for each in found
        for place, (_, cosine) in enumerate(each.nearest, 1)
    ]
    _show(asked, records, ("symbol", "neighbour", "cosine"), rows, chart(vocabulary))


def _without_names(kind: str, found: "Map | Neighbours") -> dict[str, Any]:
    """A record for JSON, which has the symbols themselves."""
    return {kind: {name: value for name, value in asdict(found).items() if name != "shown"}}


SHOWN: dict[str, Callable[[Asked], None]] = {
    "gradients": _gradients,
    "clipping": _clipping,
    "states": _states,
    "agreement": _agreement,
    "embeddings": _embeddings,
}


def _show(
    asked: Asked,
    records: Iterable[dict[str, Any]],
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    chart: "Chart",
) -> None:
    """Print the table, or the records as JSON; draw the chart into the file, or else on the terminal."""
    if asked.json:
        for record in records:
            write_json(_finite(record))
    elif rows:
        _print_table(headings, rows)
    if asked.output:
        write_charts([chart], asked.output, f"{', '.join(asked.runs)}: {chart.title}")
        say(f"written: {asked.output}")
    elif not asked.json:
        print_chart(chart, is_first=not rows)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column is on the left, and the figures on the right."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        is_name = place == 0 or not rows[0][place][:1].isdigit()
        table.add_column(Text(visible(heading)), justify="left" if is_name else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(value)) for value in row))
    out.print(table, soft_wrap=False)


def _show_found(asked: Asked, found: "Sequence[Found]") -> None:
    if asked.json:
        for each in found:
            write_json(asdict(each))
        return
    rows = [(each.feature, str(each.unit), f"{each.correlation:+.3f}", f"{each.num_tokens:,}") for each in found]
    _print_table(("follows", "unit", "correlation", "tokens"), rows)


def _show_shaded(shaded: "Shaded") -> None:
    from charlm.inspection.shading import to_text

    has_color = out.color_system is not None and not out.no_color
    out.print(to_text(shaded, columns(), has_color, is_ascii()), soft_wrap=True)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}" if value >= 0.001 else f"{value:.1e}"


def _finite(value: Any) -> Any:
    """A record for JSON, with None for each number that is not finite."""
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
