"""The network above its cells: embedding, stacked recurrent layers, then the head. Written once, with `ops`.

Shapes: B batch, V vocabulary, E embedding, H the output size of a recurrent layer. Other leading dimensions than B,
such as time, are kept.
"""

from collections.abc import Callable, Sequence
from functools import partial

from charlm.cells.cell import Array, NetworkState, Ops, State, Weights
from charlm.network import head
from charlm.network.architecture import Architecture

Layer = Callable[[Array, State], tuple[Array, State]]
"""A recurrent layer: its input and state -> its output and new state, for one step or for many at once."""


def step(
    ids: Array, state: NetworkState, weights: Weights, architecture: Architecture, ops: Ops
) -> tuple[Array, NetworkState]:
    """The whole network on one token of each sequence: ids (B,) -> logits (B, V) and the new state.

    Tests compare every faster way to run a network with this equation.
    """
    layers = [
        partial(step_layer, weights=layer_weights, architecture=architecture, ops=ops)
        for layer_weights in weights_by_layer(weights, architecture.num_layers)
    ]
    x = ops.embed(ids, weights["embedding.weight"])
    hidden, state = run_layers(x, state, layers, architecture.residual)
    return head.logits(hidden, weights, ops), state


def step_layer(x: Array, state: State, weights: Weights, architecture: Architecture, ops: Ops) -> tuple[Array, State]:
    """One step of a recurrent layer: x (B, its inputs) -> output (B, H) and the new state, which begins with it."""
    cell = architecture.recurrent_cell
    new = cell.step(cell.project(x, weights, ops), state, weights, ops)
    return new[0], new


def run_layers(
    x: Array,
    state: NetworkState,
    layers: Sequence[Layer],
    residual: bool,
    drop: Callable[[Array], Array] = lambda x: x,
) -> tuple[Array, NetworkState]:
    """Embeddings (..., E) through all recurrent layers -> the last one's output (..., H) and the new state.

    With `residual`, each layer's input is added to its output where the sizes agree. `drop` is the dropout in training,
    on the inputs of each layer and of the head.
    """
    new_state = []
    for layer, old in zip(layers, state, strict=True):
        output, new = layer(drop(x), old)
        x = x + output if residual and x.shape == output.shape else output
        new_state.append(new)
    return drop(x), tuple(new_state)


def initial_state(architecture: Architecture, weights: Weights, batch_size: int, ops: Ops) -> NetworkState:
    """The state before the first token, each part (B, its size): zero, or the learned initial state."""

    def initial(layer: int, part: str, size: int) -> Array:
        zeros, learned = ops.zeros((batch_size, size), weights["embedding.weight"]), f"layers.{layer}.initial_{part}"
        return zeros + weights[learned] if learned in weights else zeros

    return tuple(
        tuple(initial(layer, part, size) for part, size in architecture.recurrent_cell.state_sizes(sizes).items())
        for layer, sizes in enumerate(architecture.layers())
    )


def weights_by_layer(weights: Weights, num_layers: int) -> list[Weights]:
    """The weights of each recurrent layer, by the names that its cell uses."""
    prefixes = [f"layers.{layer}." for layer in range(num_layers)]
    return [
        {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        for prefix in prefixes
    ]
