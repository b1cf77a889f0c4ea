"""A translator without torch, so that one text is translated in a fraction of a second.

Shapes: S time of the source, T time of the target, B batch, V symbols of the target.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.scanning import scan
from charlm.network import translator
from charlm.network.translator import Translator, Writing


class NumpyTranslatorPredictor:
    """A `tasks.translation.TranslatorPredictor` that runs the network's equation in NumPy."""

    def __init__(self, architecture: Translator, weights: Mapping[str, NDArray[Any]]) -> None:
        self._architecture, self._weights = architecture, weights
        self._scan = partial(scan, architecture.recurrent_cell)

    def begin(self, ids: NDArray[Any], lengths: NDArray[Any]) -> Writing:
        """Read sources with their ends, ids (B, S) of these lengths (B,); a target of each is then to be written."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; callers check the logits
            encoded = translator.encode(ids.T, lengths, self._weights, self._architecture, NumpyOps, self._scan)
        return Writing(encoded.state, np.arange(len(ids)), encoded.memory)

    def step(self, ids: NDArray[Any], writing: Writing) -> tuple[NDArray[Any], Writing]:
        """One token of each target: ids (B,) -> logits (B, V) of the next ones, and the new state."""
        with np.errstate(over="ignore", invalid="ignore"):  # as in `begin`
            return translator.step(ids, writing, self._weights, self._architecture, NumpyOps)

    def select(self, writing: Writing, rows: Sequence[int]) -> Writing:
        """Some of the targets, in the order of `rows`; one may be repeated."""
        return writing.select(np.asarray(rows, np.int64))

    def attention(self, ids: NDArray[Any], inputs: NDArray[Any]) -> NDArray[np.float64] | None:
        """How much of each place of one source (S,) each step of its target (T,) gets -> (T, S).

        None if the network has no attention.
        """
        arguments = (self._weights, self._architecture, NumpyOps, self._scan)
        encoded = translator.encode(ids[:, None], np.array([len(ids)]), *arguments)
        _, shares = translator.hidden(inputs[:, None], encoded, *arguments)
        return None if shares is None else np.asarray(shares[:, 0], np.float64)
