"""From logits to log-probabilities, in NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_FINITE = "the model's predictions are not finite: its training diverged, or its state grows without bound"


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """logits (..., V) -> normalised log-probabilities in nats (..., V), in float64; nan if a logit is infinite."""
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def log_sum_exp(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The logarithm by which log-probabilities are smaller than logits: (..., V) -> (...), summed in float64."""
    largest = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - largest).sum(axis=-1, dtype=np.float64)
    return np.asarray(np.log(total) + largest[..., 0])
