"""Attention: at each step of the target, a mean of what the encoder found, weighted by how well each place fits.

The scores are those of Bahdanau et al. 2015 (`additive`) or of Luong et al. 2015 (`dot`, which they call general: the
sizes of both sides differ, so a matrix is between them; here the product is divided by the root of its size, as in
Vaswani et al. 2017). The order is Luong's for both: the recurrence does not depend on the attention, its output is the
query, and both together go to the head. So all steps of a training target are computed at once. Unlike there, the
decoder's next input is the next token alone (no input feeding).

Shapes: S time of the source, T time of the target, B batch, K size of what the encoder found, D output size of the
decoder, A size in which both are compared.
"""

from dataclasses import dataclass

from charlm.cells.cell import Array, Ops, Weights
from charlm.settings import Attention


@dataclass(frozen=True)
class Memory:
    """What the encoder found in some sources: values (S, B, K), their keys (S, B, A), and the lengths (B,)."""

    keys: Array
    values: Array
    lengths: Array

    def select(self, rows: Array) -> "Memory":
        """That of some of the sources, in this order; one may be repeated."""
        return Memory(self.keys[:, rows], self.values[:, rows], self.lengths[rows])


def memory_of(found: Array, lengths: Array, weights: Weights, ops: Ops) -> Memory:
    """What the encoder found (S, B, K), with its keys W found + b."""
    keys = ops.linear(found, weights["attention.key.weight"], weights.get("attention.key.bias"))
    return Memory(keys, found, lengths)


def shares(hidden: Array, memory: Memory, weights: Weights, attention: Attention, ops: Ops) -> Array:
    """How much of each place of the source each step of the target gets: hidden (T, B, D) -> (T, B, S).

    The shares of a step sum to 1, and are 0 beyond the end of the source.
    """
    if attention == "additive":
        queries = ops.linear(hidden, weights["attention.query.weight"])
        scores = ops.additive_scores(queries, memory.keys, weights["attention.score.weight"][0])
    else:
        scores = ops.dot_scores(hidden, memory.keys) / hidden.shape[-1] ** 0.5
    return ops.softmax_within(scores, memory.lengths)


def combined(hidden: Array, context: Array, weights: Weights, ops: Ops) -> Array:
    """tanh(W [context, hidden]): contexts (T, B, K) and hidden (T, B, D) -> the input of the head (T, B, its size)."""
    return ops.tanh(ops.linear(ops.side_by_side(context, hidden), weights["attention.combine.weight"]))
