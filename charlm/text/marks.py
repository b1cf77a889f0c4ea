"""Marks for the start and the end of a sentence that other tools write into prepared text.

Text that is split at white space can have them: `<s> a b </s>`, `a b <eos>` and `a b`, a line each, get the same ids
and the same counts. An end mark and the newline after it are one line end, not two; a mark within a line, in a text
that has no other line ends, is a line end there. `<s>` is dropped, since every line starts like that anyway.
"""

import re
from collections import Counter

START, ENDS = "<s>", ("<eos>", "</s>", "<|endoftext|>")
MARKS = tuple(mark.encode() for mark in (START, *ENDS))
MARK = re.compile(rf"(?<!\S)(?:({'|'.join(map(re.escape, ENDS))})(?!\S)[^\S\n]*\n?|{START}(?!\S))")
ANY_MARK = re.compile(rb"(?<!\S)(?:" + b"|".join(map(re.escape, MARKS)) + rb")(?!\S)")


def count_marks(data: bytes) -> Counter[str]:
    """How often each mark occurs in a text in UTF-8."""
    if not any(mark in data for mark in MARKS):
        return Counter()
    return Counter(found[0].decode() for found in ANY_MARK.finditer(data))


def meaning_of(mark: str) -> str:
    """What charlm makes of a mark, for people to read."""
    if mark == START:
        return "left out: a line starts there anyway"
    return "the end of a line, one with the newline after it; on a line of its own, an empty line"


def without_marks(text: str) -> str:
    """The text with a line end in place of each end mark and the newline after it, and without start marks."""
    return MARK.sub(lambda found: "\n" if found[1] else "", text)
