"""Dropout with one mask for all time steps (Gal & Ghahramani 2016, arXiv 1512.05287)."""

import torch
from torch import Tensor


def variational_dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Zero each unit of x (T, B, size) with probability `rate`, at all T alike, and scale the others by 1 / (1 - rate).

    Without a generator, as outside training, nothing is dropped.
    """
    if generator is None or rate == 0.0:
        return x
    keep = torch.empty(1, *x.shape[1:], device=x.device, dtype=x.dtype).bernoulli_(1 - rate, generator=generator)
    return x * (keep / (1 - rate))
