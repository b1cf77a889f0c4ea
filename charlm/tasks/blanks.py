"""Sentences with blanks: finding them, filling them in, and what of a text stands before and after a blank, as ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.text.encoded import Token
from charlm.text.tokenizer import Tokenizer

BLANK = "___"
ALONE = re.compile(r"(?<!\w)___(?!\w)")  # \w includes the underscore
PLACEHOLDER = "x"  # stands in a blank while its surroundings are tokenized


@dataclass(frozen=True)
class Sentence:
    """A sentence with blanks: the texts between them, one more than there are blanks."""

    texts: tuple[str, ...]

    @classmethod
    def parsed(cls, text: str) -> "Sentence":
        """Raises UsageError for a text without a blank."""
        texts = tuple(ALONE.split(text))
        if len(texts) == 1:
            what = f"no blank: {BLANK}, three underscores that stand alone, marks the place to fill"
            raise UsageError(what, to_do=f'charlm fill "The cat sat on the {BLANK}."')
        return cls(texts)

    @property
    def num_blanks(self) -> int:
        return len(self.texts) - 1

    def filled(self, fillings: Sequence[str]) -> str:
        """The sentence with the first blanks filled; it ends at the first one that is left."""
        return "".join(text for pair in zip(self.texts, (*fillings, ""), strict=False) for text in pair)

    def filled_from_end(self, fillings: Sequence[str]) -> str:
        """The sentence with the last blanks filled; it begins after the last one that is left."""
        pairs = zip(("", *fillings), self.texts[self.num_blanks - len(fillings) :], strict=True)
        return "".join(text for pair in pairs for text in pair)

    def gaps(self, tokenizer: Tokenizer) -> "list[Gap]":
        """All blanks, with something standing in those around each."""
        return [
            Gap(tokenizer, self.before(number), self.after(number), len(self.before(number)) - len(self.texts[number]))
            for number in range(self.num_blanks)
        ]

    def before(self, number: int) -> str:
        """What stands before a blank, counted from 0, with something in the blanks before it."""
        return PLACEHOLDER.join(self.texts[: number + 1])

    def after(self, number: int) -> str:
        """What stands after a blank, counted from 0, with something in the blanks after it."""
        return PLACEHOLDER.join(self.texts[number + 1 :])


@dataclass(frozen=True)
class Gap:
    """The place between two texts, of which a filling is to be found.

    The blank before it, if any, ends after the first `start` characters.
    """

    tokenizer: Tokenizer
    before: str
    after: str
    start: int = 0

    @cached_property
    def ids_before(self) -> NDArray[np.int64]:
        """The ids of the text before it, without the end that belongs to the first token of a filling."""
        return np.array([token.id for token in self._tokens_before], np.int64)

    @cached_property
    def ids_between(self) -> NDArray[np.int64]:
        """`ids_before` without those of the earlier blanks and what stands before these."""
        starts = [0, *(token.end for token in self.tokenizer.tokens(self.before))]
        return self.ids_before[sum(start < self.start for start in starts) :]

    @property
    def rest(self) -> bytes:
        """The end of the text before it that a filling spells first, such as a space; in UTF-8."""
        if self.tokenizer.unit in ("char", "byte"):
            return b""
        rest = self.before[self._tokens_before[-1].end :] if self._tokens_before else self.before
        is_any_space = not self.tokenizer.lossless and rest.isspace()
        return b" " if is_any_space and self._tokens_before else b"" if is_any_space else rest.encode()

    @cached_property
    def ids_after(self) -> NDArray[np.int64]:
        """The ids of the text after it, without an `<eos>`."""
        boundary = len(self.before) + len(PLACEHOLDER)
        starts = [0, *(token.end for token in self._tokens)]
        after = [token.id for token, start in zip(self._tokens, starts, strict=False) if start >= boundary]
        return np.array(after, np.int64)

    def ids_of(self, text: str) -> list[int]:
        """The ids of a text that stands in the gap."""
        ids: list[int] = self.tokenizer.encode(self.before + text + self.after).tolist()
        return ids[len(self.ids_before) : len(ids) - len(self.ids_after)]

    def filling(self, ids: Sequence[int]) -> str | None:
        """The text that these ids put into the gap; None where they put none there, no text, or spaces at its ends."""
        spelled = self._spelled(ids)
        if not spelled.startswith(self.rest):
            return None
        try:
            text = spelled.removeprefix(self.rest).decode()
        except UnicodeDecodeError:
            return None
        return text if text and text == text.strip() else None

    def may_begin(self, ids: Sequence[int]) -> bool:
        """Whether a filling can begin with these ids."""
        spelled = self._spelled(ids)
        return spelled.startswith(self.rest) or self.rest.startswith(spelled)

    def _spelled(self, ids: Sequence[int]) -> bytes:
        if self.tokenizer.unit in ("char", "byte"):
            return self.tokenizer.decode(ids).encode("utf-8", "surrogateescape")
        spelled, last = b"", int(self.ids_before[-1]) if len(self.ids_before) else self.tokenizer.eos_id
        if last == self.tokenizer.unk_id and not self.rest.startswith(b" "):
            last = self.tokenizer.eos_id  # an unknown symbol that is joined with what follows, as a line end is
        for id in ids:
            spelled, last = spelled + self.tokenizer.texts_after(last)[id], id
        return spelled

    @property
    def _tokens_before(self) -> list[Token]:
        return [token for token in self._tokens if token.end <= len(self.before)]

    @cached_property
    def _tokens(self) -> list[Token]:
        """The tokens of the text with something in the gap, on which those beside it can depend."""
        return self.tokenizer.tokens(self.before + PLACEHOLDER + self.after)
