"""Charts as PNG, drawn by matplotlib, which is an extra: `pip install 'charlm[plot]'`."""

import io
import math
from collections.abc import Sequence
from typing import Any

from charlm.errors import UsageError
from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, pieces, thinned
from charlm.inspection.look import color_of, dashes_of
from charlm.inspection.svg import MAX_POINTS, labels_with_room, shortened
from charlm.text.visible import visible

INCHES = (8.0, 4.2)  # of one chart
DOTS_PER_INCH = 150
MAX_LEGEND_COLUMNS, LEGEND_LETTERS = 3, 100  # letters of a row of the legend
MARKS = "os^DX"


def check_png_is_possible() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401 (only whether it is there)
    except ImportError as error:
        to_do = "pip install 'charlm[plot]', or give a name that ends with .svg or .html"
        raise UsageError("PNG needs the package matplotlib", to_do=to_do) from error


def to_png(charts: Sequence[Chart], title: str) -> bytes:
    """Charts one under the other as one picture on white. Raises UsageError if matplotlib is not installed."""
    check_png_is_possible()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False, "axes.unicode_minus": False}):  # a name with $ is no formula
        width, height = INCHES
        figure = Figure(figsize=(width, height * len(charts)), dpi=DOTS_PER_INCH, layout="constrained")
        for chart, axes in zip(charts, figure.subplots(len(charts), 1, squeeze=False)[:, 0], strict=True):
            _draw(chart, axes)
        figure.align_ylabels()
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Title": visible(title), "Software": "charlm"})
    return file.getvalue()


def _draw(chart: Chart, axes: Any) -> None:
    """Draw one chart on matplotlib's axes."""
    for style, line in chart.styled_lines:
        _draw_line(chart, style, thinned(line, MAX_POINTS), axes)
    _draw_labels(chart, axes)
    x_axis, y_axis = axes_of(chart, 7, 6)
    for name, level in chart.thresholds:
        axes.axhline(level, color="#666666", linewidth=1, linestyle="--", label=f"{visible(name)}: {number(level)}")
    for name, axis in (("x", x_axis), ("y", y_axis)):  # the same ranges and numbers as in the other forms
        axes.set(**{f"{name}scale": "log" if axis.is_log else "linear", f"{name}lim": (axis.low, axis.high)})
        axes.tick_params(axis=name, which="minor", bottom=False, left=False, labelleft=False, labelbottom=False)
        axes.set(**{f"{name}ticks": axis.ticks, f"{name}ticklabels": axis.labels})
    longest = max((len(shortened(line.name)) for line in chart.lines), default=1)
    num_columns = max(1, min(MAX_LEGEND_COLUMNS, LEGEND_LETTERS // (longest + 8)))
    num_rows = math.ceil((len(chart.lines) + len(chart.thresholds)) / num_columns)
    axes.set_title(visible(chart.title), loc="left", fontsize=12, pad=8 + 14 * num_rows)
    notes = "".join(f"\n{visible(note)}" for note in chart.notes)
    axes.set_xlabel(f"{visible(chart.x_label)}{notes}")
    axes.set_ylabel(visible(chart.y_label))
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if num_rows:
        place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "ncols": num_columns}
        axes.legend(frameon=False, fontsize=9, borderaxespad=0.2, **place)


def _draw_labels(chart: Chart, axes: Any) -> None:
    """Draw the labels that have room, with a white edge, and dots for the others."""
    from matplotlib.patheffects import withStroke

    shown, others = labels_with_room(chart)
    axes.plot([x for _, x, _ in others], [y for _, _, y in others], ".", color=color_of(0).light, markersize=4)
    for label, x, y in shown:
        edge = [withStroke(linewidth=3, foreground="white")]
        axes.text(x, y, visible(label), ha="center", va="center", fontsize=9, path_effects=edge)


def _draw_line(chart: Chart, style: int, line: Line, axes: Any) -> None:
    x, y = [], []
    for piece in pieces(line, chart.is_log_x, chart.is_log_y):
        x += [point[0] for point in piece] + [float("nan")]
        y += [point[1] for point in piece] + [float("nan")]
    is_marked = line.is_points or line.has_marks or len(x) == 2  # a point of its own, and the gap behind it
    dashes = dashes_of(style)
    axes.plot(
        x,
        y,
        label=f" {shortened(line.name)}",  # matplotlib leaves out names that begin with an underscore
        color=color_of(style).light,
        linestyle="none" if line.is_points else (0, dashes) if dashes else "-",
        linewidth=1.5,
        marker=MARKS[style % len(MARKS)] if is_marked else None,
        markersize=5,
        markerfacecolor="white",
        clip_on=False,  # a mark at the edge is whole
        zorder=3,
    )
