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
    return np.where(totals > 0, numbers / np.where(totals > 0, totals, 1), undefined)


def macro_f1(num_right: Array, num_predicted: Array, num_true: Array) -> Array:
    """The mean F1 (...) of all of L labels that are predicted or true; nan if none is. Takes counts (..., L)."""
    occurs = num_predicted + num_true > 0
    total = (f1(num_right, num_predicted, num_true) * occurs).sum(axis=-1)
    return ratio(total, occurs.sum(axis=-1), undefined=np.nan)


def micro_f1(num_right: Array, num_predicted: Array, num_true: Array) -> Array:
    """F1 (...) of L labels together. Takes counts (..., L)."""
    return f1(num_right.sum(axis=-1), num_predicted.sum(axis=-1), num_true.sum(axis=-1))
