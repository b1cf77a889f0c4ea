"""The network without torch, one step at a time, in NumPy: sampling and single scores start in a fraction of a second.

`nn.LSTM` packs its weights anew on every call, which for one token costs far more than the arithmetic.
Shapes: B batch, T time, V vocabulary, E embedding, H hidden.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.cells import CELLS
from charlm.cells.cell import Array, Projected, Weights
from charlm.network.architecture import Shape
from charlm.probability import log_softmax

MAX_TABLE_TYPES = 1024  # types for which the first layer's input product is computed once, at loading


class NumpyOps:
    """The operations of `cells/` in NumPy."""

    @staticmethod
    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        product = x @ weight.T
        return product if bias is None else product + bias

    @staticmethod
    def low_rank(x: Array, right: Array, left: Array) -> Array:
        return x @ right.T @ left.T

    @staticmethod
    def sigmoid(x: Array) -> Array:
        return 0.5 * np.tanh(0.5 * x) + 0.5  # the logistic function, without overflow

    @staticmethod
    def tanh(x: Array) -> Array:
        return np.tanh(x)

    @staticmethod
    def relu(x: Array) -> Array:
        return np.maximum(x, 0)

    @staticmethod
    def softplus(x: Array) -> Array:
        return np.logaddexp(0, x)

    @staticmethod
    def standardise(x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        size = x.shape[-1] // parts
        return tuple(x[..., start : start + size] for start in range(0, parts * size, size))


class Stepper:
    """Steps the network of `shape` with `weights` (names and shapes as in `shape.weight_shapes`)."""

    def __init__(self, shape: Shape, weights: Mapping[str, NDArray[Any]]) -> None:
        self.shape = shape
        self._cell = CELLS[shape.cell]
        self._embedding = weights["embedding.weight"]
        self._layers = [_weights_under(f"layers.{layer}.", weights) for layer in range(shape.num_layers)]
        self._head_layers = [_weights_under(f"head.layers.{layer}.", weights) for layer in range(shape.head_layers)]
        self._output = self._embedding if shape.tie_embeddings else weights["head.weight"]
        self._projection = weights.get("head.projection")
        self._bias = weights["head.bias"]
        small = shape.vocab_size <= MAX_TABLE_TYPES
        with np.errstate(over="ignore", invalid="ignore"):  # as in a step
            self._table = self._cell.project(self._embedding, self._layers[0], NumpyOps) if small else None

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first token: zero, or what was learned. For each layer its parts, each (B, size)."""
        return tuple(
            tuple(
                self._initial(weights.get(f"initial_{part}"), batch_size, size)
                for part, size in self._cell.state_sizes(sizes).items()
            )
            for weights, sizes in zip(self._layers, self.shape.layers(), strict=True)
        )

    def step(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        """One token for each of B sequences: ids (B,) -> logits (B, V) and the new state."""
        x, new_state = self._embedding[ids], []
        with np.errstate(over="ignore", invalid="ignore"):  # a state without bounds: the logits tell, and are checked
            for layer, (weights, old) in enumerate(zip(self._layers, state, strict=True)):
                new = self._cell.step(self._project(ids, x, layer), old, weights, NumpyOps)
                x = x + new[0] if self.shape.residual and x.shape == new[0].shape else new[0]
                new_state.append(new)
            return self._head(x), tuple(new_state)

    def select(self, state: Any, rows: list[int]) -> Any:
        """The state of some of the sequences, in this order; one may be taken several times."""
        return tuple(tuple(part[rows] for part in parts) for parts in state)

    def logprobs(self, inputs: NDArray[Any], targets: NDArray[Any], state: Any) -> tuple[NDArray[np.float64], Any]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding: what comes of them means nothing.
        """
        result = np.empty(inputs.shape, np.float64)
        rows = np.arange(len(inputs))
        for t in range(inputs.shape[1]):
            logits, state = self.step(inputs[:, t], state)
            result[:, t] = log_softmax(logits)[rows, targets[:, t]]
        return result, state

    def _initial(self, learned: NDArray[Any] | None, batch_size: int, size: int) -> NDArray[Any]:
        zero = np.zeros((batch_size, size), self._embedding.dtype)
        return zero if learned is None else zero + learned

    def _project(self, ids: NDArray[Any], x: Array, layer: int) -> Projected:
        if layer == 0 and self._table is not None:
            return tuple(part[ids] for part in self._table)
        return self._cell.project(x, self._layers[layer], NumpyOps)

    def _head(self, x: Array) -> Array:
        for layer in self._head_layers:
            x = NumpyOps.relu(NumpyOps.linear(x, layer["weight"], layer["bias"]))
        if self._projection is not None:
            x = x @ self._projection.T
        return x @ self._output.T + self._bias


def _weights_under(prefix: str, weights: Mapping[str, NDArray[Any]]) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
