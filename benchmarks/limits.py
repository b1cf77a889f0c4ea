"""What the hardware can do, measured in the same run: products of matrices, and reading memory."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from benchmarks.measure import Way, alternate, rates

SIZE = 2048
TIMES = 4


def gemm(bfloat16: bool) -> Callable[[], None]:
    """Products of 2048 x 2048 matrices."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    a, b = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)

    def multiply() -> None:
        for _ in range(TIMES):
            a @ b

    return multiply


GEMM_GFLOP = TIMES * 2 * SIZE**3 / 1e9


@cache
def gemm_rates(quick: bool) -> dict[str, list[float]]:
    """Seconds of each repeat by precision, measured once in a run."""
    ways = {name: Way("limits:gemm", {"bfloat16": name == "bfloat16"}) for name in ("float32", "bfloat16")}
    return alternate(ways, 3 if quick else 15)


def gemm_gigaflops(precision: str, quick: bool) -> float:
    return float(rates(GEMM_GFLOP, gemm_rates(quick)[precision])["value"])


def reading(megabytes: float, gigabytes: float = 1.0) -> Callable[[], None]:
    """Reading so many bytes again and again, until it is `gigabytes` in all."""
    numbers = np.ones(int(megabytes * 250_000), np.float32)
    tensor, rounds = torch.from_numpy(numbers), max(1, round(gigabytes * 1000 / megabytes))

    def read() -> None:
        for _ in range(rounds):
            tensor.sum()

    return read
