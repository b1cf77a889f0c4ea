"""Marks that other tools write into prepared text, for the start and the end of a sentence.

Where text is split at white space, a line that ends in `<eos>`, `</s>` or `<|endoftext|>` ends once, not twice, and
`<s>` at its start says what is so anyway. So `<s> a b </s>`, `a b <eos>` and `a b`, a line each, are the same ids with
the same figures.
A mark within a line, of a text that has no other line ends, ends a line there.
"""

import re
from collections import Counter

START, ENDS = "<s>", ("<eos>", "</s>", "<|endoftext|>")
MARKS = tuple(mark.encode() for mark in (START, *ENDS))
MARK = re.compile(rf"(?<!\S)(?:({'|'.join(map(re.escape, ENDS))})(?!\S)[^\S\n]*\n?|{START}(?!\S))")
ANY_MARK = re.compile(rb"(?<!\S)(?:" + b"|".join(map(re.escape, MARKS)) + rb")(?!\S)")


def count_marks(data: bytes) -> Counter[str]:
    """How often each mark stands in a text."""
    if not any(mark in data for mark in MARKS):
        return Counter()
    return Counter(found[0].decode() for found in ANY_MARK.finditer(data))


def meaning_of(mark: str) -> str:
    """What such a mark is to charlm, for people."""
    if mark == START:
        return "left out: a line starts there anyway"
    return "the end of a line, one with the newline behind it; on a line of its own, an empty line"


def without_marks(text: str) -> str:
    """The text with line ends in place of the marks of ends, one for a mark and the line end behind it."""
    return MARK.sub(lambda found: "\n" if found[1] else "", text)
