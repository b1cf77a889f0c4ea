"""An n-gram model as flat arrays, in which contexts, their continuations and probabilities are found.

The probability of a token w after the context c, with c' the context without its first token:

    p(w | c) = alpha(c w) + gamma(c) p(w | c')

alpha is the discounted share of w among what followed c in training, 0 where c w was not seen; gamma is all that was
taken from these shares. After the empty context c' is nothing, and p(w | nothing) = 1 / V (Chen & Goodman 1998).

Shapes: n length of the longest n-grams, V vocabulary, N any number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
Numbers = NDArray[np.int64]
Probabilities = NDArray[np.float64]

UNSEEN = -1


class Branches(NamedTuple):
    """The contexts of one length, in lexicographic order, and their continuations: n-grams that are longer by 1.

    An n-gram has the same number as the context that it is for longer n-grams.
    """

    first: NDArray[Any]
    """The number of each context's first continuation (contexts + 1,); the others follow, sorted by id."""
    gamma: NDArray[np.float32]
    """The weight of the shorter context (contexts,)."""
    ids: Ids
    """The last token of each continuation (n-grams,)."""
    alpha: NDArray[np.float32]
    """The discounted share of each continuation (n-grams,)."""


@dataclass(frozen=True)
class Trie:
    """An n-gram model: the branches of the contexts of 0 to n - 1 tokens. The empty one is continued by all types.

    No array is empty. A damaged trie, whose arrays contradict each other, may raise IndexError where it is used.
    """

    vocab_size: int
    branches: tuple[Branches, ...]

    @property
    def order(self) -> int:
        """The length n of the longest n-grams."""
        return len(self.branches)

    @property
    def num_ngrams(self) -> int:
        return sum(len(branches.ids) for branches in self.branches)

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for branches in self.branches for array in branches)

    def longer(self, length: int, contexts: Numbers, ids: Ids) -> Numbers:
        """The numbers of the n-grams that continue contexts of this length by one token each, UNSEEN if there is none.

        contexts and ids have the same shape; either may be below 0.
        """
        if length == 0:
            return np.where((ids >= 0) & (ids < self.vocab_size), ids, UNSEEN).astype(np.int64)
        continuations = self.branches[length].ids
        low, end = self._range(length, contexts)
        high, last = end, len(continuations) - 1
        for _ in range(int((end - low).max(initial=0)).bit_length()):  # binary searches side by side
            middle = (low + high) >> 1
            is_right = (middle < high) & (continuations[np.minimum(middle, last)] < ids)
            low, high = np.where(is_right, middle + 1, low), np.where(is_right, high, middle)
        is_found = (low < end) & (continuations[np.minimum(low, last)] == ids)
        return np.where(is_found, low, UNSEEN)

    def as_contexts(self, length: int, ngrams: Numbers) -> Numbers:
        """The same n-grams of this length, with UNSEEN for those that nothing followed."""
        low, end = self._range(length, ngrams)
        return np.where(low < end, ngrams, UNSEEN)

    def continuations(self, length: int, contexts: Numbers) -> tuple[Numbers, Numbers]:
        """The numbers of all continuations of contexts (N,) of this length, with the row of each one's context."""
        low, end = self._range(length, contexts)
        sizes = end - low
        rows = np.repeat(np.arange(len(contexts)), sizes)
        return rows, np.arange(len(rows)) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)

    def probabilities(self, contexts: Sequence[Numbers], ids: Ids) -> Probabilities:
        """p(w | c) of tokens w, given the contexts before them: those of length 0, of length 1, ..., of the ids' shape."""
        result = np.full(ids.shape, 1 / self.vocab_size)
        for length, of_length in enumerate(contexts):
            _, gamma, _, alpha = self.branches[length]
            ngrams = self.longer(length, of_length, ids)
            interpolated = np.where(ngrams >= 0, alpha[ngrams], 0.0) + gamma[of_length] * result
            result = np.where(of_length >= 0, interpolated, result)
        return result

    def distributions(self, contexts: Sequence[Numbers]) -> Probabilities:
        """p(w | c) of all types w (N, V), given the contexts of length 0, of length 1, ..., (N,) each."""
        result = np.full((len(contexts[0]), self.vocab_size), 1 / self.vocab_size)
        for length, of_length in enumerate(contexts):
            _, gamma, ids, alpha = self.branches[length]
            result *= np.where(of_length >= 0, gamma[of_length], 1.0)[:, None]
            rows, ngrams = self.continuations(length, of_length)
            result[rows, ids[ngrams]] += alpha[ngrams]
        return result

    def _range(self, length: int, contexts: Numbers) -> tuple[Numbers, Numbers]:
        """Where the continuations of contexts begin and end; an empty range for UNSEEN."""
        first, is_seen = self.branches[length].first, contexts >= 0
        low, end = first[contexts].astype(np.int64), first[contexts + 1].astype(np.int64)
        return np.where(is_seen, low, 0), np.where(is_seen, end, 0)
