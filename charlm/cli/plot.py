"""`charlm plot`: curves of one or several trainings, on the terminal or in a file. Runs without torch."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charlm.cli.charts import ROWS, columns, is_ascii, print_chart
from charlm.cli.console import out, say, write_json, write_text
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.inspection.chart import Chart
    from charlm.inspection.curves import Check, History, Over, Quantity, Step

MIN_ROWS = 9  # of a chart, with title, axis and legend
EXAMPLES = """[bold]Examples[/]

charlm plot stories

charlm plot stories --follow

charlm plot stories stories-2 --what loss --what speed --over time

charlm plot stories --what all -o stories.svg"""


def register(app: typer.Typer) -> None:
    app.command("plot", epilog=EXAMPLES)(plot_cli)


def plot_cli(
    run: Annotated[list[str], typer.Argument(help="Runs: their folders, or their names under runs/.")],
    what: Annotated[
        list[str] | None,
        typer.Option(help="loss (default), learning-rate, gradient-norm, speed, or all; may be repeated."),
    ] = None,
    over: Annotated[Literal["steps", "time"], typer.Option(help="What the x axis shows.")] = "steps",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file instead: .svg, .html, or .png (extra plot).")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Draw again while the training runs; Ctrl-C ends this.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures: one JSON object per chart.")] = False,
) -> None:
    """Draw loss, learning rate, gradient norm or speed of trainings."""
    from charlm.inspection.curves import chosen, plot, title_of
    from charlm.inspection.writing import check_form
    from charlm.runs.finding import find_run

    quantities = chosen(what or ["loss"])
    if output:
        check_form(output)
    paths = list(dict.fromkeys(map(find_run, run)))
    if follow:
        with _following(paths, quantities, over, output, json) as show:
            _follow(paths, show)
        return
    _draw(plot(paths, quantities, over), output, json, title_of(paths))


def _draw(charts: "Sequence[Chart]", output: Path | None, json: bool, title: str) -> None:
    """Print charts, or write them into a file."""
    if output:
        from charlm.inspection.writing import write_charts

        write_charts(charts, output, title)
    if json:
        for chart in charts:
            write_json(_as_json(chart))
    elif output:
        say(f"written: {output}")
    else:
        for place, chart in enumerate(charts):
            print_chart(chart, is_first=place == 0)


def _as_json(chart: "Chart") -> dict[str, Any]:
    """A chart's figures; null stands for those that are missing or not finite."""
    lines = [{"name": line.name, "x": _finite(line.x), "y": _finite(line.y)} for line in chart.lines]
    labels = {"title": chart.title, "x_label": chart.x_label, "y_label": chart.y_label}
    return {**labels, "lines": lines, "notes": list(chart.notes)}


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


# Following a training


Show = Callable[["Sequence[History]"], None]


def _follow(paths: Sequence[Path], show: Show) -> None:
    """Show the histories of runs whenever they change, until all trainings have ended."""
    from charlm.inspection.following import follow

    histories: Sequence[History] = ()
    for histories in follow(paths):
        show(histories)
    for history in histories:
        say(f"{history.name}: {history.ended or 'no training of this run is going on'}")


@contextmanager
def _following(
    paths: Sequence[Path], quantities: "Sequence[Quantity]", over: "Over", output: Path | None, json: bool
) -> Iterator[Show]:
    """Yield a function that shows histories: in a file, as a picture that is drawn again, or line by line."""
    from charlm.inspection.curves import charts_of, title_of
    from charlm.inspection.writing import write_charts

    if output or json or not out.is_terminal or out.is_dumb_terminal:
        lines = _NewFigures(json)

        def show(histories: "Sequence[History]") -> None:
            lines.show(histories)
            if output and not all(history.is_empty for history in histories):
                write_charts(charts_of(histories, quantities, over), output, title_of(paths))

        yield show
    else:
        from rich.live import Live

        with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda histories: live.update(_screen(charts_of(histories, quantities, over)), refresh=True)


def _screen(charts: "Sequence[Chart]") -> Any:
    """Charts that fill the screen together."""
    from rich.console import Group

    from charlm.inspection.terminal import to_text

    rows = max(MIN_ROWS, min(ROWS, (out.height - 1) // len(charts)))
    return Group(*(to_text(chart, columns(), rows, is_ascii()) for chart in charts))


class _NewFigures:
    """Prints the steps and checks that have not been printed yet, each as a line."""

    def __init__(self, json: bool) -> None:
        self._json = json
        self._printed: dict[str, list[Step | Check]] = {}

    def show(self, histories: "Sequence[History]") -> None:
        for curve in (curve for history in histories for curve in history.curves.values()):
            points, printed = curve.points, self._printed.get(curve.name, [])
            same = _common(printed, points)
            if same < len(printed):
                say(f"{curve.name}: back to step {points[same - 1].step if same else 0:,}")
            for point in points[same:]:
                self._print(curve.name, point)
            self._printed[curve.name] = points

    def _print(self, name: str, point: "Step | Check") -> None:
        if self._json:
            figures = {key: _finite([value])[0] for key, value in dataclasses.asdict(point).items()}
            write_json({"run": name, "event": type(point).__name__.lower(), **figures})
        else:
            write_text(f"{visible(name)}  {_line(point)}\n", flush=True)


def _common(before: Sequence[object], after: Sequence[object]) -> int:
    """How many of the first items of two sequences are the same."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return same


def _line(point: "Step | Check") -> str:
    """A step or a check in one line."""
    from charlm.inspection.axis import number
    from charlm.inspection.curves import Check

    when = f"step {point.step:,}  {point.seconds:,.1f} s"
    if isinstance(point, Check):
        return f"{when}  validation loss {point.nats_per_token:.4f} nats/token"
    rate, norm = number(point.learning_rate), number(point.gradient_norm)
    return f"{when}  loss {point.nats_per_token:.4f} nats/token  learning rate {rate}  gradient norm {norm}"
