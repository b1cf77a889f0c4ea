"""Figures of labels from groups of equal examples: those with the same true and the same predicted labels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.bootstrap import Figure, figure_of_counts
from charlm.evaluation.matches import Matches

Array = NDArray[Any]
OfLabels = Callable[[Array, Array, Array], Array]
"""From how often L labels are right, predicted and true, (..., L) each, to a metric (...)."""


@dataclass(frozen=True, eq=False)
class Members:
    """Which labels are in which group: `labels` (M,) are in the groups `groups` (M,)."""

    groups: Array
    labels: Array

    @classmethod
    def of_sets(cls, sets: Iterable[Iterable[int]]) -> "Members":
        """Those of one set of labels for each group."""
        pairs = [(group, label) for group, each in enumerate(sets) for label in each]
        groups, labels = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(groups, labels)

    def sums(self, counts: Array, num_labels: int) -> Array:
        """How many examples have each label (..., L), from how many there are of each group (..., G)."""
        return np.apply_along_axis(lambda each: np.bincount(self.labels, each[self.groups], num_labels), -1, counts)


@dataclass(frozen=True, eq=False)
class LabelGroups:
    """How many examples each of G groups has, and which labels are rightly predicted, predicted and true in it."""

    names: Sequence[str]
    counts: Array
    right: Members
    predicted: Members
    true: Members

    def matches(self) -> dict[str, Matches]:
        """The counts of each label."""
        sums = zip(*(each.tolist() for each in self._sums(self.counts)), strict=True)
        return {name: Matches(*map(int, numbers)) for name, numbers in zip(self.names, sums, strict=True)}

    def figure(self, metric: OfLabels, seed: int) -> Figure:
        """A metric of all labels with its interval."""
        return figure_of_counts(self.counts, lambda counts: metric(*self._sums(counts)), int(self.counts.sum()), seed)

    def _sums(self, counts: Array) -> tuple[Array, Array, Array]:
        return (
            self.right.sums(counts, len(self.names)),
            self.predicted.sums(counts, len(self.names)),
            self.true.sums(counts, len(self.names)),
        )
