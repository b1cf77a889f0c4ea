"""A choice that looks random but follows from a number alone, so that nothing has to be stored about it."""

import numpy as np
from numpy.typing import NDArray


def hash_uniform(numbers: NDArray[np.int64], seed: int = 1) -> NDArray[np.float64]:
    """A value in [0, 1) for each number, in the same shape: the mixing function of splitmix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(seed % 2**63) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) / float(2**53)
