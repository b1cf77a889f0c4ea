"""Which of many cases of a test `make test` tries; `make test-all` tries all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from charlm.cells import CELLS

FEW_CELLS = ("rnn_tanh", "gru", "lstm", "lstm_peephole")


def slow_but(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases for `parametrize`, all but the quick ones marked `slow`. A tuple has a value for each argument."""
    return [case if case in quick else slow(*(case if isinstance(case, tuple) else (case,))) for case in cases]


def slow(*values: Any) -> Any:
    """One case that is marked `slow`."""
    return pytest.param(*values, marks=pytest.mark.slow)


def few_cells() -> list[Any]:
    """All cells, of which one of each family is quick: where the cell is not the point, but might make a difference."""
    return slow_but(FEW_CELLS, CELLS)
