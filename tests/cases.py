"""Which of many cases of a test `make test` tries; `make test-all` tries all."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
import torch

from charlm.cells import CELLS

FEW_CELLS = ("rnn_tanh", "gru", "lstm", "lstm_peephole")


def slow_but(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases for `parametrize`, all but the quick ones marked `slow`. A tuple has a value for each argument."""
    return [case if case in quick else slow(*(case if isinstance(case, tuple) else (case,))) for case in cases]


def slow(*values: Any) -> Any:
    """One case that is marked `slow`."""
    return pytest.param(*values, marks=pytest.mark.slow)


def few_cells() -> list[Any]:
    """All cells, but only those of FEW_CELLS quick: for tests in which the cell is not the point."""
    return slow_but(FEW_CELLS, CELLS)


def gradients_are_right(function: Callable[..., Any], inputs: Sequence[Any], each_number: bool) -> bool:
    """Whether gradients are those of finite differences: for each number, or, much faster, in random directions.

    Raises torch's GradcheckError, which says where they differ, if they are not.
    """
    return torch.autograd.gradcheck(function, tuple(inputs), fast_mode=not each_number)


with_each_number = pytest.mark.parametrize(
    "each_number", [False, slow(True)], ids=["in random directions", "each number"]
)
