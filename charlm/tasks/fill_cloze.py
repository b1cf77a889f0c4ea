"""Fill blanks with a cloze network, which sees both sides of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile

import numpy as np
from numpy.typing import NDArray

from charlm.scoring.cloze import ClozePredictor, with_ends
from charlm.scoring.reading import Reading
from charlm.tasks.blanks import Gap, Sentence
from charlm.text.tokenizer import Tokenizer

WORD_WIDTH = 200  # likeliest words in a blank
SPAN_WIDTH = 8  # spans of each length that are continued: each costs a pass over the whole sentence
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class ClozeFiller:
    """Fills with a cloze network: nats are -log p of the filling, for spans of several tokens per token.

    The tokens of all blanks are found from left to right, each given those before it, while those after it are masked.
    How many tokens a blank has is not part of the model, so spans of different lengths are compared per token.
    """

    predictor: ClozePredictor
    tokenizer: Tokenizer
    reading: Reading
    word_width: int = WORD_WIDTH
    span_width: int = SPAN_WIDTH

    def candidates(self, sentence: Sentence, length: int) -> list[tuple[str, ...]]:
        """The likeliest fillings; in several blanks, spans of the same number of tokens."""
        gaps = sentence.gaps(self.tokenizer)
        found = (self._likeliest(gaps, size) for size in range(1, length + 1))
        return list(dict.fromkeys(chain.from_iterable(found)))

    def nats(self, sentence: Sentence, fillings: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
        gaps, result = sentence.gaps(self.tokenizer), np.empty(len(fillings))
        spans = [[gap.ids_of(text) for gap, text in zip(gaps, texts, strict=True)] for texts in fillings]
        sizes = [tuple(map(len, each)) for each in spans]
        for size in dict.fromkeys(sizes):  # those of equal sizes are computed together
            numbers = [number for number, own in enumerate(sizes) if own == size]
            targets = np.array([list(chain.from_iterable(spans[number])) for number in numbers])
            result[numbers] = self._nats(*self._masked(gaps, size), targets)
        return result

    def _nats(
        self, whole: NDArray[np.int64], places: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """-log p of targets (N, P) at P places of a sequence, from left to right; per token where there are several."""
        rows, total = np.repeat(whole[None], len(targets), axis=0), np.zeros(len(targets))
        for number, place in enumerate(places.tolist()):
            total -= self._logprobs(rows, place)[np.arange(len(rows)), targets[:, number]]
            rows[:, place] = targets[:, number]
        return total if self.tokenizer.unit == "word" else total / max(1, len(places))

    def _likeliest(self, gaps: Sequence[Gap], size: int) -> list[tuple[str, ...]]:
        """The likeliest fillings of `size` tokens in each blank, by beam search."""
        whole, places = self._masked(gaps, (size,) * len(gaps))
        rows, totals = whole[None].copy(), np.zeros(1)
        for number, place in enumerate(places.tolist()):
            own, gap = places[number - number % size : number], gaps[number // size]  # those of this blank before it
            is_last = number % size == size - 1
            old, new, totals = self._continued(rows, totals, place, own, gap, is_last)
            rows = rows[old]
            rows[:, place] = new
        spans = [zip(gaps, row[places].reshape(-1, size).tolist(), strict=True) for row in rows]
        texts = [[gap.filling(ids) for gap, ids in each] for each in spans]
        return [tuple(text for text in each if text is not None) for each in texts]  # `_continued` keeps no None

    def _continued(
        self,
        rows: NDArray[np.int64],
        totals: NDArray[np.float64],
        place: int,
        own: NDArray[np.int64],
        gap: Gap,
        is_last: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The best ways to fill one more place: their rows, ids, and the sums of their log p.

        `own` are the places before it in the same blank, whose last one it may be.
        """
        scores = totals[:, None] + self._logprobs(rows, place)
        scores[:, [id for id in (self.tokenizer.eos_id, self.tokenizer.unk_id) if id is not None]] = -np.inf
        width = self.word_width if self.tokenizer.unit == "word" else self.span_width
        places = (divmod(best, scores.shape[1]) for best in np.argsort(-scores, axis=None, kind="stable").tolist())
        possible = takewhile(lambda found: scores[found] > -np.inf, places)
        fits = (lambda ids: gap.filling(ids) is not None) if is_last else gap.may_begin
        fitting = (found for found in possible if fits([*rows[found[0], own].tolist(), found[1]]))
        chosen = np.array(list(islice(fitting, width)), np.int64).reshape(-1, 2)
        return chosen[:, 0], chosen[:, 1], scores[chosen[:, 0], chosen[:, 1]]

    def _logprobs(self, rows: NDArray[np.int64], place: int) -> NDArray[np.float64]:
        """log p of each symbol at one place of each of N sequences of equal length (N, T): (N, V)."""
        parts = [rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE)]
        found = [
            self.predictor.logprobs(
                part, np.full(len(part), part.shape[1]), np.arange(len(part)), np.full(len(part), place)
            )
            for part in parts
        ]
        return np.concatenate(found) if found else np.empty((0, self.predictor.num_outputs))

    def _masked(self, gaps: Sequence[Gap], sizes: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sentence with both ends, and in each blank as many masks as `sizes` says; the places of the masks."""
        ids: list[int] = []
        for gap, size in zip(gaps, sizes, strict=True):
            ids += [*gap.ids_between.tolist(), *[self.predictor.mask_id] * size]
        whole = with_ends([*ids, *gaps[-1].ids_after.tolist()], self.tokenizer.eos_id)
        return whole, np.flatnonzero(whole == self.predictor.mask_id)
