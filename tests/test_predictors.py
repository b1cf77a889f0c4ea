"""What every predictor promises, whatever it runs on, and what a language model makes of one that charlm never saw."""

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.api import LanguageModel
from charlm.engine.compiled import can_compile, has_bfloat16
from charlm.engine.predictor import StepPredictor
from charlm.errors import UsageError
from charlm.model.predictor import TorchPredictor
from charlm.ngram import estimation
from charlm.ngram.compiled import CompiledLookup
from charlm.ngram.counting import Text
from charlm.ngram.gate import Gate
from charlm.ngram.predictor import NgramPredictor
from charlm.probability import log_softmax
from charlm.sampling.generate import Ending, collect
from charlm.sampling.strategies import Strategy
from charlm.scoring import score as scoring
from charlm.scoring.loading import ENGINES, Trained
from charlm.scoring.mixture import Mixture
from charlm.scoring.predictor import DeferredPredictor, Predictor
from charlm.scoring.score import score_sequence, score_sequences, score_stream
from charlm.settings import Precision, TextSettings
from charlm.text.tokenizer import build_tokenizer
from tests.conftest import english
from tests.test_network import VARIANTS, VOCAB, architecture_of, every_cell, every_variant, random_ids, random_network
from tests.test_scoring import EOS, one_by_one

LSTM = architecture_of("lstm", num_layers=2, head_layers=1, residual=True, tie_embeddings=True, initial_state="learned")


class Learning:
    """Pairs of tokens, counted while they are read: its state is all that was read, so no text can be cut."""

    can_run_in_segments = False

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def initial_state(self, batch_size: int = 1) -> Any:
        return np.full((batch_size, self.vocab_size, self.vocab_size), 0.1), np.full(batch_size, -1)

    def step(self, ids: Any, state: Any) -> tuple[Any, Any]:
        counts, previous = state[0].copy(), state[1]
        (rows,) = np.nonzero(previous >= 0)
        counts[rows, previous[rows], ids[rows]] += 1
        return np.log(counts[np.arange(len(ids)), ids]), (counts, np.array(ids))

    def logprobs(self, inputs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        logprobs = np.empty(inputs.shape)
        for t in range(inputs.shape[1]):
            logits, state = self.step(inputs[:, t], state)
            logprobs[:, t] = log_softmax(logits)[np.arange(len(inputs)), targets[:, t]]
        return logprobs, state

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        return tuple(part[list(rows)] for part in state)

    def join(self, states: Sequence[Any]) -> Any:
        return tuple(map(np.concatenate, zip(*states, strict=True)))


class Cut(Learning):
    """A `Learning` that claims, wrongly, that a text may be cut."""

    can_run_in_segments = True


@dataclass(frozen=True)
class Way:
    """A way to make a predictor, and how near its numbers are to each other where they are computed in another way."""

    make: Callable[[], Predictor]
    tolerance: float = 1e-5


def build(engine: str, precision: Precision = "float32") -> Predictor:
    weights = random_network(LSTM).float().arrays()
    return ENGINES[engine](Trained(LSTM, weights, device="cpu", precision=precision))


def defer(engine: str) -> Predictor:
    return DeferredPredictor(VOCAB, partial(build, engine))


def count(is_compiled: bool) -> Predictor:
    trie = estimation.build(Text(random_ids(1, 300, seed=5)[0], VOCAB, EOS, order=4))
    return NgramPredictor(trie, CompiledLookup(trie) if is_compiled else trie)


def mix(engine: str) -> Predictor:
    network, ngram = build(engine), count(is_compiled=engine == "compiled")
    assert isinstance(ngram, NgramPredictor)
    return Mixture(network, ngram, Gate((-2.0, 0.5, 1.5, 3.0), (0.5, -1.0, 0.2, 0.1, -0.3)))  # type: ignore[arg-type]


WAYS = {
    "compiled": Way(partial(build, "compiled")),
    "compiled, bfloat16": Way(partial(build, "compiled", "bfloat16")),
    "numpy": Way(partial(build, "numpy")),
    "torch": Way(partial(build, "torch")),
    "torch, bfloat16": Way(partial(build, "torch", "bfloat16"), tolerance=0.03),
    "deferred, compiled": Way(partial(defer, "compiled")),
    "deferred, numpy": Way(partial(defer, "numpy")),
    "deferred, torch": Way(partial(defer, "torch")),
    "n-grams": Way(partial(count, is_compiled=False)),
    "n-grams, compiled": Way(partial(count, is_compiled=True)),
    "mixture": Way(partial(mix, "numpy")),
    "mixture, compiled": Way(partial(mix, "compiled")),
    "mixture, torch": Way(partial(mix, "torch")),
    "learning": Way(partial(Learning, VOCAB), tolerance=0.0),
}
built = pytest.mark.skipif(not can_compile(LSTM), reason="the compiled code was not built")
in_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="no compiled code, or a processor without bfloat16")
every_way = pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            way, id=name, marks=[built] * ("compiled" in name) + [in_bfloat16] * (name == "compiled, bfloat16")
        )
        for name, way in WAYS.items()
    ],
)

