"""Figures with their confidence intervals, which come from drawing the examples again and again (the bootstrap)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError
from charlm.evaluation.matches import ratio

Array = NDArray[Any]
Metric = Callable[[Array], Array]
"""From sums or counts (..., K) to the value of a metric (...)."""

SAMPLES = 1000
CONFIDENCE = 0.95
SEED = 1
MAX_DRAWN = 2**22  # counts that are held at once


@dataclass(frozen=True)
class Figure:
    """The value of a metric, its 95 % interval, and how many of what it measures were counted.

    All but `count` are nan if the metric is not defined, such as the accuracy of no answers.
    """

    value: float
    low: float
    high: float
    count: int

    def as_json(self, key: str) -> dict[str, Any]:
        """The fields of a JSON object: the value, the interval and the count; None stands for nan."""
        return {
            key: _number(self.value),
            f"{key}_interval": [_number(self.low), _number(self.high)],
            f"{key}_count": self.count,
        }


def figure(statistics: Array, metric: Metric, count: int, seed: int = SEED) -> Figure:
    """A metric of the sums of all examples' statistics, with its interval; for the arguments see `interval`."""
    return Figure(float(metric(statistics.sum(axis=0))), *interval(statistics, metric, seed), count)


def figure_of_counts(counts: Array, metric: Metric, count: int, seed: int = SEED) -> Figure:
    """A metric of counts, with its interval; for the arguments see `interval_of_counts`."""
    return Figure(float(metric(counts)), *interval_of_counts(counts, metric, seed), count)


def share(num_right: int, num_examples: int, seed: int = SEED) -> Figure:
    """The share of the examples for which something is so; nan if there are none."""
    counts = np.array([num_right, num_examples - num_right])
    return figure_of_counts(counts, lambda drawn: share_of(drawn @ [[1, 1], [0, 1]]), num_examples, seed)


def share_of(sums: Array) -> Array:
    """The first of two sums (..., 2) over the second; nan where the second is 0."""
    return ratio(sums[..., 0], sums[..., 1], undefined=np.nan)


def interval(
    statistics: Array, metric: Metric, seed: int = SEED, samples: int = SAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The bootstrap interval of a metric that follows from the sums of all examples' `statistics` (N, K).

    It does not depend on the order of the examples. Those with the same statistics are drawn together, which is as
    random, and much faster where there are many of them. See `interval_of_counts`.
    """
    rows, counts = np.unique(statistics.astype(np.float64), axis=0, return_counts=True)
    return interval_of_counts(counts, lambda drawn: metric(drawn @ rows), seed, samples, confidence)


def interval_of_counts(
    counts: Array, metric: Metric, seed: int = SEED, samples: int = SAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The percentile bootstrap interval of a metric over examples (Efron 1979).

    `counts` (C,) says how many examples there are of each kind, and the metric follows from such counts. Each of the
    `samples` draws as many examples as there are, with replacement; the interval leaves out the same share of the
    metric's values at both ends. Samples for which the metric is nan are left out, and if it is nan for all examples,
    so are the ends. The interval is widened, if need be, to hold the metric of all examples, which the values of a
    biased metric can miss.
    """
    value = float(metric(counts))
    if isnan(value):
        return value, value
    values = np.concatenate([metric(drawn) for drawn in _drawn(counts, seed, samples)])
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(float(low), value), max(float(high), value)


def check_examples(num_examples: int) -> None:
    """Raise TextError if there is nothing to evaluate."""
    if not num_examples:
        raise TextError("there are no examples to evaluate", to_do="give data with at least one example")


def _drawn(counts: Array, seed: int, samples: int) -> Iterator[Array]:
    """The counts of all samples, in blocks (B, C)."""
    num_examples, generator = int(counts.sum()), np.random.default_rng(seed)
    block = max(1, MAX_DRAWN // len(counts))
    for start in range(0, samples, block):
        size = min(block, samples - start)
        yield generator.multinomial(num_examples, counts / num_examples, size).astype(np.float64)


def _number(value: float) -> float | None:
    return None if isnan(value) else value
