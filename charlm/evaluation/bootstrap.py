"""Figures with their confidence intervals, which come from drawing the examples again and again (the bootstrap)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError

Array = NDArray[Any]
Metric = Callable[[Array], Array]
"""From summed statistics (..., K) to the value of a metric (...)."""

SAMPLES = 1000
CONFIDENCE = 0.95
SEED = 1
MAX_WEIGHTS = 2**22  # numbers that are held at once: how often each example was drawn, for some samples


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


def figure(statistics: Array, metric: Metric, count: int, counts: Array | None = None, seed: int = SEED) -> Figure:
    """A metric of the sums of all examples' statistics, with its interval; for the arguments see `interval`."""
    return Figure(_of_all(statistics, metric, counts), *interval(statistics, metric, counts, seed), count)


def interval(
    statistics: Array,
    metric: Metric,
    counts: Array | None = None,
    seed: int = SEED,
    samples: int = SAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a metric over examples (Efron 1979).

    Each of the `samples` draws as many examples as there are, with replacement, sums their `statistics` (N, K) and
    computes the metric of the sums; the interval leaves out the same share of the values at both ends. It depends on
    the seed and on which examples there are, not on their order. `counts` (N,) says how many examples each row stands
    for, 1 by default. Samples for which the metric is nan are left out. The interval is widened, if need be, to hold
    the metric of all examples, which the values of a biased metric can miss.
    """
    value = _of_all(statistics, metric, counts)
    if isnan(value):
        return value, value
    values = np.concatenate([metric(sums) for sums in _resampled(statistics, counts, seed, samples)])
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(float(low), value), max(float(high), value)


def check_examples(num_examples: int) -> None:
    """Raise TextError if there is nothing to evaluate."""
    if not num_examples:
        raise TextError("there are no examples to evaluate", to_do="give data with at least one example")


def _of_all(statistics: Array, metric: Metric, counts: Array | None) -> float:
    weights = np.ones(len(statistics)) if counts is None else counts
    return float(metric(weights @ statistics))


def _resampled(statistics: Array, counts: Array | None, seed: int, samples: int) -> Iterator[Array]:
    """The summed statistics of each sample, in blocks (B, K).

    Equal examples are drawn together, which is as random, and much faster where there are many of them.
    """
    rows, owners = np.unique(statistics.astype(np.float64), axis=0, return_inverse=True)
    totals = np.bincount(owners.ravel(), weights=counts, minlength=len(rows))
    num_examples, generator = int(totals.sum()), np.random.default_rng(seed)
    block = max(1, MAX_WEIGHTS // len(rows))
    for start in range(0, samples, block):
        size = min(block, samples - start)
        yield generator.multinomial(num_examples, totals / num_examples, size).astype(np.float64) @ rows


def _number(value: float) -> float | None:
    return None if isnan(value) else value
