"""The gate of a mixture: how much an n-gram model counts beside a network, at each place.

    weight = s(bias[matched] + slopes . (H, h, H^2, H h, h^2))

s is the logistic function, and `matched` the length of the longest context that the n-gram model has seen; H and h are
the entropies, in nats, of what the network and the n-gram model expect. Nothing of this depends on the token that
follows, so the mixture (1 - weight) p_network + weight p_ngram sums to 1 (linear interpolation whose weights depend on
the context: Jelinek & Mercer 1980).

Shapes: N places, n length of the longest n-grams, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

NUM_SLOPES = 5
MAX_FITTED = 1 << 16  # places, evenly spread over those there are
MAX_ROUNDS, TOLERANCE = 100, 1e-7  # of fitting; nats per place
START = -1.0  # of all biases: the n-gram model has a weight of 0.27
RIDGE = 1.0  # as if every number had been seen once near the start; it matters where there is little evidence
MIN_WEIGHT = 1e-3  # of either side


class Evidence(NamedTuple):
    """What a network and an n-gram model say of the tokens at N places."""

    network: Numbers
    """log p of each token in nats, by the network; then by the n-gram model."""
    ngram: Numbers
    network_entropies: Numbers
    ngram_entropies: Numbers
    matched: Numbers
    """The length of the longest context that the n-gram model has seen, 0 to n - 1."""

    def part(self, places: slice) -> "Evidence":
        return Evidence(*(numbers[places] for numbers in self))


@dataclass(frozen=True)
class Gate:
    """Decides on the weight of the n-gram model. Raises ValueError for other numbers of them."""

    bias: tuple[float, ...]
    """By the length of the longest context that is known: n numbers."""
    slopes: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.bias, *self.slopes)
        if len(self.slopes) != NUM_SLOPES or not self.bias or not np.isfinite(numbers).all():
            raise ValueError("a gate has a bias for each length, and five slopes")

    def weight(self, matched: NDArray[Any], network_entropies: Numbers, ngram_entropies: Numbers) -> Numbers:
        """The weight of the n-gram model at some places, all (...)."""
        logits = np.asarray(self.bias)[np.asarray(matched, np.int64)]
        for slope, product in zip(self.slopes, _products(network_entropies, ngram_entropies), strict=True):
            logits = logits + slope * product
        return _sigmoid(logits)

    def logprobs(self, evidence: Evidence) -> Numbers:
        """log p of the tokens by the mixture (N,)."""
        weight = self.weight(evidence.matched, evidence.network_entropies, evidence.ngram_entropies)
        return mixed(evidence.network, evidence.ngram, weight)


def mixed(network: Numbers, ngram: Numbers, weight: Numbers) -> Numbers:
    """log((1 - weight) e^network + weight e^ngram), all (...)."""
    with np.errstate(invalid="ignore"):  # a network can diverge; callers check what comes out
        return np.asarray(np.logaddexp(np.log1p(-weight) + network, np.log(weight) + ngram))


def fitted(evidence: Evidence, order: int) -> Gate:
    """The gate that makes the tokens likeliest, for an n-gram model of this order.

    It is found by rounds of expectation and maximization (Dempster, Laird & Rubin 1977): what share of each token's
    probability is the n-gram model's, and one Newton step of a logistic regression towards these shares.
    """
    evidence = evidence.part(slice(None, None, -(-len(evidence.network) // MAX_FITTED) or 1))
    features = _features(evidence, order)
    start = np.concatenate([np.full(order, START), np.zeros(NUM_SLOPES)])
    weights, best, best_nats = start, start, np.inf
    for _ in range(MAX_ROUNDS):
        weight = _sigmoid(features @ weights)
        logprobs = mixed(evidence.network, evidence.ngram, weight)
        nats = -float(logprobs.mean()) if len(logprobs) else 0.0
        if not nats < best_nats - TOLERANCE:
            break
        best, best_nats = weights, nats
        share = weight * np.exp(evidence.ngram - logprobs)
        curvature = (features * (weight * (1 - weight))[:, None]).T @ features + RIDGE * np.eye(len(start))
        weights = weights + np.linalg.solve(curvature, features.T @ (share - weight) - RIDGE * (weights - start))
    return Gate(tuple(best[:order].tolist()), tuple(best[order:].tolist()))


def fitted_by_halves(evidence: Evidence, order: int) -> tuple[Gate, Gate]:
    """For each half of the places the gate that is fitted on the other half, so that its figures are honest."""
    middle = len(evidence.network) // 2
    return fitted(evidence.part(slice(middle, None)), order), fitted(evidence.part(slice(middle)), order)


def logprobs_by_halves(gates: tuple[Gate, Gate], evidence: Evidence) -> Numbers:
    """log p of the tokens by mixtures (N,), of each half of the places by its gate."""
    middle = len(evidence.network) // 2
    halves = evidence.part(slice(middle)), evidence.part(slice(middle, None))
    return np.concatenate([gate.logprobs(half) for gate, half in zip(gates, halves, strict=True)])


def _features(evidence: Evidence, order: int) -> Numbers:
    """What the gate looks at (N, F): which length is known, and the products of the entropies."""
    is_matched = evidence.matched[:, None] == np.arange(order)
    products = _products(evidence.network_entropies, evidence.ngram_entropies)
    return np.column_stack([is_matched.astype(np.float64), *products])


def _products(network: Numbers, ngram: Numbers) -> Sequence[Numbers]:
    return network, ngram, network * network, network * ngram, ngram * ngram


def _sigmoid(x: Numbers) -> Numbers:
    """The logistic function, at least MIN_WEIGHT away from 0 and 1."""
    return np.asarray((1 / (1 + np.exp(-x.clip(-500, 500)))).clip(MIN_WEIGHT, 1 - MIN_WEIGHT))
