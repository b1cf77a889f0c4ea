"""From the last recurrent layer to the logits: feed-forward layers if any, then the output layer. Written with `ops`.

Shapes: V vocabulary, H the output size of the recurrent layers; leading dimensions are kept.
"""

from itertools import count

from charlm.cells.cell import Array, Ops, Weights


def logits(hidden: Array, weights: Weights, ops: Ops) -> Array:
    """hidden (..., H) -> unnormalised log-probabilities of each token (..., V)."""
    return ops.linear(features(hidden, weights, ops), *output_layer(weights))


def features(hidden: Array, weights: Weights, ops: Ops) -> Array:
    """hidden (..., H) -> the input of the output layer (..., its size)."""
    for layer in count():
        if (weight := weights.get(f"head.layers.{layer}.weight")) is None:
            break
        hidden = ops.relu(ops.linear(hidden, weight, weights[f"head.layers.{layer}.bias"]))
    projection = weights.get("head.projection")
    return hidden if projection is None else ops.linear(hidden, projection)


def output_layer(weights: Weights) -> tuple[Array, Array]:
    """The output layer's weight (V, its inputs), which is the embedding when these are tied, and its bias (V).

    The last row of a cloze network's embedding is that of `<mask>`, which is never an output.
    """
    weight, bias = weights.get("head.weight", weights["embedding.weight"]), weights["head.bias"]
    return (weight if len(weight) == len(bias) else weight[: len(bias)]), bias
