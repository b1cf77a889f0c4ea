"""Charts as SVG: one file that needs nothing else, on light and dark backgrounds and in print."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import NamedTuple

from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, pieces, thinned
from charlm.inspection.look import COLORS, DASHES, color_of, dashes_of
from charlm.text.visible import visible

WIDTH, PLOT_HEIGHT = 720, 260  # pixels: of a chart, and of the space between its axes
MIN_LEFT = 84.0  # pixels: the room left of a plot, so that the plots of a page lie under one another
MAX_POINTS = 1200  # of a line
MAX_TITLED_MARKS = 200  # marks of a line that tell their values when the mouse is over them
LETTER_WIDTH = 6.6  # of a letter of 12 pixels, on average
LINE_HEIGHT = 18
LEGEND_KEY = 34  # pixels of the piece of line before a name
MAX_NAME = 60  # characters of a name in the legend
NOT_IN_XML = re.compile("[\ufffe\uffff]")
NUM_X_TICKS, NUM_Y_TICKS = 7, 6


def _styles() -> str:
    """The style sheet of all charts. Its names begin with "chart", so that it can stand in a page with others."""
    light = "".join(f".chart .c{place}{{color:{color.light}}}" for place, color in enumerate(COLORS))
    dark = "".join(f".chart .c{place}{{color:{color.dark}}}" for place, color in enumerate(COLORS))
    dashes = "".join(
        f".chart .d{place}{{stroke-dasharray:{' '.join(map(str, lengths))}}}"
        for place, lengths in enumerate(DASHES)
        if lengths
    )
    return (
        ".chart{font:12px system-ui,'Segoe UI','DejaVu Sans',Arial,sans-serif}"
        ".chart .paper{fill:#fff}.chart text{fill:#222}.chart .title{font-size:15px;font-weight:600}"
        ".chart .grid{stroke:#ddd}.chart .axis{stroke:#666}.chart .level{stroke:#666;stroke-dasharray:4 3}"
        ".chart .on-lines{stroke:#fff;stroke-width:4px;paint-order:stroke}"
        ".chart .line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:butt}"
        ".chart .mark{fill:#fff;stroke:currentColor;stroke-width:1.6}.chart .dot{fill:currentColor;stroke:none}"
        f"{light}{dashes}"
        "@media (prefers-color-scheme:dark){.chart .paper{fill:#16181c}.chart text{fill:#ddd}"
        ".chart .grid{stroke:#363a42}.chart .axis,.chart .level{stroke:#999}.chart .mark{fill:#16181c}"
        f".chart .on-lines{{stroke:#16181c}}{dark}}}"
    )


STYLES = _styles()


def to_svg(chart: Chart) -> str:
    """A chart as a document of its own."""
    return to_svg_of_all([chart], chart.title)


def to_svg_of_all(charts: Sequence[Chart], title: str) -> str:
    """Several charts, one under the other, as one document."""
    return _drawn(charts, title, f"<style>{STYLES}</style>", ' xmlns="http://www.w3.org/2000/svg"')


def to_svg_for_page(chart: Chart) -> str:
    """A chart as a part of an HTML page, which needs STYLES as well."""
    return _drawn([chart], chart.title)


def _drawn(charts: Sequence[Chart], title: str, styles: str = "", namespace: str = "") -> str:
    left = max(MIN_LEFT, *map(_left, charts))
    drawings = [_Drawing(chart, left) for chart in charts]
    heights = [drawing.height for drawing in drawings]
    size = f'viewBox="0 0 {WIDTH} {sum(heights)}" width="{WIDTH}" height="{sum(heights)}"'
    described = "; ".join(f"{chart.y_label} over {chart.x_label}" for chart in charts)
    parts = [
        f'<svg{namespace} class="chart" {size} role="img">',
        f"<title>{safe(title)}</title><desc>{safe(described)}</desc>{styles}",
        f'<rect class="paper" width="{WIDTH}" height="{sum(heights)}"/>',
    ]
    for drawing, top in zip(drawings, accumulate(heights, initial=0), strict=False):
        parts += [f'<g transform="translate(0 {top})">', *drawing.elements(), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def safe(text: str) -> str:
    """A text for HTML and SVG: nothing in it counts as markup, and what cannot be seen is escaped."""
    return escape(NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", visible(text)))


def shortened(name: str) -> str:
    """A name that has room in a legend; its end, which tells lines of a run apart, stays."""
    name = visible(name)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME // 2]}…{name[-MAX_NAME // 2 + 1 :]}"


class _Entry(NamedTuple):
    """A line's entry in the legend, and where it stands."""

    style: int
    line: Line
    x: float
    row: int


