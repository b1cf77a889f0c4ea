"""The network of a classifier: recurrent layers read a text, what they give is pooled over time, then the head decides.

A new classifier's layers read in both directions. One that starts from a language model has the layers of that model:
they read forward or backward, or, from a pair, in two stacks apart. Pooling is that of Howard & Ruder 2018: what the
layers give at the end of their reading, its largest values over time, and its mean.
Shapes: T time, B batch, D the size of what the layers give at each position, L labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.cells.cell import Array, NewWeight, Ops, Weights
from charlm.network import head
from charlm.network.architecture import BACKWARD, Architecture
from charlm.network.bidirectional import Scan, Start, unchanged
from charlm.network.encoder import ends, hidden
from charlm.settings import OneDirection

NUM_POOLED = 3  # the ends, the largest values, the mean


@dataclass(frozen=True)
class Classifier(Architecture):
    """The architecture of a classifier. Raises ValueError as `Architecture` does, and for fewer than two labels."""

    kind: str = "classify"
    num_labels: int = 0
    several_labels: bool = False
    """Whether a text can have several labels, or none; each is then decided on its own."""
    is_apart: bool = False
    """Whether a direction of "both" means two stacks of layers, one for each, as in a pair of language models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_labels < 2 - self.several_labels:
            raise ValueError("a classifier needs two labels")

    @property
    def is_bidirectional(self) -> bool:
        return self.direction == "both" and not self.is_apart

    @property
    def num_outputs(self) -> int:
        return self.num_labels

    @property
    def stacks(self) -> dict[str, OneDirection]:
        """By what the names of their weights begin with: the stacks of layers that read in one direction only."""
        if self.is_bidirectional:
            return {}
        if self.direction == "both":
            return {"": "forward", BACKWARD: "backward"}
        return {"": self.direction}

    @property
    def head_input_size(self) -> int:
        return NUM_POOLED * max(1, len(self.stacks)) * self.output_size

    def body_weights(self) -> dict[str, NewWeight]:
        weights = super().body_weights()
        return {prefix + name: weight for prefix in self.stacks or ("",) for name, weight in weights.items()}


def logits(
    ids: Array,
    lengths: Array,
    weights: Weights,
    architecture: Classifier,
    ops: Ops,
    scan: Scan,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """Texts with both ends, ids (T, B) of these lengths (B,) -> unnormalised log-probabilities of each label (B, L).

    Of a classifier with several labels they are the logits of each label's own probability. `start` and `drop` are for
    training, as in `bidirectional.hidden`.
    """
    found = hidden(ids, lengths, weights, architecture, architecture.stacks, ops, scan, start, drop)
    return head.logits(pooled(found, lengths, architecture, ops), weights, ops)


def pooled(found: Array, lengths: Array, architecture: Classifier, ops: Ops) -> Array:
    """What the layers give at each position (T, B, D) -> what the head gets of each text (B, 3 D)."""
    parts = (ops.max_over_time(found, lengths), ops.mean_over_time(found, lengths))
    both = ops.side_by_side(*parts)
    return ops.side_by_side(ends(found, lengths, architecture.direction, ops), both)
