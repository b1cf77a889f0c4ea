"""Beam search: find likely sequences, such as translations, for several texts at once.

As in Sutskever et al. 2014, at each step the likeliest extensions of all hypotheses of a text are kept; a hypothesis
that ends is set aside, and the beam of its text becomes narrower by one. So a beam of one is arg max, and a beam that
holds all sequences finds the best. Hypotheses are compared by `Hypothesis.score`, since each further token makes a
sequence less probable.

Shapes: N texts; B rows, one for each hypothesis that is being written, text by text; V symbols.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.sampling.writing import Ends, Hypothesis, Writer, length_penalty, scored


def beam_search(network: Writer, state: Any, ends: Ends, beam: int, n_best: int = 1) -> list[list[Hypothesis]]:
    """Up to `n_best` hypotheses of each text, the best first; `state` has one row for each text.

    Of equally likely extensions those of the likelier hypothesis are kept, then those with lower ids. The search in a
    text ends when nothing that is being written can become better than the `n_best` found, even if all its further
    tokens were certain. What reaches the largest length is cut there, and ranks after all that is complete.
    """
    search = _Search(ends, beam, n_best)
    ids = np.full(len(ends.max_lengths), ends.eos_id)
    while len(ids):
        logits, state = network.step(ids, state)
        rows, ids = search.extend(*scored(logits, ends))
        state = network.select(state, rows.tolist())
    return [sorted(found, key=_rank)[:n_best] for found in search.ended]


class _Search:
    """A beam search on its way."""

    def __init__(self, ends: Ends, beam: int, n_best: int) -> None:
        num_texts = len(ends.max_lengths)
        self._ends, self._beam, self._n_best = ends, beam, n_best
        self._texts = np.arange(num_texts)  # (B,) the text of each row
        self._totals = np.zeros(num_texts)  # (B,) its log-probability
        self._written = np.empty((num_texts, 0), np.int64)  # (B, length)
        self._room = np.full(num_texts, beam)  # (N,) how many hypotheses of each text may go on
        self._to_beat = np.full(num_texts, -np.inf)  # (N,) the score that a further hypothesis must exceed
        self.ended: list[list[Hypothesis]] = [[] for _ in range(num_texts)]

    def extend(self, logits: NDArray[Any], smaller: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Extend all hypotheses by a token: logits (B, V) and by how much log-probabilities are smaller (B,).

        Returns which of the rows go on (one can do so several times), and with which ids.
        """
        rows, ids = self._keep_best(logits, smaller)
        is_end = ids == self._ends.eos_id
        is_cut = ~is_end & (self._written.shape[1] >= self._ends.max_lengths[self._texts])
        for row in np.flatnonzero(is_end | is_cut).tolist():
            self._set_aside(row, is_complete=bool(is_end[row]))
        highest = self._totals / length_penalty(self._ends.max_lengths[self._texts])
        goes_on = ~is_end & ~is_cut & (highest > self._to_beat[self._texts])
        self._texts, self._totals, self._written = (
            array[goes_on] for array in (self._texts, self._totals, self._written)
        )
        return rows[goes_on], ids[goes_on]

    def _keep_best(
        self, logits: NDArray[Any], smaller: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Put the likeliest extensions of each text, as many as it has room for, in place of its hypotheses.

        Returns their rows before, and their ids.
        """
        rows, ids = _candidates(logits, self._beam)
        totals, texts = self._totals[rows] + logits[rows, ids] - smaller[rows], self._texts[rows]
        order = np.lexsort((ids, rows, -totals, texts))
        place_in_text = np.arange(len(order)) - np.searchsorted(texts[order], texts[order])
        kept = order[place_in_text < self._room[texts[order]]]
        self._texts, self._totals = texts[kept], totals[kept]
        self._written = np.column_stack([self._written[rows[kept]], ids[kept]])
        return rows[kept], ids[kept]

    def _set_aside(self, row: int, is_complete: bool) -> None:
        """Take a hypothesis out of the search, since it has ended or is too long."""
        text, found = int(self._texts[row]), self.ended[self._texts[row]]
        found.append(Hypothesis(tuple(self._written[row].tolist()), float(self._totals[row]), is_complete))
        self._room[text] -= 1
        complete = sorted((each.score for each in found if each.is_complete), reverse=True)
        if len(complete) >= self._n_best:
            self._to_beat[text] = complete[self._n_best - 1]


def _candidates(logits: NDArray[Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The `count` likeliest ids of each row of logits (B, V), with all that are as likely as the last: rows and ids."""
    is_candidate = logits > -np.inf
    if count < logits.shape[1]:
        is_candidate &= logits >= np.partition(logits, -count, axis=1)[:, -count, None]
    rows, ids = np.nonzero(is_candidate)
    return rows, ids


def _rank(hypothesis: Hypothesis) -> tuple[bool, float, tuple[int, ...]]:
    """Complete ones first, then by score; those of equal score by their ids."""
    return not hypothesis.is_complete, -hypothesis.score, hypothesis.ids
