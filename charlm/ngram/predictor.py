"""An n-gram model as a `scoring.predictor.Predictor`.

The state is an array (B, n - 1): the contexts behind what was read, as `Contexts` in `trie.py` says. Shapes: B batch, T
time, V vocabulary, n length of the longest n-grams.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.compiled import fastest
from charlm.ngram.entropy import Entropies
from charlm.ngram.gate import Gate
from charlm.ngram.trie import UNSEEN, Contexts, Ids, Lookup, Trie
from charlm.probability import Measured


class NgramPredictor:
    """Gives the probabilities of an n-gram model, which are looked up in compiled code where there is some."""

    can_run_in_segments = True

    def __init__(self, trie: Trie, lookup: Lookup | None = None) -> None:
        self.trie, self.vocab_size = trie, trie.vocab_size
        self._lookup = fastest(trie) if lookup is None else lookup

    def initial_state(self, batch_size: int = 1) -> Contexts:
        """The state before the first token: no context but the empty one."""
        return np.full((batch_size, self.trie.order - 1), UNSEEN)

    def step(self, ids: Ids, state: Contexts) -> tuple[NDArray[np.float64], Contexts]:
        """Read one token of each sequence: ids (B,) -> log-probabilities (B, V) of the next one, and the new state."""
        new_state = self._lookup.contexts(ids[:, None], state)[:, 0]
        return np.log(self._lookup.distributions(new_state)), new_state

    def mixed_step(
        self, ids: Ids, state: Contexts, logits: NDArray[Any], gate: Gate
    ) -> tuple[NDArray[np.float64], Contexts]:
        """`step`, mixed with the logits (B, V) of a network by a gate."""
        return self._lookup.mixed_step(ids, state, logits, gate)

    def logprobs(self, inputs: Ids, targets: Ids, state: Contexts) -> tuple[NDArray[np.float64], Contexts]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """
        contexts = self._lookup.contexts(inputs, state)
        return np.log(self._lookup.probabilities(contexts, targets)), _last(contexts, state)

    def measure(self, inputs: Ids, targets: Ids, state: Contexts) -> tuple[Measured, Contexts]:
        """`logprobs` with the entropies of the distributions, and the contexts before each target (B, T, n - 1).

        The contexts before the last target are the new state.
        """
        contexts = self._lookup.contexts(inputs, state)
        logprobs = np.log(self._lookup.probabilities(contexts, targets))
        return Measured(logprobs, self._entropies.after(contexts)), contexts

    def select(self, state: Contexts, rows: Sequence[int]) -> Contexts:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return state[list(rows)]

    def join(self, states: Sequence[Contexts]) -> Contexts:
        """The states of several batches joined into the state of one batch."""
        return np.concatenate(states)

    @cached_property
    def _entropies(self) -> Entropies:
        return Entropies(self.trie, self._lookup)


def _last(contexts: Contexts, state: Contexts) -> Contexts:
    """The state behind the last of the inputs; a copy, so that the contexts of the others can be freed."""
    return contexts[:, -1].copy() if contexts.shape[1] else state
