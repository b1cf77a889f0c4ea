"""An n-gram model as a `scoring.predictor.Predictor`.

The state is an array (B, n - 1): the numbers of the contexts that are the last 1, 2, ..., n - 1 tokens read, UNSEEN
where nothing followed these in training. Shapes: B batch, T time, V vocabulary, n length of the longest n-grams.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.entropy import Entropies
from charlm.ngram.trie import UNSEEN, Ids, Numbers, Trie


class Measured(NamedTuple):
    """What an n-gram model says at each place of a batch (B, T)."""

    logprobs: NDArray[np.float64]
    """log p(target) in nats."""
    matched: NDArray[np.int64]
    """The length of the longest context before the target that something followed in training, 0 to n - 1."""
    entropies: NDArray[np.float64]
    """The entropy of the distribution of the target, in nats."""


class NgramPredictor:
    """Gives the probabilities of an n-gram model."""

    can_run_in_segments = True

    def __init__(self, trie: Trie) -> None:
        self.trie, self.vocab_size = trie, trie.vocab_size

    def initial_state(self, batch_size: int = 1) -> Numbers:
        """The state before the first token: no context but the empty one."""
        return np.full((batch_size, self.trie.order - 1), UNSEEN)

    def step(self, ids: Ids, state: Numbers) -> tuple[NDArray[np.float64], Numbers]:
        """Read one token of each sequence: ids (B,) -> log-probabilities (B, V) of the next one, and the new state."""
        contexts = [of_length[:, 0] for of_length in self._contexts(ids[:, None], state)]
        return np.log(self.trie.distributions(contexts)), np.stack(contexts, axis=1)[:, 1:]

    def logprobs(self, inputs: Ids, targets: Ids, state: Numbers) -> tuple[NDArray[np.float64], Numbers]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """
        contexts = self._contexts(inputs, state)
        return np.log(self.trie.probabilities(contexts, targets)), _last(contexts, state)

    def measure(self, inputs: Ids, targets: Ids, state: Numbers) -> tuple[Measured, Numbers]:
        """`logprobs` with the lengths of the contexts and the entropies, and the new state."""
        contexts = self._contexts(inputs, state)
        matched = sum((of_length >= 0 for of_length in contexts[1:]), np.zeros(inputs.shape, np.int64))
        entropies = self._entropies.after([of_length.ravel() for of_length in contexts]).reshape(inputs.shape)
        logprobs = np.log(self.trie.probabilities(contexts, targets))
        return Measured(logprobs, matched, entropies), _last(contexts, state)

    def select(self, state: Numbers, rows: Sequence[int]) -> Numbers:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return state[list(rows)]

    def join(self, states: Sequence[Numbers]) -> Numbers:
        """The states of several batches joined into the state of one batch."""
        return np.concatenate(states)

    @cached_property
    def _entropies(self) -> Entropies:
        return Entropies(self.trie)

    def _contexts(self, inputs: Ids, state: Numbers) -> list[Numbers]:
        """The contexts of length 0 to n - 1 behind each input, each (B, T)."""
        contexts = [np.zeros(inputs.shape, np.int64)]
        before = contexts[0]  # the context of each input that is shorter by 1
        for length in range(1, self.trie.order):
            ngrams = self.trie.longer(length - 1, before, inputs)
            contexts.append(self.trie.as_contexts(length, ngrams))
            before = np.concatenate([state[:, length - 1 : length], contexts[length][:, :-1]], axis=1)
        return contexts


def _last(contexts: Sequence[Numbers], state: Numbers) -> Numbers:
    """The state behind the last input."""
    if contexts[0].shape[1] == 0:
        return state
    return np.stack([of_length[:, -1] for of_length in contexts], axis=1)[:, 1:]
