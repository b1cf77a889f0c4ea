"""Where the symbols of a text of words end, for single sentences and prompts."""

import re
from collections.abc import Iterator

from charlm.text.marks import ENDS, START
from charlm.text.splitting import Splitting

LINE_END = "\n"
CHUNK_OR_LINE_END = re.compile(r"\S+|\n")
APOSTROPHES = "'’"

Located = tuple[str, int]  # a symbol, and how many characters of the text have been read at its end


def located(splitting: Splitting, text: str) -> Iterator[Located]:
    """The symbols of a text that is already in its case, each with its end. A line end is the symbol "\\n".

    The space between two words belongs to the second one. The empty symbol ends after the space or line end that
    follows it, because only that makes it certain.
    """
    return _at_white_space(splitting, text) if splitting.split == "whitespace" else _in_lines(splitting, text)


def num_open(splitting: Splitting, chunk: str) -> int:
    """How many symbols at the end of the last chunk can change if the text is continued.

    It is the last one; or the last two if they are a word and an apostrophe, which with a further letter, as in
    `don'` and `t`, become one word.
    """
    symbols = list(splitting.spell(chunk))
    if splitting.text_of(symbols[-1]) in APOSTROPHES and len(symbols) > 1:
        return 2 if splitting.text_of(symbols[-2])[-1].isalnum() else 1
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
        end = start
        for symbol in splitting.spell(chunk):
            text = splitting.text_of(symbol)
            end = line.index(text, end) + len(text)
            yield symbol, end if chunk else end + 1
        start += len(chunk) + 1


def _at_white_space(splitting: Splitting, text: str) -> Iterator[Located]:
    """Symbols of text that is split at white space. A mark and the newline after it are one line end.

    So the line end of a mark is only yielded with what follows it.
    """
    mark_end = 0  # where a mark ended whose line end was not yielded yet
    for chunk in CHUNK_OR_LINE_END.finditer(text):
        is_newline = chunk[0] == "\n"
        is_mark = splitting.marks and chunk[0] in ENDS
        if mark_end:
            yield LINE_END, chunk.end() if is_newline else mark_end
        elif is_newline:
            yield LINE_END, chunk.end()
        if not (is_newline or is_mark or (splitting.marks and chunk[0] == START)):
            yield from ((symbol, chunk.end()) for symbol in splitting.spell(chunk[0]))
        mark_end = chunk.end() if is_mark else 0
    if mark_end:
        yield LINE_END, mark_end
