"""A tagger without torch, so that one sentence is tagged in a fraction of a second."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.sentences import Sentences
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.scanning import scan
from charlm.network import tagger
from charlm.network.architecture import Architecture
from charlm.network.bidirectional import Scan
from charlm.network.tagger import Tagger


class NumpyTaggerPredictor:
    """A `tasks.tagging.TaggerPredictor` that runs the network's equation in NumPy."""

    def __init__(
        self, architecture: Tagger, weights: Mapping[str, NDArray[Any]], exclusions: NDArray[np.float64]
    ) -> None:
        self._architecture, self._weights = architecture, weights
        self.transitions: NDArray[np.float64] = tagger.transitions(weights, exclusions, architecture)

    def emissions(self, sentences: Sentences) -> NDArray[np.float64]:
        """The score of each tag at each word (T, B, K)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; callers check the results
            found = tagger.emissions(sentences, self._weights, self._architecture, NumpyOps, _scan_of)
        return np.asarray(found, np.float64)


def _scan_of(part: Architecture) -> Scan:
    return partial(scan, part.recurrent_cell)
