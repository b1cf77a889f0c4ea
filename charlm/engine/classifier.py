"""A classifier without torch, so that one text is classified in a fraction of a second."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.scanning import scan
from charlm.network import classifier
from charlm.network.classifier import Classifier


class NumpyClassifierPredictor:
    """A `tasks.classification.ClassifierPredictor` that runs the network's equation in NumPy."""

    def __init__(self, architecture: Classifier, weights: Mapping[str, NDArray[Any]]) -> None:
        self._architecture, self._weights = architecture, weights

    def logits(self, ids: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float64]:
        """Texts with both ends, ids (B, T) of these lengths (B,) -> logits (B, L)."""
        own_scan = partial(scan, self._architecture.recurrent_cell)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; callers check the results
            found = classifier.logits(ids.T, lengths, self._weights, self._architecture, NumpyOps, own_scan)
        return np.asarray(found, np.float64)
