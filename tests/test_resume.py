"""Resuming is exact: a training that stopped continues as if it had not, and each part of what is saved matters."""

import dataclasses
import itertools
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.cells import CELLS
from charlm.corpus.prepare import prepare
from charlm.errors import ResourceError, RunError, UsageError
from charlm.lifecycle.session import Instruments, Session
from charlm.lifecycle.verification import verify
from charlm.model.network import TorchNetwork
from charlm.network.snapshot import CARRIED, NETWORK, OPTIMIZER
from charlm.runs.directory import BEST, LAST, PREVIOUS, RunDirectory
from charlm.runs.lock import writing
from charlm.runs.log import RunLog
from charlm.runs.weights import Weights
from charlm.settings import CorpusSettings, TextSettings, flag
from charlm.system.interrupts import Interrupted, StopRequest
from charlm.text.tokenizer import load_tokenizer
from charlm.training.events import Evaluated, Finished, Planned, Saved, StepDone
from charlm.training.memory import fixed_bytes, window_bytes
from charlm.training.state import Progress
from tests.cases import FEW_CELLS, slow, slow_but
from tests.sessions import open_session
from tests.test_training import (
    MACHINE,
    TINY,
    Start,
    checks_that_find,
    fake_clock,
    finish,
    interrupt_after,
    kill,
    start,
    stop,
    tensors,
    undisturbed,
)

__all__ = ["start", "stop", "undisturbed"]  # fixtures

HARD: dict[str, Any] = {"num_layers": 2, "initial_state": "random", "steps": 23, "sample_every": 6, "eval_every": 4}


