"""The network of a classifier: recurrent layers read a text, what they give is pooled over time, then the head decides.

The n-grams of the text have a say beside it (`ngrams.py`): the logits of both are added.

A new classifier's layers read in both directions. One that starts from a language model has the layers of that model:
they read forward or backward, or, from a pair, in two stacks apart. Pooling is that of Howard & Ruder 2018: what the
layers give at the end of their reading, its largest values over time, and its mean.
Shapes: T time, B batch, D the size of what the layers give at each position, L labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.cells.cell import Array, NewWeight, Ops, Weights
from charlm.network import head, ngrams
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
    ngram_order: int = 0
    """The length in symbols of the longest n-grams that have a say."""
    ngram_rows: int = 0
    """How many rows of numbers the n-grams share: a power of 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_labels < 2 - self.several_labels:
            raise ValueError("a classifier needs two labels")
        if bool(self.ngram_order) != bool(self.ngram_rows) or self.ngram_rows & (self.ngram_rows - 1):
            raise ValueError("n-grams have a number of rows, which is a power of 2")

    @property
    def is_bidirectional(self) -> bool:
        return self.direction == "both" and not self.is_apart

    @property
    def num_outputs(self) -> int:
        return self.num_labels

    @property
    def num_kept(self) -> int:
        spoken = 3 * self.num_labels  # of each n-gram: its ratios, its weights, and their products
        return super().num_kept + self.ngram_order * spoken

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

    def head_weights(self) -> dict[str, NewWeight]:
        own = ngrams.new_weights(self.ngram_rows, self.num_labels) if self.ngram_order else {}
        return super().head_weights() | own


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
    from_network = head.logits(pooled(found, lengths, architecture, ops), weights, ops)
    if not architecture.ngram_order:
        return from_network
    return from_network + ngrams.logits(ids, lengths, weights, architecture.ngram_order, ops)


def pooled(found: Array, lengths: Array, architecture: Classifier, ops: Ops) -> Array:
    """What the layers give at each position (T, B, D) -> what the head gets of each text (B, 3 D)."""
    parts = (ops.max_over_time(found, lengths), ops.mean_over_time(found, lengths))
    both = ops.side_by_side(*parts)
    return ops.side_by_side(ends(found, lengths, architecture.direction, ops), both)