Copy = Callable[[Any], Any]
COPIES: dict[str, Copy] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
every_copy = pytest.mark.parametrize("copied", list(COPIES.values()), ids=list(COPIES))


def walk(predictor: Predictor, ids: Any, state: Any = None) -> tuple[Any, Any]:
    """ids (B, T) -> logits (B, T, V), and the state after them."""
    state, logits = predictor.initial_state(len(ids)) if state is None else state, []
    for now in ids.T:
        row, state = predictor.step(now, state)
        logits.append(row)
    return np.stack(logits, axis=1), state


def assert_near(found: Any, expected: Any, tolerance: float) -> None:
    """The arrays are equal up to rounding, relative to the largest of the numbers."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


# What every predictor promises


@every_way
def test_joined_states_go_on_as_each_alone(way: Way) -> None:
    predictor, following = way.make(), random_ids(8, 4, seed=9)
    beginnings = [random_ids(rows, steps, seed=rows) for rows, steps in ((2, 3), (1, 6), (3, 1))]
    states = [*(walk(predictor, ids)[1] for ids in beginnings), predictor.initial_state(2)]
    alone = [walk(predictor, *pair)[0] for pair in zip(np.split(following, [2, 3, 6]), states, strict=True)]
    together, _ = walk(predictor, following, predictor.join(states))
    assert_near(together, np.concatenate(alone), way.tolerance)
    only_one, _ = walk(predictor, following[:2], predictor.join(states[:1]))
    assert_near(only_one, alone[0], way.tolerance)


@every_way
@pytest.mark.parametrize("rows", [[2, 0], [1, 1, 1], [0, 1, 2, 3], [3, 1, 3, 0, 2, 2]], ids=str)
def test_selected_rows_go_on_as_they_would_have(way: Way, rows: list[int]) -> None:
    predictor, following = way.make(), random_ids(4, 3, seed=9)
    _, state = walk(predictor, random_ids(4, 5))
    expected, _ = walk(predictor, following, state)
    found, _ = walk(predictor, following[rows], predictor.select(state, rows))
    assert_near(found, expected[rows], way.tolerance)


@every_way
def test_a_state_is_not_changed_by_what_is_made_of_it(way: Way) -> None:
    predictor, ids = way.make(), random_ids(3, 4, seed=9)
    _, state = walk(predictor, random_ids(3, 5))
    first, _ = walk(predictor, ids, state)
    walk(predictor, ids[:2], predictor.select(state, [2, 0]))
    walk(predictor, np.concatenate([ids, ids]), predictor.join([state, state]))
    predictor.logprobs(ids, ids, state)
    np.testing.assert_array_equal(walk(predictor, ids, state)[0], first)


@every_way
def test_logprobs_are_those_of_the_steps_and_end_in_the_same_state(way: Way) -> None:
    predictor, inputs, targets = way.make(), random_ids(4, 9), random_ids(4, 9, seed=4)
    logits, end = walk(predictor, inputs)
    expected = np.take_along_axis(log_softmax(logits), targets[..., None], axis=2)[..., 0]
    targets[2, 5:] = scoring.PADDING
    found, state = predictor.logprobs(inputs, targets, predictor.initial_state(4))
    assert found.dtype == np.float64
    is_text = targets != scoring.PADDING
    assert_near(found[is_text], expected[is_text], way.tolerance)
    assert_near(
        walk(predictor, inputs[:2], predictor.select(state, [3, 0]))[0],
        walk(predictor, inputs[:2], predictor.select(end, [3, 0]))[0],
        way.tolerance,
    )


@every_way
def test_there_is_a_logit_for_each_type(way: Way) -> None:
    predictor = way.make()
    assert predictor.vocab_size == VOCAB
    logits, _ = predictor.step(random_ids(5), predictor.initial_state(5))
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (5, VOCAB)


@every_cell
@every_variant
def test_a_step_in_torch_equals_one_in_numpy(cell: str, variant: str) -> None:
    network = random_network(architecture_of(cell, **VARIANTS[variant])).float()
    ids = random_ids(3, 6)
    found, state = walk(TorchPredictor(network), ids)
    expected, expected_state = walk(StepPredictor(network.architecture, network.arrays()), ids)
    assert found.dtype == expected.dtype == np.float32
    assert_near(found, expected, 1e-4)
    for part, other in zip(sum(state, ()), sum(expected_state, ()), strict=True):
        assert_near(part.numpy(), other, 1e-4)


# Copies


@every_way
@every_copy
@pytest.mark.parametrize("is_used", [False, True], ids=["new", "used"])
def test_a_copy_gives_the_same_numbers(way: Way, copied: Copy, is_used: bool) -> None:
    predictor, ids, targets = way.make(), random_ids(3, 6), random_ids(3, 6, seed=4)
    if is_used:
        walk(predictor, ids)
    twin = copied(predictor)
    assert twin is not predictor
    assert twin.vocab_size == predictor.vocab_size
    assert twin.can_run_in_segments == predictor.can_run_in_segments
    for first, second in ((predictor, twin), (twin, copied(twin))):
        expected, state = walk(first, ids)
        np.testing.assert_array_equal(walk(second, ids)[0], expected)
        np.testing.assert_array_equal(walk(second, ids, state)[0], walk(first, ids, state)[0])
        expected, _ = first.logprobs(ids, targets, first.initial_state(3))
        np.testing.assert_array_equal(second.logprobs(ids, targets, second.initial_state(3))[0], expected)


@every_copy
def test_what_is_deferred_is_built_when_it_is_first_used_and_once(copied: Copy) -> None:
    built: list[Predictor] = []

    def build_learning() -> Predictor:
        built.append(Learning(VOCAB))
        return built[-1]

    predictor = DeferredPredictor(VOCAB, build_learning)
    assert (predictor.vocab_size, built) == (VOCAB, [])
    for _ in range(2):
        walk(predictor, random_ids(2, 3))
    assert built == [predictor.built]


@every_copy
@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_a_model_that_was_used_is_copied_with_all_its_numbers(
    copied: Copy, engine: str | None, trained: Callable[[str], Path]
) -> None:
    if engine == "compiled" and not can_compile(LSTM):
        pytest.skip("the compiled code was not built")

    def results(lm: LanguageModel) -> tuple[Any, ...]:
        lines = list(lm.score_lines(["She likes it.", "", "A dog ☃"]))
        sampled = list(lm.sample_many("The ", Strategy(), Ending(length=9), 3, seed=2))
        score = lm.score("The cat sees it.", context="She", per_token=True)
        return lines, score, sampled, lm.sample("A d", seed=1, length=9), lm.next_tokens("The ", 4), lm.path

    lm = charlm.load(trained("subword"), device="cpu", engine=engine)
    expected = results(lm)
    twin = copied(lm)
    assert results(twin) == expected
    assert results(copied(twin)) == results(lm) == expected


# A predictor whose state is all that it has read


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of these tests are long, and read in many pieces."""
    limits = {"MAX_WHOLE_TOKENS": 50, "BATCH_TOKENS": 50, "SEGMENTS": 7, "WARM_UP": 5, "TIME_CHUNK": 8, "BLOCK": 64}
    for name, limit in limits.items():
        monkeypatch.setattr(scoring, name, limit)


