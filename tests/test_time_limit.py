"""`--time` is the whole command's: reading, training and measuring; and what is measured when it is short."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm import train
from charlm.errors import ResourceError
from charlm.lifecycle import time_limit
from charlm.lifecycle.session import Instruments
from charlm.lifecycle.time_limit import TimeLimit, ToMeasure
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.log import RunLog
from charlm.runs.weights import Weights
from charlm.scoring.score import SEGMENTS, WARM_UP, score_stream, split_items
from charlm.training.budget import StepBudget, max_over
from charlm.training.evaluation import score_cold, score_pieces, score_streamed, spread_lines
from tests.cases import slow_but
from tests.conftest import english
from tests.test_cli import QUICK, Charlm, charlm, records, trained
from tests.test_training import Start, fake_clock, finish, start

__all__ = ["charlm", "start", "trained"]  # fixtures

EOS = 0


# How a command's time is shared out


@pytest.mark.parametrize("wanted", [10.0, 60.0, 300.0, 36_000.0])
@pytest.mark.parametrize("reading", [0.0, 0.1, 0.5, 0.9, 3.0])
@pytest.mark.parametrize("measuring", [0.0, 0.1])
@pytest.mark.parametrize("slower", [1.0, 9.0])
def test_reading_training_and_measuring_keep_to_the_time(
    wanted: float, reading: float, measuring: float, slower: float
) -> None:
    """Whatever the pace becomes; but training gets half of the time, however long reading took."""
    limit = TimeLimit(began=7.0, seconds=wanted, measuring=measuring * wanted)
    began_training = 7.0 + reading * wanted
    seconds, most = limit.for_training(began_training), limit.max_for_training(began_training)
    budget, step, spent = StepBudget(seconds=seconds, ceiling=10**6, max_seconds=most), 0, 0.0
    while step < budget.max_steps and not budget.is_overrun(spent):
        step, spent = step + 1, spent + wanted / 500 * (slower if spent > wanted / 3 else 1.0)
        budget.observe(step, spent)
    total = began_training - 7.0 + spent + limit.for_measuring(began_training + spent)
    assert spent >= 0.5 * wanted * 0.95
    allowed = max(wanted + max_over(wanted), (reading + 0.5 + measuring) * wanted)
    assert total <= allowed + wanted / 500 * slower
    assert bool(limit.about_reading(began_training)) == (reading > 0.5)


def test_a_command_may_exceed_its_time_by_a_twentieth_or_five_seconds() -> None:
    assert [max_over(seconds) for seconds in (10.0, 100.0, 1000.0)] == [5.0, 5.0, 50.0]


def slow() -> Instruments:
    """Instruments whose clock advances by 4 seconds each time it is read."""
    ticks = itertools.count(step=4.0)
    return Instruments(clock=lambda: next(ticks))


def test_slow_reading_is_said_and_training_gets_half(start: Start) -> None:
    training = start(instruments=slow(), steps=None, time="6s")
    assert training.trainer.budget.seconds == 3.0
    (note,) = [note for note in training.notes if "--time" in note]
    assert "took 52 s of --time 6s" in note  # the clock is read 13 times: at the end, and to time 6 trials
    assert "training gets 3 s all the same, half of it" in note


def test_a_run_that_goes_on_by_its_plan_says_nothing_of_reading(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finish(start(instruments=fake_clock(monkeypatch), steps=None, time="1.5s"))
    resumed = start(instruments=slow(), resume=True)
    assert not [note for note in resumed.notes if "--time" in note]
    assert resumed.trainer.budget.plan() == first.trainer.budget.plan()


def test_with_steps_there_is_no_limit_and_everything_is_measured(corpus: Path, tmp_path: Path) -> None:
    result = train(corpus, run=str(tmp_path / "x"), steps=3, hidden_size=5, threads=1)
    assert result.valid is not None
    assert result.valid_tokens == result.valid_tokens_measured == result.valid.tokens
    assert 0 < result.training_seconds < result.seconds


# Measuring a share


class Counting:
    """Each token is as improbable as its number says; what was scored is kept."""

    can_run_in_segments = True

    def __init__(self) -> None:
        self.scored = 0

    def initial_state(self, batch_size: int = 1) -> int:
        return batch_size

    def logprobs(self, inputs: Any, targets: Any, state: int) -> tuple[Any, int]:
        assert inputs.shape == targets.shape
        self.scored += int((targets >= 0).sum())
        return -targets.astype(np.float64), state


def stream(size: int) -> Any:
    """Ids that grow from 1 to 9, a line end now and then."""
    ids = (1 + 9 * np.arange(size) // size).astype(np.int64)
    ids[::37] = EOS
    return ids


@pytest.mark.parametrize("size", [40, 1000, 30_000, 200_000])
@pytest.mark.parametrize("share", [0.003, 0.05, 0.4, 0.99])
def test_a_share_of_a_stream_is_spread_over_all_of_it(size: int, share: float) -> None:
    network, ids = Counting(), stream(size)
    pieces = list(score_pieces(network, ids, EOS, share))
    found = np.concatenate([piece for piece, _ in pieces])
    assert len(found) >= 0.45 * min(share * size, size) - SEGMENTS
    assert network.scored <= max(share * size, 2 * SEGMENTS) + SEGMENTS
    assert len(found) <= size
    assert all(np.array_equal(-logprobs, piece) for piece, logprobs in pieces)
    if len(found) > 300:
        assert found.mean() == pytest.approx(ids.mean(), rel=0.1)


def test_pieces_are_scored_after_what_stands_before_them() -> None:
    seen: list[int] = []

    class Watching(Counting):
        def logprobs(self, inputs: Any, targets: Any, state: int) -> tuple[Any, int]:
            seen.append(targets.shape[1])
            return super().logprobs(inputs, targets, state)

    pieces = list(score_pieces(Watching(), stream(200_000), EOS, 0.4))
    assert max(len(piece) for piece, _ in pieces) + WARM_UP == 200_000 * 0.4 // SEGMENTS


class Uncut(Counting):
    """Its texts must not be cut."""

    can_run_in_segments = False


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_share_of_a_stream_that_must_not_be_cut_is_its_beginning(share: float) -> None:
    ids = stream(50_000)
    found = np.concatenate([piece for piece, _ in score_pieces(Uncut(), ids, EOS, share)])
    np.testing.assert_array_equal(found, ids[: int(share * len(ids))])


def test_the_time_for_streams_that_must_not_be_cut_is_that_of_single_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, a token takes 32 times as long as beside others here."""
    monkeypatch.setattr(time_limit, "_seconds_per_token", lambda predictor, ids, eos_id, rows, clock: 32e-6 / rows)
    measured, ids = ToMeasure(streams=(10**6,), lines=(10**5,)), stream(1000)
    assert measured.seconds(Counting(), ids, EOS) == pytest.approx(1.1)
    assert measured.seconds(Uncut(), ids, EOS) == pytest.approx(32.1)
    assert measured.share_within(0.55, Counting(), ids, EOS) == pytest.approx(0.5)
    assert measured.share_within(16.05, Uncut(), ids, EOS) == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7])
