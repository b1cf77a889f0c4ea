"""How text is split into words: first into pieces at certain bytes, then each piece into symbols."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from charlm.settings import Punctuation, Split
from charlm.text.joining import JOINER, has_word, spell, unjoin, words_of
from charlm.text.marks import MARKS, without_marks

SEGMENT = 1 << 16  # bytes at a time: the arrays made from them fit into the processor's cache
# Where a text can be cut and its parts split separately: after a line end, or at a single space.
CUT = re.compile(rb"\n|(?<=[^ \n]) (?=[^ \n])")
SPACE, LINE_END = b" \n"
FIRST_WHITE_SPACE, LAST_WHITE_SPACE = b"\t\r"  # in ASCII, all white space but the space lies between these

Spell = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of a text start and end, in bytes; each array has one entry a piece."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    ends_line: NDArray[np.bool_]
    """Whether a line end follows."""
    is_nothing: NDArray[np.bool_]
    """Whether the piece is an empty one that has no symbols."""


@dataclass(frozen=True)
class Splitting:
    """A way to split text into words."""

    split: Split = "unicode"
    punctuation: Punctuation = "keep"
    lowercase: bool = False
    marks: bool = False
    """Whether marks of other tools, such as `<s>` and `</s>`, are read as the line starts and line ends they mean."""

    @property
    def keeps_text(self) -> bool:
        """Whether the text (lowercased, with `lowercase`) can be made again from its symbols."""
        return self.split == "unicode" and self.punctuation == "keep"

    @property
    def spell(self) -> Spell:
        """The function that splits a piece into symbols."""
        return SPELL[self.split, self.punctuation]

    def in_case(self, data: bytes) -> bytes:
        """A text in UTF-8; lowercased, with `lowercase`."""
        return data.decode().lower().encode() if self.lowercase else data

    def prepared(self, data: bytes) -> bytes:
        """A text in UTF-8, ready to be split: perhaps lowercased, and with line ends in place of the marks for them."""
        data = self.in_case(data)
        has_marks = self.marks and any(mark in data for mark in MARKS)
        return without_marks(data.decode()).encode() if has_marks else data

    def prepared_text(self, text: str) -> str:
        """What `prepared` returns, for a text that is not encoded."""
        text = text.lower() if self.lowercase else text
        return without_marks(text) if self.marks and "<" in text else text

    def text_of(self, symbol: str) -> str:
        """The symbol as it stands in the text, without joiners."""
        return unjoin(symbol)[0] if self.keeps_text and JOINER in symbol else symbol

    def normalise(self, text: str) -> str:
        text = self.prepared_text(text)
        return text if self.keeps_text else "\n".join(" ".join(self.symbols(line)) for line in text.split("\n"))

    def symbols(self, line: str) -> Iterator[str]:
        """The symbols of a prepared line, in the simple way; `divide` and `spell` give the same ones faster."""
        pieces = line.split() if self.split == "whitespace" else line.split(" ") if line else []
        return chain.from_iterable(map(self.spell, pieces))

    def divide(self, data: bytes) -> Pieces:
        """The pieces of a prepared text in UTF-8."""
        codes = np.frombuffer(data, np.uint8)
        is_divider = (codes == SPACE) | (codes == LINE_END)
        if self.split == "whitespace":  # `spell` splits at the white space of Unicode beyond ASCII
            is_divider |= (codes >= FIRST_WHITE_SPACE) & (codes <= LAST_WHITE_SPACE)
        ends = np.append(np.flatnonzero(is_divider), len(data))
        starts = np.concatenate([[0], ends[:-1] + 1])
        ends_line = np.append(codes.take(ends[:-1]) == LINE_END, False)
        is_nothing = starts == ends
        if self.split == "unicode":  # an empty line has no symbols, but between two spaces is the empty symbol
            is_nothing[1:] &= ends_line[:-1]
            is_nothing[:-1] &= ends_line[:-1]
            return Pieces(starts, ends, ends_line, is_nothing)
        kept = np.flatnonzero(~is_nothing | ends_line)
        return Pieces(starts.take(kept), ends.take(kept), ends_line.take(kept), is_nothing.take(kept))


def segments(data: bytes) -> Iterator[bytes]:
    """The text in parts that can be encoded separately. A space at which it is cut belongs to no part."""
    start = 0
    while cut := CUT.search(data, start + SEGMENT):
        yield data[start : cut.end() if cut[0] == b"\n" else cut.start()]
        start = cut.end()
    yield data[start:]


def _words_with_letters(piece: str) -> Iterable[str]:
    return filter(has_word, piece.split())


SPELL: dict[tuple[Split, Punctuation], Spell] = {
    ("unicode", "keep"): spell,
    ("unicode", "drop"): words_of,
    ("whitespace", "keep"): str.split,
    ("whitespace", "drop"): _words_with_letters,
}
