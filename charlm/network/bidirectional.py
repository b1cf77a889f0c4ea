"""The network above its cells where each layer reads in both directions: every position knows the whole sequence.

Schuster & Paliwal 1997. A layer is two recurrences with weights of their own. The second one reads the sequences from
their ends; what both give at a position is put side by side, and is the next layer's input.
Shapes: T time, B batch, E embedding, H the output size of one recurrence. Sequences of unequal `lengths` (B,) are
padded at their ends, and the padding does not change what the network gives for their tokens.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from charlm.cells.cell import Array, Ops, State, Weights
from charlm.network.architecture import RECURRENCES, Architecture
from charlm.network.body import weights_by_layer

Recurrence = Callable[[Array], Array]
"""A recurrence from its initial state over all time steps: input (T, B, its size) -> output (T, B, H)."""


class Scan(Protocol):
    """A way to compute a cell over all time steps."""

    def __call__(self, x: Array, state: State, weights: Weights) -> Array:
        """Input (T, B, its size), initial state and weights -> output (T, B, H)."""


Start = Callable[[Weights, int, State], State]
"""The initial state of a recurrence, from its weights, the number of its layer, and its state without training."""


def unchanged(weights: Weights, layer: int, state: State) -> State:
    return state


def hidden(
    ids: Array,
    lengths: Array,
    weights: Weights,
    architecture: Architecture,
    ops: Ops,
    scan: Scan,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """ids (T, B) -> what the last layer knows of each position (T, B, 2 H), the input of the head.

    `start` may change a recurrence's initial state, and `drop` is the dropout, on the inputs of each layer and of the
    head; both are for training.
    """
    embedded = ops.embed(ids, weights["embedding.weight"])
    return run(embedded, lengths, weights, architecture, ops, scan, start, drop)


def run(
    x: Array,
    lengths: Array,
    weights: Weights,
    architecture: Architecture,
    ops: Ops,
    scan: Scan,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """Embeddings (T, B, E) -> what the last layer knows of each position (T, B, 2 H), as in `hidden`."""
    layers = []
    for layer, both in enumerate(weights_by_layer(weights, architecture.num_layers)):
        recurrences = []
        for recurrence in RECURRENCES:
            own = _of_recurrence(both, recurrence)
            state = start(own, layer, initial_state(architecture, own, layer, x.shape[1], x, ops))
            recurrences.append(partial(scan, state=state, weights=own))
        layers.append(recurrences)
    return run_layers(x, lengths, layers, architecture.residual, ops, drop)


def run_layers(
    x: Array,
    lengths: Array,
    layers: Sequence[Sequence[Recurrence]],
    residual: bool,
    ops: Ops,
    drop: Callable[[Array], Array],
) -> Array:
    """Embeddings (T, B, E) through all layers -> the last one's output (T, B, 2 H).

    With `residual`, each layer's input is added to its output where the sizes agree.
    """
    for from_start, from_end in layers:
        inputs = drop(x)
        output = ops.side_by_side(from_start(inputs), ops.reverse(from_end(ops.reverse(inputs, lengths)), lengths))
        x = x + output if residual and x.shape == output.shape else output
    return drop(x)


def initial_state(
    architecture: Architecture, weights: Weights, layer: int, batch_size: int, like: Array, ops: Ops
) -> State:
    """A recurrence's state before its first token, each part (B, its size): zero, or the learned initial state."""
    sizes = list(architecture.layers())[layer]
    zeros = {
        part: ops.zeros((batch_size, size), like)
        for part, size in architecture.recurrent_cell.state_sizes(sizes).items()
    }
    return tuple(
        zero + weights[f"initial_{part}"] if f"initial_{part}" in weights else zero for part, zero in zeros.items()
    )


def _of_recurrence(weights: Weights, recurrence: str) -> Weights:
    """The weights of one recurrence of a layer, by the names that its cell uses."""
    prefix = f"{recurrence}."
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
