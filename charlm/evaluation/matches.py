"""Precision, recall and F1 from counts, for single values and for arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Matches:
    """How often something, such as a label, was rightly predicted, was predicted, and was true."""

    num_right: int
    num_predicted: int
    num_true: int

    @property
    def precision(self) -> float:
        """The share of the predictions that are right; 0 if there are none."""
        return float(ratio(self.num_right, self.num_predicted))

    @property
    def recall(self) -> float:
        """The share of what is true that was predicted; 0 if nothing is."""
        return float(ratio(self.num_right, self.num_true))

    @property
    def f1(self) -> float:
        return float(f1(self.num_right, self.num_predicted, self.num_true))

    def as_json(self) -> dict[str, Any]:
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, "count": self.num_true}


def f1(num_right: Array | int, num_predicted: Array | int, num_true: Array | int) -> Array:
    """The harmonic mean of precision and recall; 0 if nothing is predicted or true.

    2 / (1 / precision + 1 / recall), written with the counts themselves.
    """
    return ratio(2 * np.asarray(num_right), np.asarray(num_predicted) + num_true)


def ratio(numbers: Array | int, totals: Array | int, undefined: float = 0.0) -> Array:
    """numbers / totals, element by element; `undefined` where the total is 0."""
    totals = np.asarray(totals)
    return np.where(totals > 0, numbers / np.maximum(totals, 1), undefined)


def macro_f1(statistics: Array) -> Array:
    """The mean F1 of all labels that are predicted or true; nan if none is.

    Takes the numbers of right predictions, of predictions and of true cases of L labels, one after the other (..., 3L).
    """
    right, predicted, true = np.split(statistics, 3, axis=-1)
    occurs = predicted + true > 0
    return ratio((f1(right, predicted, true) * occurs).sum(axis=-1), occurs.sum(axis=-1), undefined=np.nan)


def micro_f1(statistics: Array) -> Array:
    """F1 of all labels together, from the same numbers as `macro_f1`."""
    right, predicted, true = np.split(statistics, 3, axis=-1)
    return f1(right.sum(axis=-1), predicted.sum(axis=-1), true.sum(axis=-1))
