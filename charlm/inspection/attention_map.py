"""What a translator looked at while it wrote, as a picture: for each token of the target its shares of the source."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from charlm.inspection import grid
from charlm.inspection.grid import Cell, Grid
from charlm.inspection.writing import check_form
from charlm.system.files import write_atomically
from charlm.tasks.translation import Attention
from charlm.text.visible import visible_symbol

MIN_SHARE = 0.01  # smaller shares leave their cell empty
MIN_NUMBER = 0.05  # from here on it stands in the cell


def write_attention(attention: Attention, path: Path, title: str) -> None:
    """Write a map of attention as SVG. Raises UsageError and ResourceError."""
    check_form(path, (".svg",))
    write_atomically(path, to_svg(attention, title).encode())


def to_svg(attention: Attention, title: str) -> str:
    """A map of attention as a document of its own, for light and dark backgrounds."""
    legend = "each row is a token that was written, each column one that was read"
    return grid.to_svg(
        Grid(
            title=title,
            described=f"attention: {legend}",
            rows_are="written",
            columns_are="read",
            rows=tuple(map(visible_symbol, attention.target)),
            columns=tuple(map(visible_symbol, attention.source)),
            cells=tuple(_cells(attention)),
            notes=(f"{legend}; numbers are shares of the attention in percent",),
        )
    )


def _cells(attention: Attention) -> Iterator[Cell]:
    """The shares that are large enough to be seen."""
    for row, column in np.argwhere(attention.shares >= MIN_SHARE).tolist():
        share = float(attention.shares[row, column])
        number = f"{100 * share:.0f}" if share >= MIN_NUMBER else ""
        told = (
            f"{visible_symbol(attention.target[row])} looks at {visible_symbol(attention.source[column])}: {share:.1%}"
        )
        yield Cell(row, column, "right", share, (number,), told)
