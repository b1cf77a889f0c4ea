"""Choosing the next token: filters that set logits to -inf, the repetition penalty, temperature and the draw."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import DivergedError, UsageError
from charlm.probability import NOT_FINITE, log_softmax

Logits = NDArray[Any]

MIN_TEMPERATURE = 1e-290  # lower ones are raised to this: a logit divided by them would overflow


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How the next token is chosen. Temperature 0 takes the likeliest token.

    Raises UsageError, which names the option, for a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        _require(0 <= self.temperature <= 100, "--temperature", self.temperature, "from 0 (arg max) to 100")
        _require(self.top_k is None or self.top_k >= 1, "--top-k", self.top_k, "of 1 or more")
        _require(self.top_p is None or 0 < self.top_p <= 1, "--top-p", self.top_p, "above 0, at most 1")
        _require(self.min_p is None or 0 <= self.min_p <= 1, "--min-p", self.min_p, "from 0 to 1")
        _require(
            0 < self.repetition_penalty <= 100, "--repetition-penalty", self.repetition_penalty, "above 0, at most 100"
        )

    @property
    def has_filters(self) -> bool:
        """Whether a filter is set."""
        return not (self.top_k is None and self.top_p is None and self.min_p is None)

    def filtered(self, logits: Logits) -> Logits:
        """The logits (V,) after all filters that are set, in this order: top-k, top-p, min-p."""
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the k likeliest of logits (V,); of equally likely ones, those with the lowest ids."""
    if k >= len(logits):
        return logits
    return _keep(logits, np.argsort(-logits, kind="stable")[:k])


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest of logits (V,) whose probabilities sum to at least p (Holtzman et al. 2020, arXiv 1904.09751)."""
    order = np.argsort(-logits, kind="stable")
    cumulative = np.cumsum(softmax(logits[order]))
    num_kept = 1 + int(np.searchsorted(cumulative, min(p, cumulative[-1])))
    return _keep(logits, order[:num_kept])


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep those of logits (V,) at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082)."""
    if p == 0:
        return logits
    return np.where(logits >= logits.max() + np.log(p), logits, -np.inf)


def penalise_repetition(logits: Logits, seen: NDArray[Any], penalty: float) -> Logits:
    """Multiply the log-probabilities of the ids `seen` by the penalty: logits (V,) -> (V,).

    Keskar et al. 2019, arXiv 1909.05858, do this with logits. Log-probabilities are never positive, so the penalty
    always acts in one direction, and adding a constant to all logits changes nothing.
    """
    result = log_softmax(logits)
    result[seen] *= penalty
    return result


def choose(
    logits: Logits, strategy: Strategy, seen: Sequence[Collection[int]], draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The next id of each of B texts: logits (B, V), -inf for what may not be chosen -> (B,).

    `seen` holds the ids that occur in each text so far, `draws` (B,) a random number in [0, 1) for each text.
    Raises DivergedError if the largest logit of a text is not finite.
    """
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():
        raise DivergedError(NOT_FINITE, to_do="train it longer or again, or sample fewer tokens")
    if strategy.repetition_penalty != 1.0:
        ids_seen = (np.array(sorted(ids), np.int64) for ids in seen)
        logits = np.stack(list(map(penalise_repetition, logits, ids_seen, repeat(strategy.repetition_penalty))))
        top = logits.max(axis=1, keepdims=True)
    if strategy.temperature == 0:
        return np.asarray(logits.argmax(axis=1))
    logits = (logits - top) / max(strategy.temperature, MIN_TEMPERATURE)
    if strategy.has_filters:
        logits = np.stack([strategy.filtered(row) for row in logits])
    cumulative = np.exp(logits).cumsum(axis=1)
    return np.asarray((cumulative <= (draws * cumulative[:, -1])[:, None]).sum(axis=1))


def softmax(logits: Logits) -> Logits:
    """The probabilities (..., V) that logits (..., V) stand for."""
    return np.exp(log_softmax(logits))


def _keep(logits: Logits, ids: NDArray[Any]) -> Logits:
    """The logits with -inf for all ids but these."""
    result = np.full_like(logits, -np.inf)
    result[ids] = logits[ids]
    return result


def _require(holds: bool, flag: str, value: Any, allowed: str) -> None:
    if not holds:
        raise UsageError(f"{flag} {value} is out of range", to_do=f"give a number {allowed}")
