"""From logits to log-probabilities, in NumPy."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NOT_FINITE = "the model's predictions are not finite: its training diverged, or its state grows without bound"


class Measured(NamedTuple):
    """What a predictor says of the tokens at some places (B, T)."""

    logprobs: NDArray[np.float64]
    """log p of each token, in nats."""
    entropies: NDArray[np.float64]
    """The entropy, in nats, of the distribution that each token is drawn from."""


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """logits (..., V) -> normalised log-probabilities in nats (..., V), in float64; nan if a logit is infinite."""
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def entropy(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The entropies in nats of distributions: log-probabilities (..., V) -> (...)."""
    with np.errstate(invalid="ignore"):
        return -np.asarray(np.where(np.isneginf(logprobs), 0.0, np.exp(logprobs) * logprobs).sum(axis=-1))


def log_sum_exp(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The logarithm by which log-probabilities are smaller than logits: (..., V) -> (...), summed in float64."""
    largest = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - largest).sum(axis=-1, dtype=np.float64)
    return np.asarray(np.log(total) + largest[..., 0])
