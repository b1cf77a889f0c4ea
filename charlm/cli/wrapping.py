"""Text that is written bit by bit, wrapped at words on a terminal."""

import re
from collections.abc import Callable

from rich.cells import cell_len, chop_cells

PARTS = re.compile(r"\n|[ \t]+|[^ \t\n]+")
TAB = 8  # columns


class WrappedText:
    """Breaks a line before the word that would cross the terminal's border, and a word only if it fills a whole line.

    Spaces at a line's end are left out. A word is written once it is complete, so `finish` comes at the end.
    """

    def __init__(self, write: Callable[[str], None], width: Callable[[], int]) -> None:
        self._write, self._width = write, width
        self._column = 0
        self._space, self._word = "", ""

    def write(self, text: str) -> None:
        """Take some more text."""
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
        start = len((" " * self._column + space).expandtabs(TAB))
        if start + size > self._width():
            self._break_line()
            space, start = "", 0
        self._write(space + self._word)
        self._column, self._space, self._word = start + size, "", ""

    def _put_whole_lines(self) -> None:
        """Of a word that no line can hold."""
        *lines, self._word = chop_cells(self._word, self._width())
        for line in lines:
            self._break_line()
            self._write(line)
            self._column = self._width()

    def _break_line(self) -> None:
        if self._column:
            self._write("\n")
        self._column, self._space = 0, ""