def log(training: Session) -> list[dict[str, Any]]:
    """The whole log but for times."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in training.run.log.records()]


def assert_same(one: Session, other: Session) -> None:
    assert tensors(one) == tensors(other)
    assert tensors(one, LAST) == tensors(other, LAST)
    assert log(one) == log(other)


# Stopped anywhere


WAYS = (("stream", "float32"), ("sentence", "float32"), ("stream", "bfloat16"))
QUICK = (
    *((cell, *WAYS[0]) for cell in FEW_CELLS),
    *((cell, *way) for cell in ("gru", "lstm_peephole") for way in WAYS[1:]),
)


@pytest.mark.parametrize(
    ("cell", "mode", "precision"), slow_but(QUICK, [(cell, *way) for way in WAYS for cell in CELLS])
)
def test_every_cell_goes_on_byte_for_byte_and_line_for_line(
    start: Start, stop: StopRequest, cell: str, mode: str, precision: str
) -> None:
    shape = {**HARD, "steps": 13, "cell": cell, "mode": mode, "precision": precision}
    shape |= {"residual": True, "head_layers": 1}
    straight = finish(start("straight", **shape))
    interrupt_after(start("stopped", **shape), stop, 6)
    interrupt_after(start("stopped", resume=True), stop, 9)
    assert_same(straight, finish(start("stopped", resume=True)))


@pytest.mark.parametrize("step", slow_but((1, 8, 11, 22), range(1, 23)))
def test_it_does_not_matter_where_a_training_stops(
    start: Start, undisturbed: Callable[..., Session], stop: StopRequest, step: int
) -> None:
    interrupt_after(start("stopped", **HARD), stop, step)
    assert_same(undisturbed(**HARD), finish(start("stopped", resume=True)))


@pytest.mark.parametrize(
    ("settings", "every"),
    [
        ({}, 9),
        ({"valid_fraction": 0.0}, 18),
        ({"optimizer": "sgd", "learning_rate": 0.5}, 18),
        slow({"valid_fraction": 0.0}, 5),
        slow({"optimizer": "sgd", "learning_rate": 0.5}, 5),
        *(slow({"bptt": bptt}, 1) for bptt in (5, 13)),
    ],
)
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_training_that_is_cut_off_at_any_event_goes_on_the_same(
    start: Start, how: str, settings: dict[str, Any], every: int
) -> None:
    straight = start("straight", **{**HARD, **settings})
    num_events = sum(1 for _ in straight.events())
    for number in range(0, num_events, every):
        name = f"{how}-{number}"
        events = start(name, **{**HARD, **settings}).events()
        seen = list(itertools.islice(events, number))
        kill(events) if how == "killed" and seen else events.close()
        resumed = start(name, resume=True)
        if how == "closed" and seen:
            assert resumed.trainer.progress.step == max(getattr(event, "step", 0) for event in seen)
        assert_same(straight, finish(resumed))


@pytest.mark.parametrize("leave", ["break", "close", "error", "last event"])
def test_who_stops_listening_loses_nothing_and_leaves_no_lock(start: Start, leave: str) -> None:
    training, wanted = start(save_every=1000), 24 if leave == "last event" else 12

    def listen() -> None:
        for event in training.events():
            if isinstance(event, StepDone) and event.step == 12 and leave != "last event":
                if leave == "error":
                    raise ZeroDivisionError
                break

    events = training.events()
    if leave == "close":
        next(event for event in events if isinstance(event, StepDone) and event.step == 12)
        events.close()
    elif leave == "last event":
        while not isinstance(next(events), Finished):
            pass
    else:
        with suppress(ZeroDivisionError):
            listen()
    with writing(training.run.path):  # which nobody holds
        assert training.run.load(LAST).step == wanted
    assert start(resume=True).trainer.progress.step == wanted


def test_what_another_training_saves_while_a_state_is_read_is_not_overwritten(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(start(steps=3))
    load_newest = RunDirectory.load_newest

    def slow(run: RunDirectory, *arguments: int) -> tuple[Weights, str]:
        found = load_newest(run, *arguments)
        monkeypatch.undo()
        finish(start(resume=True, steps=8))
        return found

    monkeypatch.setattr(RunDirectory, "load_newest", slow)
    late = start(resume=True, steps=5)
    with pytest.raises(UsageError, match="since it was read"):
        finish(late)
    assert late.run.load(LAST).step == 8


def test_a_check_that_a_signal_broke_off_is_made_up_for(start: Start, stop: StopRequest) -> None:
    straight, checks = finish(start("straight", **HARD)), itertools.count()

    def broken_off(name: str, number: float) -> float:
        if name == "check" and next(checks) == 1:
            stop.signal = 15
            raise Interrupted
        return number

    finish(start("stopped", instruments=Instruments(fault=broken_off), **HARD))
    resumed = start("stopped", resume=True)
    assert (resumed.trainer.progress.step, resumed.trainer.progress.evaluated_at) == (8, 4)
    assert_same(straight, finish(resumed))


TIMED: dict[str, Any] = {"steps": None, "time": "1.5s", "eval_every": 8, "save_every": 9}


@pytest.fixture(scope="module")
def straight_in_time(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, list[Planned]]:
    """A training by a fake clock, and its plans."""
    begin = Start(corpus, tmp_path_factory.mktemp("timed"))
    with pytest.MonkeyPatch.context() as patch:
        straight = begin("straight", instruments=fake_clock(patch), **TIMED)
        return straight, [event for event in straight.events() if isinstance(event, Planned)]


@pytest.mark.parametrize("step", slow_but((2, 14, 33), (2, 5, 14, 20, 33, 47)))
def test_with_a_time_the_stored_plan_is_replayed(
    start: Start,
    straight_in_time: tuple[Session, list[Planned]],
    stop: StopRequest,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight, planned = straight_in_time
    assert len(planned) == 2
    assert planned[0].step < 33 < planned[-1].total_steps
    clock = fake_clock(monkeypatch)
    interrupt_after(start("stopped", instruments=clock, **TIMED), stop, step)
    resumed = start("stopped", resume=True, instruments=clock)
    if step >= planned[-1].step:
        assert resumed.trainer.budget.total_steps == planned[-1].total_steps
    finish(resumed)
    totals = [line["total_steps"] for line in log(resumed) if line["event"] == "Planned"]
    if step >= planned[-1].step:
        assert_same(straight, resumed)
    assert len(totals) == 2
    assert resumed.trainer.progress.step == totals[-1]


def test_the_plan_of_an_older_run_says_when_it_ends_at_the_latest(
    start: Start, stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fake_clock(monkeypatch)
    training = start(steps=None, time="1.5s", instruments=clock)
    interrupt_after(training, stop, 30)
    last = training.run.load(LAST)
    plan = dict(last.scalars["plan"])
    plan["most_seconds"] = latest = plan.pop("max_seconds")
    training.run.save(LAST, Weights(last.tensors, last.step, {**last.scalars, "plan": plan}))
    assert latest > 0
    assert start(resume=True, instruments=clock).trainer.budget.max_seconds == latest


def test_a_plan_is_saved_as_soon_as_it_is_made(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fake_clock(monkeypatch)
    training = start(steps=None, time="1.5s", eval_every=1000, save_every=1000, instruments=clock)
    events = training.events()
    for event in events:
        if isinstance(event, Planned):
            break
    assert any(isinstance(following, Saved) for following in itertools.islice(events, 2))
    kill(events)
    assert start(resume=True).trainer.budget.total_steps == event.total_steps


# What a saved state holds

Spoil = Callable[[Session, Session], None]


def _of_tensors(prefix: str, *, left_out: bool = False) -> Spoil:
    """The tensors whose names begin so are those of a fresh training, or none at all."""

    def spoil(training: Session, fresh: Session) -> None:
        state, first = training.trainer.state(), fresh.trainer.state().tensors
        spoiled = [name for name in state.tensors if name.startswith(prefix)]
        assert spoiled
        for name in spoiled:
            value = state.tensors.pop(name)
            if not left_out:
                assert not torch.equal(value, first[name])
                state.tensors[name] = first[name]
        training.trainer.restore(state)

    return spoil


def _schedule(training: Session, fresh: Session) -> None:
    training.trainer.progress.step = 0


def _best_so_far(training: Session, fresh: Session) -> None:
    training.trainer.progress.best_nats_per_token = math.inf


def _patience(training: Session, fresh: Session) -> None:
    training.trainer.progress.evaluations_without_improvement = 0


def _last_evaluation(training: Session, fresh: Session) -> None:
    training.trainer.progress.evaluated_at = 0


def _tokens_seen(training: Session, fresh: Session) -> None:
    training.trainer.progress.tokens_seen = 0


def _learning_rate_scale(training: Session, fresh: Session) -> None:
    training.trainer.progress.learning_rate_scale = 1.0


def _rollbacks(training: Session, fresh: Session) -> None:
    training.trainer.progress.rollbacks = 0


def _micro_batches(training: Session, fresh: Session) -> None:
    training.trainer.progress.micro_batches = 1


def _length_of_the_log(training: Session, fresh: Session) -> None:
    training.log_bytes = 0


PARTS: dict[str, Spoil] = {
    "weights": _of_tensors(NETWORK),
    "optimizer": _of_tensors(OPTIMIZER, left_out=True),
    "dropout": _of_tensors("dropout_generator"),
    "initial_states": _of_tensors("initial_state_generator"),
    "carried_state": _of_tensors(CARRIED, left_out=True),
    "position": _of_tensors("windows."),
    **{
        spoil.__name__.strip("_"): spoil
        for spoil in (
            *(_schedule, _best_so_far, _patience, _last_evaluation, _tokens_seen, _learning_rate_scale, _rollbacks),
            *(_micro_batches, _length_of_the_log),
        )
    },
}
NUMBERS = {
    "step": "schedule",
    "best_nats_per_token": "best_so_far",
    "best_cost": "best_so_far",  # of a tagger: test_tagger.py has a test of its own
    "evaluations_without_improvement": "patience",
    "evaluated_at": "last_evaluation",
    "skipped_in_a_row": "rollbacks",  # of which test_recovery.py has a test of its own
}
STOPPED_AT = 12  # where a check has just been made, which was worse than the best


CHECKS = (3.0, 2.0, 2.1, 2.2, 2.15, 2.3, 2.4, 2.5, 2.6, 2.7)  # of step 4, 8, ...


class Troubles:
    """The faults of a training whose every part has something to remember: checks that get worse, and a bad step."""

    training: Session

    def __call__(self, name: str, number: float) -> float:
        step = self.training.trainer.progress.step
        if name == "check":
            return CHECKS[step // 4 - 1]
        return math.nan if (name, step) == ("loss", 6) else number


def troubled(start: Start, name: str, **settings: Any) -> Session:
    """A training with Troubles; a new one was rolled back already, and its batches are split."""
    troubles = Troubles()
    training = troubles.training = start(name, instruments=Instruments(fault=troubles), **settings)
    if training.trainer.progress.step == 0:
        training.trainer.progress = Progress(micro_batches=2, learning_rate_scale=0.5, rollbacks=1)
    return training


TROUBLED: dict[str, Any] = {
    **HARD,
    "steps": 40,
    "eval_every": 4,
    "save_every": 50,
    "patience": 3,
    "num_layers": 1,
}


@pytest.fixture(scope="module")
def straight_through_troubles(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return finish(troubled(Start(corpus, tmp_path_factory.mktemp("troubled")), "straight", **TROUBLED))


@pytest.fixture(scope="module")
def stopped_in_troubles(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    begin = Start(corpus, tmp_path_factory.mktemp("troubled"))
    training = troubled(begin, "stopped", **TROUBLED)
    for event in training.events():
        if isinstance(event, Evaluated) and event.step == STOPPED_AT:
            begin.stop.signal = 15
    return training.run.path


@pytest.mark.parametrize("part", [None, *PARTS])
def test_each_part_of_a_saved_state_is_needed(
    start: Start, straight_through_troubles: Session, stopped_in_troubles: Path, tmp_path: Path, part: str | None
) -> None:
    """Without one of them the resumed training is another one; with all of them it is the same."""
    shutil.copytree(stopped_in_troubles, tmp_path / "runs" / "stopped")
    resumed = troubled(start, "stopped", resume=True)
    if part:
        PARTS[part](resumed, start("fresh", **TROUBLED))
    finish(resumed)
    same = outcome(straight_through_troubles) == outcome(resumed)
    assert same == (part is None)


def outcome(training: Session) -> tuple[Any, ...]:
    last = training.run.load(LAST)
    progress = {name: value for name, value in last.scalars["progress"].items() if name != "seconds"}
    return tensors(training), tensors(training, LAST), progress, log(training)


def test_every_number_of_a_training_is_among_these_parts() -> None:
    names = {NUMBERS.get(one.name, one.name) for one in dataclasses.fields(Progress)}
    assert names - {"seconds"} <= PARTS.keys()


# Going further, and what has changed


def test_the_same_command_with_resume_goes_on(start: Start, stop: StopRequest, corpus: Path) -> None:
    interrupt_after(start(**HARD), stop, 9)
    run = str(RunDirectory(start(resume=True).run.path).path)
    training = open_session(corpus, {**TINY, **HARD}, run=run, resume=True)
    assert finish(training).trainer.progress.step == 23


def test_a_text_that_has_changed_is_refused(start: Start, corpus: Path, tmp_path: Path) -> None:
    run = finish(start(steps=3)).run.path
    (tmp_path / "english.txt").write_bytes(corpus.read_bytes() + b"More.\n")
    with pytest.raises(UsageError, match="changed since") as refused:
        charlm.train(tmp_path / "english.txt", run=str(run), resume=True)
    assert "--init-from" in refused.value.to_do
    assert charlm.train(corpus, run=str(run), resume=True, steps=5).steps == 5


@pytest.mark.parametrize("option", ["valid", "test"])
def test_a_further_text_is_compared_too(corpus: Path, tmp_path: Path, option: str) -> None:
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text("the pear\nthe pair\n")
    other.write_text("the pier\n")
    run = charlm.train(corpus, run=str(tmp_path / "run"), **{**TINY, "steps": 3}, **{option: text}).run
    assert charlm.train(run=run, resume=True, steps=4, **{option: text}).steps == 4
    with pytest.raises(UsageError, match=r"other\.txt"):
        charlm.train(run=run, resume=True, steps=5, **{option: other})
    plain = charlm.train(corpus, run=str(tmp_path / "plain"), **{**TINY, "steps": 3}).run
    with pytest.raises(UsageError, match=r"text\.txt"):
        charlm.train(run=plain, resume=True, steps=5, **{option: text})


def test_a_tokenizer_is_compared_too(start: Start) -> None:
    run = finish(start(steps=3)).run.path
    assert charlm.train(run=str(run), resume=True, steps=4, tokenizer=run).steps == 4
    other = finish(start("other", steps=3, vocab_size=20)).run.path
    with pytest.raises(UsageError, match="--tokenizer"):
        charlm.train(run=str(run), resume=True, steps=5, tokenizer=other)


def test_another_version_is_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(start(steps=3))
    assert start(resume=True).notes == ["continuing from step 3"]
    monkeypatch.setattr("charlm.lifecycle.resuming.__version__", "9.9")
    changed = start(resume=True).notes[0]
    assert f"charlm {charlm.__version__} (now 9.9)" in changed


def test_where_nothing_was_saved_it_begins_at_step_0_and_says_so(
    start: Start, undisturbed: Callable[..., Session]
) -> None:
    straight = undisturbed()
    start("killed")
    resumed = start("killed", resume=True)
    assert any("nothing was saved yet" in note for note in resumed.notes)
    assert_same(straight, finish(resumed))


def test_a_damaged_state_is_named_and_the_one_before_it_is_not_lost(
    start: Start, undisturbed: Callable[..., Session]
) -> None:
    straight = undisturbed()
    path = finish(start("damaged")).run.path
    whole = (path / "last.safetensors").read_bytes()
    (path / "last.safetensors").write_bytes(whole[:-9] + b"X" + whole[-8:])
    resumed = start("damaged", resume=True)
    assert any("last.safetensors" in note and "step 20" in note for note in resumed.notes)
    events = resumed.events()
    for event in events:
        if isinstance(event, Saved):
            break
    kill(events)
    assert RunDirectory(path).load(PREVIOUS).step == 20  # not the damaged one
    assert_same(straight, finish(start("damaged", resume=True)))


def test_a_state_of_another_training_is_refused_by_name(start: Start) -> None:
    training = finish(start(steps=3))
    last = training.run.load(LAST)
    for name, value in {
        "network.head.bias": np.zeros(3, np.float32),
        "optimizer.0.exp_avg": np.zeros((2, 2), np.float32),
        "optimizer.99.step": np.zeros((), np.float32),
        "windows.places": np.zeros(5, np.int64),
        "windows.pass_and_step": np.array([-1, 0]),
        "state.0.0": np.zeros((5, 11), np.float32),
        "state.7.0": np.zeros((5, 12), np.float32),
        "dropout_generator": np.zeros_like(last.tensors["dropout_generator"]),
    }.items():
        training.run.save(LAST, Weights({**last.tensors, name: value}, 3, last.scalars))
        with pytest.raises(RunError, match=r"last\.safetensors"):
            start(resume=True)
    missing = {name: value for name, value in last.tensors.items() if name != "optimizer.1.exp_avg"}
    training.run.save(LAST, Weights(missing, 3, last.scalars))
    with pytest.raises(RunError, match=r"lacks the tensor 'optimizer\.1\.exp_avg'"):
        start(resume=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"progress": {"step": 4}},
        {"progress": {"step": "3"}},
        {"progress": {"step": 3, "speed": 1}},
        {"progress": {"step": 3, "micro_batches": 0}},
        {"progress": []},
        {"plan": {"total_steps": 3, "decisions": "two"}},
        {"plan": None},
        {"metrics_length": -1},
        {"metrics_length": None},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(start: Start, wrong: dict[str, Any]) -> None:
    training = finish(start(steps=3))
    last = training.run.load(LAST)
    training.run.save(LAST, Weights(last.tensors, 3, {**last.scalars, **wrong}))
    with pytest.raises(RunError, match=r"last\.safetensors"):
        start(resume=True)


def test_a_run_that_another_process_trained_meanwhile_is_left_alone(start: Start) -> None:
    finish(start(steps=3))
    late = start(resume=True, steps=9)
    finish(start(resume=True, steps=5))
    with pytest.raises(UsageError, match="since it was read"):
        finish(late)
    assert late.run.load(LAST).step == 5


def test_what_a_killed_writer_left_is_cleared_up(start: Start) -> None:
    path = finish(start(steps=3)).run.path
    (path / ".best.safetensors.abcd1234.charlm").write_bytes(b"half")
    finish(start(resume=True, steps=5))
    assert not list(path.glob(".best*"))


# From another run's weights


def test_a_run_begins_with_the_weights_of_another_and_its_vocabulary_grows(
    corpus: Path, tmp_path: Path, any_unit: str
) -> None:
    settings = {**TINY, "unit": any_unit, "steps": 30, "vocab_size": {"word": 40, "subword": 300}.get(any_unit)}
    first = charlm.train(corpus, run=str(tmp_path / "first"), **settings)
    other = tmp_path / "other.txt"
    other.write_text("Ωμέγα says: the pear & the pair.\n" * 40)
    training = open_session(other, SHORT, run=str(tmp_path / "second"), init_from=first.run)
    old, new = charlm.load(first.run), training.corpus.tokenizer
    size = old.tokenizer.vocab_size
    assert [new.symbol(id) for id in range(size)] == [old.tokenizer.symbol(id) for id in range(size)]
    assert (new.vocab_size > size) == (any_unit in ("char", "word"))
    assert new.decode(new.encode("Ωμέγα & the pear\n")) == "Ωμέγα & the pear\n"
    base = RunDirectory(Path(first.run))
    before = base.load(BEST).tensors
    for name, value in training.trainer.objective.network.state_dict().items():
        rows = len(before[name])
        assert np.array_equal(value.numpy()[:rows], before[name]), name
        assert len(value) == rows or name in ("embedding.weight", "head.weight", "head.bias")
    finish(training)
    assert training.run.config["init_from"]["run_id"] == base.config["run_id"]
    assert math.isfinite(charlm.load(training.run.path).score("the pear & Ωμέγα").logprob_nats)


SHORT: dict[str, Any] = {"steps": 6, "threads": 1, "device": "cpu", "batch_size": 3, "bptt": 9, "save_every": 4}


@pytest.fixture(params=["char", "byte", "word", "subword"])
def any_unit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_new_symbols_are_together_as_probable_as_an_unknown_one_was(corpus: Path, tmp_path: Path) -> None:
    first = charlm.train(corpus, run=str(tmp_path / "first"), **{**TINY, "steps": 40})
    (tmp_path / "other.txt").write_text("αβγδ the pear\n" * 30)
    training = open_session(tmp_path / "other.txt", SHORT, run=str(tmp_path / "second"), init_from=first.run)
    old, new = charlm.load(first.run), training.trainer.objective.network
    ids = old.tokenizer.encode("the pe").astype(np.int64)
    assert isinstance(new, TorchNetwork)
    with torch.no_grad():
        logits, _ = new(torch.from_numpy(ids)[None], new.initial_state(1))
    probabilities = logits[0, -1].softmax(0).numpy()
    size, unk = old.tokenizer.vocab_size, old.tokenizer.unk_id
    assert len(probabilities) == size + 4
    assert probabilities[size:].sum() == pytest.approx(probabilities[unk], rel=1e-4)


def test_a_run_from_other_weights_is_resumed_like_any_other(corpus: Path, tmp_path: Path, stop: StopRequest) -> None:
    first = charlm.train(corpus, run=str(tmp_path / "first"), **TINY)

    def begin(name: str) -> Session:
        return open_session(corpus, SHORT, run=str(tmp_path / name), init_from=first.run)

    def resumed(name: str) -> Session:
        return open_session(run=str(tmp_path / name), resume=True)

    straight = finish(begin("straight"))
    begin("killed")
    assert_same(straight, finish(resumed("killed")))
    interrupt_after(begin("stopped"), stop, 5)
    assert_same(straight, finish(resumed("stopped")))


@pytest.mark.parametrize(
    "given", [{"hidden_size": 13}, {"cell": "gru"}, {"unit": "word"}, {"lowercase": True}, {"tie_embeddings": True}]
)
def test_another_network_or_tokenizer_than_the_base_s_is_refused(
    corpus: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    first = charlm.train(corpus, run=str(tmp_path / "first"), **{**TINY, "steps": 3})
    (name,) = given
    with pytest.raises(UsageError, match=flag(name)):
        charlm.train(corpus, run=str(tmp_path / "second"), init_from=first.run, **SHORT, **given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]


def test_going_on_and_beginning_anew_exclude_each_other(corpus: Path, tmp_path: Path) -> None:
    run = charlm.train(corpus, run=str(tmp_path / "first"), **{**TINY, "steps": 3}).run
    with pytest.raises(UsageError, match="--init-from"):
        charlm.train(run=run, resume=True, init_from=run, steps=9)
    with pytest.raises(UsageError, match="--tokenizer"):
        charlm.train(corpus, run=str(tmp_path / "second"), init_from=run, tokenizer=run, **SHORT)


def test_sizes_that_are_the_base_s_own_may_be_given(corpus: Path, tmp_path: Path) -> None:
    given = {**TINY, "cell": "lstm_projected", "proj_size": 5, "steps": 3}
    first = charlm.train(corpus, run=str(tmp_path / "first"), **given)
    again = charlm.train(corpus, run=str(tmp_path / "second"), init_from=first.run, **given)
    assert again.num_params == first.num_params


def test_a_vocabulary_grows_from_run_to_run(corpus: Path, tmp_path: Path) -> None:
    last, sizes = charlm.train(corpus, run=str(tmp_path / "0"), **{**TINY, "steps": 3}).run, []
    for number, letters in enumerate(("αβγ", "αδ", "βδ"), 1):
        (tmp_path / "text.txt").write_text(f"{letters} the pear\n" * 30)
        last = charlm.train(tmp_path / "text.txt", run=str(tmp_path / str(number)), init_from=last, **SHORT).run
        sizes.append(charlm.load(last).tokenizer.vocab_size)
    assert sizes[1] == sizes[2] == sizes[0] + 1


def test_a_prepared_text_must_be_of_the_base_s_tokenizer(corpus: Path, tmp_path: Path) -> None:
    first = charlm.train(corpus, run=str(tmp_path / "first"), **{**TINY, "steps": 3}).run
    prepare(corpus, tmp_path / "same", TextSettings(), CorpusSettings(), tokenizer=load_tokenizer(Path(first)))
    prepare(corpus, tmp_path / "other", TextSettings(unit="byte"), CorpusSettings())
    assert charlm.train(tmp_path / "same", run=str(tmp_path / "second"), init_from=first, **SHORT).steps == 6
    with pytest.raises(UsageError, match="another tokenizer"):
        charlm.train(tmp_path / "other", run=str(tmp_path / "third"), init_from=first, **SHORT)


# A length that is given anew


def test_a_length_that_was_given_anew_is_kept(start: Start, stop: StopRequest) -> None:
    finish(start(steps=10))
    interrupt_after(start(resume=True, steps=30, patience=3), stop, 20)
    resumed = start(resume=True)
    assert (resumed.training.steps, resumed.training.patience) == (30, 3)
    assert finish(resumed).trainer.progress.step == 30


def test_a_time_that_was_given_anew_is_kept(start: Start, stop: StopRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fake_clock(monkeypatch)
    finish(start(steps=10, instruments=clock))
    interrupt_after(start(resume=True, time="1.5s", instruments=clock), stop, 15)
    resumed = finish(start(resume=True, instruments=clock))
    assert resumed.training.steps is None
    assert 50 < resumed.trainer.progress.step < 100
    interrupt_after(start("timed", steps=None, time="1s", instruments=clock), stop, 40)
    interrupt_after(start("timed", resume=True, steps=200, instruments=clock), stop, 120)
    assert finish(start("timed", resume=True, instruments=clock)).trainer.progress.step == 200


def test_a_time_counts_from_where_training_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fake_clock(monkeypatch)
    first = finish(start(steps=None, time="1.5s", instruments=clock)).trainer.progress
    again = start(resume=True, time="1.5s", instruments=clock)
    planned = [event for event in again.events() if isinstance(event, Planned)]
    assert len(planned) == 2
    assert planned[0].step >= first.step + 10
    assert again.trainer.progress.step == pytest.approx(2 * first.step, rel=0.15)


def test_the_same_length_again_changes_nothing(start: Start, stop: StopRequest) -> None:
    straight = finish(start("straight", **HARD))
    interrupt_after(start("stopped", **HARD), stop, 9)
    resumed = start("stopped", resume=True, steps=23, threads=1, patience=8)
    assert_same(straight, finish(resumed))
    ended = start("patient", **{**HARD, "patience": 1, "learning_rate": 0.9, "steps": 60})
    step = finish(ended).trainer.progress.step
    assert step < 60
    assert finish(start("patient", resume=True, threads=1)).trainer.progress.step == step


def test_what_is_better_than_all_that_follows_stays_the_best(start: Start) -> None:
    checks = checks_that_find(3.0, 1.0, 2.0, 2.0, 2.0)
    events = start(eval_every=4, save_every=6, instruments=checks).events()
    for event in events:
        if isinstance(event, StepDone) and event.step == 9:
            break
    kill(events)
    resumed = finish(start(resume=True, steps=8, instruments=checks))
    best = resumed.run.load(BEST)
    assert (best.step, best.scalars["nats_per_token"]) == (8, 1.0)
    assert resumed.trainer.progress.step == 8


def test_without_its_states_a_trained_run_does_not_begin_anew(start: Start) -> None:
    run = finish(start()).run
    before = (run.path / "best.safetensors").read_bytes()
    for kind in (LAST, PREVIOUS):
        (run.path / f"{kind}.safetensors").unlink()
    with pytest.raises(RunError, match=r"last\.safetensors is missing"):
        start(resume=True)
    assert (run.path / "best.safetensors").read_bytes() == before


def test_without_last_it_goes_on_from_previous(start: Start) -> None:
    straight = finish(start("straight"))
    run = finish(start("lost")).run
    (run.path / "last.safetensors").unlink()
    resumed = start("lost", resume=True)
    assert any("previous.safetensors" in note for note in resumed.notes)
    assert_same(straight, finish(resumed))


def test_a_damaged_best_is_found_before_training_goes_on(start: Start) -> None:
    path = finish(start(steps=3)).run.path / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match=r"best\.safetensors"):
        start(resume=True, steps=9)


def test_a_changed_log_is_not_gone_on_with(start: Start) -> None:
    path = finish(start(steps=3)).run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"StepDone", b"StepDune", 1))
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        start(resume=True, steps=9)
    path.unlink()
    resumed = start(resume=True, steps=9)
    assert any("a new log is started" in note for note in resumed.notes)
    finish(resumed)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_the_first_weights_are_needed_until_a_state_is_saved(corpus: Path, tmp_path: Path, damage: str) -> None:
    first = charlm.train(corpus, run=str(tmp_path / "first"), **{**TINY, "steps": 3}).run
    training = open_session(corpus, SHORT, run=str(tmp_path / "second"), init_from=first)
    path = training.run.path / "initial.safetensors"
    whole = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RunError, match=r"initial\.safetensors"):
        open_session(run=str(tmp_path / "second"), resume=True)
    path.write_bytes(whole)
    finish(training)
    path.unlink()
    assert charlm.train(run=str(tmp_path / "second"), resume=True, steps=9).steps == 9


def test_a_folder_or_another_encoding_is_the_same_text_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{name}.txt").write_bytes(f"the café is {name}\n".encode("latin-1") * 60)
    settings = {**TINY, "steps": 3, "encoding": "latin-1"}
    run = charlm.train(tmp_path / "texts", run=str(tmp_path / "run"), **settings).run
    assert charlm.train(tmp_path / "texts", run=run, resume=True, steps=5).steps == 5
    (tmp_path / "texts" / "three.txt").write_text("more\n")
    with pytest.raises(UsageError, match="not the text"):
        charlm.train(tmp_path / "texts", run=run, resume=True, steps=7)


def test_parts_of_a_batch_that_memory_asks_for_now_are_made(start: Start) -> None:
    """There is room for two of five sequences."""
    training = finish(start(steps=3))
    room = fixed_bytes(training.architecture, training.training)
    room += window_bytes(training.architecture, MACHINE, 2 * TINY["bptt"])
    resumed = start(resume=True, steps=5, instruments=Instruments(free_memory=lambda device: room))
    assert resumed.trainer.progress.micro_batches == 4
    assert any("in 4 parts" in note for note in resumed.notes)


def test_a_run_that_was_replaced_meanwhile_is_left_alone(start: Start) -> None:
    training = start(steps=3)
    other = finish(start(steps=3, force=True))
    with pytest.raises(UsageError, match="replaced"):
        finish(training)
    assert RunDirectory(training.run.path).config["run_id"] == other.run.config["run_id"]


def test_too_many_threads_are_not_started(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(start(steps=3, threads=9))
    monkeypatch.setattr("charlm.lifecycle.resuming.cores", lambda: 1)
    resumed = start(resume=True, steps=5)
    assert resumed.training.threads == 1
    assert any("9 threads" in note for note in resumed.notes)


def test_a_length_given_anew_outlives_a_kill_and_what_was_best_stays(start: Start, stop: StopRequest) -> None:
    finish(start(steps=10, eval_every=2))
    events = start(resume=True, steps=60).events()
    for event in events:
        if isinstance(event, StepDone) and event.step == 12:
            break
    kill(events)
    resumed = start(resume=True)
    assert resumed.training.steps == 60
    before = resumed.run.load(BEST).scalars["nats_per_token"]
    resumed.keeper.best[""] = before - 1.0  # of a step that a kill took away
    best = (resumed.run.path / "best.safetensors").read_bytes()
    finish(resumed)
    assert (resumed.run.path / "best.safetensors").read_bytes() == best


def test_a_rollback_after_a_fall_back_to_previous(start: Start) -> None:
    path = finish(start(steps=12)).run.path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    losses = itertools.count()
    spoiled = Instruments(fault=lambda name, number: math.nan if name == "loss" and next(losses) < 5 else number)
    resumed = finish(start(resume=True, steps=20, instruments=spoiled))
    assert (resumed.trainer.progress.step, resumed.trainer.progress.rollbacks) == (20, 1)


def test_what_could_not_be_written_at_the_end_is_made_up_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the line in the log about the last check: once, as where room was made a moment later."""
    straight, append, failed = finish(start("straight")), RunLog.append, list[str]()

    def append_but_once(log: RunLog, record: dict[str, Any]) -> None:
        if (record["event"], record["step"]) == ("Evaluated", 24) and not failed:
            failed.append("once")
            raise ResourceError("no room")
        append(log, record)

    monkeypatch.setattr(RunLog, "append", append_but_once)
    training = finish(start("failed"))
    assert training.unsaved
    assert_same(straight, finish(start("failed", resume=True)))


