"""A network without torch, one step at a time, so that sampling and scoring a sentence start in a fraction of a second.

torch's LSTM packs its weights at every call, which for a single token costs far more than the arithmetic.
Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.cells.cell import Array, NetworkState, Ops, State
from charlm.engine.numpy_ops import NumpyOps
from charlm.network import body, head
from charlm.network.architecture import Architecture
from charlm.probability import Measured, entropy, log_softmax

MAX_TABLE_TYPES = 1024  # types; up to here the first layer's products with all embeddings are computed when loading


class StepPredictor:
    """A `scoring.predictor.Predictor` that runs the network's equation step by step; `ops` is NumPy by default.

    `weights` have the names and sizes of `Architecture.weights`.
    """

    can_run_in_segments = True

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]], ops: Ops = NumpyOps) -> None:
        self.architecture, self.vocab_size = architecture, architecture.vocab_size
        self._weights, self._ops = weights, ops
        self._layers = body.weights_by_layer(weights, architecture.num_layers)
        self._table = None
        if self.vocab_size <= MAX_TABLE_TYPES:
            project = architecture.recurrent_cell.project
            with np.errstate(over="ignore", invalid="ignore"):  # as in a step
                self._table = project(weights["embedding.weight"], self._layers[0], ops)

    def initial_state(self, batch_size: int = 1) -> NetworkState:
        """The state before the first token: the parts of each layer, each (B, its size)."""
        return body.initial_state(self.architecture, self._weights, batch_size, self._ops)

    def step(self, ids: NDArray[Any], state: NetworkState) -> tuple[NDArray[Any], NetworkState]:
        """One token of each sequence: ids (B,) -> logits (B, V) and the new state."""
        layers = [partial(self._step_layer, ids, layer) for layer in range(len(self._layers))]
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; callers check the logits
            x = self._ops.embed(ids, self._weights["embedding.weight"])
            hidden, state = body.run_layers(x, state, layers, self.architecture.residual)
            return head.logits(hidden, self._weights, self._ops), state

    def logprobs(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[NDArray[np.float64], NetworkState]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """
        measured, state = self.measure(inputs, targets, state)
        return measured.logprobs, state

    def measure(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[Measured, NetworkState]:
        """`logprobs` with the entropies of the distributions, and the new state."""
        measured = Measured(np.empty(inputs.shape), np.empty(inputs.shape))
        rows = np.arange(len(inputs))
        for t in range(inputs.shape[1]):
            logits, state = self.step(inputs[:, t], state)
            logprobs = log_softmax(logits)
            measured.logprobs[:, t] = logprobs[rows, targets[:, t]]
            measured.entropies[:, t] = entropy(logprobs)
        return measured, state

    def select(self, state: NetworkState, rows: Sequence[int]) -> NetworkState:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return tuple(tuple(part[list(rows)] for part in parts) for parts in state)

    def join(self, states: Sequence[NetworkState]) -> NetworkState:
        """The states of several batches joined into the state of one batch."""
        return tuple(tuple(map(np.concatenate, zip(*layers, strict=True))) for layers in zip(*states, strict=True))

    def _step_layer(self, ids: NDArray[Any], layer: int, x: Array, old: State) -> tuple[Array, State]:
        """One step of a layer. The lowest one looks its projected input up in the table, if there is one."""
        cell, weights = self.architecture.recurrent_cell, self._layers[layer]
        if layer == 0 and self._table is not None:
            projected = tuple(part[ids] for part in self._table)
        else:
            projected = cell.project(x, weights, self._ops)
        new = cell.step(projected, old, weights, self._ops)
        return new[0], new
