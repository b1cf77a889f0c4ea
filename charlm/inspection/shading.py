"""A text whose tokens are coloured by a number each: for a terminal, and as SVG, HTML or PNG.

Every form also tells the numbers without colour: low ones are underlined, and where there is no colour at all, a row of
bars stands under the text.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.cells import cell_len, chop_cells
from rich.style import Style
from rich.text import Text

from charlm.inspection.page import to_page
from charlm.inspection.png import DOTS_PER_INCH, check_png_is_possible
from charlm.inspection.svg import safe
from charlm.inspection.writing import check_form
from charlm.system.files import write_atomically
from charlm.text.visible import visible

LOW, MIDDLE, HIGH = (86, 180, 233), (250, 250, 246), (230, 159, 0)
"""Sky blue and orange of Okabe and Ito, which all kinds of colour vision tell apart; black can be read on them."""
BARS, DIGITS = "▁▂▃▄▅▆▇█", "0123456789"
END_OF_LINE, ASCII_END_OF_LINE = "↵", "\\n"
COLUMNS = 80  # of a text in a file
CELL_WIDTH, ROW_HEIGHT = 8.5, 24  # pixels
LEGEND_STEPS = 5
MARGIN = 20  # pixels
PNG_COLUMN, PNG_ROW = 0.093, 0.25  # inches
PNG_LETTERS = 10.5  # points: about as wide as a column
UNDERLINE_BELOW = 0.25  # of the scale


@dataclass(frozen=True)
class Shaded:
    """A text, one value for each of its tokens, and what the values are.

    `pieces` are the parts of the text that the tokens stand for. The values lie between `low` and `high`.
    """

    pieces: tuple[str, ...]
    values: tuple[float, ...]
    what: str
    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the low end of the scale, 1 at the high end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def color(self, value: float) -> str:
        """The colour of a value as #rrggbb: white at 0, and where there are values below 0, blue at the low end."""
        share = self.place(value) if self.low >= 0 else min(1.0, abs(value) / self.high)
        end = HIGH if value >= 0 else LOW
        red, green, blue = (round(middle + share * (other - middle)) for middle, other in zip(MIDDLE, end, strict=True))
        return f"#{red:02x}{green:02x}{blue:02x}"

    def is_low(self, value: float) -> bool:
        """Whether a value is underlined."""
        return self.low < 0 and self.place(value) < UNDERLINE_BELOW

    @property
    def steps(self) -> list[float]:
        """The values of the legend."""
        return [self.low + step * (self.high - self.low) / (LEGEND_STEPS - 1) for step in range(LEGEND_STEPS)]

    @property
    def underlined(self) -> str:
        """What underlining means; empty if nothing is underlined."""
        limit = self.low + UNDERLINE_BELOW * (self.high - self.low)
        return f"underlined: below {limit:.2g}" if self.low < 0 else ""


class Cell(NamedTuple):
    """A piece of text in one colour, in one row of the screen."""

    text: str
    value: float


def rows(shaded: Shaded, columns: int, end_of_line: str = END_OF_LINE) -> Iterator[list[Cell]]:
    """The text in rows of at most so many columns; each line of the text begins a new one."""
    row: list[Cell] = []
    used = 0
    for piece, value in zip(shaded.pieces, shaded.values, strict=True):
        for part in piece.splitlines(keepends=True) if piece.endswith("\n") else [piece]:
            shown = visible(part.replace("\t", "\\t").removesuffix("\n")).replace("\n", end_of_line)
            for text in chop_cells(shown + end_of_line * part.endswith("\n"), columns):
                if used + cell_len(text) > columns:
                    yield row
                    row, used = [], 0
                row.append(Cell(text, value))
                used += cell_len(text)
            if part.endswith("\n"):
                yield row
                row, used = [], 0
    if row:
        yield row


def to_text(shaded: Shaded, columns: int, has_color: bool, is_ascii: bool = False) -> Text:
    """The text for a terminal: coloured, or with a row of bars (with `is_ascii` of digits) under each row."""
    lines = [_legend(shaded, has_color, is_ascii)]
    for row in rows(shaded, columns, ASCII_END_OF_LINE if is_ascii else END_OF_LINE):
        lines.append(Text.assemble(*((cell.text, _style(shaded, cell.value) if has_color else "") for cell in row)))
        if not has_color:
            lines.append(Text("".join(_bar(shaded, cell.value, is_ascii) * cell_len(cell.text) for cell in row)))
    return Text("\n").join(lines)


def to_svg(shaded: Shaded, title: str) -> str:
    """The text as a document of its own, in rows of COLUMNS columns."""
    drawn = list(rows(shaded, COLUMNS))
    width, height = 2 * MARGIN + COLUMNS * CELL_WIDTH, 66 + MARGIN + ROW_HEIGHT * len(drawn)
    size = f'viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{safe(title)}</title><desc>{safe(shaded.what)}: a text, each token coloured by its value</desc>",
        f"<style>{SVG_STYLES}</style>",
        f'<rect class="paper" width="{width:g}" height="{height}"/>',
        f'<text class="name" x="{MARGIN}" y="26">{safe(shaded.what)}</text>',
        *_svg_row([Cell(f" {step:.2g} ", step) for step in shaded.steps], shaded, 36),
        f'<text class="name" x="{MARGIN + 34 * CELL_WIDTH}" y="52">{safe(shaded.underlined)}</text>',
    ]
    for place, row in enumerate(drawn):
        parts += _svg_row(row, shaded, 66 + ROW_HEIGHT * place)
    return "\n".join([*parts, "</svg>\n"])


