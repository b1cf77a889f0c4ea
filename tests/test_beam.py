"""Beam search, arg max and sampling on tiny models whose sequences can all be counted."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.errors import DivergedError
from charlm.probability import log_softmax
from charlm.sampling.beam import beam_search
from charlm.sampling.strategies import Strategy
from charlm.sampling.writing import Ends, Hypothesis, length_penalty, write

EOS, SYMBOLS = 2, 4
ARG_MAX = Strategy(temperature=0)
History = tuple[int, ...]


class Remembering:
    """A writer whose logits depend on all that was written, drawn from a seed; with `num_levels` they are often equal.

    Its state is one history for each sequence.
    """

    def __init__(self, seed: int, num_levels: int = 0) -> None:
        self._seed, self._num_levels = seed, num_levels
        self.num_steps = 0

    def logits(self, history: History) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, *history])
        if self._num_levels:
            return rng.integers(0, self._num_levels, SYMBOLS).astype(np.float32)
        return (2 * rng.normal(size=SYMBOLS)).astype(np.float32)

    def step(self, ids: NDArray[Any], state: list[History]) -> tuple[NDArray[Any], list[History]]:
        self.num_steps += 1
        state = [(*history, int(id)) for history, id in zip(state, ids, strict=True)]
        return np.stack([self.logits(history) for history in state]), state

    def select(self, state: list[History], rows: Sequence[int]) -> list[History]:
        return [state[row] for row in rows]


def all_sequences(
    writer: Remembering, history: History, max_length: int, written: History = (), logprob: float = 0.0
) -> Iterator[Hypothesis]:
    """Everything that can be written up to a length, with its probability; what has no end by then is cut."""
    logprobs = log_softmax(writer.logits(history))
    for id in range(SYMBOLS):
        ids, total = (*written, id), logprob + float(logprobs[id])
        if id == EOS or len(ids) == max_length:
            yield Hypothesis(ids, total, id == EOS)
        else:
            yield from all_sequences(writer, (*history, id), max_length, ids, total)


def search(
    writer: Remembering, starts: Sequence[int], max_lengths: Sequence[int], beam: int, n_best: int = 1, **more: Any
) -> list[list[Hypothesis]]:
    return beam_search(writer, [(start,) for start in starts], Ends(EOS, np.array(max_lengths), **more), beam, n_best)


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_best_of_all_sequences(seed: int) -> None:
    writer, starts, max_lengths = Remembering(seed), (7, 8, 9), (4, 2, 5)
    found = search(writer, starts, max_lengths, beam=SYMBOLS**5, n_best=3)
    for own, start, max_length in zip(found, starts, max_lengths, strict=True):
        every = [each for each in all_sequences(writer, (start, EOS), max_length) if each.is_complete]
        best = sorted(every, key=lambda each: -each.score)[:3]
        assert [each.ids for each in own] == [each.ids for each in best]
        np.testing.assert_allclose([each.logprob_nats for each in own], [each.logprob_nats for each in best], rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(0, 3))
def test_a_beam_of_one_is_arg_max(seed: int, num_levels: int) -> None:
    starts, max_lengths = (1, 5, 6), np.array([6, 9, 1])
    state, ends = [(start,) for start in starts], Ends(EOS, max_lengths)
    found = [best for (best,) in search(Remembering(seed, num_levels), starts, [6, 9, 1], beam=1)]
    expected = write(Remembering(seed, num_levels), state, ends, ARG_MAX)
    assert [each.ids for each in found] == [each.ids for each in expected]
    for own, other, start, max_length in zip(found, expected, starts, max_lengths.tolist(), strict=True):
        assert own.logprob_nats == pytest.approx(other.logprob_nats)
        history, ids = (start, EOS), list[int]()
        while EOS not in ids and len(ids) < max_length:
            ids.append(int(Remembering(seed, num_levels).logits(history).argmax()))
            history = (*history, ids[-1])
        assert own.ids == tuple(ids)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(0, 3))
def test_texts_are_searched_side_by_side_as_each_alone_and_ties_are_always_broken_alike(
    seed: int, beam: int, num_levels: int
) -> None:
    writer, starts, max_lengths = Remembering(seed, num_levels), (1, 5, 6, 3), (6, 9, 1, 7)
    together = search(writer, starts, max_lengths, beam, n_best=2)
    assert together == search(writer, starts, max_lengths, beam, n_best=2)
    for own, start, max_length in zip(together, starts, max_lengths, strict=True):
        assert [own] == search(writer, [start], [max_length], beam, n_best=2)
        assert all(len(each.ids) <= max_length for each in own)
        ranks = [(not each.is_complete, -each.score) for each in own]
        assert ranks == sorted(ranks)


def test_what_is_forbidden_is_never_written_and_keeps_its_probability() -> None:
    writer = Remembering(4)
    (own,) = search(writer, [1], [5], beam=SYMBOLS**5, n_best=9, forbidden=(0,))
    every = {each.ids: each.logprob_nats for each in all_sequences(writer, (1, EOS), 5)}
    assert all(0 not in each.ids for each in own)
    assert all(each.logprob_nats == pytest.approx(every[each.ids], rel=1e-5) for each in own)


class Certain(Remembering):
    """Writes one of two endings at once, and is then nearly certain of anything but an end."""

    def logits(self, history: History) -> NDArray[np.float32]:
        probabilities = [0.05, 0.04, 0.9, 0.01] if len(history) == 2 else [0.97, 0.01, 0.01, 0.01]
        return np.log(np.array(probabilities, np.float32))


@pytest.mark.parametrize(("max_length", "max_steps"), [(20, 1), (1000, 600)])
def test_a_search_ends_when_nothing_can_become_better(max_length: int, max_steps: int) -> None:
    """What goes on has 0.05 of the probability, and loses a little at each step."""
    writer = Certain(1)
    (own,) = search(writer, [1], [max_length], beam=3)
    assert own[0].ids == (EOS,)
    assert np.log(0.05) / length_penalty(20) < own[0].score < np.log(0.05) / length_penalty(1000)
    assert writer.num_steps <= max_steps


def test_what_becomes_too_long_is_cut_and_ranks_last() -> None:
    (own,) = search(Certain(1), [1], [3], beam=3, n_best=3)
    assert [each.is_complete for each in own] == sorted((each.is_complete for each in own), reverse=True)
    assert not own[-1].is_complete
    assert len(own[-1].ids) == 3
    assert own[-1].without_end == own[-1].ids
    assert own[0].without_end == own[0].ids[:-1]


def test_drawn_sequences_are_as_frequent_as_they_are_probable() -> None:
    writer, number = Remembering(11), 6000
    rngs = [np.random.default_rng([1, draw]) for draw in range(number)]
    ends = Ends(EOS, np.full(number, 2))
    found = write(writer, [(3,)] * number, ends, Strategy(temperature=1.0), rngs)
    for sequence in all_sequences(writer, (3, EOS), 2):
        share = sum(each.ids == sequence.ids for each in found) / number
        assert share == pytest.approx(np.exp(sequence.logprob_nats), abs=0.02)
    alone = write(writer, [(3,)], Ends(EOS, np.array([2])), Strategy(temperature=1.0), [np.random.default_rng([1, 5])])
    assert alone == [found[5]]


def test_logits_that_are_not_finite_are_an_error() -> None:
    class Broken(Remembering):
        def logits(self, history: History) -> NDArray[np.float32]:
            return np.full(SYMBOLS, np.nan, np.float32)

    with pytest.raises(DivergedError):
        search(Broken(1), [1], [5], beam=2)
