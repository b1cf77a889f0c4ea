"""Every recurrent cell's equation, written once, for torch and for NumPy.

A cell is two functions. `project(x, weights, ops)` is all that depends on the input alone, so it can be computed for
all time steps at once; `step(projected, state, weights, ops) -> (output, state)` is one step of the recurrence.
`ops` brings the few operations that torch and NumPy spell differently.

Shapes (leading dimensions free): x (..., I), projected (..., G*H), each part of the state (..., H).
Notation: s() the logistic function, * elementwise, h and c the state before the step, h' and c' after it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Array = Any  # a torch.Tensor or a numpy array: the same text runs on both
State = tuple[Array, ...]  # of one layer
NetworkState = tuple[State, ...]  # of all layers, each part (B, H)
Weights = Mapping[str, Array]


class Ops(Protocol):
    """The operations in which torch and NumPy differ."""

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """x @ weight.T + bias"""

    def sigmoid(self, x: Array) -> Array: ...

    def tanh(self, x: Array) -> Array: ...

    def relu(self, x: Array) -> Array: ...

    def split(self, x: Array, parts: int) -> tuple[Array, ...]:
        """Equal parts along the last dimension."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its equation as code and as text, and the shapes of its weights.

    `gates` blocks of `hidden_size` rows each make up weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H).
    """

    project: Callable[[Array, Weights, Ops], Array]
    step: Callable[[Array, State, Weights, Ops], tuple[Array, State]]
    gates: tuple[str, ...]
    state_parts: tuple[str, ...]
    equation: str
    source: str


def project_input(x: Array, weights: Weights, ops: Ops) -> Array:
    """W_ih x + b_ih, for all gates at once."""
    return ops.linear(x, weights["weight_ih"], weights["bias_ih"])


def _recurrent(h: Array, weights: Weights, ops: Ops) -> Array:
    """W_hh h + b_hh, for all gates at once."""
    return ops.linear(h, weights["weight_hh"], weights["bias_hh"])


def step_rnn_tanh(projected: Array, state: State, weights: Weights, ops: Ops) -> tuple[Array, State]:
    (h,) = state
    h = ops.tanh(projected + _recurrent(h, weights, ops))
    return h, (h,)


def step_rnn_relu(projected: Array, state: State, weights: Weights, ops: Ops) -> tuple[Array, State]:
    (h,) = state
    h = ops.relu(projected + _recurrent(h, weights, ops))
    return h, (h,)


def step_gru(projected: Array, state: State, weights: Weights, ops: Ops) -> tuple[Array, State]:
    """The reset gate r acts after the product with h, as torch and cuDNN compute it; z near 1 keeps the old state."""
    (h,) = state
    input_r, input_z, input_n = ops.split(projected, 3)
    recurrent_r, recurrent_z, recurrent_n = ops.split(_recurrent(h, weights, ops), 3)
    r = ops.sigmoid(input_r + recurrent_r)
    z = ops.sigmoid(input_z + recurrent_z)
    n = ops.tanh(input_n + r * recurrent_n)
    h = (1 - z) * n + z * h
    return h, (h,)


def step_lstm(projected: Array, state: State, weights: Weights, ops: Ops) -> tuple[Array, State]:
    h, c = state
    i, f, g, o = ops.split(projected + _recurrent(h, weights, ops), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return h, (h, c)


CELLS: dict[str, Cell] = {
    "rnn_tanh": Cell(
        project_input,
        step_rnn_tanh,
        gates=("h",),
        state_parts=("h",),
        equation="h' = tanh(W [h, x] + b)",
        source="Elman 1990, Finding structure in time",
    ),
    "rnn_relu": Cell(
        project_input,
        step_rnn_relu,
        gates=("h",),
        state_parts=("h",),
        equation="h' = max(0, W [h, x] + b)",
        source="Le, Jaitly & Hinton 2015, arXiv 1504.00941",
    ),
    "gru": Cell(
        project_input,
        step_gru,
        gates=("r", "z", "n"),
        state_parts=("h",),
        equation="r = s(Wr [h, x] + br); z = s(Wz [h, x] + bz); n = tanh(Wn x + bn + r * (Un h + cn)); "
        "h' = (1 - z) * n + z * h",
        source="Cho et al. 2014, arXiv 1406.1078, with the reset after the product as in cuDNN",
    ),
    "lstm": Cell(
        project_input,
        step_lstm,
        gates=("i", "f", "g", "o"),
        state_parts=("h", "c"),
        equation="i, f, o = s(W [h, x] + b); g = tanh(Wg [h, x] + bg); c' = f * c + i * g; h' = o * tanh(c')",
        source="Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000",
    ),
}


@dataclass(frozen=True)
class Shape:
    """A network's shape with every size decided: what is needed to build it, in torch or in NumPy."""

    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    tie_embeddings: bool
    dropout: float
    initial_state: str
    vocab_size: int


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a network: the contract between `model/`, `engine/` and the files."""
    hidden, embedding = shape.hidden_size, shape.embedding_size
    cell = CELLS[shape.cell]
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (shape.vocab_size, embedding)}
    for layer in range(shape.num_layers):
        rows = len(cell.gates) * hidden
        shapes[f"layers.{layer}.weight_ih"] = (rows, hidden if layer else embedding)
        shapes[f"layers.{layer}.weight_hh"] = (rows, hidden)
        shapes[f"layers.{layer}.bias_ih"] = shapes[f"layers.{layer}.bias_hh"] = (rows,)
        if shape.initial_state == "learned":
            shapes.update({f"layers.{layer}.initial_{part}": (hidden,) for part in cell.state_parts})
    if shape.tie_embeddings and embedding != hidden:
        shapes["head.projection"] = (embedding, hidden)
    if not shape.tie_embeddings:
        shapes["head.weight"] = (shape.vocab_size, hidden)
    shapes["head.bias"] = (shape.vocab_size,)
    return shapes


def num_params(shape: Shape) -> int:
    return sum(math.prod(size) for size in weight_shapes(shape).values())
