"""What is kept and how it is chosen, each against its definition; and what a sample promises."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.api import LanguageModel
from charlm.errors import UsageError
from charlm.probability import log_softmax
from charlm.sampling.generate import (
    Ending,
    Sample,
    SampledToken,
    StopFilter,
    TextInProgress,
    collect,
    generate,
    prime,
)
from charlm.sampling.strategies import (
    Strategy,
    choose,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    softmax,
)
from charlm.text.interface import SymbolDecoder

# Sixteenths, so that equal logits occur and sums are exact.
logits = st.lists(st.integers(-160, 160), min_size=1, max_size=12).map(lambda values: np.array(values) / 16)
shares = st.floats(0.001, 1.0)
strategies = st.builds(
    Strategy,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.none() | shares,
    min_p=st.none() | shares,
    repetition_penalty=st.sampled_from([0.8, 1.0, 1.3]),
)


def kept(filtered: Any) -> set[int]:
    return set(np.flatnonzero(np.isfinite(filtered)).tolist())


def by_likelihood(values: Any) -> list[int]:
    """Ids, the likeliest first; of equals the lowest first."""
    return sorted(range(len(values)), key=lambda id: (-values[id], id))


def softmax_one_by_one(values: Any) -> list[float]:
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / math.fsum(weights) for weight in weights]


# Filters


@given(logits, st.integers(1, 14))
def test_top_k_keeps_the_k_likeliest(values: Any, k: int) -> None:
    assert kept(keep_top_k(values, k)) == set(by_likelihood(values)[:k])


@given(logits, shares)
def test_top_p_keeps_the_fewest_that_together_hold_p(values: Any, p: float) -> None:
    probabilities, order = softmax_one_by_one(values), by_likelihood(values)
    ids = kept(keep_top_p(values, p))
    assert ids == set(order[: len(ids)])
    held = [0.0, *accumulate(probabilities[id] for id in order)]
    assert held[len(ids)] >= p - 1e-9
    assert held[len(ids) - 1] < p + 1e-9


@given(logits, shares)
def test_min_p_keeps_those_at_least_p_times_as_likely_as_the_likeliest(values: Any, p: float) -> None:
    probabilities, ids = softmax_one_by_one(values), kept(keep_min_p(values, p))
    for id, probability in enumerate(probabilities):
        ratio = probability / max(probabilities)
        assert (id in ids) == (ratio >= p) or ratio == pytest.approx(p, rel=1e-9)


@given(logits, strategies)
def test_filters_change_no_logit_that_they_keep(values: Any, strategy: Strategy) -> None:
    for filtered in (
        keep_top_k(values, strategy.top_k or 1),
        keep_top_p(values, strategy.top_p or 1.0),
        keep_min_p(values, strategy.min_p or 0.0),
    ):
        assert all(filtered[id] == values[id] for id in kept(filtered))
        assert by_likelihood(values)[0] in kept(filtered)


@given(logits)
def test_the_widest_filters_keep_all(values: Any) -> None:
    everything = set(range(len(values)))
    assert kept(keep_top_k(values, len(values))) == everything
    assert kept(keep_min_p(values, 0.0)) == everything
    assert math.fsum(softmax(values)) == pytest.approx(1.0)


@given(logits, st.sampled_from([0.7, 1.5]), st.data())
def test_the_repetition_penalty_multiplies_the_log_probabilities_of_what_was_seen(
    values: Any, penalty: float, data: st.DataObject
) -> None:
    seen = data.draw(st.sets(st.integers(0, len(values) - 1)))
    logprobs = [math.log(p) for p in softmax_one_by_one(values)]
    expected = [logprob * penalty if id in seen else logprob for id, logprob in enumerate(logprobs)]
    penalised = penalise_repetition(values, np.array(sorted(seen), np.int64), penalty)
    np.testing.assert_allclose(penalised, expected, rtol=0, atol=1e-9)


# Choosing


def choose_with(values: Any, strategy: Strategy, seed: int, seen: Any = ()) -> int:
    """From a batch in which the text stands twice, which makes no difference."""
    draws = np.array([np.random.default_rng(seed).random()] * 2)
    first, second = choose(np.stack([values, values]), strategy, [seen, seen], draws).tolist()
    assert first == second
    return int(first)


@given(logits, strategies, st.integers(0, 99))
def test_temperature_0_is_the_arg_max(values: Any, strategy: Strategy, seed: int) -> None:
    coldest = dataclasses.replace(strategy, temperature=0.0, repetition_penalty=1.0)
    assert choose_with(values, coldest, seed) == int(np.argmax(values))


@given(logits, strategies, st.integers(0, 99), st.sampled_from([-64.0, 8.0, 1024.0]))
def test_a_constant_added_to_all_logits_changes_nothing(
    values: Any, strategy: Strategy, seed: int, constant: float
) -> None:
    assert choose_with(values, strategy, seed, [0]) == choose_with(values + constant, strategy, seed, [0])


@given(logits, st.floats(0.05, 3.0), st.integers(0, 99), st.data())
def test_what_is_ruled_out_is_never_chosen(values: Any, temperature: float, seed: int, data: st.DataObject) -> None:
    allowed = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))
    ruled = np.array([value if id in allowed else -np.inf for id, value in enumerate(values)])
    for strategy in (Strategy(temperature=temperature), Strategy(top_p=1.0, repetition_penalty=1.2)):
        assert choose_with(ruled, strategy, seed, [0]) in allowed


@given(logits, st.sampled_from([1e-6, 1e-300, 5e-324]), st.integers(0, 99))
def test_the_smallest_temperatures_choose_one_of_the_likeliest(values: Any, temperature: float, seed: int) -> None:
    assert values[choose_with(values, Strategy(temperature=temperature), seed)] == values.max()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy(), [0.1, 0.4, 0.2, 0.3, 0.0]),
        (Strategy(temperature=0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3, 0.0]),
        (Strategy(top_k=2), [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),
        (Strategy(top_p=0.8), [0.0, 4 / 9, 2 / 9, 3 / 9, 0.0]),
        (Strategy(min_p=0.6), [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),
        (Strategy(temperature=2.0, top_k=1), [0.0, 1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_choices_have_the_distribution_that_the_strategy_says(strategy: Strategy, expected: list[float]) -> None:
    with np.errstate(divide="ignore"):
        values = np.log([0.1, 0.4, 0.2, 0.3, 0.0])
    draws = 20_000
    chosen = choose(np.tile(values, (draws, 1)), strategy, [()] * draws, np.random.default_rng(7).random(draws))
    counts = np.bincount(chosen, minlength=5)
    for count, p in zip(counts, expected, strict=True):
        assert abs(count - draws * p) <= 4 * math.sqrt(draws * p * (1 - p))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": math.nan},
        {"repetition_penalty": 0.0},
    ],
)
def test_a_strategy_out_of_range_is_refused_naming_its_option(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        Strategy(**wrong)  # type: ignore[arg-type]


# Generating, with a network whose logits are written down

SYMBOLS = ("\n", "<unk>", "a", "b", "th", "e")
EOS, UNK = 0, 1
ANY = Strategy()


class Written:
    """Logits by the token before; there is no state."""

    def __init__(self, rows: dict[int, list[float]]) -> None:
        self.rows = rows

    def initial_state(self, batch_size: int = 1) -> None:
        return None

    def step(self, ids: Any, state: None) -> tuple[Any, None]:
        return np.array([self.rows[id] for id in ids.tolist()]), None

    def select(self, state: None, rows: Sequence[int]) -> None:
        return None

    def join(self, states: Sequence[None]) -> None:
        return None


def flat_network(**favoured: float) -> Written:
    row = [favoured.get(name, 0.0) for name in ("eos", "unk", "a", "b", "th", "e")]
    return Written(dict.fromkeys(range(len(SYMBOLS)), row))


def generated(
    network: Written,
    ending: Ending,
    seed: int = 1,
    start: tuple[int, ...] = (EOS,),
    strategy: Strategy = ANY,
    forbidden: int | None = None,
) -> Sample:
    rng, decoder = np.random.default_rng(seed), SymbolDecoder(SYMBOLS)
    text = TextInProgress(0, rng, decoder, ending, EOS, read=start[1:])
    steps = generate(network, [prime(network, np.array(start))], [text], strategy, forbidden)
    return collect("", (tokens[0] for tokens in steps))


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_unk_is_never_sampled_unless_allowed(seed: int, length: int) -> None:
    network = flat_network(unk=8.0)
    assert UNK not in generated(network, Ending(length=length), seed, forbidden=UNK).ids
    assert UNK in generated(network, Ending(length=20), seed).ids


@given(st.integers(0, 10**6))
def test_log_probabilities_are_the_models_own_whatever_the_strategy(seed: int) -> None:
    network = flat_network(unk=2.0, a=1.0)
    own = log_softmax(np.array([network.rows[0]]))[0]
    wild = Strategy(temperature=2.0, top_k=3, repetition_penalty=1.4)
    sample = generated(network, Ending(length=9), seed, strategy=wild, forbidden=UNK)
    assert [token.logprob_nats for token in sample.per_token] == pytest.approx([own[id] for id in sample.ids])
    assert sample.logprob_nats == pytest.approx(sum(own[id] for id in sample.ids))


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([None, "a", "the", "thea", "\n", "ab", "eth", "zz"]))
def test_a_sample_is_the_text_of_its_ids_up_to_the_stop_text(seed: int, length: int, stop: str | None) -> None:
    network = flat_network(th=1.0, e=1.0)
    free = generated(network, Ending(length=length), seed)
    stopped = generated(network, Ending(length=length, stop=stop), seed)
    text = "".join(SYMBOLS[id] for id in free.ids)
    assert free.text == text
    assert len(free.ids) == length
    assert stopped.ids == free.ids[: len(stopped.ids)]
    assert stopped.text == (text.split(stop)[0] if stop else text)
    assert stopped.stopped_by == ("stop" if stop and stop in text else "length")


@given(st.integers(0, 10**6))
def test_until_eos_ends_at_the_first_one_which_is_no_text(seed: int) -> None:
    free = generated(flat_network(), Ending(length=30), seed)
    ended = generated(flat_network(), Ending(length=30, until_eos=True), seed)
    if EOS in free.ids:
        assert ended.ids == free.ids[: free.ids.index(EOS) + 1]
        assert ended.stopped_by == "eos"
    else:
        assert (ended.ids, ended.stopped_by) == (free.ids, "length")
    assert ended.text == "".join(SYMBOLS[id] for id in ended.ids if id != EOS)


def test_only_the_last_token_says_what_stopped_it() -> None:
    tokens = generated(flat_network(), Ending(length=7)).per_token
    assert [token.stopped_by for token in tokens] == [None] * 6 + ["length"]


def test_each_token_follows_from_the_one_before_from_the_prompts_last_on() -> None:
    following = {0: 2, 1: 2, 2: 3, 3: 4, 4: 5, 5: 0}
    network = Written({id: [9.0 * (other == after) for other in range(6)] for id, after in following.items()})
    greedy = Strategy(temperature=0.0)
    assert generated(network, Ending(length=5), strategy=greedy).ids == [2, 3, 4, 5, 0]
    assert generated(network, Ending(length=3), start=(EOS, 2, 4), strategy=greedy).ids == [5, 0, 2]


def test_the_repetition_penalty_counts_the_prompt_but_not_the_leading_eos() -> None:
    network = flat_network(eos=2.0, unk=-9.0, a=1.9, b=1.8, th=-9.0, e=-9.0)
    strategy = Strategy(temperature=0.0, repetition_penalty=3.0)
    assert generated(network, Ending(length=1), strategy=strategy).ids == [0]
    assert generated(network, Ending(length=1), start=(EOS, 2), strategy=strategy).ids == [0]
    assert generated(network, Ending(length=3), start=(EOS, 0, 2), strategy=strategy).ids[0] == 3


@pytest.mark.parametrize("length", [0, -5])
def test_a_length_below_1_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match="--length"):
        Ending(length=length)


# The stop text


@given(st.lists(st.text("ab\n", max_size=4), max_size=12), st.text("ab\n", min_size=1, max_size=5))
def test_a_stop_filter_passes_all_before_the_stop_text_however_it_comes(pieces: list[str], stop: str) -> None:
    stop_filter, given_out, whole = StopFilter(stop), "", ""
    for piece in pieces:
        whole += piece
        given_out += stop_filter.feed(piece)
        assert whole.startswith(given_out)
        if stop_filter.found:
            break
    assert stop_filter.found == (stop in whole)
    assert given_out + stop_filter.finish() == whole.split(stop)[0]


@given(
    st.lists(st.text("ab\n", max_size=4), max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1)
)
def test_of_several_stop_texts_the_first_that_is_complete_counts_however_the_text_comes(
    pieces: list[str], stops: list[str]
) -> None:
    whole, stop_filter = "".join(pieces), StopFilter(stops)
    given_out = "".join([stop_filter.feed(piece) for piece in pieces if not stop_filter.found]) + stop_filter.finish()
    found = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert stop_filter.found == bool(found)
    assert given_out == (whole[: min(found)[1]] if found else whole)


@given(st.lists(st.text(max_size=4), max_size=12))
def test_without_a_stop_text_nothing_is_held(pieces: list[str]) -> None:
    stop_filter = StopFilter(None)
    assert [stop_filter.feed(piece) for piece in pieces] == pieces
    assert (stop_filter.finish(), stop_filter.found) == ("", False)


@given(st.text("ab", max_size=9), st.text("ab", min_size=2, max_size=5))
def test_no_more_is_held_than_could_begin_the_stop_text(text: str, stop: str) -> None:
    stop_filter = StopFilter(stop)
    given_out = stop_filter.feed(text)
    if not stop_filter.found:
        back = stop_filter.finish()
        assert given_out + back == text
        assert stop.startswith(back)


# A trained model


def test_the_same_seed_gives_the_same_text_and_another_another(any_lm: LanguageModel) -> None:
    first, again, other = (any_lm.sample("The ", seed=seed, length=60) for seed in (3, 3, 4))
    assert first == again
    assert first.ids != other.ids


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ending", [Ending(length=30), Ending(length=60, until_eos=True), Ending(length=40, stop="e")])
def test_many_at_once_are_the_same_as_one_by_one(
    any_lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, ending: Ending, threads: int
) -> None:
    monkeypatch.setattr("charlm.scoring.language_model.TEXTS_AT_ONCE", 3)
    monkeypatch.setattr(any_lm, "_threads", threads)
    strategy, prompt = Strategy(temperature=0.9, top_k=9, repetition_penalty=1.1), "The "
    many = list(any_lm.sample_many(prompt, strategy, ending, 7, seed=5))
    for number, sample in enumerate(many):
        alone = collect(prompt, any_lm.sample_tokens(prompt, strategy, ending, seed=5, number=number))
        assert (sample.text, sample.ids, sample.stopped_by) == (alone.text, alone.ids, alone.stopped_by)
        assert sample.logprob_nats == pytest.approx(alone.logprob_nats, abs=1e-4)
    assert len(many) == 7


def test_who_takes_only_some_of_many_samples_does_not_wait_for_the_rest(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.scoring.language_model.TEXTS_AT_ONCE", 1)
    began = time.perf_counter()
    samples = lm.sample_many("", Strategy(), Ending(length=20), 100_000, seed=1)
    assert len(next(iter(samples)).ids) == 20  # type: ignore[call-overload]
    samples.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - began < 20


def test_without_a_seed_samples_differ(lm: LanguageModel) -> None:
    assert lm.sample(length=60).ids != lm.sample(length=60).ids


def numbered(lm: LanguageModel, number: int) -> Iterator[SampledToken]:
    return lm.sample_tokens("She ", Strategy(), Ending(length=30), seed=5, number=number)


def test_the_first_of_many_equals_the_only_one_and_each_has_its_own_randomness(any_lm: LanguageModel) -> None:
    many = [collect("She ", numbered(any_lm, number)) for number in range(3)]
    assert many[0] == any_lm.sample("She ", seed=5, length=30)
    assert all(sample.ids != following.ids for sample, following in pairwise(many))
    assert many[2] == collect("She ", numbered(any_lm, 2))


@pytest.mark.parametrize("prompt", ["", "The captain "])
def test_a_samples_log_probability_is_its_texts_score(lm: LanguageModel, prompt: str) -> None:
    for seed in range(4):
        sample = lm.sample(prompt, seed=seed, until_eos=True, temperature=0.8)
        assert sample.stopped_by == "eos"
        assert sample.logprob_nats == pytest.approx(lm.score(sample.text, context=prompt).logprob_nats, rel=1e-6)
        cut = lm.sample(prompt, seed=seed, length=25, top_k=7)
        score = lm.score(cut.text, context=prompt, eos=False)
        assert cut.logprob_nats == pytest.approx(score.logprob_nats, rel=1e-6)


def test_a_samples_ids_have_its_log_probability_from_the_same_start(any_lm: LanguageModel) -> None:
    prompt = "The cat"
    sample = any_lm.sample(prompt, seed=2, length=25)
    before = any_lm.tokenizer.encode(prompt).astype(np.int64)
    ids = np.concatenate([before, sample.ids])[None, :]
    inputs = np.roll(ids, 1)
    inputs[0, 0] = any_lm.tokenizer.eos_id
    logprobs, _ = any_lm.predictor.logprobs(inputs, ids, any_lm.predictor.initial_state())
    assert sample.logprob_nats == pytest.approx(logprobs[0, len(before) :].sum(), rel=1e-6)
    assert len(sample.ids) == 25
    assert any_lm.tokenizer.unk_id not in sample.ids


def test_prompt_and_sample_together_are_the_text_of_all_ids(any_lm: LanguageModel) -> None:
    prompt = "The cat likes"
    sample = any_lm.sample(prompt, seed=8, length=40)
    ids = [*any_lm.tokenizer.encode(prompt).tolist(), *sample.ids]
    assert any_lm.tokenizer.decode(ids) == any_lm.tokenizer.decode(any_lm.tokenizer.encode(prompt)) + sample.text


def test_the_stop_text_is_never_in_a_sample_even_when_it_spans_tokens(any_lm: LanguageModel) -> None:
    free = any_lm.sample(seed=9, length=80)
    stop = free.text[20:24]
    stopped = any_lm.sample(seed=9, length=80, stop=stop)
    assert stopped.stopped_by == "stop"
    assert stopped.text == free.text.split(stop)[0]


def test_a_prompt_of_symbols_never_seen_is_no_obstacle(any_lm: LanguageModel) -> None:
    assert len(any_lm.sample("☃ 日本\x00", seed=1, length=9).ids) == 9


def test_a_seed_below_0_is_refused(models: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(UsageError, match="seed"):
        models("char").sample(seed=-1)
