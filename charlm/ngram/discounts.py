"""How much is taken from the counts of n-grams that were seen, and given to those that were not."""

import numpy as np
from numpy.typing import NDArray

FALLBACK = (0.0, 0.5, 1.0, 1.5)


def discounts(num_with_count: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from the counts 0, 1, 2, and 3 or more (4,), given how many n-grams have the count 0, 1, 2, 3, 4.

    Chen & Goodman 1998, equation 26:

        D_k = k - (k + 1) Y n_{k+1} / n_k        Y = n_1 / (n_1 + 2 n_2)

    In small texts and of few types these are undefined, or not between 0 and k. Then FALLBACK is used.
    """
    n = num_with_count.astype(np.float64)
    if not n[1:4].all():
        return np.array(FALLBACK)
    k = np.arange(1, 4)
    taken = k - (k + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
    if not ((taken > 0) & (taken <= k)).all():
        return np.array(FALLBACK)
    return np.append(0.0, taken)