def test_a_share_of_the_lines_is_spread_and_no_longer_than_it_may_be(share: float) -> None:
    ids = stream(50_000)
    lines = spread_lines(ids, EOS, share)
    assert 0.4 * share * len(ids) < sum(map(len, lines)) <= 1.1 * share * len(ids)
    assert np.concatenate(lines).mean() == pytest.approx(ids.mean(), rel=0.1)
    (line,) = spread_lines(np.ones(50_000, np.int64), EOS, share)
    assert len(line) == int(share * 50_000)
    whole, split = spread_lines(ids, EOS, 1.0), split_items(ids, EOS)
    assert [line.tolist() for line in whole] == [line.tolist() for line in split]


def test_a_tally_of_a_share_estimates_the_whole(start: Start) -> None:
    training = start(valid_fraction=0.5)
    part = training.corpus.valid
    assert part is not None
    for score in (score_streamed, score_cold):
        scored, some = score(Counting(), part, EOS), score(Counting(), part, EOS, share=0.5)
        whole, estimate = scored.tally(scored.scores, None), some.tally(some.scores, None)
        assert (len(scored.ids), estimate.tokens, estimate.characters) == (
            part.num_tokens,
            whole.tokens,
            whole.characters,
        )
        assert 0.2 * part.num_tokens < len(some.ids) < 0.6 * part.num_tokens
        assert estimate.total_nats == pytest.approx(whole.total_nats, rel=0.15)
    assert sum(len(ids) for ids, _ in score_stream(Counting(), [part.ids[1:]], EOS)) == part.num_tokens


