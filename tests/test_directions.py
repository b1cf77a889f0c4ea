"""Models that read from the end of a text, and pairs of both directions."""

import itertools
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm
from charlm.api import LanguageModel
from charlm.corpus.direction import turned
from charlm.errors import RunError, UsageError
from charlm.lifecycle.session import Session
from charlm.lifecycle.verification import verify
from charlm.network.architecture import BACKWARD
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.loading import load_model
from charlm.system.interrupts import StopRequest
from tests.cases import slow_but
from tests.conftest import TINY as TINY_LM
from tests.conftest import UNITS, Once
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_resume import assert_same, log
from tests.test_training import Start, fake_clock, finish, interrupt_after, kill, start, stop, tensors, undisturbed

__all__ = ["charlm_command", "start", "stop", "undisturbed"]  # fixtures

PAIR: dict[str, Any] = {"direction": "both", "initial_state": "random", "steps": 23, "eval_every": 4}
EOS = 0


@pytest.fixture(scope="session", params=list(UNITS))
def pair(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tiny models, one for each direction."""
    folder, unit = tmp_path_factory.mktemp("pair") / "runs", request.param
    result = charlm.train(corpus, run=str(folder / unit), unit=unit, direction="both", **TINY_LM, **UNITS[unit])
    return Path(result.run)


@pytest.fixture
def backward(pair: Path) -> LanguageModel:
    return charlm.load(pair, direction="backward")


# The order of reading


@given(st.lists(st.integers(0, 4), max_size=12))
def test_a_turned_text_has_the_same_tokens_from_last_to_first(ids: list[int]) -> None:
    whole = np.array([EOS, *ids])
    is_finished = bool(ids) and ids[-1] == EOS
    assert turned(whole).tolist() == (whole[::-1].tolist() if is_finished else [EOS, *ids[::-1]])


def test_a_backward_model_scores_the_reversed_text(pair: Path, backward: LanguageModel) -> None:
    """Its predictor gives this probability when it reads the tokens in reversed order."""
    text = "The cat sees it."
    ids = backward.tokenizer.encode(text).astype(np.int64)
    state, previous, total = backward.predictor.initial_state(), backward.tokenizer.eos_id, 0.0
    for id in [*ids[::-1].tolist(), backward.tokenizer.eos_id]:
        logprobs, state = backward.predictor.logprobs(np.array([[previous]]), np.array([[id]]), state)
        total, previous = total + float(logprobs[0, 0]), id
    score = backward.score(text)
    assert score.logprob_nats == pytest.approx(total, abs=1e-4)
    assert score.tally.tokens == charlm.load(pair).score(text).tally.tokens == len(ids) + 1
    assert [each.logprob_nats for each in backward.score_lines([text, "x", text])][0::2] == pytest.approx([total] * 2)


@pytest.mark.parametrize("eos", [True, False])
def test_each_token_is_given_in_the_order_of_the_text(backward: LanguageModel, eos: bool) -> None:
    text = "A dog sees my old friend."
    score = backward.score(text, eos=eos, per_token=True)
    total = sum(token.logprob_nats - token.spelling_nats for token in score.tokens_scored)
    assert total == pytest.approx(score.logprob_nats, abs=1e-6)
    assert score.logprob_nats == pytest.approx(backward.score(text, eos=eos).logprob_nats, abs=1e-4)
    ids = [token.id for token in score.tokens_scored]
    own = backward.tokenizer.encode(text).tolist()
    assert ids == ([backward.tokenizer.eos_id, *own] if eos else own)


def test_what_follows_decides_about_a_token_and_what_stands_before_it_does_not(backward: LanguageModel) -> None:
    one, other = (backward.score(text, per_token=True).tokens_scored for text in ("The cat sees it", "She asks for it"))
    assert one[-1].id == other[-1].id
    assert one[-1].logprob_nats == pytest.approx(other[-1].logprob_nats, abs=1e-6)
    changed = backward.score("The cat sees the sea", per_token=True).tokens_scored
    assert changed[1].logprob_nats != pytest.approx(one[1].logprob_nats, abs=1e-9)


def test_all_texts_of_up_to_three_tokens_and_the_unfinished_ones_are_certain_together(tmp_path: Path) -> None:
    text = tmp_path / "ab.txt"
    text.write_text("ab\nba\naab\nb\n" * 30)
    lm = charlm.load(charlm.train(text, run=str(tmp_path / "run"), direction="backward", **{**TINY_LM, "steps": 9}).run)
    symbols = [id for id in range(lm.tokenizer.vocab_size) if id != lm.tokenizer.eos_id]
    total = 0.0
    for length in range(4):
        for ids in itertools.product(symbols, repeat=length):
            reading, state = [lm.tokenizer.eos_id, *ids[::-1]], lm.predictor.initial_state()
            targets = [*ids[::-1], lm.tokenizer.eos_id] if length < 3 else ids[::-1]
            logprobs, _ = lm.predictor.logprobs(np.array([reading[: len(targets)]]), np.array([targets]), state)
            total += math.exp(logprobs.sum())
    assert total == pytest.approx(1, abs=1e-5)


def test_a_running_text_is_scored_from_its_end(pair: Path, backward: LanguageModel, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"The cat sees it.\n\nShe likes two apples!\nnobody")
    tally = backward.score_stream(text)
    forward = charlm.load(pair).score_stream(text)
    assert (tally.tokens, tally.characters, tally.unknown) == (forward.tokens, forward.characters, forward.unknown)
    whole = backward.score(text.read_text(), eos=False)
    assert tally.total_nats == pytest.approx(whole.tally.total_nats, rel=1e-4)


# Sampling


@pytest.mark.parametrize("suffix", ["", "it.", " the sea!", "café.\nShe"])
def test_a_sample_ends_in_its_suffix_and_has_the_probability_that_scoring_gives(
    backward: LanguageModel, suffix: str
) -> None:
    sample = backward.sample(suffix=suffix, until_eos=True, length=200, seed=3, temperature=0.9)
    assert sample.suffix == suffix
    whole = backward.tokenizer.encode(sample.text + suffix).tolist()
    if sample.stopped_by == "eos":
        assert [
            *sample.ids[1:],
            *backward.tokenizer.encode_after(suffix).tolist(),
        ] == whole or backward.tokenizer.unit == "subword"
        assert sample.ids[0] == backward.tokenizer.eos_id
    assert "\n" not in sample.text
    assert "".join(token.text for token in sample.per_token) == sample.text
    assert sample.logprob_nats == pytest.approx(sum(token.logprob_nats for token in sample.per_token))
    if backward.tokenizer.unit == "char" and sample.stopped_by == "eos":
        given = backward.score(suffix, eos=False).logprob_nats if suffix else 0.0
        assert sample.logprob_nats == pytest.approx(backward.score(sample.text + suffix).logprob_nats - given, abs=1e-3)


@pytest.mark.parametrize("suffix", [" it.", "  it.", "it."])
def test_a_space_before_the_suffix_is_there_once(backward: LanguageModel, suffix: str) -> None:
    for seed in range(5):
        whole = backward.sample(suffix=suffix, length=4, seed=seed, temperature=0.5).text + suffix
        if backward.tokenizer.unit == "word":
            assert "  it." not in whole or suffix == "  it."
            assert "   it." not in whole


def test_samples_side_by_side_are_those_one_by_one(backward: LanguageModel) -> None:
    suffixes, ending, wild = ["it.", "", "the sea!"], Ending(length=25), Strategy(temperature=1.2)
    together = [sample.text for sample in backward.sample_many(suffixes, wild, ending, 2, seed=5)]
    alone = [
        "".join(token.text for token in backward.sample_tokens(suffix, wild, ending, seed=5, number=number))
        for suffix in suffixes
        for number in range(2)
    ]
    assert together == alone


def test_a_stop_text_ends_a_sample_at_its_start(backward: LanguageModel) -> None:
    free = backward.sample(suffix="it.", length=60, seed=2)
    stop_text = free.text[len(free.text) // 2 : len(free.text) // 2 + 2]
    stopped = backward.sample(suffix="it.", length=60, seed=2, stop=stop_text)
    assert stopped.stopped_by == "stop"
    assert free.text.endswith(stop_text + stopped.text)
    assert stop_text not in stopped.text


def test_a_forward_model_takes_no_suffix_and_a_backward_one_no_prompt(pair: Path, backward: LanguageModel) -> None:
    with pytest.raises(RunError, match="reads from the end"):
        charlm.load(pair).sample(suffix="x")
    for refused in (lambda: backward.sample("x"), lambda: backward.score("x", context="y"), backward.next_tokens):
        with pytest.raises(UsageError, match="reads from the end"):
            refused()


# Training a pair


def test_a_pair_is_two_models_each_trained_as_if_alone(start: Start) -> None:
    settings = {**PAIR, "save_every": 4}
    both = finish(start("both", **settings))
    assert both.trainers.keys() == {"", BACKWARD}
    for direction, prefix in {"forward": "", "backward": BACKWARD}.items():
        alone = finish(start(direction, **{**settings, "direction": direction}))
        assert tensors(alone) == tensors(both, prefix + BEST)
        own = [line for line in log(both) if line.pop("direction", None) == direction]
        assert [line for line in own if line["event"] != "Saved"] == log(alone)


def test_a_pair_goes_on_byte_for_byte_and_line_for_line(
    start: Start, undisturbed: Callable[..., Session], stop: StopRequest
) -> None:
    straight = undisturbed(**PAIR)
    interrupt_after(start("stopped", **PAIR), stop, 1)
    for step in (4, 5, 9, 22):
        interrupt_after(start("stopped", resume=True), stop, step)
    resumed = finish(start("stopped", resume=True))
    assert_same(straight, resumed)
    assert tensors(straight, BACKWARD + BEST) == tensors(resumed, BACKWARD + BEST)


@pytest.mark.parametrize("every", slow_but((14,), (14, 7)))
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_pair_that_is_cut_off_at_any_event_goes_on_the_same(start: Start, how: str, every: int) -> None:
    straight = start("straight", **PAIR)
    num_events = sum(1 for _ in straight.events())
    for number in range(1, num_events, every):
        events = start(f"{how}-{number}", **PAIR).events()
        for _ in itertools.islice(events, number):
            pass
        kill(events) if how == "killed" else events.close()
        assert_same(straight, finish(start(f"{how}-{number}", resume=True)))


def test_the_two_of_a_pair_share_the_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start(time="10s", steps=None, direction="both", instruments=fake_clock(monkeypatch), save_every=None)
    limits = [trainer.budget.seconds for trainer in training.trainers.values()]
    finish(training)
    assert limits[0] == limits[1]
    assert sum(filter(None, limits)) <= 10
    for trainer in training.trainers.values():
        assert trainer.progress.seconds <= 1.1 * limits[0] + 2.5


def test_a_pair_can_be_trained_for_longer(start: Start) -> None:
    finish(start("longer", **{**PAIR, "steps": 10}))
    resumed = finish(start("longer", resume=True, steps=16))
    assert [trainer.progress.step for trainer in resumed.trainers.values()] == [16, 16]


def test_a_pair_says_how_good_both_are(start: Start) -> None:
    training = finish(start("measured", **PAIR))
    result = training.measure()
    assert result.backward is not None
    found = result.as_json()
    for name in ("valid_nats_per_token", "valid_nats_per_char", "valid_cold_nats_per_char", "train_nats_per_token"):
        assert found[name.replace("_", "_backward_", 1)] == result.backward.as_json()[name]
        assert math.isfinite(float(str(found[name])))
    backward, valid = load_model(training.run, direction="backward"), training.corpus.valid
    assert valid is not None
    text = backward.tokenizer.decode(valid.ids[1:].tolist())
    assert found["valid_backward_nats_per_char"] == pytest.approx(
        backward.score(text, eos=False).tally.nats_per_char, rel=1e-3
    )
    assert found["num_params"] == 2 * result.backward.num_params


def test_a_run_can_begin_with_the_weights_of_a_pair(undisturbed: Callable[..., Session], tmp_path: Path) -> None:
    base = undisturbed(**PAIR)
    text = tmp_path / "more.txt"
    text.write_text("A zebra sees the quagga.\n" * 60)
    result = charlm.train(text, run=str(tmp_path / "more"), init_from=base.run.path, steps=3, device="cpu", threads=1)
    assert {check.file for check in verify(Path(result.run)) if check.ok} >= {
        "initial.safetensors",
        "backward_initial.safetensors",
        "backward_best.safetensors",
    }
    with pytest.raises(UsageError, match="--direction"):
        charlm.train(text, run=str(tmp_path / "x"), init_from=base.run.path, direction="backward", steps=3)


@pytest.fixture
def trained_pair(undisturbed: Callable[..., Session], tmp_path: Path) -> RunDirectory:
    """The run `pair` of `start`; a copy of one that is trained once."""
    path = tmp_path / "runs" / "pair"
    shutil.copytree(undisturbed(**PAIR).run.path, path)
    return RunDirectory(path)


def test_every_file_of_a_pair_is_checked(trained_pair: RunDirectory) -> None:
    assert all(check.ok for check in verify(trained_pair.path))
    path = trained_pair.path / f"{BACKWARD}{BEST}.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert [check.file for check in verify(trained_pair.path) if not check.ok] == [path.name]
    path.unlink()
    assert [check.file for check in verify(trained_pair.path) if not check.ok] == [path.name]


def test_the_weights_of_the_other_direction_are_not_taken(trained_pair: RunDirectory) -> None:
    path = trained_pair.path / f"{BACKWARD}{BEST}.safetensors"
    path.write_bytes((trained_pair.path / f"{BEST}.safetensors").read_bytes())
    assert [check.file for check in verify(trained_pair.path) if not check.ok] == [path.name]
    with pytest.raises(RunError, match="reads backward"):
        load_model(trained_pair, direction="backward")


def test_a_state_with_one_network_of_two_is_refused(start: Start, trained_pair: RunDirectory) -> None:
    saved = trained_pair.load(LAST)
    del saved.scalars["backward"]
    trained_pair.save(LAST, saved)
    with pytest.raises(RunError, match="each network"):
        start("pair", resume=True)


# The command line

QUICK = ("--steps", "6", "--hidden-size", "9", "--embedding-size", "7", "--precision", "float32")


@pytest.fixture
def charlm_pair(charlm_command: Charlm, once: Once) -> Charlm:
    arguments = ("train", "corpus.txt", "--run", "pair", "--direction", "both", *QUICK, "-q")
    once("pair", lambda: succeed(charlm_command, *arguments))
    return charlm_command


def test_a_pair_on_the_command_line(charlm_pair: Charlm) -> None:
    forward, backward = (
        charlm_pair("score", "the cat", "--json", *direction) for direction in ((), ("--direction", "backward"))
    )
    assert [records(outcome)[0]["direction"] for outcome in (forward, backward)] == ["forward", "backward"]
    assert records(forward)[0]["logprob_nats"] != records(backward)[0]["logprob_nats"]
    told = charlm_pair("score", "the cat", "--per-token", "--direction", "backward")
    assert "conditioned on what follows" in told.err
    sample = charlm_pair("sample", "--suffix", "the mat", "--length", "5", "--seed", "1", "-q")
    assert (sample.code, sample.out.rstrip("\n").endswith("the mat")) == (0, True)
    found = records(charlm_pair("sample", "--suffix", "the mat", "--length", "5", "--seed", "1", "--json"))[0]
    assert f"{found['text']}{found['suffix']}\n" == sample.out
    assert charlm_pair("verify", "pair").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("sample", "--direction", "backward", "--prompt", "x"), 2, "--suffix"),
        (("sample", "--prompt", "x", "--suffix", "y"), 2, "--suffix"),
        (("sample", "--direction", "forward", "--suffix", "y"), 2, "--suffix"),
        (("score", "--direction", "backward", "--context", "x", "y"), 2, "--context"),
        (("score", "--direction", "backward", "--next", "3"), 2, "forward"),
        (("score", "--direction", "sideways", "x"), 2, "sideways"),
        (("train", "--resume", "--run", "pair", "--direction", "forward"), 2, "--direction both"),
    ],
)
def test_what_a_pair_refuses(charlm_pair: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_pair(*arguments)
    assert outcome.code == code
    assert named in outcome.err


def test_a_pair_without_a_validation_part_says_how_well_both_fit_their_text(charlm_command: Charlm) -> None:
    outcome = charlm_command("train", "corpus.txt", "--direction", "both", "--valid-fraction", "0", *QUICK, "-q")
    assert outcome.code == 0
    assert "perplexity" not in outcome.out
    assert "no validation part" in outcome.out
    assert "nats/token forward" in outcome.out
    assert outcome.out.splitlines()[0] == "runs/corpus"


def test_a_direction_that_a_run_lacks_is_named(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", "--run", "one", *QUICK, "-q").code == 0
    for arguments in (("score", "x", "--direction", "backward"), ("sample", "--suffix", "x")):
        outcome = charlm_command(*arguments)
        assert outcome.code == 4
        assert "--direction backward" in outcome.err
