"""Whether a model can write a text at all, such as the one that a sample is to stop before.

A text can come if it stands in what some tokens write one after another: it begins within a token or where one
begins, goes on with whole ones, and ends within one or where one ends.
"""

from collections import defaultdict
from collections.abc import Iterator

from charlm.text.interface import UNK, Tokenizer
from charlm.text.joining import unjoin
from charlm.text.octets import NUM_BYTES, OctetTokenizer
from charlm.text.subwords import SubwordTokenizer
from charlm.text.words import WordTokenizer

BETWEEN = "\ud800"  # between the texts of tokens, none of which has it
Joins = tuple[bool, bool]  # whether a token joins its left neighbour, and its right one; else a space stands between


def can_write(tokenizer: Tokenizer, text: str, *, line_ends: bool = True, unknown: bool = False) -> bool:
    """Whether some tokens write this text; without `line_ends`, tokens of one line.

    With `unknown`, `<unk>` may be among them. How likely they are is not asked.
    """
    if "\n" in text and not line_ends:
        return False
    if _has_every_byte(tokenizer):
        return True
    return BETWEEN not in text and _Writable(tokenizer, line_ends, unknown).has(text)


def _has_every_byte(tokenizer: Tokenizer) -> bool:
    """Whether there is a token for each byte, so that any text can be spelled."""
    if isinstance(tokenizer, SubwordTokenizer):
        return len({text for text in tokenizer.texts if isinstance(text, bytes)}) == NUM_BYTES
    return isinstance(tokenizer, OctetTokenizer)


def _texts(tokenizer: Tokenizer) -> Iterator[tuple[str, Joins]]:
    """What each token but `<eos>` and `<unk>` writes."""
    if isinstance(tokenizer, WordTokenizer):
        joins = tokenizer.splitting.split == "unicode"
        for symbol in tokenizer.vocabulary.ids:
            text, left, right = unjoin(symbol) if joins else (symbol, False, False)
            yield text, (left, right)
        return
    for id in range(tokenizer.vocab_size):
        if id in (tokenizer.eos_id, tokenizer.unk_id):
            continue
        written = tokenizer.texts[id] if isinstance(tokenizer, SubwordTokenizer) else tokenizer.symbol(id)
        if isinstance(written, str):
            yield written, (True, True)
            if isinstance(tokenizer, SubwordTokenizer) and tokenizer.adds_space:  # no space at a line's start
                yield written.removeprefix(" "), (True, True)


class _Writable:
    """The texts of tokens, by how they join their neighbours."""

    def __init__(self, tokenizer: Tokenizer, line_ends: bool, unknown: bool) -> None:
        self._texts: dict[Joins, set[str]] = defaultdict(set)
        for text, joins in _texts(tokenizer):
            self._texts[joins].add(text)
        if line_ends:
            self._texts[True, True].add("\n")
        if unknown:
            self._texts[False, False].add(UNK)
        self._together = {joins: BETWEEN + BETWEEN.join(texts) + BETWEEN for joins, texts in self._texts.items()}
        self._longest = max((len(text) for texts in self._texts.values() for text in texts), default=0)

    def has(self, text: str) -> bool:
        """Whether some tokens write it. Each place is reached behind a token that joins its right side, or does not."""
        if any(text in together for together in self._together.values()):
            return True
        reached = {(0, joins[1]) for joins in self._texts} | set(self._ends_of_beginnings(text))
        tried: set[tuple[int, bool]] = set()
        while reached:
            tried.add(at := reached.pop())
            for joins in self._texts:
                start = at[0] + (not (at[1] or joins[0]))
                if text[at[0] : start].strip(" "):
                    continue
                if f"{BETWEEN}{text[start:]}" in self._together[joins]:
                    return True
                ends = range(start, min(len(text), start + self._longest) + 1)
                reached |= {(end, joins[1]) for end in ends if text[start:end] in self._texts[joins]} - tried
        return False

    def _ends_of_beginnings(self, text: str) -> Iterator[tuple[int, bool]]:
        """The places up to which the text can be the end of a token."""
        for place in range(1, min(len(text), self._longest) + 1):
            for joins, together in self._together.items():
                if f"{text[:place]}{BETWEEN}" in together:
                    yield place, joins[1]
