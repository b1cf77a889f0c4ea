"""Marks that other tools write into prepared text, for the start and the end of a sentence.

Where text is split at white space, a line that ends in `<eos>` or `</s>` ends once, not twice, and `<s>` at its start
says what is so anyway. So `<s> a b </s>`, `a b <eos>` and `a b`, a line each, are the same ids with the same figures.
A mark within a line, of a text that has no other line ends, ends a line there.
"""

import re

START, ENDS = "<s>", ("<eos>", "</s>")
MARKS = tuple(mark.encode() for mark in (START, *ENDS))
MARK = re.compile(r"(?<!\S)(?:(<eos>|</s>)(?!\S)[^\S\n]*\n?|<s>(?!\S))")
ANY_MARK = re.compile(rb"(?<!\S)(?:<eos>|</s>|<s>|<\|endoftext\|>)(?!\S)")


def meaning_of(mark: str) -> str:
    """What such a mark is to charlm, for people."""
    if mark in ENDS:
        return "the end of a line, one with the newline behind it"
    return "left out: a line starts there anyway" if mark == START else "a word as others are"


def without_marks(text: str) -> str:
    """The text with line ends in place of the marks of ends, one for a mark and the line end behind it."""
    return MARK.sub(lambda found: "\n" if found[1] else "", text)
