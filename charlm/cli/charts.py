"""Charts on a terminal: how wide, and in which characters."""

import os
import sys
from typing import TYPE_CHECKING

from charlm.cli.console import out

if TYPE_CHECKING:
    from charlm.inspection.chart import Chart

MAX_COLUMNS = 160
COLUMNS_IN_A_PIPE = 80
ROWS = 20  # of a chart, with title, axis and legend


def print_chart(chart: "Chart", is_first: bool) -> None:
    """Print a chart, with an empty line before it unless it is the first."""
    from charlm.inspection.terminal import to_text

    if not is_first:
        out.print()
    out.print(to_text(chart, columns(), ROWS, is_ascii()), soft_wrap=True)


def columns() -> int:
    """How many columns a chart has."""
    return min(out.width, MAX_COLUMNS) if out.is_terminal else COLUMNS_IN_A_PIPE


def is_ascii() -> bool:
    """Whether stdout cannot show braille: for its encoding, or as the console of Linux, which has no such letters."""
    from charlm.inspection.terminal import ALL_CHARACTERS

    try:
        ALL_CHARACTERS.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return True
    return out.is_terminal and os.environ.get("TERM") in ("linux", "dumb")
