"""Charts as text for a terminal: curves of braille dots, or of letters where a terminal has no braille."""

import math
from collections.abc import Iterator
from itertools import pairwise

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, pieces, thinned
from charlm.inspection.look import color_of, letter_of
from charlm.text.visible import visible

BRAILLE = 0x2800  # the pattern without dots
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille pattern: four rows of two."""
CELL_WIDTH, CELL_HEIGHT = 2, 4  # dots
MIN_COLUMNS, MIN_ROWS = 10, 3  # of the space between the axes
ROWS_PER_Y_TICK, COLUMNS_PER_X_TICK = 2, 10
COLUMNS_PER_LETTER = 16  # of a line without marks
ALL_CHARACTERS = "⣿│┤┬└─"
"""What a terminal must be able to show for charts that are not plain ASCII."""

Cell = tuple[int, int]  # column and row, from the upper left


def to_text(chart: Chart, width: int, height: int, is_ascii: bool = False) -> Text:
    """A chart in `width` columns and about `height` rows, without a line end behind it.

    Lines are told apart by colour, and without colour by the letters that stand on them. With `is_ascii` nothing but
    ASCII is used, except in names: each line is drawn in its letter.
    """
    return Text("\n").join(_Drawing(chart, width, height, is_ascii).rows())


class _Drawing:
    """One chart on its way to text."""

    def __init__(self, chart: Chart, width: int, height: int, is_ascii: bool) -> None:
        self.chart, self.width, self.is_ascii = chart, width, is_ascii
        self.legend = list(self._legend())
        self.notes = [row for note in chart.notes for row in wrapped(Text(_in_one_line(note)), width)]
        fixed = 4 + len(self.legend) + len(self.notes)  # title, axis, numbers, name of the x axis
        self.num_rows = max(MIN_ROWS, height - fixed)
        num_y_ticks = max(2, self.num_rows // ROWS_PER_Y_TICK)
        self.margin = 1 + max(map(len, axes_of(chart, 2, num_y_ticks)[1].labels), default=1)
        self.num_columns = max(MIN_COLUMNS, width - self.margin - 1)
        self.x_axis, self.y_axis = axes_of(chart, max(2, self.num_columns // COLUMNS_PER_X_TICK), num_y_ticks)
        self.cells: dict[Cell, tuple[str, str]] = {}
        """The character and the colour of each cell that is not empty."""

    def rows(self) -> Iterator[Text]:
        """All rows from top to bottom."""
        yield from wrapped(self._heading(), self.width)
        yield from self.legend
        self._draw()
        yield from self._plot()
        yield from self._x_numbers()
        yield from self.notes

    def _heading(self) -> Text:
        """The title and what the y axis shows, unless one says both."""
        title, label = _in_one_line(self.chart.title), _in_one_line(self.chart.y_label)
        if label.lower().startswith(title.lower()):
            return Text(title + label[len(title) :], "bold")
        return Text.assemble((title, "bold"), f"  {label}")

    def _legend(self) -> Iterator[Text]:
        """Which letter stands for which line, unless there is only one, then the levels, in as many rows as needed."""
        entries = []
        for place, (style, line) in enumerate(self.chart.styled_lines):
            color = color_of(style).terminal
            letter = [(f"{letter_of(place)} ", f"bold {color}")] if len(self.chart.lines) > 1 else []
            entries.append(Text.assemble(*letter, (_in_one_line(line.name), color)))
        for name, level in self.chart.thresholds:
            entries.append(Text(f"{'-' if self.is_ascii else '╌'} {_in_one_line(name)}: {number(level)}", "dim"))
        row = Text()
        for entry in entries:
            if row and row.cell_len + 3 + entry.cell_len > self.width:
                yield row
                row = Text()
            entry.truncate(self.width, overflow="crop" if self.is_ascii else "ellipsis")
            row = Text("   ").join([row, entry]) if row else entry
        if row:
            yield row

    def _draw(self) -> None:
        """Fill the cells: levels first, then lines, their letters last."""
        for _, level in self.chart.thresholds:
            self._level(level)
        letters = []
        for place, (style, line) in enumerate(self.chart.styled_lines):
            color = color_of(style).terminal
            cells = self._curve(letter_of(place), color, thinned(line, 8 * self.num_columns))
            letters.append((place, color, self._marked(line) if line.is_points or line.has_marks else cells))
        for place, color, cells in letters:
            self._letters(place, color, cells)
        for label, x, y in self.chart.labels:
            self._label(visible(label), self._dot(x, y))

    def _level(self, level: float) -> None:
        if not math.isfinite(level) or (self.y_axis.is_log and level <= 0):
            return
        row = self._row(self.y_axis.place(level))
        if 0 <= row < self.num_rows:
            for column in range(self.num_columns):
                self.cells[column, row] = ("-" if self.is_ascii else "╌", "dim")

    def _curve(self, letter: str, color: str, line: Line) -> list[Cell]:
        """Draw a line without its letters, or of them in ASCII. Returns its cells from left to right."""
        dots: dict[Cell, int] = {}
        for piece in pieces(line, self.chart.is_log_x, self.chart.is_log_y):
            points = [self._dot(x, y) for x, y in piece]
            ends = [(point, point) for point in points] if line.is_points or len(points) == 1 else pairwise(points)
            for x, y in (dot for start, end in ends for dot in _between(start, end)):
                cell = (x // CELL_WIDTH, y // CELL_HEIGHT)
                dots[cell] = dots.get(cell, 0) | DOTS[y % CELL_HEIGHT][x % CELL_WIDTH]
        for cell, bits in dots.items():
            before = self.cells.get(cell, ("", ""))[0]
            if "\u2800" <= before <= "\u28ff":
                bits |= ord(before) - BRAILLE
            self.cells[cell] = (letter if self.is_ascii else chr(BRAILLE + bits), color)
        return sorted(dots)

    def _label(self, label: str, dot: Cell) -> None:
        """Put a label around a point, or in the row below or above it; leave it out if neither has room."""
        shown = set_cell_size(label, min(cell_len(label), self.num_columns))
        column, row = dot[0] // CELL_WIDTH, dot[1] // CELL_HEIGHT
        start = max(0, min(column - len(shown) // 2, self.num_columns - len(shown)))
        for each in (row, row + 1, row - 1):
            cells = [(column, each) for column in range(start, start + len(shown))]
            if 0 <= each < self.num_rows and not self.cells.keys() & set(cells):
                self.cells |= {cell: (character, "") for cell, character in zip(cells, shown, strict=True)}
                return

    def _marked(self, line: Line) -> list[Cell]:
        """The cells of a line's points."""
        points = (point for piece in pieces(line, self.chart.is_log_x, self.chart.is_log_y) for point in piece)
        return sorted({(x // CELL_WIDTH, y // CELL_HEIGHT) for x, y in (self._dot(*point) for point in points)})

    def _letters(self, place: int, color: str, cells: list[Cell]) -> None:
        """Put a line's letter on some of its cells, so far apart that the curve can still be seen."""
        if len(self.chart.lines) < 2 or self.is_ascii:
            return
        line = self.chart.lines[place]
        has_marks = line.is_points or line.has_marks
        gap = 2 if has_marks else COLUMNS_PER_LETTER
        due = 0 if has_marks else COLUMNS_PER_LETTER * (place + 1) // (len(self.chart.lines) + 1)
        for column, row in cells:
            is_free = not self.cells.get((column, row), ("", ""))[0].isalpha()
            if column >= due and is_free:
                self.cells[column, row] = (letter_of(place), f"bold {color}")
                due = column + gap

    def _plot(self) -> Iterator[Text]:
        """The rows between the axes, with the numbers of the y axis."""
        labels = {
            self._row(self.y_axis.place(tick)): label
            for tick, label in zip(self.y_axis.ticks, self.y_axis.labels, strict=True)
        }
        for row in range(self.num_rows):
            tick = ("+" if self.is_ascii else "┤") if row in labels else ("|" if self.is_ascii else "│")
            line = Text.assemble(f"{labels.get(row, ''):>{self.margin - 1}} ", (tick, "dim"))
            for column in range(self.num_columns):
                line.append(*self.cells.get((column, row), (" ", "")))
            line.rstrip()
            yield line

    def _x_numbers(self) -> Iterator[Text]:
        """The x axis, its numbers as far as they have room, and its name."""
        places = [round(self.x_axis.place(tick) * (self.num_columns - 1)) for tick in self.x_axis.ticks]
        corner, rule, mark = "+-+" if self.is_ascii else "└─┬"
        axis = "".join(mark if column in places else rule for column in range(self.num_columns))
        yield Text.assemble(" " * self.margin, (corner + axis, "dim"))
        numbers = " " * self.margin
        for place, label in zip(places, self.x_axis.labels, strict=True):
            start = min(self.margin + 1 + place - (len(label) - 1) // 2, self.width - len(label))
            if start > len(numbers) or not numbers.strip():
                numbers = f"{numbers:{max(0, start)}}{label}"
        yield Text(numbers)
        name, end = _in_one_line(self.chart.x_label), min(self.width, self.margin + 1 + self.num_columns)
        name = set_cell_size(name, min(cell_len(name), end))
        yield Text(" " * (end - cell_len(name)) + name)

    def _dot(self, x: float, y: float) -> Cell:
        """The place of a point in dots, from the upper left."""
        across, down = self.num_columns * CELL_WIDTH - 1, self.num_rows * CELL_HEIGHT - 1
        return round(self.x_axis.place(x) * across), down - round(self.y_axis.place(y) * down)

    def _row(self, place: float) -> int:
        """The row of a place on the y axis."""
        down = self.num_rows * CELL_HEIGHT - 1
        return (down - round(place * down)) // CELL_HEIGHT


def _between(start: Cell, end: Cell) -> Iterator[Cell]:
    """The dots of a straight line, both ends included."""
    num_steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(num_steps + 1):
        share = step / num_steps
        yield round(start[0] + share * (end[0] - start[0])), round(start[1] + share * (end[1] - start[1]))


def _in_one_line(text: str) -> str:
    return " ".join(visible(text).split())


def wrapped(text: Text, width: int) -> list[Text]:
    """A text in lines that fit, broken at spaces."""
    return list(text.wrap(Console(width=width), width))