LONG = random_ids(700)


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("length", [1, 49, 50, 51, 64, 699])
def test_what_cannot_run_in_segments_is_scored_in_one_go(length: int) -> None:
    predictor, ids = Learning(VOCAB), LONG[:length].astype(np.uint16)
    expected = one_by_one(predictor, ids)
    np.testing.assert_array_equal(score_sequence(predictor, ids, EOS), expected)
    for size in (1, 30, 64, 65, 10_000):
        pieces = [ids[start : start + size] for start in range(0, length, size)]
        streamed = list(score_stream(predictor, pieces, EOS))
        np.testing.assert_array_equal(np.concatenate([block for block, _ in streamed]), ids)
        np.testing.assert_array_equal(np.concatenate([logprobs for _, logprobs in streamed]), expected)


@pytest.mark.usefixtures("short_limits")
def test_cutting_would_have_given_other_numbers() -> None:
    expected = np.array(one_by_one(Learning(VOCAB), LONG))
    assert abs(score_sequence(Cut(VOCAB), LONG, EOS).sum() - expected.sum()) > 1.0


@pytest.mark.usefixtures("short_limits")
def test_many_sequences_are_each_scored_in_one_go_and_teach_each_other_nothing() -> None:
    predictor = Learning(VOCAB)
    sequences = [
        LONG[start : start + length] for start, length in ((0, 3), (3, 200), (9, 0), (9, 50), (70, 51), (3, 3))
    ]
    for ids, logprobs in zip(sequences, score_sequences(predictor, sequences, EOS), strict=True):
        np.testing.assert_array_equal(logprobs, one_by_one(predictor, ids))


