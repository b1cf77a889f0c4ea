"""Run a recurrence over all time steps of whole texts, in NumPy."""

import numpy as np

from charlm.cells.cell import Array, Cell, State, Weights
from charlm.engine.numpy_ops import NumpyOps


def scan(cell: Cell, x: Array, state: State, weights: Weights) -> Array:
    """A recurrence over all time steps: x (T, B, its size) -> output (T, B, H)."""
    projected, outputs = cell.project(x, weights, NumpyOps), []
    for now in zip(*projected, strict=True):
        state = cell.step(now, state, weights, NumpyOps)
        outputs.append(state[0])
    return np.stack(outputs)
