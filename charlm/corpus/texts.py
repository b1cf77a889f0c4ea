"""Whole texts in batches: a row of ids for each, padded to the length of the longest.

<eos> T h e <eos>
<eos> c a <eos> <eos>      (padded with <eos>)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length
from charlm.corpus.examples import Ragged
from charlm.corpus.windows import RareTypes
from charlm.text.tokenizer import Tokenizer

MAX_READ_TOKENS = 4096  # of a text in training; the rest of a longer one is left out


@dataclass(frozen=True)
class Texts:
    """Texts as ids (B, T), with both of their ends, and their lengths (B,)."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, texts: Iterable[NDArray[Any]], eos_id: int) -> Self:
        """The texts, given without their ends."""
        found = [np.asarray(text, np.int64) for text in texts]
        lengths = np.array([len(text) + 2 for text in found], np.int64)
        ids = np.full((len(found), int(lengths.max())), eos_id, np.int64)
        for row, text in zip(ids, found, strict=True):
            row[1 : len(text) + 1] = text
        return cls(ids, lengths)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """The texts without their ends and padding."""
        return (row[1 : length - 1] for row, length in zip(self.ids, self.lengths, strict=True))

    def rows(self, rows: slice) -> Self:
        """Some of the texts."""
        lengths = self.lengths[rows]
        return type(self)(self.ids[rows, : int(lengths.max())], lengths)

    @property
    def num_tokens(self) -> int:
        """The tokens, with one end of each text."""
        return int(self.lengths.sum()) - len(self.lengths)


def batches_of_texts(
    texts: Sequence[NDArray[Any]], eos_id: int, max_tokens: int
) -> Iterator[tuple[NDArray[np.int64], Texts]]:
    """Texts, given without their ends, in batches of up to `max_tokens` tokens with padding: their numbers, and they.

    Texts of similar length are together.
    """
    lengths = np.array([len(text) + 2 for text in texts], np.int64)
    for numbers in batches_by_length(lengths, max_tokens):
        yield numbers, Texts.of((texts[number] for number in numbers), eos_id)


@dataclass(frozen=True)
class TextColumn:
    """The texts of labelled data, from which batches are made; in training rare symbols become `<unk>` now and then."""

    column: Ragged
    eos_id: int
    rare: RareTypes | None = None
    max_tokens: int = MAX_READ_TOKENS

    @classmethod
    def of(cls, column: Ragged, tokenizer: Tokenizer, rare_seed: int | None = None) -> Self:
        """The texts of a column of a tokenizer's ids. With a seed rare symbols become `<unk>`, for training."""
        sizes = tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id
        rare = None if rare_seed is None else RareTypes(column.values, *sizes, rare_seed)
        return cls(column, tokenizer.eos_id, rare)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each text as it is read, with both ends."""
        return np.minimum(self.column.lengths, self.max_tokens) + 2

    def texts(self, numbers: NDArray[np.int64], pass_number: int = 0) -> Texts:
        """The texts with these numbers."""
        return Texts.of((self._text(int(number), pass_number) for number in numbers), self.eos_id)

    def without_false_ends(self, numbers: NDArray[np.int64], pass_number: int = 0) -> Texts:
        """The texts with these numbers, to be written: one that is cut does not end there."""
        texts = self.texts(numbers, pass_number)
        return Texts(texts.ids, texts.lengths - (self.column.lengths[numbers] > self.max_tokens))

    def _text(self, number: int, pass_number: int) -> NDArray[np.int64]:
        ids = np.asarray(self.column[number][: self.max_tokens], np.int64)
        if self.rare is None:
            return ids
        start = int(self.column.ends[number - 1]) if number else 0
        return self.rare.replace(ids, np.arange(start, start + len(ids)), pass_number)
