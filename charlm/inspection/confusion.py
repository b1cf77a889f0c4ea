"""A confusion matrix as a picture and as a table: which labels a classifier or a tagger takes for which."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from charlm.evaluation.classification import Confusion
from charlm.inspection import grid
from charlm.inspection.grid import MAX_NAME, Cell, Grid, shortened
from charlm.inspection.terminal import wrapped
from charlm.inspection.writing import check_form
from charlm.system.files import write_atomically
from charlm.text.visible import visible_symbol

MAX_ROWS = 40  # of a picture
MIN_NAME, MAX_HEADING = 8, 6  # columns of a label's name in the table: at least in a row, at most above a column
NUM_LARGEST = 5  # confusions that are told in words
GAP = 2  # between the columns of the table
LEGEND = "each row is a true label, each column a predicted one"


# Fewer labels


@dataclass(frozen=True)
class Shown:
    """The labels of a confusion matrix that are shown, and their counts; `num_others` labels are put together as one.

    The others' counts stand last. Among others, right and wrong predictions are not told apart.
    """

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]
    num_others: int

    @property
    def names(self) -> tuple[str, ...]:
        """The labels as people can see them, and a name for the others."""
        others = (f"{self.num_others} others",) if self.num_others else ()
        return (*map(visible_symbol, self.labels), *others)

    def kind(self, row: int, column: int) -> str:
        """What a cell's predictions are: right, wrong, or both."""
        if row != column:
            return "wrong"
        return "right" if row < len(self.labels) else "both"


def most_frequent(confusion: Confusion, max_rows: int) -> Shown:
    """The labels that are most often true or predicted, in their order."""
    return _shown(confusion, confusion.occurrences(), max_rows)


def most_confused(confusion: Confusion, max_rows: int) -> Shown:
    """The labels that are most often taken for others, or others for them, in their order."""
    return _shown(confusion, confusion.errors.occurrences(), max_rows)


def _shown(confusion: Confusion, weights: NDArray[Any], max_rows: int) -> Shown:
    """All labels, if they are at most so many, else those of the largest weights, and a row for the others."""
    num_labels = len(confusion.labels)
    if num_labels <= max_rows:
        return Shown(confusion.labels, confusion.matrix(), 0)
    kept = np.sort(np.argsort(-weights, kind="stable")[: max_rows - 1])
    rows = np.full(num_labels, len(kept))
    rows[kept] = range(len(kept))
    labels = tuple(confusion.labels[place] for place in kept)
    return Shown(labels, confusion.matrix(rows), num_labels - len(kept))


# A picture


def write_confusion(confusion: Confusion, path: Path, title: str) -> None:
    """Write a confusion matrix as SVG. Raises UsageError and ResourceError."""
    check_form(path, (".svg",))
    write_atomically(path, to_svg(confusion, title).encode())


def to_svg(confusion: Confusion, title: str) -> str:
    """A confusion matrix as a document of its own, for light and dark backgrounds."""
    shown = most_frequent(confusion, MAX_ROWS)
    about = _about_others(shown, "most frequent")
    return grid.to_svg(
        Grid(
            title=title,
            described=f"confusion matrix: {LEGEND}",
            rows_are="true",
            columns_are="predicted",
            rows=shown.names,
            columns=shown.names,
            cells=tuple(_cells(shown)),
            notes=(_summary(confusion), "the shade of a cell is its share of the row", *about),
        )
    )


def _cells(shown: Shown) -> Iterator[Cell]:
    """The cells that are not empty, each with its count."""
    totals = shown.matrix.sum(axis=1).tolist()
    for row, column in np.argwhere(shown.matrix).tolist():
        count = int(shown.matrix[row, column])
        share = count / totals[row]
        told = f"true {shown.names[row]}, predicted {shown.names[column]}: {count:,} ({share:.1%})"
        yield Cell(row, column, shown.kind(row, column), share, (str(count), short_count(count)), told)


