"""Whether a model can write a text at all, for example the text that a sample should stop before.

It can if the text occurs in what some sequence of tokens writes: it may begin within the first token and end within the
last one.
"""

from collections import defaultdict
from collections.abc import Iterator

from charlm.text.interface import UNK, Joins, Tokenizer

SEPARATOR = "\ud800"  # between the texts of tokens: no token contains it
Place = tuple[int, bool]  # how much of a text has been written, and whether the last token joins the next one


def can_write(tokenizer: Tokenizer, text: str, *, line_ends: bool = True, unknown: bool = False) -> bool:
    """Whether some sequence of tokens, likely or not, writes this text.

    Without `line_ends`, `<eos>` is not among the tokens; with `unknown`, `<unk>` is.
    """
    if "\n" in text and not line_ends:
        return False
    if tokenizer.can_spell_anything:
        return True
    return SEPARATOR not in text and _WritableTexts(tokenizer, line_ends, unknown).contain(text)


class _WritableTexts:
    """All texts that sequences of tokens can write."""

    def __init__(self, tokenizer: Tokenizer, line_ends: bool, unknown: bool) -> None:
        self._texts: dict[Joins, set[str]] = defaultdict(set)
        for text, joins in tokenizer.written():
            self._texts[joins].add(text)
        if line_ends:
            self._texts[True, True].add("\n")
        if unknown:
            self._texts[False, False].add(UNK)
        self._joined = {joins: SEPARATOR + SEPARATOR.join(texts) + SEPARATOR for joins, texts in self._texts.items()}
        self._max_length = max((len(text) for texts in self._texts.values() for text in texts), default=0)

    def contain(self, text: str) -> bool:
        """Whether some tokens write `text`: from each place that some of them reach, try all that can follow."""
        if any(text in joined for joined in self._joined.values()):
            return True
        reached = {(0, joins_next) for _, joins_next in self._texts} | set(self._ends_of_first_tokens(text))
        tried: set[Place] = set()
        while reached:
            tried.add(place := reached.pop())
            for joins in self._texts:
                start = _start_after(place, joins)
                if text[place[0] : start].strip(" "):
                    continue  # a space would have to stand here
                if f"{SEPARATOR}{text[start:]}" in self._joined[joins]:
                    return True
                ends = range(start, min(len(text), start + self._max_length) + 1)
                reached |= {(end, joins[1]) for end in ends if text[start:end] in self._texts[joins]} - tried
        return False

    def _ends_of_first_tokens(self, text: str) -> Iterator[Place]:
        """Where a token can end within which the text begins."""
        for end in range(1, min(len(text), self._max_length) + 1):
            for (_, joins_next), joined in self._joined.items():
                if f"{text[:end]}{SEPARATOR}" in joined:
                    yield end, joins_next


def _start_after(place: Place, joins: Joins) -> int:
    """Where a token with these joins starts whose predecessor ended at a place: there, or after a space."""
    end, is_joined = place
    return end if is_joined or joins[0] else end + 1
