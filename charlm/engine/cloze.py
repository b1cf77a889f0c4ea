"""A cloze network without torch, so that the blanks of a sentence are filled in a fraction of a second.

Shapes: B batch, T time, V outputs, N masked positions.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.scanning import scan
from charlm.network import bidirectional, head
from charlm.network.architecture import Architecture
from charlm.probability import log_softmax


class NumpyClozePredictor:
    """A `scoring.cloze.ClozePredictor` that runs the network's equation in NumPy."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        self.num_outputs, self.mask_id = architecture.num_outputs, architecture.num_outputs
        self._architecture, self._weights = architecture, weights

    def logprobs(
        self, ids: NDArray[Any], lengths: NDArray[Any], rows: NDArray[Any], positions: NDArray[Any]
    ) -> NDArray[np.float64]:
        """log p of each symbol at N places: ids (B, T), lengths (B,), rows and positions (N,) -> (N, V)."""
        own_scan = partial(scan, self._architecture.recurrent_cell)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; callers check the results
            hidden = bidirectional.hidden(ids.T, lengths, self._weights, self._architecture, NumpyOps, own_scan)
            return log_softmax(head.logits(hidden[positions, rows], self._weights, NumpyOps))