@pytest.mark.parametrize(
    ("mode", "quick"),
    slow_but((("stream", True), ("sentence", False)), itertools.product(("stream", "sentence"), (True, False))),
)
def test_what_there_is_no_time_for_is_not_measured_and_that_is_said(
    charlm: Charlm, mode: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("long.txt").write_text(english(4000))
    monkeypatch.setattr(time_limit, "_seconds_per_token", lambda *arguments: 1e-9 if quick else 1e-3)
    sizes = ("--hidden-size", "8", "--batch-size", "8", "--bptt", "16", "--mode", mode, "--threads", "1")
    outcome = charlm("train", "long.txt", "--time", "1s", "--json", *sizes)
    last = records(outcome)[-1]
    measured, whole = int(str(last["valid_tokens_measured"])), int(str(last["valid_tokens"]))
    assert (measured == whole) == quick
    assert ("validation tokens were measured" in outcome.err) == (not quick)
    assert measured > 0
    assert float(str(last["training_seconds"])) < float(str(last["seconds"])) < 1 + 5
    (event,) = [line for line in RunDirectory(Path("runs/long")).log.records() if line["event"] == "Measured"]
    assert event["valid_tokens_measured"] == measured


def test_how_much_is_to_be_measured(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "MIN_MEASURED", 100)
    prepared = start(valid_fraction=0.2).corpus
    valid = prepared.valid
    assert valid is not None
    assert ToMeasure.from_corpus(prepared, line_by_line=False) == ToMeasure(
        (valid.num_tokens, valid.num_tokens, 0), (valid.num_tokens,)
    )
    by_line = ToMeasure.from_corpus(prepared, line_by_line=True)
    assert (by_line.num_tokens, len(by_line.lines)) == (3 * valid.num_tokens, 3)
    assert by_line.share_within(1e9, Counting(), prepared.train.ids[1:], EOS) == 1.0
    assert by_line.share_within(1e-9, Counting(), prepared.train.ids[1:], EOS) < 0.1


def test_measuring_says_how_far_it_is(start: Start) -> None:
    shares: list[float] = []
    finish(start(steps=3)).measure(shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


# A disk that is full at the end


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, fails: str, step: int) -> None:
    """From here on there is no room for this event in the log, or this kind of weights, of this step."""
    save, append = RunDirectory.save, RunLog.append

    def full_save(run: RunDirectory, kind: str, weights: Weights) -> None:
        if kind == fails and weights.step == step:
            raise ResourceError("cannot write: No space left on device", f"{run.path} (7 bytes)", "make room")
        save(run, kind, weights)

    def full_append(log: RunLog, record: Mapping[str, Any]) -> None:
        if record["event"] == fails and record.get("step", step) == step:
            raise ResourceError("cannot write: No space left on device", f"{log.path} (7 bytes)", "make room")
        append(log, record)

    monkeypatch.setattr(RunDirectory, "save", full_save)
    monkeypatch.setattr(RunLog, "append", full_append)


@pytest.mark.parametrize("fails", ["Measured", "Finished", "Evaluated", LAST, BEST])
def test_a_full_disk_at_the_end_keeps_the_figures(charlm: Charlm, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_the_disk(monkeypatch, fails, step=6)
    outcome = charlm("train", "corpus.txt", "--json", "--eval-every", "3", *QUICK)
    assert (outcome.code, "No space left" in outcome.err, "ready to use" in outcome.err) == (6, True, True)
    assert json.loads(outcome.out.splitlines()[-1])["valid_nats_per_char"] > 0
    assert RunDirectory(Path("runs/corpus")).has(BEST)
    assert charlm("score", "the cat").code == 0


def test_a_full_disk_before_there_is_a_model_is_an_error(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start(valid_fraction=0.0, steps=3)
    fill_the_disk(monkeypatch, BEST, step=3)
    with pytest.raises(ResourceError):
        finish(training)
