"""A choice that looks random and follows from a place alone, so that nothing has to be remembered of it."""

import numpy as np
from numpy.typing import NDArray


def hash_uniform(places: NDArray[np.int64], seed: int = 1) -> NDArray[np.float64]:
    """A number in [0, 1) for each place: the mixing function of splitmix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = places.astype(np.uint64) + np.uint64(seed % 2**63) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) / float(2**53)