def test_a_run_before_its_first_check_is_no_damaged_one(start: Start) -> None:
    events = start(eval_every=20, save_every=20).events()
    next(events)
    kill(events)
    run = start(resume=True).run.path
    assert all(one.ok for one in verify(run))
    with pytest.raises(RunError, match="not saved anything yet"):
        charlm.load(run)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("x"), ResourceError("no memory")])
def test_an_error_before_training_leaves_no_run(start: Start, tmp_path: Path, error: BaseException) -> None:
    run = tmp_path / "runs" / "run"

    def clock() -> float:
        if run.exists():
            raise error
        return 0.0

    with pytest.raises(type(error)):
        start(instruments=Instruments(clock=clock))
    assert not run.parent.exists()
    assert finish(start()).trainer.progress.step == 24


@pytest.mark.parametrize("other", ["replaced", "trained"])
def test_an_error_before_training_leaves_the_run_of_somebody_else(start: Start, tmp_path: Path, other: str) -> None:
    """Another process can replace the new run, or train it, as soon as it is in its place."""
    run, copied, is_done = tmp_path / "runs" / "run", finish(start("other", steps=2)).run.path, False

    def clock() -> float:
        nonlocal is_done
        if run.exists() and not is_done:
            is_done = True
            if other == "replaced":
                shutil.rmtree(run)
                shutil.copytree(copied, run)
            else:
                finish(start(resume=True, steps=2))
            raise MemoryError
        return 0.0

    with pytest.raises(MemoryError):
        start(instruments=Instruments(clock=clock))
    assert RunDirectory(run).load(LAST).step == 2
