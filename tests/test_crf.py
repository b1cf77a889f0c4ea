"""The conditional random field, held against a list of all sequences of tags, autograd, and itself without padding."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from charlm.engine.numpy_ops import NumpyOps
from charlm.model.crf import LogPartition
from charlm.model.operations import TorchOps
from charlm.network import crf

NUM_TAGS = 3
LENGTHS = np.array([4, 1, 5, 2])
Floats = NDArray[np.float64]


def chain(seed: int = 1, num_tags: int = NUM_TAGS, scale: float = 1.0) -> tuple[Floats, Floats]:
    """Emissions (T, B, K), with anything in the padding, and transitions (K + 1, K + 1)."""
    rng = np.random.default_rng(seed)
    emissions = scale * rng.standard_normal((int(LENGTHS.max()), len(LENGTHS), num_tags))
    return emissions, rng.standard_normal((num_tags + 1, num_tags + 1))


def score(emissions: Floats, tags: tuple[int, ...], transitions: Floats) -> float:
    """The score of a sequence of tags for one sentence (T, K), from its definition."""
    pairs = itertools.pairwise((-1, *tags, -1))
    return float(sum(emissions[t, tag] for t, tag in enumerate(tags)) + sum(transitions[pair] for pair in pairs))


def all_scores(emissions: Floats, transitions: Floats) -> dict[tuple[int, ...], float]:
    """The score of every sequence of tags for one sentence (T, K)."""
    paths = itertools.product(range(emissions.shape[1]), repeat=len(emissions))
    return {path: score(emissions, path, transitions) for path in paths}


def forbidding(transitions: Floats, *pairs: tuple[int, int]) -> Floats:
    changed = transitions.copy()
    for pair in pairs:
        changed[pair] += crf.EXCLUDED
    return changed


FORBIDDEN = ((0, 2), (-1, 1), (1, 1), (2, -1))
CHAINS = {"all": chain(), "some": (chain(2)[0], forbidding(chain(2)[1], *FORBIDDEN))}


def has_forbidden(path: tuple[int, ...]) -> bool:
    return any(pair in FORBIDDEN for pair in itertools.pairwise((-1, *path, -1)))


@pytest.mark.parametrize("which", list(CHAINS))
@pytest.mark.parametrize("ops", [NumpyOps, TorchOps])
def test_everything_is_as_in_the_list_of_all_sequences(which: str, ops: Any) -> None:
    emissions, transitions = CHAINS[which]
    as_array = torch.from_numpy if ops is TorchOps else np.asarray
    given = (as_array(emissions), as_array(LENGTHS), as_array(transitions))
    partition = np.asarray(crf.log_partition(*given, ops))
    best = np.asarray(crf.best_paths(*given, ops))
    marginals = np.exp(np.asarray(crf.log_marginals(*given, ops)))
    for row, length in enumerate(LENGTHS.tolist()):
        scores = all_scores(emissions[:length, row], transitions)
        whole = np.logaddexp.reduce(list(scores.values()))
        assert partition[row] == pytest.approx(whole, abs=1e-9)
        assert tuple(best[:length, row].tolist()) == max(scores, key=scores.__getitem__)
        probabilities = {path: np.exp(value - whole) for path, value in scores.items()}
        for place, tag in itertools.product(range(length), range(NUM_TAGS)):
            expected = sum(p for path, p in probabilities.items() if path[place] == tag)
            assert marginals[place, row, tag] == pytest.approx(expected, abs=1e-9)
        if which == "some":
            assert not has_forbidden(tuple(best[:length, row].tolist()))
            assert sum(p for path, p in probabilities.items() if has_forbidden(path)) == 0
        for path, value in scores.items():
            tags = np.zeros((int(LENGTHS.max()), len(LENGTHS)), np.int64)
            tags[:length, row] = path
            found = crf.path_scores(given[0], as_array(tags), given[1], given[2], ops)
            assert float(found[row]) == pytest.approx(value, abs=1e-9)
            steps = np.asarray(crf.log_steps(given[0], as_array(tags), given[1], given[2], ops))[:length, row]
            assert steps.sum() == pytest.approx(value - whole, abs=1e-9)
            if value > crf.EXCLUDED / 2:  # of the others, all p that can be compared are 0
                for place in range(1, length):
                    known = sum(p for other, p in probabilities.items() if other[place - 1] == path[place - 1])
                    both = slice(place - 1, place + 1)
                    together = sum(p for other, p in probabilities.items() if other[both] == path[both])
                    assert np.exp(steps[place]) == pytest.approx(together / known, abs=1e-9)


@pytest.mark.parametrize("which", list(CHAINS))
def test_padding_changes_nothing(which: str) -> None:
    emissions, transitions = CHAINS[which]
    together = crf.log_marginals(emissions, LENGTHS, transitions, NumpyOps)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = (emissions[:length, row : row + 1], LENGTHS[row : row + 1], transitions, NumpyOps)
        np.testing.assert_allclose(crf.log_marginals(*alone)[:, 0], together[:length, row], atol=1e-12)


def tensors(which: str) -> tuple[Tensor, Tensor, Tensor]:
    emissions, transitions = CHAINS[which]
    found = (torch.from_numpy(emissions.copy()), torch.from_numpy(transitions.copy()))
    return found[0].requires_grad_(), found[1].requires_grad_(), torch.from_numpy(LENGTHS)


@pytest.mark.parametrize("which", list(CHAINS))
def test_the_gradient_is_that_of_the_equation(which: str) -> None:
    emissions, transitions, lengths = tensors(which)
    factors = torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    fast = LogPartition.apply(emissions, transitions, lengths)
    slow = crf.log_partition(emissions, lengths, transitions, TorchOps)
    torch.testing.assert_close(fast, slow)
    for found, expected in zip(
        *(torch.autograd.grad((result * factors).sum(), (emissions, transitions)) for result in (fast, slow)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_gradients_are_those_of_finite_differences() -> None:
    emissions, transitions, lengths = tensors("all")
    tags = torch.from_numpy(np.random.default_rng(3).integers(0, NUM_TAGS, (len(emissions), len(lengths))))
    assert torch.autograd.gradcheck(LogPartition.apply, (emissions, transitions, lengths))
    assert torch.autograd.gradcheck(
        lambda e, t: crf.path_scores(e, tags, lengths, t, TorchOps), (emissions, transitions)
    )


def test_the_probabilities_of_pairs_are_summed_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    emissions, transitions, lengths = tensors("some")
    (whole,) = torch.autograd.grad(LogPartition.apply(emissions, transitions, lengths).sum(), transitions)
    monkeypatch.setattr("charlm.model.crf.PAIRS_AT_ONCE", 2 * len(LENGTHS) * NUM_TAGS**2)
    (parts,) = torch.autograd.grad(LogPartition.apply(emissions, transitions, lengths).sum(), transitions)
    torch.testing.assert_close(whole, parts)


def test_a_long_sentence_is_precise_in_float32() -> None:
    """Its score is tens of thousands, of which float32 has no thousandths."""
    rng = np.random.default_rng(5)
    emissions = 30 * rng.standard_normal((2000, 1, NUM_TAGS))
    lengths, (_, transitions) = np.array([2000]), chain()
    exact = np.exp(crf.log_marginals(emissions, lengths, transitions, NumpyOps))
    single = [emissions.astype(np.float32), transitions.astype(np.float32)]
    rounded = np.exp(crf.log_marginals(single[0], lengths, single[1], NumpyOps))
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=2e-5)
    ours = crf.best_paths(single[0], lengths, single[1], NumpyOps)
    assert (ours == crf.best_paths(emissions, lengths, transitions, NumpyOps)).all()
    x, t = (torch.from_numpy(array).requires_grad_() for array in single)
    LogPartition.apply(x, t, torch.from_numpy(lengths)).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), exact, atol=2e-5)


@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-3, 1.0, 1e3, 1e5]))
@settings(max_examples=40)
def test_what_is_excluded_is_never_chosen_however_likely_the_words_make_it(seed: int, scale: float) -> None:
    emissions, transitions = chain(seed, scale=scale)
    limited = forbidding(transitions, *FORBIDDEN).astype(np.float32)
    best = crf.best_paths(emissions.astype(np.float32), LENGTHS, limited, NumpyOps)
    for row, length in enumerate(LENGTHS.tolist()):
        assert not has_forbidden(tuple(best[:length, row].tolist()))


def test_where_no_sequence_is_allowed_nothing_is_infinite() -> None:
    emissions, transitions = chain()
    nothing = transitions + crf.EXCLUDED
    assert np.isfinite(crf.log_marginals(emissions, LENGTHS, nothing, NumpyOps)).all()
    assert np.isfinite(crf.log_partition(emissions, LENGTHS, nothing, NumpyOps)).all()
