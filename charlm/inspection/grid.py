"""A table of shares as a picture in SVG: names to the left and above, and each cell shaded by its share of the row."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size

from charlm.inspection.labels import LETTER_WIDTH
from charlm.inspection.svg import LINE_HEIGHT, rows_of, safe, text_at

MAX_NAME = 24  # columns of a name
MARGIN, MIN_WIDTH = 20, 480  # pixels: around the picture; the width has room for the notes
MIN_CELL, ROOMY_CELL, ROOMY_WIDTH = 26, 56, 480  # pixels: cells are larger as long as all of them have room
TITLE_HEIGHT = 66  # pixels above the names of the columns
MIN_SHADE = 0.12  # opacity of the smallest share, so that it is seen
SLANT = 0.71  # sine and cosine of 45 degrees, by which the names of the columns are turned
STYLES = (
    "text{font:12px system-ui,'Segoe UI','DejaVu Sans',Arial,sans-serif;fill:#222}"
    ".title{font-size:15px;font-weight:600}.number{font-size:11px;fill:#000}.paper{fill:#fff}.empty{fill:#f1f1ee}"
    ".gap{stroke:#fff;stroke-width:1}.right{fill:#56b4e9}.wrong{fill:#e69f00}.both{fill:#bbb}"
    "@media (prefers-color-scheme:dark){text{fill:#ddd}.number{fill:#fff}.paper{fill:#16181c}.empty{fill:#23272e}"
    ".gap{stroke:#16181c}.right{fill:#0072b2}.wrong{fill:#a84b00}.both{fill:#666}}"
)
"""The colours of Okabe and Ito, darker on a dark background: the numbers can be read on every shade of them."""


@dataclass(frozen=True)
class Cell:
    """A cell that is not empty: its place, its colour (`right`, `wrong` or `both`), and its share of the row (0 to 1).

    Of its `numbers`, given by falling length, the first one that has room stands in it; `told` is told when the mouse
    is over it.
    """

    row: int
    column: int
    kind: str
    share: float
    numbers: tuple[str, ...]
    told: str


@dataclass(frozen=True)
class Grid:
    """A table of shares. `described` says for those who cannot see it what it is."""

    title: str
    described: str
    rows_are: str
    columns_are: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]


def to_svg(grid: Grid) -> str:
    """A document of its own, for light and dark backgrounds."""
    return _Drawing(grid).document()


class _Drawing:
    """A grid on its way to SVG: where everything stands, then the elements themselves."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.rows, self.columns = ([shortened(name, MAX_NAME) for name in names] for names in (grid.rows, grid.columns))
        before, self.above = (max(map(cell_len, names)) * LETTER_WIDTH for names in (self.rows, self.columns))
        self.left, self.top = MARGIN + LINE_HEIGHT + before + 6, TITLE_HEIGHT + SLANT * self.above
        self.right = self.left + self.cell * len(self.columns)
        self.bottom = self.top + self.cell * len(self.rows)
        self.width = max(
            MIN_WIDTH, self.right + SLANT * self.above, 2 * MARGIN + cell_len(grid.title) * 1.3 * LETTER_WIDTH
        )
        columns = int((self.width - 2 * MARGIN) / LETTER_WIDTH)
        self.notes = [row for note in grid.notes for row in rows_of(note, columns)]
        self.height = self.bottom + MARGIN + LINE_HEIGHT * (len(self.notes) + 0.5)

    @cached_property
    def cell(self) -> int:
        """The width and height of a cell, in pixels: all numbers have room in it."""
        roomy = min(ROOMY_CELL, ROOMY_WIDTH // max(len(self.rows), len(self.columns)))
        return max(MIN_CELL, roomy, *(_num_pixels(cell.numbers[-1]) for cell in self.grid.cells))

    def document(self) -> str:
        size = f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" height="{self.height:.0f}"'
        described = f"<title>{safe(self.grid.title)}</title><desc>{safe(self.grid.described)}</desc>"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"{described}<style>{STYLES}</style>",
            f'<rect class="paper" width="{self.width:.0f}" height="{self.height:.0f}"/>',
            text_at(self.grid.title, MARGIN, 26, "title"),
            *self._names(),
            *self._background(),
            *self._cells(),
        ]
        for place, note in enumerate(self.notes):
            parts.append(text_at(note, MARGIN, self.bottom + MARGIN + LINE_HEIGHT * (place + 0.5)))
        return "\n".join([*parts, "</svg>\n"])

    def _names(self) -> Iterator[str]:
        """The names to the left and, slanted, above, and what they are."""
        yield text_at(self.grid.columns_are, self.left, 48)
        middle = (self.top + self.bottom) / 2
        turned = _turned(-90, MARGIN + 8, middle)
        yield text_at(self.grid.rows_are, MARGIN + 8, middle, anchor="middle", more=turned)
        for place, name in enumerate(self.rows):
            yield text_at(name, self.left - 6, self.top + (place + 0.5) * self.cell + 4, anchor="end")
        for place, name in enumerate(self.columns):
            x, y = self.left + (place + 0.5) * self.cell, self.top - 6
            yield text_at(name, x, y, more=_turned(-45, x, y))

    def _background(self) -> Iterator[str]:
        """The empty cells."""
        box = f'width="{self.right - self.left:.1f}" height="{self.bottom - self.top:.1f}"'
        yield f'<rect class="empty" x="{self.left:.1f}" y="{self.top:.1f}" {box}/>'
        for place in range(1, len(self.rows)):
            y = self.top + place * self.cell
            yield f'<path class="gap" d="M{self.left:.1f} {y:.1f}H{self.right:.1f}"/>'
        for place in range(1, len(self.columns)):
            x = self.left + place * self.cell
            yield f'<path class="gap" d="M{x:.1f} {self.top:.1f}V{self.bottom:.1f}"/>'

    def _cells(self) -> Iterator[str]:
        """The cells that are not empty, each with its number, shaded by its share of the row."""
        for cell in self.grid.cells:
            x, y = self.left + cell.column * self.cell, self.top + cell.row * self.cell
            box = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{self.cell - 1}" height="{self.cell - 1}"'
            shade = f'fill-opacity="{MIN_SHADE + (1 - MIN_SHADE) * cell.share:.3f}"'
            yield f'<rect class="{cell.kind}" {box} {shade}><title>{safe(cell.told)}</title></rect>'
            number = next((each for each in cell.numbers if _num_pixels(each) < self.cell), cell.numbers[-1])
            if number:
                yield text_at(number, x + self.cell / 2, y + self.cell / 2 + 4, "number", anchor="middle")


def _num_pixels(number: str) -> int:
    """How wide a cell is in which a number has room."""
    return int(len(number) * LETTER_WIDTH) + 8


def shortened(name: str, max_columns: int, ellipsis: str = "…") -> str:
    """The beginning of a name, in at most so many columns."""
    return name if cell_len(name) <= max_columns else set_cell_size(name, max_columns - 1).rstrip() + ellipsis


def _turned(degrees: int, x: float, y: float) -> str:
    return f'transform="rotate({degrees} {x:.1f} {y:.1f})"'
