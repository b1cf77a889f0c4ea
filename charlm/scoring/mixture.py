"""A network and an n-gram model, mixed by a gate (`ngram/gate.py`). Shapes: B batch, T time, V vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.gate import Evidence, Gate
from charlm.ngram.predictor import NgramPredictor
from charlm.ngram.trie import Contexts, matched
from charlm.scoring.predictor import Ids, MeasuringPredictor

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class BothStates:
    """The states of a network and of an n-gram model."""

    network: Any
    ngram: Contexts


class Both:
    """A network and an n-gram model of the same vocabulary that read the same tokens side by side."""

    def __init__(self, network: MeasuringPredictor, ngram: NgramPredictor) -> None:
        self.network, self.ngram, self.vocab_size = network, ngram, network.vocab_size

    @property
    def can_run_in_segments(self) -> bool:
        """Whether the network may; the contexts of n-grams are short."""
        return self.network.can_run_in_segments

    def initial_state(self, batch_size: int = 1) -> BothStates:
        """The states before the first token."""
        return BothStates(self.network.initial_state(batch_size), self.ngram.initial_state(batch_size))

    def evidence(self, inputs: Ids, targets: Ids, state: BothStates) -> tuple[Evidence, BothStates]:
        """What both say of each target: inputs and targets (B, T) -> arrays (B, T), and the new states.

        Targets below 0 are padding; the results for them are meaningless.
        """
        network, network_state = self.network.measure(inputs, targets, state.network)
        ngram, contexts = self.ngram.measure(inputs, targets, state.ngram)
        evidence = Evidence(
            network.logprobs, ngram.logprobs, network.entropies, ngram.entropies, matched(contexts).astype(np.float64)
        )
        return evidence, BothStates(network_state, contexts[:, -1].copy() if inputs.shape[1] else state.ngram)

    def select(self, state: BothStates, rows: Sequence[int]) -> BothStates:
        """The states of some of the sequences, in the order of `rows`; a row may be repeated."""
        return BothStates(self.network.select(state.network, rows), self.ngram.select(state.ngram, rows))

    def join(self, states: Sequence[BothStates]) -> BothStates:
        """The states of several batches joined into those of one batch."""
        network = self.network.join([state.network for state in states])
        return BothStates(network, self.ngram.join([state.ngram for state in states]))


class Mixture(Both):
    """A `scoring.predictor.Predictor` that mixes a network and an n-gram model."""

    def __init__(self, network: MeasuringPredictor, ngram: NgramPredictor, gate: Gate) -> None:
        super().__init__(network, ngram)
        self.gate = gate

    def step(self, ids: Ids, state: BothStates) -> tuple[Numbers, BothStates]:
        """One token of each sequence: ids (B,) -> log-probabilities (B, V) of the next one, and the new states."""
        logits, network_state = self.network.step(ids, state.network)
        logprobs, contexts = self.ngram.mixed_step(ids, state.ngram, logits, self.gate)
        return logprobs, BothStates(network_state, contexts)

    def logprobs(self, inputs: Ids, targets: Ids, state: BothStates) -> tuple[Numbers, BothStates]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new states.

        Targets below 0 are padding; the results for them are meaningless.
        """
        evidence, state = self.evidence(inputs, targets, state)
        return self.gate.logprobs(evidence), state


class Witness(Both):
    """Gives the evidence for a gate in the place of log-probabilities: `logprobs` is (B, T, 5), as `Evidence`."""

    def logprobs(self, inputs: Ids, targets: Ids, state: BothStates) -> tuple[Numbers, BothStates]:
        """What both say of each target: inputs and targets (B, T) -> (B, T, 5), and the new states."""
        evidence, state = self.evidence(inputs, targets, state)
        return np.stack(evidence, axis=-1), state
