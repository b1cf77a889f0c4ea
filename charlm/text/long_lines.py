"""Where a long line can be cut so that its pieces, encoded separately, give the same ids as the whole.

A piece of text that begins within a line begins with the single space at which the line was cut, so that the pieces
together are the text. For words, which have an implicit space between two of them, that space belongs to no piece.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TypeVar

from charlm.text.encoded import Counted, Encoded

# Takes a line and the bounds of a search, in bytes; returns where between them the line can be cut, or 0 for nowhere.
Place = Callable[[bytes, int, int], int]
Piece = TypeVar("Piece", Encoded, Counted)

SPACE_WITHIN = re.compile(rb"(?<=[^ \n]) (?=[^ \n])")
SIGMA = "\u03a3"  # its lowercase depends on its neighbours: another one at the end of a word


def at_a_space(line: bytes, start: int, stop: int) -> int:
    """The first place before a single space between two other characters, where no word or subword goes across."""
    found = SPACE_WITHIN.search(line, start, stop)
    return found.start() if found else 0


def where_case_is_plain(line: bytes, start: int, stop: int) -> int:
    """The first place between two characters on which no lowercase of a capital sigma beyond them can depend."""
    while start < stop and line[start] & 0xC0 == 0x80:
        start += 1
    previous, place = SIGMA, start
    for character in line[start:stop].decode(errors="ignore"):
        if _is_plain(previous) and _is_plain(character):
            return place
        previous, place = character, place + len(character.encode())
    return 0


def nowhere(line: bytes, start: int, stop: int) -> int:
    """For tokenizers that must see a line as a whole: it cannot be cut."""
    return 0


def without_cut_spaces(texts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a text without the space at which a line was cut, where they begin with one."""
    within_line = False
    for text in texts:
        yield text[1:] if within_line else text
        within_line = not text.endswith(b"\n")


def with_cut_spaces(pieces: Iterable[Piece], eos_id: int) -> Iterator[Piece]:
    """Encoded pieces of words, counting again the implicit space between two pieces of a line."""
    last = eos_id
    for piece in pieces:
        if not len(piece.ids):
            yield piece
            continue
        space = 0 if eos_id in (last, int(piece.ids[0])) else 1
        last = int(piece.ids[-1])
        yield dataclasses.replace(piece, characters=piece.characters + space, bytes=piece.bytes + space)


@cache
def _is_plain(character: str) -> bool:
    """Whether Python's `lower` stops at this character when it looks at the neighbours of a capital sigma."""
    looks_past = f"A{SIGMA}{character}".lower()[1] == "ς" and f"A{SIGMA}{character}A".lower()[1] == "σ"
    return character != SIGMA and not looks_past
