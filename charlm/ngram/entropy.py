"""The entropies of an n-gram model's distributions, without the distributions.

Of all types only those that continue a context change their probability in another way than by the factor gamma. So
with C the continuations of the context c, with c' the shorter context, and with f(x) = x log x, the entropy in nats is

    H(c) = gamma H(c') - f(gamma) + sum over w in C of f(gamma p(w | c')) - f(p(w | c))
"""

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.trie import UNSEEN, Contexts, Lookup, Trie

AT_ONCE = 1 << 14  # contexts


class Entropies:
    """Computes the entropy after each context once, when it is first asked for."""

    def __init__(self, trie: Trie, lookup: Lookup) -> None:
        self._trie, self._lookup = trie, lookup
        self._known = [np.full(len(branches.gamma), np.nan, np.float32) for branches in trie.branches]
        nothing = np.full((1, trie.order - 1), UNSEEN)
        self._after_nothing = -float(_f(lookup.distributions(nothing)).sum())

    def after(self, contexts: Contexts) -> NDArray[np.float64]:
        """The entropies in nats (...) after contexts (..., n - 1)."""
        result = np.empty(contexts.shape[:-1])
        rows = contexts.reshape(result.size, contexts.shape[-1])
        for start in range(0, len(rows), AT_ONCE):
            result.reshape(-1)[start : start + AT_ONCE] = self._after(rows[start : start + AT_ONCE])
        return result

    def _after(self, contexts: Contexts) -> NDArray[np.float64]:
        result = np.full(len(contexts), self._after_nothing)
        for length, numbers in enumerate(contexts.T, start=1):
            known, seen = self._known[length], np.flatnonzero(numbers >= 0)
            unknown = seen[np.isnan(known[numbers[seen]])]
            if len(unknown):
                new, first = np.unique(numbers[unknown], return_index=True)
                rows = unknown[first]
                known[new] = self._compute(length, contexts[rows], result[rows])
            result[seen] = known[numbers[seen]]
        return result

    def _compute(self, length: int, contexts: Contexts, shorter: NDArray[np.float64]) -> NDArray[np.float64]:
        """The entropies (N,) after the contexts of one length among `contexts`, given those after shorter ones."""
        _, gamma, ids, alpha = self._trie.branches[length]
        numbers = contexts[:, length - 1]
        rows, ngrams = self._trie.continuations(length, numbers)
        weights = gamma[numbers].astype(np.float64)
        is_longer = np.arange(contexts.shape[1]) >= length - 1
        below = self._lookup.probabilities(np.where(is_longer, UNSEEN, contexts)[rows], ids[ngrams]) * weights[rows]
        changes = np.bincount(rows, _f(below) - _f(below + alpha[ngrams]), len(shorter))
        return weights * shorter - _f(weights) + changes


def _f(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x log x, which is 0 at 0."""
    return x * np.log(np.where(x > 0, x, 1))
