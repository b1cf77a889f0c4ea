"""Read whole texts at once: what the recurrent layers give at each position, whatever directions they read in.

Shapes: T time, B batch, E embedding, H the output size of one recurrence. Texts of unequal `lengths` (B,) are padded at
their ends, and the padding does not change what the layers give for their tokens.
"""

from collections.abc import Callable, Mapping
from functools import partial

from charlm.cells.cell import Array, Ops, State, Weights
from charlm.network import bidirectional, body
from charlm.network.architecture import Architecture
from charlm.network.bidirectional import Scan, Start, unchanged
from charlm.settings import Direction, OneDirection


def hidden(
    ids: Array,
    lengths: Array,
    weights: Weights,
    architecture: Architecture,
    stacks: Mapping[str, OneDirection],
    ops: Ops,
    scan: Scan,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """ids (T, B) -> what the last layer gives at each position (T, B, H for each direction).

    `stacks` are the stacks of layers that read in one direction, by what the names of their weights begin with; without
    any, each layer reads in both directions. `start` and `drop` are for training, as in `bidirectional.hidden`.
    """
    if not stacks:
        return bidirectional.hidden(ids, lengths, weights, architecture, ops, scan, start, drop)
    found = [
        _one_way(ids, lengths, _of_stack(weights, prefix), architecture, direction, ops, scan, start, drop)
        for prefix, direction in stacks.items()
    ]
    return found[0] if len(found) == 1 else ops.side_by_side(*found)


def ends(found: Array, lengths: Array, direction: Direction, ops: Ops) -> Array:
    """What each direction gives at the end of its reading: found (T, B, D) -> (B, D)."""
    last, first = lengths - 1, lengths - lengths
    if direction == "both":
        forward, backward = ops.split(found, 2)
        return ops.side_by_side(ops.at(forward, last), ops.at(backward, first))
    return ops.at(found, last if direction == "forward" else first)


def _one_way(
    ids: Array,
    lengths: Array,
    weights: Weights,
    architecture: Architecture,
    direction: OneDirection,
    ops: Ops,
    scan: Scan,
    start: Start,
    drop: Callable[[Array], Array],
) -> Array:
    """What a stack of layers that read in one direction gives at each position: ids (T, B) -> (T, B, H)."""
    in_order = ids if direction == "forward" else ops.reverse(ids, lengths)
    layers = [
        partial(_run_layer, weights=own, scan=scan) for own in body.weights_by_layer(weights, architecture.num_layers)
    ]
    x = ops.embed(in_order, weights["embedding.weight"])
    states = tuple(
        start(own, layer, bidirectional.initial_state(architecture, own, layer, ids.shape[1], x, ops))
        for layer, own in enumerate(body.weights_by_layer(weights, architecture.num_layers))
    )
    found, _ = body.run_layers(x, states, layers, architecture.residual, drop)
    return found if direction == "forward" else ops.reverse(found, lengths)


def _run_layer(x: Array, state: State, weights: Weights, scan: Scan) -> tuple[Array, State]:
    """A layer over all time steps; its new state is not needed."""
    return scan(x, state, weights), state


def _of_stack(weights: Weights, prefix: str) -> Weights:
    """The weights of one stack, without what their names begin with."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
