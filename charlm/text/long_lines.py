"""Where a long line is cut so that nothing changes, and how words are told from its pieces.

A piece of text that begins within a line begins with the one space at which the line was cut. So the pieces make up
the text; and for words, between which one space is implicit, that space belongs to neither side.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from charlm.text.interface import Counted, Encoded

# Given a line and the bounds of a search: a place there at which the line can be cut; 0 if there is none.
Place = Callable[[bytes, int, int], int]
Piece = TypeVar("Piece", "Encoded", "Counted")

SPACE_WITHIN = re.compile(rb"(?<=[^ \n]) (?=[^ \n])")
SIGMA = "\u03a3"  # its small form is another one at a word's end


def at_a_space(line: bytes, start: int, stop: int) -> int:
    """Before a single space between two other characters: no word and no subword goes across."""
    found = SPACE_WITHIN.search(line, start, stop)
    return found.start() if found else 0


def where_case_is_plain(line: bytes, start: int, stop: int) -> int:
    """Between two characters that both end the search for a capital sigma's neighbours, for texts of characters."""
    while start < stop and line[start] & 0xC0 == 0x80:
        start += 1
    previous, place = SIGMA, start
    for character in line[start:stop].decode(errors="ignore"):
        if _is_plain(previous) and _is_plain(character):
            return place
        previous, place = character, place + len(character.encode())
    return 0


def nowhere(line: bytes, start: int, stop: int) -> int:
    """For tokenizers that have to see a line as a whole."""
    return 0


def without_cut_spaces(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a text, those that begin within a line without the space at which it was cut."""
    within = False
    for text in texts:
        yield text[1:] if within else text
        within = not text.endswith(b"\n")


def with_cut_spaces(pieces: Iterable[Piece], eos_id: int) -> Iterator[Piece]:
    """What words were made of such pieces, the implicit spaces between two pieces counted again."""
    last = eos_id
    for piece in pieces:
        if not len(piece.ids):
            yield piece
            continue
        space = last != eos_id and int(piece.ids[0]) != eos_id
        last = int(piece.ids[-1])
        yield dataclasses.replace(piece, characters=piece.characters + space, bytes=piece.bytes + space)


@cache
def _is_plain(character: str) -> bool:
    """Whether Python's `lower` neither changes it by its neighbours, nor looks past it for a sigma's neighbours."""
    looks_past = f"A{SIGMA}{character}".lower()[1] == "ς" and f"A{SIGMA}{character}A".lower()[1] == "σ"
    return character != SIGMA and not looks_past
