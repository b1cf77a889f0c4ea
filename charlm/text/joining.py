"""Joiners: marks in the symbols of words that say where the text has no space, so that nothing is lost.

A line is a sequence of chunks with exactly one space between two of them. A chunk is split into words and single other
characters. Where two of these touch, one of them gets a joiner: the right one unless it is a word ("￭,"), else the left
one ("“￭"). An empty chunk, as between two spaces, is the empty symbol; but an empty line has no symbols.

So `“Hi,” he said` becomes `“￭`, `Hi`, `￭,`, `￭”`, `he`, `said`, and a word is the same type wherever it stands.
"""

import string
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regex import Pattern

JOINER = "\uffed"
ASCII_PUNCTUATION = frozenset(string.punctuation) - {"_"}
# A joiner in the text itself counts as a letter, so that it is not taken for one that was added here. An apostrophe
# beside it joins no words, since the word `￭'￭` would look like an apostrophe with two added joiners.
WORD = rf"[\w\p{{M}}{JOINER}]+(?:(?<!{JOINER})['’](?!{JOINER})[\w\p{{M}}{JOINER}]+)*"


def spell(chunk: str) -> Iterable[str]:
    """The symbols of a chunk."""
    if chunk.isalpha():
        return (chunk,)
    if chunk[-1:] in ASCII_PUNCTUATION and chunk[:-1].isalpha():
        return (chunk[:-1], JOINER + chunk[-1])
    return spell_any(chunk)


def spell_any(chunk: str) -> Iterator[str]:
    """What `spell` returns, without its shortcuts for the most frequent chunks: a word, alone or before a comma."""
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
    """The words of a chunk, without other characters."""
    if chunk.isalpha():
        return (chunk,)
    return (piece[0] for piece in _pieces().finditer(chunk) if piece[1] is not None)


def has_word(chunk: str) -> bool:
    """Whether the chunk contains a letter, mark, digit or underscore."""
    return any(True for _ in words_of(chunk))


def unjoin(symbol: str) -> tuple[str, bool, bool]:
    """A symbol's text, and whether it joins the symbol before it and the symbol after it."""
    if _joined().fullmatch(symbol):
        return symbol.strip(JOINER), symbol.startswith(JOINER), symbol.endswith(JOINER)
    return symbol, False, False


@cache
def _pieces() -> "Pattern[str]":
    import regex  # here, since it takes time that other tokenizers do not need

    return regex.compile(rf"({WORD})|.", regex.DOTALL)


@cache
def _joined() -> "Pattern[str]":
    import regex

    return regex.compile(rf"{JOINER}?[^\w\p{{M}}{JOINER}]{JOINER}?")
