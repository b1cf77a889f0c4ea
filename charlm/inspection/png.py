"""Charts as PNG, drawn by matplotlib, which is an extra: `pip install 'charlm[plot]'`."""

import io
from collections.abc import Sequence
from typing import Any

from charlm.errors import UsageError
from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, pieces, thinned
from charlm.inspection.look import color_of, dashes_of
from charlm.inspection.svg import MAX_POINTS
from charlm.text.visible import visible

INCHES = (8.0, 4.2)  # of one chart
DOTS_PER_INCH = 150
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
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Title": visible(title), "Software": "charlm"})
    return file.getvalue()


def _draw(chart: Chart, axes: Any) -> None:
    """Draw one chart on matplotlib's axes."""
    for line in chart.lines:
        _draw_line(chart, thinned(line, MAX_POINTS), axes)
    x_axis, y_axis = axes_of(chart, 7, 6)
    for name, level in chart.thresholds:
        axes.axhline(level, color="#666666", linewidth=1, linestyle="--", label=f"{visible(name)}: {number(level)}")
    for name, axis in (("x", x_axis), ("y", y_axis)):  # the same ranges and numbers as in the other forms
        axes.set(**{f"{name}scale": "log" if axis.is_log else "linear", f"{name}lim": (axis.low, axis.high)})
        axes.tick_params(axis=name, which="minor", bottom=False, left=False, labelleft=False, labelbottom=False)
        axes.set(**{f"{name}ticks": axis.ticks, f"{name}ticklabels": axis.labels})
    axes.set_title(visible(chart.title), loc="left", fontsize=12)
    notes = "".join(f"\n{visible(note)}" for note in chart.notes)
    axes.set_xlabel(f"{visible(chart.x_label)}{notes}")
    axes.set_ylabel(visible(chart.y_label))
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if any(not line.labels for line in chart.lines):
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.06), ncols=3, borderaxespad=0)


def _draw_line(chart: Chart, line: Line, axes: Any) -> None:
    if line.labels:
        for place, label in enumerate(line.labels):
            axes.text(line.x[place], line.y[place], visible(label), ha="center", va="center", fontsize=9)
        return
    style = chart.style_of(line)
    x, y = [], []
    for piece in pieces(line, chart.is_log_x, chart.is_log_y):
        x += [point[0] for point in piece] + [float("nan")]
        y += [point[1] for point in piece] + [float("nan")]
    is_marked = line.is_points or line.has_marks or len(x) == 2  # a point of its own, and the gap behind it
    dashes = dashes_of(style)
    axes.plot(
        x,
        y,
        label=f" {visible(line.name)}",  # matplotlib leaves out names that begin with an underscore
        color=color_of(style).light,
        linestyle="none" if line.is_points else (0, dashes) if dashes else "-",
        linewidth=1.5,
        marker=MARKS[style % len(MARKS)] if is_marked else None,
        markersize=5,
        markerfacecolor="white",
    )
