"""What a recurrent cell is: its equation as code that torch and NumPy both run, its weights, and its source.

A cell is two functions. `project(x, weights, ops)` is all that depends on the input alone, so it can be computed for
all time steps at once; `step(projected, state, weights, ops)` is one step of the recurrence and gives the new state,
whose first part is the cell's output. `ops` brings the few operations that torch and NumPy spell differently.

Shapes (leading dimensions free): x (..., I), each part of projected (..., its size), each part of the state likewise.
Notation in equations: s() the logistic function, * elementwise, [a, b] concatenation; h and c are the state before the
step, h' and c' after it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Array = Any  # a torch.Tensor or a numpy array: the same text runs on both
Projected = tuple[Array, ...]  # the result of a cell's `project`
State = tuple[Array, ...]  # the state of one layer; its first part is the layer's output
NetworkState = tuple[State, ...]  # the states of all layers, each part (B, size)
Weights = Mapping[str, Array]


class Ops(Protocol):
    """The operations in which torch and NumPy differ. Leading dimensions stay as they are."""

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        """x @ weight.T + bias"""

    def low_rank(self, x: Array, right: Array, left: Array) -> Array:
        """x @ (left @ right).T, by way of the narrow middle."""

    def sigmoid(self, x: Array) -> Array: ...

    def tanh(self, x: Array) -> Array: ...

    def relu(self, x: Array) -> Array: ...

    def embed(self, ids: Array, weight: Array) -> Array:
        """The rows of a weight (V, E) with these numbers: ids (...) -> (..., E)."""

    def zeros(self, size: tuple[int, ...], like: Array) -> Array:
        """Zeros of this size, of the type and on the device of `like`."""

    def softplus(self, x: Array) -> Array:
        """log(1 + e^x)"""

    def standardise(self, x: Array) -> Array:
        """(x - mean) / sqrt(variance + 1e-5), both over the last dimension."""

    def reverse(self, x: Array, lengths: Array) -> Array:
        """Each sequence (B of them) of x (T, B, ...) from its end to its start; padding stays where it is."""

    def side_by_side(self, x: Array, y: Array) -> Array:
        """Two arrays put together along the last dimension."""

    def split(self, x: Array, parts: int) -> tuple[Array, ...]:
        """Equal parts along the last dimension."""

    def at(self, x: Array, times: Array) -> Array:
        """Of each sequence of x (T, B, ...) the place `times` (B,), or several (N, B) -> (B, ...) or (N, B, ...)."""

    def max_over_time(self, x: Array, lengths: Array) -> Array:
        """The largest of the first `lengths` (B,) rows of x (T, B, ...), each number on its own -> (B, ...)."""

    def mean_over_time(self, x: Array, lengths: Array) -> Array:
        """The mean of the first `lengths` (B,) rows of x (T, B, ...) -> (B, ...)."""

    def dot_scores(self, queries: Array, keys: Array) -> Array:
        """Each query times each key of its sequence: (T, B, A) and (S, B, A) -> (T, B, S)."""

    def additive_scores(self, queries: Array, keys: Array, vector: Array) -> Array:
        """vector . tanh(query + key) for each pair in a sequence: (T, B, A), (S, B, A), (A,) -> (T, B, S)."""

    def softmax_within(self, scores: Array, lengths: Array) -> Array:
        """Softmax over the first `lengths` (B,) of the last dimension of (T, B, S); the others get 0."""

    def weighted_sums(self, shares: Array, values: Array) -> Array:
        """The sum of each sequence's values by their shares: (T, B, S) and (S, B, D) -> (T, B, D)."""

    def sum_over_time(self, x: Array, lengths: Array) -> Array:
        """The sum of the first `lengths` (B,) rows of x (T, B, ...) -> (B, ...)."""

    def logsumexp(self, x: Array, axis: int) -> Array:
        """log of the sum of e^x along one dimension, which is left out."""

    def largest(self, x: Array, axis: int) -> Array:
        """The largest number along one dimension, which is left out."""

    def stack(self, parts: Sequence[Array]) -> Array:
        """Arrays of the same size, put together along a new first dimension."""

    def where(self, condition: Array, x: Array, y: Array) -> Array:
        """The numbers of x where the condition is true, else those of y."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that one layer's weights follow from; the last three matter to one cell each."""

    input_size: int
    hidden_size: int
    proj_size: int = 0
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0