def to_html(shaded: Shaded, title: str) -> str:
    """A page that shows the text; the mouse over a token tells its value."""
    legend = "".join(_span(Cell(f" {step:.2g} ", step), shaded) for step in shaded.steps)
    return to_page(
        title,
        [f"<pre>{legend}  {safe(shaded.underlined)}</pre>", f"<pre>{spans(shaded)}</pre>"],
        HTML_STYLES,
    )


def spans(shaded: Shaded) -> str:
    """The text as a part of an HTML page, which needs HTML_STYLES as well."""
    cells = zip(shaded.pieces, shaded.values, strict=True)
    return "".join(_span(Cell(text.replace("\n", f"{END_OF_LINE}\n"), value), shaded) for text, value in cells)


def to_png(shaded: Shaded, title: str) -> bytes:
    """The text as a picture on white. Raises UsageError if matplotlib is not installed."""
    check_png_is_possible()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = [[Cell(f" {step:.2g} ", step) for step in shaded.steps], [], *rows(shaded, COLUMNS)]
    with rc_context({"text.parse_math": False}):
        size = (COLUMNS * PNG_COLUMN, 0.4 + PNG_ROW * len(drawn))
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        axes: Any = figure.subplots()
        axes.set(xlim=(0, COLUMNS), ylim=(len(drawn), 0))
        axes.axis("off")
        axes.set_title(visible(f"{shaded.what}   {shaded.underlined}"), loc="left", fontsize=10)
        for place, row in enumerate(drawn):
            _png_row(axes, row, shaded, place)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Title": visible(title), "Software": "charlm"})
    return file.getvalue()


FORMS: dict[str, Callable[[Shaded, str], bytes]] = {
    ".svg": lambda shaded, title: to_svg(shaded, title).encode(),
    ".html": lambda shaded, title: to_html(shaded, title).encode(),
    ".png": to_png,
}


def write_shaded(shaded: Shaded, path: Path, title: str) -> None:
    """Write a coloured text as SVG, HTML or PNG. Raises UsageError and ResourceError."""
    check_form(path)
    write_atomically(path, FORMS[path.suffix.lower()](shaded, title))


SVG_STYLES = (
    "text{font:14px ui-monospace,'DejaVu Sans Mono',Consolas,monospace;white-space:pre;fill:#000}"
    ".name{font:13px system-ui,'Segoe UI','DejaVu Sans',Arial,sans-serif;fill:#222}.paper{fill:#fff}"
    ".low{stroke:#000;stroke-width:1}rect{shape-rendering:crispEdges}"
    "@media (prefers-color-scheme:dark){.paper{fill:#16181c}.name{fill:#ddd}}"
)
HTML_STYLES = "pre span { color: #000; padding: .15em 0 } pre .low { text-decoration: underline }"


def _svg_row(row: Sequence[Cell], shaded: Shaded, top: float) -> Iterator[str]:
    """The coloured boxes of a row, and the text on them; each text is as wide as its box in every font."""
    column = 0
    for cell in row:
        x, width = MARGIN + column * CELL_WIDTH, cell_len(cell.text) * CELL_WIDTH
        column += cell_len(cell.text)
        box = f'x="{x:g}" y="{top:g}" width="{width:g}" height="{ROW_HEIGHT - 3}" fill="{shaded.color(cell.value)}"'
        yield f"<rect {box}><title>{cell.value:.3f}</title></rect>"
        if shaded.is_low(cell.value):
            yield f'<path class="low" d="M{x:g} {top + 19:g}h{width:g}"/>'
        if inner := cell.text.strip(" "):
            start = x + CELL_WIDTH * (len(cell.text) - len(cell.text.lstrip(" ")))
            size = f'textLength="{cell_len(inner) * CELL_WIDTH:g}" lengthAdjust="spacingAndGlyphs"'
            yield f'<text x="{start:g}" y="{top + 15:g}" {size}>{safe(inner)}</text>'


def _png_row(axes: Any, row: Sequence[Cell], shaded: Shaded, top: int) -> None:
    column = 0
    for cell in row:
        width = cell_len(cell.text)
        axes.barh(top + 0.5, width, 0.9, left=column, color=shaded.color(cell.value), linewidth=0)
        if shaded.is_low(cell.value):
            axes.plot([column, column + width], [top + 0.9, top + 0.9], color="black", linewidth=0.8)
        for place, character in enumerate(cell.text):
            axes.text(
                column + place + 0.5,
                top + 0.55,
                character,
                ha="center",
                va="center",
                family="monospace",
                size=PNG_LETTERS,
            )
        column += width


def _span(cell: Cell, shaded: Shaded) -> str:
    low = ' class="low"' if shaded.is_low(cell.value) else ""
    return f'<span{low} style="background:{shaded.color(cell.value)}" title="{cell.value:.3f}">{safe(cell.text)}</span>'


def _style(shaded: Shaded, value: float) -> Style:
    return Style(color="#000000", bgcolor=shaded.color(value), underline=shaded.is_low(value))


def _bar(shaded: Shaded, value: float, is_ascii: bool) -> str:
    marks = DIGITS if is_ascii else BARS
    return marks[min(len(marks) - 1, int(shaded.place(value) * len(marks)))]


def _legend(shaded: Shaded, has_color: bool, is_ascii: bool) -> Text:
    """What the values are, and the scale."""
    if not has_color:
        marks = DIGITS if is_ascii else BARS
        return Text(f"{shaded.what}   {marks} from {shaded.low:.2g} to {shaded.high:.2g}")
    scale = [(f" {step:.2g} ", _style(shaded, step)) for step in shaded.steps]
    return Text.assemble((shaded.what, "bold"), "\n", *scale, f"   {shaded.underlined}")
