"""Wrap a text at words while it is still being written."""

import re
from collections.abc import Callable

from rich.cells import cell_len, chop_cells

PARTS = re.compile(r"\n|[ \t]+|[^ \t\n]+")
TAB_COLUMNS = 8


class WrappedText:
    """Breaks a line before a word that would not fit, and breaks a word only if it is longer than a line.

    Spaces at the end of a line are left out. A word is written when it is complete; `finish` writes the last one.
    """

    def __init__(self, write: Callable[[str], None], width: Callable[[], int]) -> None:
        self._write, self._width = write, width
        self._column = 0
        self._space, self._word = "", ""

    def write(self, text: str) -> None:
        """Add text."""
        for part in PARTS.findall(text):
            if part == "\n":
                self._put_word()
                self._write("\n")
                self._column, self._space = 0, ""
            elif part[0] in " \t":
                self._put_word()
                self._space += part
            else:
                self._word += part
                self._put_whole_lines()

    def finish(self) -> None:
        """Write the last word."""
        self._put_word()

    def _put_word(self) -> None:
        if not self._word:
            return
        space, size = self._space, cell_len(self._word)
        start = len((" " * self._column + space).expandtabs(TAB_COLUMNS))
        if start + size > self._width():
            self._break_line()
            space, start = "", 0
        self._write(space + self._word)
        self._column, self._space, self._word = start + size, "", ""

    def _put_whole_lines(self) -> None:
        """Write the beginning of a word that is longer than a line, as whole lines."""
        *lines, self._word = chop_cells(self._word, self._width())
        for line in lines:
            self._break_line()
            self._write(line)
            self._column = self._width()

    def _break_line(self) -> None:
        if self._column:
            self._write("\n")
        self._column, self._space = 0, ""
