"""A network and an n-gram model, mixed: what counts more depends on how sure each of them is.

The gate gives each place the weight of the n-gram model there (a mixture of experts as in Jelinek & Mercer 1980, whose
weights depend on the context):

    p(w) = (1 - weight) p_network(w) + weight p_ngram(w)
    weight = sigmoid(bias[matched] + slope_network * H_network + slope_ngram * H_ngram)

`matched` is the length of the longest context that the n-gram model has seen, and H are the entropies of both
distributions. None of this depends on w, so the probabilities sum to 1.

Shapes: B batch, T time, V vocabulary, n length of the longest n-grams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.predictor import NgramPredictor, matched
from charlm.ngram.trie import Contexts
from charlm.probability import entropy, log_softmax
from charlm.scoring.predictor import Ids, MeasuringPredictor

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gate:
    """Decides on the weight of the n-gram model."""

    bias: Numbers
    """By the length of the longest context that it has seen (n,)."""
    slopes: Numbers
    """Of the entropies of the network and of the n-gram model (2,)."""

    def weight(self, matched: NDArray[np.int64], network_entropies: Numbers, ngram_entropies: Numbers) -> Numbers:
        """The weight of the n-gram model at some places, all (...)."""
        logits = self.bias[matched] + self.slopes[0] * network_entropies + self.slopes[1] * ngram_entropies
        return np.asarray(1 / (1 + np.exp(-logits)))


@dataclass(frozen=True)
class MixedState:
    """The states of both."""

    network: Any
    ngram: Contexts


class Mixture:
    """A `scoring.predictor.Predictor` that mixes a network and an n-gram model of the same vocabulary."""

    def __init__(self, network: MeasuringPredictor, ngram: NgramPredictor, gate: Gate) -> None:
        self._network, self._ngram, self._gate = network, ngram, gate
        self.vocab_size = network.vocab_size
        self.can_run_in_segments = network.can_run_in_segments and ngram.can_run_in_segments

    def initial_state(self, batch_size: int = 1) -> MixedState:
        """The state before the first token."""
        return MixedState(self._network.initial_state(batch_size), self._ngram.initial_state(batch_size))

    def step(self, ids: Ids, state: MixedState) -> tuple[Numbers, MixedState]:
        """One token of each sequence: ids (B,) -> log-probabilities (B, V) of the next one, and the new state."""
        logits, network_state = self._network.step(ids, state.network)
        by_ngram, contexts = self._ngram.step(ids, state.ngram)
        by_network = log_softmax(logits)
        weight = self._gate.weight(matched(contexts), entropy(by_network), entropy(by_ngram))
        return mixed(by_network, by_ngram, weight[:, None]), MixedState(network_state, contexts)

    def logprobs(self, inputs: Ids, targets: Ids, state: MixedState) -> tuple[Numbers, MixedState]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """
        by_network, network_state = self._network.measure(inputs, targets, state.network)
        by_ngram, contexts = self._ngram.measure(inputs, targets, state.ngram)
        weight = self._gate.weight(matched(contexts), by_network.entropies, by_ngram.entropies)
        last = contexts[:, -1] if inputs.shape[1] else state.ngram
        return mixed(by_network.logprobs, by_ngram.logprobs, weight), MixedState(network_state, last)

    def select(self, state: MixedState, rows: Sequence[int]) -> MixedState:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return MixedState(self._network.select(state.network, rows), self._ngram.select(state.ngram, rows))

    def join(self, states: Sequence[MixedState]) -> MixedState:
        """The states of several batches joined into the state of one batch."""
        network = self._network.join([state.network for state in states])
        return MixedState(network, self._ngram.join([state.ngram for state in states]))


def mixed(by_network: Numbers, by_ngram: Numbers, weight: Numbers) -> Numbers:
    """log((1 - weight) e^by_network + weight e^by_ngram), all (...)."""
    with np.errstate(divide="ignore"):  # a weight can be 0 or 1 in float64
        return np.logaddexp(np.log1p(-weight) + by_network, np.log(weight) + by_ngram)
