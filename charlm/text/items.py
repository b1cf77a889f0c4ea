"""Items, the texts that stand on their own in sentence mode: lines, or paragraphs.

An item ends with NUM_ENDS `<eos>` in a row. A line ends with its own. A paragraph ends with that of its last line and
one more, which is the blank line behind it; so a paragraph is a text of lines that are not blank.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.settings import Item

NUM_ENDS: dict[Item, int] = {"line": 1, "paragraph": 2}
BLANKS = " \t\r\v\f"  # a line with nothing else is blank
MORE_THAN_A_BLANK_LINE = rf"\n(?:[{BLANKS}]+\n|\n[{BLANKS}]*\n)(?:[{BLANKS}]*\n)*"
PARAGRAPH_END = "\n\n"
_NOT_CANONICAL = re.compile(MORE_THAN_A_BLANK_LINE)
_BLANK_START, _BLANK_END = re.compile(rf"\A(?:[{BLANKS}]*\n)+"), re.compile(rf"(?:\n[{BLANKS}]*)+\Z")


class EndOfItem:
    """Notices the ends of items in tokens that come one by one, from the start of an item on."""

    def __init__(self, eos_id: int, item: Item) -> None:
        self._eos_id, self._num_ends, self._found = eos_id, NUM_ENDS[item], 0

    def is_at(self, id: int) -> bool:
        """Take the next token. Returns whether it is the last one of an item."""
        self._found = self._found + 1 if id == self._eos_id else 0
        is_end = self._found == self._num_ends
        self._found = 0 if is_end else self._found
        return is_end


def ends_of_items(ids: NDArray[Any], eos_id: int, item: Item) -> NDArray[np.int64]:
    """The places of the last tokens of all finished items in ids (T,), which begin where an item begins."""
    places: NDArray[np.int64] = np.flatnonzero(ids == eos_id)
    if item == "line":
        return places
    order = np.arange(len(places))
    is_first = np.diff(places, prepend=-2) > 1  # of a row of `<eos>`
    place_in_row = order - np.maximum.accumulate(np.where(is_first, order, 0))
    ends: NDArray[np.int64] = places[(place_in_row + 1) % NUM_ENDS[item] == 0]
    return ends


def as_items(text: str, item: Item) -> str:
    """A text that ends with the end of its last item; of paragraphs, with one blank line after each."""
    if item == "line":
        return text if text.endswith("\n") else f"{text}\n"
    return _BLANK_START.sub("", _BLANK_END.sub("", _canonical(text))) + PARAGRAPH_END


def last_item(text: str, item: Item) -> str:
    """The item that a text ends in and that can be continued; empty where the text ends with the end of an item.

    Of lines it is the whole text: what stands before the last line is read, too.
    """
    return text if item == "line" else _BLANK_START.sub("", _canonical(text).rpartition(PARAGRAPH_END)[2])


def first_item(text: str, item: Item) -> str:
    """The item whose end a text begins with, without its end. Of lines it is the whole text."""
    return text if item == "line" else _BLANK_END.sub("", _canonical(text).partition(PARAGRAPH_END)[0])


def as_paragraph(text: str) -> str:
    """A text of any lines as one paragraph: without its blank lines, and without its end."""
    return "\n".join(line for line in text.split("\n") if line.strip(BLANKS))


def as_one_item(context: str, text: str, is_whole: bool, item: Item) -> tuple[str, str, str]:
    """A context, the text that continues it, and the end of their item; this is empty unless the text `is_whole`.

    Of paragraphs, blank lines at the ends of the text are left out. Raises UsageError for a text of several paragraphs.
    """
    if item == "line":
        return context, text, "\n" if is_whole else ""
    context, text = last_item(context, item), _canonical(text)
    text = text if context else _BLANK_START.sub("", text)
    if is_whole or text.endswith(PARAGRAPH_END):
        text = _BLANK_END.sub("", text)
    if PARAGRAPH_END in context + text:
        what = "this text has several paragraphs, and each of them is an item on its own"
        raise UsageError(what, to_do="give them as several texts, or in a file: charlm score --file FILE")
    missing = NUM_ENDS[item] - (context + text).endswith("\n")
    return context, text, "\n" * missing if is_whole else ""


def _canonical(text: str) -> str:
    """A text with one blank line in place of several, and with nothing in it."""
    return _NOT_CANONICAL.sub(PARAGRAPH_END, text)
