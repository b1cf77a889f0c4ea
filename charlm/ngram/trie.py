"""An n-gram model as flat arrays, in which contexts, their continuations and probabilities are looked up.

The probability of a token w after the context c, with c' the context without its first token:

    p(w | c) = alpha(c w) + gamma(c) p(w | c')

alpha is the discounted share of w among what followed c in training, 0 where c w was not seen; gamma is all that was
taken from these shares. After the empty context c' is nothing, and p(w | nothing) = 1 / V (Chen & Goodman 1998).

Shapes: B batch, T time, N any number, V vocabulary, n length of the longest n-grams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.gate import Gate, mixed
from charlm.probability import entropy, log_softmax

Ids = NDArray[Any]
Numbers = NDArray[np.int64]
Contexts = NDArray[np.int64]
"""What is before a place, in the last dimension: the numbers of the contexts that are the last 1, 2, ..., n - 1 tokens.

A number is UNSEEN where nothing followed these tokens in training.
"""
Probabilities = NDArray[np.float64]

UNSEEN = -1


class Lookup(Protocol):
    """What a predictor asks of n-grams."""

    def contexts(self, ids: Ids, state: Contexts) -> Contexts:
        """The contexts (B, T, n - 1) behind each of the ids (B, T), given those before the first ones (B, n - 1)."""

    def probabilities(self, contexts: Contexts, ids: Ids) -> Probabilities:
        """p(w | c) of tokens w (...), given the contexts (..., n - 1) before them; meaningless for ids below 0."""

    def distributions(self, contexts: Contexts) -> Probabilities:
        """p(w | c) of all types w (N, V), given contexts (N, n - 1)."""

    def mixed_step(self, ids: Ids, state: Contexts, logits: NDArray[Any], gate: Gate) -> tuple[Probabilities, Contexts]:
        """Read one token of each sequence, and mix: ids (B,), the contexts before them, and the logits (B, V) of a
        network -> log-probabilities (B, V), and the contexts (B, n - 1) behind them.
        """


class Branches(NamedTuple):
    """The contexts of one length, in lexicographic order, and their continuations: n-grams that are longer by 1.

    An n-gram has the same number as the context that it is for longer n-grams.
    """

    first: NDArray[np.uint32]
    """The number of each context's first continuation, and how many there are (contexts + 1,).

    The others follow, in the order of their ids.
    """
    gamma: NDArray[np.float32]
    """The weight of the shorter context (contexts,)."""
    ids: Ids
    """The last token of each continuation (n-grams,)."""
    alpha: NDArray[np.float32]
    """The discounted share of each continuation (n-grams,)."""


@dataclass(frozen=True)
class Trie:
    """An n-gram model: the branches of the contexts of 0 to n - 1 tokens. The empty one is continued by all types.

    As a `Lookup` it is written in NumPy. Raises ValueError where the arrays have the wrong sizes or types, or are not
    contiguous. Arrays whose numbers contradict each other may raise IndexError when they are used.
    """

    vocab_size: int
    branches: tuple[Branches, ...]

    def __post_init__(self) -> None:
        num_contexts, float32 = 1, np.dtype(np.float32)
        types = [np.dtype(np.uint32), float32, id_type(self.vocab_size), float32]
        for length, branches in enumerate(self.branches):
            num_ngrams = len(branches.ids) if length else self.vocab_size
            sizes = [(num_contexts + 1,), (num_contexts,), (num_ngrams,), (num_ngrams,)]
            fit = [array.shape for array in branches] == sizes and [array.dtype for array in branches] == types
            if not fit or not all(array.flags.c_contiguous and array.flags.aligned for array in branches):
                raise ValueError(f"the arrays for contexts of length {length} do not fit together")
            num_contexts = num_ngrams
        if num_contexts == 0 or not self.branches:
            raise ValueError("there are no n-grams")

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

    def contexts(self, ids: Ids, state: Contexts) -> Contexts:
        found = np.empty((*ids.shape, self.order - 1), np.int64)
        before = np.zeros(ids.shape, np.int64)  # for each of the ids, the context before it that is shorter by 1
        for length in range(1, self.order):
            ngrams = self._longer(length - 1, before, ids)
            low, end = self._range(length, ngrams)
            found[..., length - 1] = np.where(low < end, ngrams, UNSEEN)
            before = np.concatenate([state[:, None, length - 1], found[:, :-1, length - 1]], axis=1)
        return found

    def probabilities(self, contexts: Contexts, ids: Ids) -> Probabilities:
        result = np.full(ids.shape, 1 / self.vocab_size)
        for length, of_length in enumerate(_by_length(contexts)):
            _, gamma, _, alpha = self.branches[length]
            ngrams = self._longer(length, of_length, ids)
            interpolated = np.where(ngrams >= 0, alpha[ngrams], 0.0) + gamma[of_length] * result
            result = np.where(of_length >= 0, interpolated, result)
        return result

    def distributions(self, contexts: Contexts) -> Probabilities:
        result = np.full((len(contexts), self.vocab_size), 1 / self.vocab_size)
        for length, of_length in enumerate(_by_length(contexts)):
            _, gamma, ids, alpha = self.branches[length]
            result *= np.where(of_length >= 0, gamma[of_length], 1.0)[:, None]
            rows, ngrams = self.continuations(length, of_length)
            result[rows, ids[ngrams]] += alpha[ngrams]
        return result

    def mixed_step(self, ids: Ids, state: Contexts, logits: NDArray[Any], gate: Gate) -> tuple[Probabilities, Contexts]:
        contexts = self.contexts(ids[:, None], state)[:, 0]
        network, ngram = log_softmax(logits), np.log(self.distributions(contexts))
        weight = gate.weight(matched(contexts), entropy(network), entropy(ngram))
        return mixed(network, ngram, weight[:, None]), contexts

    def continuations(self, length: int, contexts: Numbers) -> tuple[Numbers, Numbers]:
        """All continuations of contexts (N,) of this length: the row of each one's context, and its number."""
        low, end = self._range(length, contexts)
        sizes = end - low
        rows = np.repeat(np.arange(len(contexts)), sizes)
        return rows, np.arange(len(rows)) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)

    def _longer(self, length: int, contexts: Numbers, ids: Ids) -> Numbers:
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

    def _range(self, length: int, contexts: Numbers) -> tuple[Numbers, Numbers]:
        """Where the continuations of contexts begin and end; an empty range for UNSEEN."""
        first, is_seen = self.branches[length].first, contexts >= 0
        low, end = first[contexts].astype(np.int64), first[contexts + 1].astype(np.int64)
        is_seen &= end <= len(self.branches[length].ids)  # as it always is, unless the arrays are damaged
        return np.where(is_seen, low, 0), np.where(is_seen, np.maximum(low, end), 0)


def matched(contexts: Contexts) -> Numbers:
    """The length of the longest context (...), given contexts, or a state, (..., n - 1): 0 to n - 1."""
    return np.asarray(np.count_nonzero(contexts >= 0, axis=-1))


def id_type(vocab_size: int) -> "np.dtype[Any]":
    """The smallest type that holds all ids of a vocabulary."""
    return np.dtype(np.min_scalar_type(max(vocab_size - 1, 0)))


def _by_length(contexts: Contexts) -> Sequence[Numbers]:
    """The numbers of the contexts of length 0 (that of the empty one is 0), of length 1, ..., n - 1."""
    return [np.zeros(contexts.shape[:-1], np.int64), *np.moveaxis(contexts, -1, 0)]