class _Drawing:
    """One chart on its way to SVG: where everything stands, then the elements themselves."""

    def __init__(self, chart: Chart, left: float) -> None:
        """The plot begins `left` pixels from the left, as those of the charts around it do."""
        self.chart, self.left, self.right = chart, left, WIDTH - 24
        self.x_axis, self.y_axis = axes_of(chart, NUM_X_TICKS, NUM_Y_TICKS)
        self.entries = list(_legend(chart, self.left, self.right))
        self.top = 34 + LINE_HEIGHT * (1 + max((entry.row for entry in self.entries), default=-1))
        self.bottom = self.top + PLOT_HEIGHT
        self.notes = [row for note in chart.notes for row in rows_of(note, int((self.right - left) / LETTER_WIDTH))]
        self.height = self.bottom + 56 + LINE_HEIGHT * len(self.notes)

    def elements(self) -> Iterator[str]:
        """The elements of the chart, those behind first."""
        yield text_at(self.chart.title, self.left, 20, "title")
        for entry in self.entries:
            yield from self._entry(entry)
        yield from self._axes()
        levels = [
            (name, level, y) for name, level in self.chart.thresholds if (y := self._y_of_level(level)) is not None
        ]
        for _, _, y in levels:
            yield f'<path class="level" d="M{self.left:.1f} {y:.1f}H{self.right}"/>'
        for style, line in self.chart.styled_lines:
            yield from self._line(style, thinned(line, MAX_POINTS))
        for name, level, y in levels:
            yield text_at(f"{name}: {number(level)}", self.right - 4, y - 4, "on-lines", anchor="end")
        for label, x, y in self.chart.labels:
            yield text_at(label, self._x(x), self._y(y) + 4, anchor="middle")
        for place, note in enumerate(self.notes):
            yield text_at(note, self.left, self.bottom + 60 + LINE_HEIGHT * place)

    def _entry(self, entry: _Entry) -> Iterator[str]:
        y = 40 + LINE_HEIGHT * entry.row
        yield f'<g class="{_color(entry.style)}">'
        if not entry.line.is_points:
            yield f'<path class="line {_dashes(entry.style)}" d="M{entry.x:.1f} {y - 4}h26"/>'
        if entry.line.is_points or entry.line.has_marks:
            yield _mark(entry.x + 13, y - 4, entry.style)
        yield "</g>"
        yield text_at(shortened(entry.line.name), entry.x + LEGEND_KEY, y)

    def _axes(self) -> Iterator[str]:
        for tick, label in zip(self.y_axis.ticks, self.y_axis.labels, strict=True):
            y = self._y(tick)
            yield f'<path class="grid" d="M{self.left:.1f} {y:.1f}H{self.right}"/>'
            yield text_at(label, self.left - 8, y + 4, anchor="end")
        for tick, label in zip(self.x_axis.ticks, self.x_axis.labels, strict=True):
            x = self._x(tick)
            yield f'<path class="axis" d="M{x:.1f} {self.bottom}v5"/>'
            inside = min(x, WIDTH - 2 - LETTER_WIDTH * len(label) / 2)
            yield text_at(label, inside, self.bottom + 19, anchor="middle")
        yield f'<path class="axis" fill="none" d="M{self.left:.1f} {self.top}V{self.bottom}H{self.right}"/>'
        yield text_at(self.chart.x_label, (self.left + self.right) / 2, self.bottom + 37, anchor="middle")
        middle = (self.top + self.bottom) / 2
        turned = f'transform="rotate(-90 16 {middle:.1f})"'
        yield text_at(self.chart.y_label, 16, middle, anchor="middle", more=turned)

    def _y_of_level(self, level: float) -> float | None:
        """Where a level lies, if it can be drawn."""
        if not math.isfinite(level) or (self.y_axis.is_log and level <= 0):
            return None
        return self._y(level) if 0 <= self.y_axis.place(level) <= 1 else None

    def _line(self, style: int, line: Line) -> Iterator[str]:
        whole = list(pieces(line, self.chart.is_log_x, self.chart.is_log_y))
        yield f'<g class="{_color(style)}"><title>{safe(line.name)}</title>'
        if not line.is_points:
            path = "".join(self._path(piece) for piece in whole)
            yield f'<path class="line {_dashes(style)}" d="{path}"/>'
        if line.is_points or line.has_marks:
            yield from self._marks([point for piece in whole for point in piece], style)
        else:  # a line of one point would not be seen
            alone = (piece[0] for piece in whole if len(piece) == 1)
            yield from (f'<circle class="dot" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="2.5"/>' for x, y in alone)
        yield "</g>"

    def _marks(self, points: Sequence[tuple[float, float]], style: int) -> Iterator[str]:
        has_titles = len(points) <= MAX_TITLED_MARKS
        for x, y in points:
            title = f"{self.chart.x_label} {number(x)}: {number(y)}" if has_titles else ""
            yield _mark(self._x(x), self._y(y), style, title)

    def _path(self, piece: Iterable[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in piece)

    def _x(self, value: float) -> float:
        return self.left + self.x_axis.place(value) * (self.right - self.left)

    def _y(self, value: float) -> float:
        return self.bottom - self.y_axis.place(value) * PLOT_HEIGHT


def _left(chart: Chart) -> float:
    """How much room the numbers and the name of a chart's y axis need."""
    return 44 + LETTER_WIDTH * max(map(len, axes_of(chart, NUM_X_TICKS, NUM_Y_TICKS)[1].labels), default=1)


def _legend(chart: Chart, left: float, right: float) -> Iterator[_Entry]:
    """The entries of the legend in as many rows as they need."""
    x, row = left, 0
    for style, line in chart.styled_lines:
        width = LEGEND_KEY + LETTER_WIDTH * len(shortened(line.name)) + 20
        if x > left and x + width > right:
            x, row = left, row + 1
        yield _Entry(style, line, x, row)
        x += width


def rows_of(text: str, columns: int) -> Iterator[str]:
    """A sentence in lines of at most so many characters, broken at spaces."""
    row = ""
    for word in text.split(" "):
        if row and len(row) + 1 + len(word) > columns:
            yield row
            row = word
        else:
            row = f"{row} {word}" if row else word
    yield row


def text_at(text: str, x: float, y: float, name: str = "", anchor: str = "", more: str = "") -> str:
    """A text element at a place; `name` is its class, `more` further attributes."""
    attributes = [f'x="{x:.1f}" y="{y:.1f}"']
    attributes += [f'class="{name}"'] if name else []
    attributes += [f'text-anchor="{anchor}"'] if anchor else []
    attributes += [more] if more else []
    return f"<text {' '.join(attributes)}>{safe(text)}</text>"


def _color(style: int) -> str:
    return f"c{COLORS.index(color_of(style))}"


def _dashes(style: int) -> str:
    return f"d{DASHES.index(dashes_of(style))}"


def _mark(x: float, y: float, style: int, title: str = "") -> str:
    """A mark around a point: a circle, a square, a triangle, a diamond or a cross."""
    shapes = (
        "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
        "m-3.2-3.2h6.4v6.4h-6.4z",
        "m0-4.2l4 7h-8z",
        "m0-4.6l4.6 4.6-4.6 4.6-4.6-4.6z",
        "m-3.5-3.5l7 7m0-7l-7 7",
    )
    content = f"<title>{safe(title)}</title>" if title else ""
    return f'<path class="mark" d="M{x:.1f} {y:.1f}{shapes[style % len(shapes)]}">{content}</path>'