@pytest.mark.usefixtures("short_limits")
def test_no_piece_is_no_score() -> None:
    assert list(score_stream(Learning(VOCAB), [], EOS)) == []
    assert len(score_sequence(Learning(VOCAB), np.empty(0, np.int64), EOS)) == 0


@pytest.fixture(params=["char", "word"])
def own(request: pytest.FixtureRequest) -> LanguageModel:
    """A language model that was never trained."""
    tokenizer = build_tokenizer(TextSettings(unit=request.param), [english(60)])
    return LanguageModel(tokenizer, Learning(tokenizer.vocab_size))


def nats_one_by_one(lm: LanguageModel, text: str) -> float:
    """-log p of a text and its end."""
    return -math.fsum(one_by_one(lm.predictor, [*lm.tokenizer.encode(text).tolist(), lm.tokenizer.eos_id]))


TEXT = english(40, seed=2).rstrip("\n")


@pytest.mark.usefixtures("short_limits")
def test_a_model_of_ones_own_scores_by_all_that_came_before(own: LanguageModel, tmp_path: Path) -> None:
    expected = nats_one_by_one(own, TEXT)
    score, per_token = own.score(TEXT), own.score(TEXT, per_token=True)
    assert score.tally.unknown == 0
    assert score.tally.total_nats == pytest.approx(expected)
    assert per_token.tally.total_nats == pytest.approx(expected)
    (tmp_path / "text.txt").write_text(TEXT + "\n", encoding="utf-8")
    assert own.score_stream(tmp_path / "text.txt").total_nats == pytest.approx(expected)
    lines = [TEXT, *TEXT.split("\n"), TEXT]
    for line, line_score in zip(lines, own.score_lines(lines), strict=True):
        assert line_score.tally.total_nats == pytest.approx(nats_one_by_one(own, line))
    again = own.score(TEXT, context=TEXT + "\n")
    assert again.tally.total_nats < 0.9 * expected  # it has learnt


def test_a_model_of_ones_own_samples(own: LanguageModel) -> None:
    prompts, ending = [TEXT, "", "The c", TEXT[:50]], Ending(length=12)
    samples = list(own.sample_many(prompts, Strategy(), ending, 2, seed=3))
    numbered = [(prompt, number) for prompt in prompts for number in range(2)]
    for (prompt, number), sample in zip(numbered, samples, strict=True):
        assert sample == collect(prompt, own.sample_tokens(prompt, Strategy(), ending, seed=3, number=number))
        assert len(sample.ids) == 12
    assert samples[0] == own.sample(TEXT, seed=3, length=12)
    likely = own.next_tokens("The cat sees", 3)
    assert [token.rank for token in likely] == [1, 2, 3]


class Alone(Learning):
    """Reads one sequence at a time: its states cannot be joined."""

    join = None


def test_a_predictor_that_joins_nothing_samples_one_text(own: LanguageModel) -> None:
    alone = LanguageModel(own.tokenizer, Alone(own.tokenizer.vocab_size))
    assert alone.sample("The c", seed=3, length=12) == own.sample("The c", seed=3, length=12)
    ending = Ending(length=5)
    one_by_one = [next(alone.sample_many("A", Strategy(), ending, seed=3)), *alone.sample_many("A", Strategy(), ending)]
    assert [len(sample.ids) for sample in one_by_one] == [5, 5]


@pytest.mark.parametrize("count", [-1, -7])
def test_a_number_below_0_is_refused(own: LanguageModel, count: int) -> None:
    asked: list[Callable[[], object]] = [
        lambda: own.next_tokens("The", count),
        lambda: own.score("The", per_token=True, alternatives=count),
        lambda: own.sample("The", alternatives=count),
        lambda: list(own.sample_many("The", Strategy(), Ending(), count)),
        lambda: list(own.sample_tokens("The", Strategy(), Ending(), alternatives=count)),
    ]
    for ask in asked:
        with pytest.raises(UsageError, match=f"{count} is out of range"):
            ask()


def test_alternatives_without_tokens_are_refused(own: LanguageModel) -> None:
    with pytest.raises(UsageError, match="per_token=True"):
        own.score("The", alternatives=2)
    assert all(len(token.alternatives) == 2 for token in own.score("The", per_token=True, alternatives=2).tokens_scored)


@every_copy
def test_a_model_of_ones_own_is_copied(own: LanguageModel, copied: Copy) -> None:
    expected = own.score(TEXT), own.sample("The ", seed=3, length=12)
    twin = copied(own)
    assert (twin.score(TEXT), twin.sample("The ", seed=3, length=12)) == expected
