"""The sentences of labelled data on disk, from which batches are made."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.examples import Examples
from charlm.corpus.sentences import Sentences, Spelling, sentences_of


@dataclass(frozen=True)
class SentenceColumns:
    """The sentences of a part of labelled data, from which batches are made."""

    examples: Examples
    spelling: Spelling | None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of words of each sentence."""
        return self.examples["words"].lengths

    def sentences(self, numbers: NDArray[np.int64]) -> Sentences:
        """The sentences with these numbers."""
        words, tags = ([self.examples[name][int(number)] for number in numbers] for name in ("words", "tags"))
        return sentences_of(words, [self._spelled(int(number)) for number in numbers], self.spelling, tags)

    def _spelled(self, number: int) -> list[NDArray[Any]]:
        """The symbols of each word of a sentence."""
        if self.spelling is None:
            return []
        ends = self.examples["words"].ends
        first, last = int(ends[number - 1]) if number else 0, int(ends[number])
        return [self.examples["spelling"][word] for word in range(first, last)]

    def first_words(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the first word of each of these sentences, counted over the whole part."""
        return self.examples["words"].ends[numbers] - self.lengths[numbers]
