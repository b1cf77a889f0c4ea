"""How words and punctuation join into a line, written into the symbols themselves, so that nothing is lost.

A line is chunks with exactly one space between two of them. An empty chunk (of a line with two spaces in a row, say)
is the symbol "", unless it is the whole line. Any other chunk is words and single other characters; where two of
these touch, one of them carries a joiner: the right one if it is no word ("￭,"), else the left one ("“￭").
So `“Hi,” he said` is “￭ Hi ￭, ￭” he said, and a word is the same type wherever it stands.
"""

import string
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regex import Pattern

JOINER = "\uffed"
ASCII_PUNCTUATION = frozenset(string.punctuation) - {"_"}
# A joiner in the text counts as a letter, but for what joins words, so that no word looks like a joined character.
WORD = rf"[\w\p{{M}}{JOINER}]+(?:(?<!{JOINER})['’](?!{JOINER})[\w\p{{M}}{JOINER}]+)*"


def spell(chunk: str) -> Iterable[str]:
    """The symbols of a chunk."""
    if chunk.isalpha():
        return (chunk,)
    if chunk[-1:] in ASCII_PUNCTUATION and chunk[:-1].isalpha():
        return (chunk[:-1], JOINER + chunk[-1])
    return spell_any(chunk)


def spell_any(chunk: str) -> Iterator[str]:
    """The same without the short cuts for a word, alone or before a comma, that most chunks are."""
    pending = None
    for piece in _pieces().finditer(chunk):
        text, is_word = piece[0], piece[1] is not None
        if pending is None:
            pending = text
        elif is_word:
            yield pending + JOINER
            pending = text
        else:
            yield pending
            pending = JOINER + text
    yield pending or ""


def words_of(chunk: str) -> Iterable[str]:
    """The words of a chunk alone."""
    if chunk.isalpha():
        return (chunk,)
    return (piece[0] for piece in _pieces().finditer(chunk) if piece[1] is not None)


def has_word(chunk: str) -> bool:
    """Whether there is a letter, mark, digit or underscore in it."""
    return any(True for _ in words_of(chunk))


def unjoin(symbol: str) -> tuple[str, bool, bool]:
    """A symbol's text, and whether it joins what is on its left and on its right."""
    if _joined().fullmatch(symbol):
        return symbol.strip(JOINER), symbol.startswith(JOINER), symbol.endswith(JOINER)
    return symbol, False, False


@cache
def _pieces() -> "Pattern[str]":
    import regex

    return regex.compile(rf"({WORD})|.", regex.DOTALL)


@cache
def _joined() -> "Pattern[str]":
    import regex

    return regex.compile(rf"{JOINER}?[^\w\p{{M}}{JOINER}]{JOINER}?")