def short_count(count: int) -> str:
    """A count in at most four characters up to a billion: 1234 is 1.2k."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.1f}{letter}" if count < 9.95 * size else f"{count / size:.0f}{letter}"
    return str(count)


# A table for a terminal


@dataclass(frozen=True)
class _Table:
    """The names of the rows, and for each column its heading and its counts. All rows of cells are equally long."""

    names: list[str]
    headings: list[str]
    cells: list[list[str]]

    @property
    def margin(self) -> int:
        return max(map(cell_len, self.names))

    @property
    def widths(self) -> list[int]:
        return [max(map(cell_len, column)) for column in zip(self.headings, *self.cells, strict=True)]

    @property
    def width(self) -> int:
        return self.margin + sum(GAP + width for width in self.widths)


def to_text(confusion: Confusion, width: int, is_ascii: bool = False) -> Text:
    """A confusion matrix as a table of at most `width` columns, without a line end behind it.

    Where not all labels have room, it has those that are confused most often, the others as one row and column, and the
    largest confusions in words.
    """
    max_rows = max(2, min(len(confusion.labels), width // (GAP + 1)))
    shown = most_confused(confusion, max_rows)
    while (table := _table(shown, width, is_ascii)).width > width and max_rows > 2:
        max_rows -= 1
        shown = most_confused(confusion, max_rows)
    notes = [_summary(confusion), *_about_others(shown, "most often confused")]
    if shown.num_others:
        notes += _largest(confusion)
    rows = [*_rows(table, shown), *(line for note in notes for line in wrapped(Text(note), width))]
    for row in rows:
        row.truncate(width)
    return Text("\n").join(rows)


def _table(shown: Shown, width: int, is_ascii: bool) -> _Table:
    """The table of some labels. Its columns have the labels as headings if these are short, else the rows' numbers."""
    ellipsis, zero = ("~", ".") if is_ascii else ("…", "·")
    names = [shortened(name, max(MIN_NAME, min(MAX_NAME, width // 3)), ellipsis) for name in shown.names]
    headings = [*shown.names[: len(shown.labels)], *["others"] * bool(shown.num_others)]
    if max(map(cell_len, headings)) > MAX_HEADING:
        headings = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{number:>{len(headings[-1])}} {name}" for number, name in zip(headings, names, strict=True)]
    cells = [[str(count) if count else zero for count in row] for row in shown.matrix.tolist()]
    return _Table(names, headings, cells)


def _rows(table: _Table, shown: Shown) -> Iterator[Text]:
    """The headings, then one row for each label, with the right predictions in bold."""
    headings = zip(table.headings, table.widths, strict=True)
    yield Text(" " * table.margin + "".join(_right_aligned(*heading) for heading in headings), "bold")
    for place, (name, cells) in enumerate(zip(table.names, table.cells, strict=True)):
        row = Text(set_cell_size(name, table.margin))
        for column, cell in enumerate(zip(cells, table.widths, strict=True)):
            row.append(_right_aligned(*cell), "bold" if shown.kind(place, column) == "right" else "")
        yield row


def _right_aligned(text: str, width: int) -> str:
    return " " * (GAP + width - cell_len(text)) + text


def _largest(confusion: Confusion) -> Iterator[str]:
    """The most frequent pairs of a true label and a wrong one, in words."""
    errors = confusion.errors
    for cell in np.argsort(-errors.counts, kind="stable")[:NUM_LARGEST]:
        labels = (visible_symbol(confusion.labels[each[cell]]) for each in (errors.true, errors.predicted))
        yield f"{' taken for '.join(labels)}: {errors.counts[cell]:,}"


# Both


def _summary(confusion: Confusion) -> str:
    total = confusion.num_examples
    right = f", {confusion.num_right / total:.1%} of them right" if total else ""
    return f"{total:,} predictions{right}; {LEGEND}"


def _about_others(shown: Shown, chosen: str) -> Iterator[str]:
    """Which labels are shown, unless all are."""
    if shown.num_others:
        num_labels = len(shown.labels) + shown.num_others
        yield f"the {len(shown.labels)} {chosen} of {num_labels:,} labels, and the others together"
