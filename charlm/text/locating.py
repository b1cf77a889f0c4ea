"""Where the symbols of a text of words stand, one by one: for single sentences and prompts."""

import re
from collections.abc import Iterator

from charlm.text.marks import ENDS, START
from charlm.text.splitting import Splitting

LINE_END = "\n"
PIECE = re.compile(r"\S+|\n")
APOSTROPHES = "'’"

Located = tuple[str, int]


def located(splitting: Splitting, text: str) -> Iterator[Located]:
    """The symbols of a text that is in its case, a newline for each line end, and where each of them ends.

    The one space between two words belongs to the second one. The symbol for the place behind a space has the space or
    line end behind it, too, for it is certain only with that.
    """
    yield from _between_white_space(splitting, text) if splitting.split == "whitespace" else _in_lines(splitting, text)


def num_open(splitting: Splitting, chunk: str) -> int:
    """How many of a last chunk's symbols may become others when text goes on: after `don'`, a `t` makes one of two."""
    *_, last = symbols = list(splitting.spell(chunk))
    if splitting.text_of(last) in APOSTROPHES and len(symbols) > 1 and splitting.text_of(symbols[-2])[-1].isalnum():
        return 2
    return 1


def _in_lines(splitting: Splitting, text: str) -> Iterator[Located]:
    start = 0
    for line in text.split("\n"):
        if start:
            yield LINE_END, start
        yield from ((symbol, min(start + end, len(text))) for symbol, end in _in_line(splitting, line))
        start += len(line) + 1


def _in_line(splitting: Splitting, line: str) -> Iterator[Located]:
    start = 0
    for chunk in line.split(" ") if line else ():
        at = start
        for symbol in splitting.spell(chunk):
            text = splitting.text_of(symbol)
            at = line.index(text, at) + len(text)
            yield symbol, at if chunk else at + 1
        start += len(chunk) + 1


def _between_white_space(splitting: Splitting, text: str) -> Iterator[Located]:
    """A line end is given only when it is known whether a mark and a newline are one."""
    mark_end = 0
    for piece in PIECE.finditer(text):
        is_mark = splitting.marks and piece[0] in ENDS
        if mark_end:
            yield LINE_END, piece.end() if piece[0] == "\n" else mark_end
        if piece[0] == "\n":
            if not mark_end:
                yield LINE_END, piece.end()
        elif not is_mark and not (splitting.marks and piece[0] == START):
            yield from ((symbol, piece.end()) for symbol in splitting.spell(piece[0]))
        mark_end = piece.end() if is_mark else 0
    if mark_end:
        yield LINE_END, mark_end
