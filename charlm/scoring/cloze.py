"""The protocol of a cloze network in use, and the pseudo-log-likelihood of a text.

Shapes: B batch, T time, V outputs, N masked positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.scoring.reading import Reading
from charlm.text.tokenizer import Tokenizer

ROWS_TOKENS = 2**14  # tokens read at once, with padding


class ClozePredictor(Protocol):
    """Gives the probability of each symbol at masked positions, from what stands on both sides of them."""

    @property
    def num_outputs(self) -> int: ...

    @property
    def mask_id(self) -> int:
        """The id of `<mask>`, which is read and never predicted."""

    def logprobs(
        self, ids: NDArray[Any], lengths: NDArray[Any], rows: NDArray[Any], positions: NDArray[Any]
    ) -> NDArray[np.float64]:
        """log p in nats of each symbol at N places: ids (B, T), lengths (B,), rows and positions (N,) -> (N, V).

        Each of the B sequences begins and ends with an `<eos>`, and is padded at its end.
        """


@dataclass(frozen=True)
class PseudoScore:
    """The sum of each token's log p given all the others. It is not a probability: such sums don't add up to 1."""

    text: str
    pseudo_logprob_nats: float
    tokens: int


@dataclass(frozen=True)
class ClozeModel:
    """A cloze network in use: a tokenizer and a predictor. `path` is the folder of its run, for messages."""

    tokenizer: Tokenizer
    predictor: ClozePredictor
    reading: Reading
    path: Path = Path()

    def pseudo_score(self, text: str) -> PseudoScore:
        """The pseudo-log-likelihood of a text (Besag 1975; Salazar et al. 2020): each token is masked in turn."""
        ids = self.tokenizer.encode(self.reading.prepared(text)).astype(np.int64)
        whole, total = with_ends(ids, self.tokenizer.eos_id), 0.0
        at_once = max(1, ROWS_TOKENS // len(whole))
        for first in range(0, len(ids), at_once):
            masked = np.arange(first, min(first + at_once, len(ids)))
            logprobs = predict_each(self.predictor, whole, masked + 1)
            total += float(logprobs[np.arange(len(masked)), ids[masked]].sum())
        return PseudoScore(text, total, len(ids))


def predict_each(
    predictor: ClozePredictor, whole: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """log p of each symbol at each of N positions of one sequence (T,), only that one masked: (N, V)."""
    rows = np.arange(len(positions))
    ids = np.repeat(whole[None], len(positions), axis=0)
    ids[rows, positions] = predictor.mask_id
    return predictor.logprobs(ids, np.full(len(rows), len(whole)), rows, positions)


def with_ends(ids: Sequence[int] | NDArray[Any], eos_id: int) -> NDArray[np.int64]:
    """A sequence with both of its ends, as a cloze network reads it."""
    return np.concatenate([[eos_id], ids, [eos_id]]).astype(np.int64)
