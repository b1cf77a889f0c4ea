"""The entropies of an n-gram model's distributions, without the distributions.

Of all types only those that continue a context change their probability in another way than by the factor gamma. So
with C the continuations of the context c, with c' the shorter context, and with f(x) = x log x, the entropy in nats is

    H(c) = gamma (H(c') - log gamma) + sum over w in C of f(gamma p(w | c')) - f(p(w | c))
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.trie import Numbers, Trie

AT_ONCE = 1 << 14  # contexts


class Entropies:
    """Computes the entropy after each context once, when it is first asked for."""

    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        self._known = [np.full(len(branches.gamma), np.nan, np.float32) for branches in trie.branches]
        whole = trie.distributions([np.zeros(1, np.int64)])
        self._of_nothing = -float(_f(whole).sum())

    def after(self, contexts: Sequence[Numbers]) -> NDArray[np.float64]:
        """The entropies in nats (N,) after contexts of length 0, of length 1, ..., each (N,)."""
        num_contexts = len(contexts[0])
        blocks = [slice(start, start + AT_ONCE) for start in range(0, num_contexts, AT_ONCE)]
        found = [self._after([of_length[block] for of_length in contexts]) for block in blocks]
        return np.concatenate([np.empty(0), *found])

    def _after(self, contexts: Sequence[Numbers]) -> NDArray[np.float64]:
        result = np.full(len(contexts[0]), self._of_nothing)
        for length in range(1, len(contexts)):
            known, seen = self._known[length], np.flatnonzero(contexts[length] >= 0)
            different, rows = np.unique(contexts[length][seen], return_index=True)
            is_new = np.isnan(known[different])
            rows = seen[rows[is_new]]
            known[different[is_new]] = self._compute([of_length[rows] for of_length in contexts[: length + 1]], result[rows])
            result[seen] = known[contexts[length][seen]]
        return result

    def _compute(self, contexts: Sequence[Numbers], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
        """The entropies after the last ones of these contexts, given those after the shorter contexts."""
        length = len(contexts) - 1
        branches = self._trie.branches[length]
        rows, ngrams = self._trie.continuations(length, contexts[length])
        below = self._trie.probabilities([of_length[rows] for of_length in contexts[:-1]], branches.ids[ngrams])
        gamma = branches.gamma[contexts[length]].astype(np.float64)
        below *= gamma[rows]
        changes = np.bincount(rows, _f(below) - _f(below + branches.alpha[ngrams]), len(shorter))
        return gamma * shorter - _f(gamma) + changes


def _f(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x log x, which is 0 at 0."""
    return x * np.log(np.where(x > 0, x, 1))