# How a weight starts; by gate: each gate's block of `hidden_size` rows on its own.
Start = Literal[
    "glorot",
    "glorot_by_gate",
    "orthogonal_by_gate",
    "zero",
    "one",
    "forget_open",
    "uniform",
    "normal",
    "normal_rows",  # of a length of about 1
]


@dataclass(frozen=True)
class NewWeight:
    """A weight's shape, and how it starts before training."""

    size: tuple[int, ...]
    start: Start


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its equation as code and as text, its weights and the parts of its state.

    `gates` names the blocks of `hidden_size` rows in the order in which they stand in weight_ih and the biases.
    `settings` are the model settings that this cell reads and others do not; `bounds` holds weights whose every number
    training keeps between -bound and bound. `activations` says which gates the last results of `sigmoid` and `tanh` in
    `project` and `step` are, in the order of the code; "" is no gate. So the gates can be looked at, although the
    equation returns only the state.
    """

    project: Callable[[Array, Weights, Ops], Projected]
    step: Callable[[Projected, State, Weights, Ops], State]
    weights: Callable[[Sizes], dict[str, NewWeight]]
    state_sizes: Callable[[Sizes], dict[str, int]]
    gates: tuple[str, ...]
    equation: tuple[str, ...]
    source: str
    settings: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)
    activations: tuple[str, ...] = ()

    def gate_values(self, activations: Sequence[Array]) -> dict[str, Array]:
        """The gates by name, from all results of `sigmoid` and `tanh` in one `project` and `step`, in their order."""
        last = activations[len(activations) - len(self.activations) :]
        return {name: value for name, value in zip(self.activations, last, strict=True) if name}

    def output_size(self, sizes: Sizes) -> int:
        """The size of the cell's output, which is the first part of its state."""
        return next(iter(self.state_sizes(sizes).values()))


def project_input(x: Array, weights: Weights, ops: Ops) -> Projected:
    """W_ih x + b, for all gates at once."""
    return (ops.linear(x, weights["weight_ih"], weights["bias"]),)


def project_input_with_both_biases(x: Array, weights: Weights, ops: Ops) -> Projected:
    """W_ih x + b_ih + b_hh: torch gives these cells a bias for each product, although only their sum matters."""
    return (ops.linear(x, weights["weight_ih"], weights["bias_ih"] + weights["bias_hh"]),)


def gate_weights(num_gates: int) -> Callable[[Sizes], dict[str, NewWeight]]:
    """W [h, x] + b of each gate: weight_ih (G*H, I), weight_hh (G*H, H), bias (G*H)."""

    def weights(sizes: Sizes) -> dict[str, NewWeight]:
        rows = num_gates * sizes.hidden_size
        return {
            "weight_ih": NewWeight((rows, sizes.input_size), "glorot_by_gate"),
            "weight_hh": NewWeight((rows, sizes.hidden_size), "orthogonal_by_gate"),
            "bias": NewWeight((rows,), "forget_open"),
        }

    return weights


def torch_weights(num_gates: int) -> Callable[[Sizes], dict[str, NewWeight]]:
    """W [h, x] + b of each gate, named as in torch.nn's layers: two biases, bias_ih and bias_hh, in place of bias."""

    def weights(sizes: Sizes) -> dict[str, NewWeight]:
        rows = num_gates * sizes.hidden_size
        return {
            "weight_ih": NewWeight((rows, sizes.input_size), "glorot_by_gate"),
            "weight_hh": NewWeight((rows, sizes.hidden_size), "orthogonal_by_gate"),
            "bias_ih": NewWeight((rows,), "forget_open"),
            "bias_hh": NewWeight((rows,), "zero"),
        }

    return weights


def state_of_hidden_size(*parts: str) -> Callable[[Sizes], dict[str, int]]:
    """A state all of whose parts have `hidden_size` units."""
    return lambda sizes: dict.fromkeys(parts, sizes.hidden_size)
