"""Training: the loss falls, all of it can be repeated and taken up again, the best is kept, and it ends in time."""

import dataclasses
import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.api import draft_training
from charlm.cells import CELLS
from charlm.corpus.prepare import prepare
from charlm.corpus.store import IdsFile
from charlm.errors import DivergedError, TextError, UsageError
from charlm.lifecycle import time_limit
from charlm.lifecycle.estimate import estimate
from charlm.lifecycle.request import Settings
from charlm.lifecycle.session import Instruments, Session
from charlm.network.architecture import Architecture
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.lock import writing
from charlm.scoring.metrics import Tally
from charlm.settings import CorpusSettings, ModelSettings, TextSettings, TrainingSettings
from charlm.system.interrupts import StopRequest, catching_signals
from charlm.system.machine import Machine
from charlm.training.budget import StepBudget
from charlm.training.defaults import decide_architecture, decide_training
from charlm.training.evaluation import CHECK_TOKENS, check_pieces
from charlm.training.events import Evaluated, Event, Finished, Planned, Sampled, Saved, StepDone
from charlm.training.optimizer import clip
from charlm.training.schedule import default_warmup, learning_rate_factor
from tests.cases import few_cells
from tests.sessions import open_session, request_for

MACHINE = Machine("cpu", 1, bfloat16=False)
TINY: dict[str, Any] = {
    "hidden_size": 12,
    "embedding_size": 7,
    "num_layers": 1,
    "dropout": 0.3,
    "bptt": 13,
    "batch_size": 5,
    "warmup_steps": 3,
    "learning_rate": 0.02,
    "steps": 24,
    "eval_every": 7,
    "save_every": 5,
    "sample_every": 1000,
    "precision": "float32",
    "threads": 1,
    "device": "cpu",
}


class Start:
    """Opens sessions of a tiny model in a fresh place; `stop` is what they take for the signals that they catch."""

    def __init__(self, corpus: Path, folder: Path) -> None:
        self.stop, self._corpus, self._folder = StopRequest(), corpus, folder

    def __call__(
        self,
        name: str = "run",
        *,
        instruments: Instruments | None = None,
        resume: bool = False,
        force: bool = False,
        **settings: Any,
    ) -> Session:
        given = settings if resume else {**TINY, **settings}
        text = given.pop("corpus", self._corpus)
        instruments = stopped_by(self.stop, instruments)
        options = {"run": str(self._folder / name), "resume": resume, "force": force, "began": instruments.clock()}
        return open_session(None if resume else text, given, instruments, **options)


@pytest.fixture
def start(corpus: Path, tmp_path: Path) -> Start:
    return Start(corpus, tmp_path / "runs")


@pytest.fixture(scope="session")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Session]:
    """A finished training with these settings, trained when first asked for; not to be changed."""
    begin, finished = Start(corpus, tmp_path_factory.mktemp("undisturbed")), dict[str, Session]()

    def training(**settings: Any) -> Session:
        key = repr(sorted(settings.items()))
        if key not in finished:
            finished[key] = finish(begin(str(len(finished)), **settings))
        return finished[key]

    return training


@pytest.fixture
def stop(start: Start) -> StopRequest:
    """Setting its `signal` is to the sessions of `start` as if the process had got that signal."""
    return start.stop


def stopped_by(stop: StopRequest, instruments: Instruments | None = None) -> Instruments:
    """Instruments with this request in place of signals; a session begins and ends with none."""

    @contextmanager
    def catching() -> Iterator[StopRequest]:
        stop.signal = None
        try:
            yield stop
        finally:
            stop.signal = None

    return dataclasses.replace(instruments or Instruments(), catching_signals=catching)


def fake_clock(monkeypatch: pytest.MonkeyPatch) -> Instruments:
    """A clock that advances when it is read: a training's pace is then the same each time, for its sums are exact."""
    ticks = itertools.count()
    monkeypatch.setattr(time_limit, "_seconds_per_token", lambda *_: 1.0)  # measuring gets the most that it may
    return Instruments(clock=lambda: next(ticks) / 128)


def finish(training: Session) -> Session:
    for _ in training.events():
        pass
    return training


class Killed(BaseException):
    """Nothing catches it."""


def kill(events: Generator[Event, None, None]) -> None:
    """End a training within this process as `kill -9` does from outside: nothing more is saved."""
    frame = events.gi_frame
    turns = frame.f_locals["events"].gi_frame if frame is not None and "events" in frame.f_locals else None
    for trainer_events in turns.f_locals["events"].values() if turns is not None else ():
        with suppress(Killed):
            trainer_events.throw(Killed())  # they would save if they were closed
    events.close()


def interrupt_after(training: Session, stop: StopRequest, step: int) -> None:
    for event in training.events():
        if isinstance(event, StepDone) and event.step == step:
            stop.signal = 2


def tensors(training: Session, kind: str = BEST) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in training.run.load(kind).tensors.items()}


def logged(training: Session) -> list[tuple[str, int]]:
    """What happened at which step; a resumed training has ended more than once."""
    return [(line["event"], line["step"]) for line in training.run.log.records() if line["event"] != "Finished"]


# The way to a better model


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_the_loss_falls(start: Start, mode: str) -> None:
    training = start(mode=mode, steps=60, dropout=0.0)
    steps = [event.nats_per_token for event in training.events() if isinstance(event, StepDone)]
    assert np.mean(steps[-10:]) < 0.87 * steps[0]
    assert steps[0] == pytest.approx(math.log(training.architecture.vocab_size), rel=0.3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("cell", few_cells())
def test_every_cell_learns_with_every_optimizer(start: Start, cell: str, optimizer: str) -> None:
    rate = {"adamw": 0.02, "sgd": 1.0}[optimizer]
    training = start(cell=cell, optimizer=optimizer, learning_rate=rate, steps=20, initial_state="learned")
    checks = [event.nats_per_token for event in training.events() if isinstance(event, Evaluated)]
    assert checks[-1] < math.log(training.architecture.vocab_size)


def test_bounds_hold_after_every_update(start: Start) -> None:
    training = start(cell="indrnn", steps=3)
    recurrent = dict(training.trainer.objective.network.named_parameters())["layers.0.recurrent"]
    recurrent.data = torch.tensor([5.0, -5.0] * 6)
    for event in training.events():
        if isinstance(event, StepDone):
            assert float(recurrent.detach().abs().max()) <= 1.0


@pytest.mark.parametrize(("embedding_size", "noted"), [(7, True), (12, False)])
def test_residual_that_does_nothing_is_noted(start: Start, embedding_size: int, noted: bool) -> None:
    training = start(residual=True, num_layers=1, embedding_size=embedding_size)
    assert any("--residual does nothing here" in note for note in training.notes) == noted


@pytest.mark.parametrize("cell", few_cells())
def test_an_estimate_is_made_for_every_cell(corpus: Path, cell: str) -> None:
    settings = {**TINY, "cell": cell, "num_layers": 2, "head_layers": 1, "residual": True}
    with draft_training(request_for(corpus, settings)) as training:
        assert estimate(training).num_params == training.architecture.num_params


def test_a_random_initial_state_is_drawn_anew_for_training_and_is_zero_otherwise(start: Start) -> None:
    objective = start(initial_state="random", dropout=0.0).trainer.objective
    generators = {name: torch.Generator().manual_seed(1) for name in objective.generators}
    examples = objective.next_batch().examples
    first, second = (objective.loss(examples, None, generators)[0].item() for _ in range(2))
    assert first != second
    assert objective.check() == objective.check()
    assert all(not part.any() for part in objective.network.initial_state(5)[0])


def test_events_come_in_order_and_count_what_was_seen(start: Start) -> None:
    training = start()
    events = list(training.events())
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, 25))
    assert all(event.tokens == 13 * 5 and event.gradient_norm > 0 for event in steps)
    assert [event.step for event in events if isinstance(event, Evaluated)] == [7, 14, 21, 24]
    assert [event.step for event in events if isinstance(event, Saved)] == [5, 10, 15, 20, 24]
    assert isinstance(events[-1], Finished)
    assert training.trainer.progress.tokens_seen == 24 * 13 * 5
    rates = [event.learning_rate for event in steps]
    assert max(rates) <= 0.02
    assert rates[-1] < 0.002


def test_a_short_sample_is_shown_now_and_then(start: Start) -> None:
    samples = [event for event in start(sample_every=9).events() if isinstance(event, Sampled)]
    assert [sample.step for sample in samples] == [9, 18]
    assert all(sample.text and "<unk>" not in sample.text for sample in samples)


def test_an_estimate_is_made_without_a_trace(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with draft_training(request_for(corpus, TINY)) as training:
        found = estimate(training)
        assert found.num_params == sum(value.numel() for value in training.trainer.objective.network.parameters())
        assert (found.steps, found.tokens_per_step) == (24, 13 * 5)
        assert found.passes == pytest.approx(24 * 13 * 5 / training.corpus.train.num_tokens)
        assert 0 < found.seconds < 60
        assert not any(map(training.run.has, (BEST, LAST)))  # which for a large model would take a while, and room
    assert list(tmp_path.iterdir()) == []


# Again, and from where it stopped


@pytest.mark.parametrize("settings", [{}, {"cell": "gru", "mode": "sentence"}, {"unit": "word", "vocab_size": 40}])
def test_the_same_seed_gives_the_same_weights_byte_for_byte(start: Start, settings: dict[str, Any]) -> None:
    first, again = (finish(start(name, steps=9, **settings)) for name in ("first", "again"))
    assert tensors(first) == tensors(again)
    assert tensors(first, LAST) == tensors(again, LAST)
    other = finish(start("other", seed=2, steps=9, **settings))
    assert tensors(first) != tensors(other)


def test_sampling_and_saving_on_the_way_change_no_weight(start: Start) -> None:
    plain, busy = finish(start("plain")), finish(start("busy", sample_every=2, save_every=1))
    assert tensors(plain) == tensors(busy)


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_stopped_and_resumed_equals_straight_through_byte_for_byte(
    start: Start, undisturbed: Callable[..., Session], stop: StopRequest, mode: str
) -> None:
    straight = undisturbed(mode=mode, initial_state="learned")
    resumed = start("stopped", mode=mode, initial_state="learned")
    for step in (1, 7, 13):
        interrupt_after(resumed, stop, step)
        resumed = start("stopped", resume=True)
        assert resumed.trainer.progress.step == step
    finish(resumed)
    assert tensors(straight, LAST) == tensors(resumed, LAST)
    assert tensors(straight) == tensors(resumed)
    assert logged(straight) == logged(resumed)


def test_a_killed_training_resumes_from_what_was_saved_last(start: Start, undisturbed: Callable[..., Session]) -> None:
    straight = undisturbed()
    events = start("killed").events()
    for event in events:
        if isinstance(event, StepDone) and event.step == 18:
            break
    kill(events)
    resumed = start("killed", resume=True)
    assert resumed.trainer.progress.step == 15
    finish(resumed)
    assert tensors(straight, LAST) == tensors(resumed, LAST)
    assert tensors(straight) == tensors(resumed)
    assert logged(straight) == logged(resumed)


def test_a_damaged_last_state_is_made_good_by_the_one_before(start: Start, undisturbed: Callable[..., Session]) -> None:
    straight = undisturbed()
    damaged = finish(start("damaged"))
    path = damaged.run.path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    resumed = start("damaged", resume=True)
    assert resumed.trainer.progress.step == 20
    assert tensors(finish(resumed), LAST) == tensors(straight, LAST)


def test_an_interrupted_training_has_a_best_and_says_why_it_ended(start: Start, stop: StopRequest) -> None:
    training, events = start(), []
    for event in training.events():
        events.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            stop.signal = 15
    (finished,) = [event for event in events if isinstance(event, Finished)]
    assert (finished.signal, finished.reason, finished.step) == (15, "interrupted", 3)
    assert training.run.load(BEST).step == training.run.load(LAST).step == 3


def test_resuming_goes_further_when_given_more_steps(start: Start) -> None:
    finish(start())
    resumed = finish(start(resume=True, steps=30))
    assert resumed.trainer.progress.step == 30
    assert resumed.run.load(LAST).step == 30


def test_a_finished_training_resumed_stays_as_it_is(start: Start) -> None:
    before = tensors(finish(start()))
    assert tensors(finish(start(resume=True))) == before


@pytest.mark.parametrize("other", [{"hidden_size": 48}, {"bptt": 14}, {"cell": "gru"}, {"seed": 7}, {"unit": "word"}])
def test_resuming_with_another_model_or_text_is_refused(start: Start, other: dict[str, Any]) -> None:
    finish(start(steps=3))
    (name,) = other
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        start(resume=True, **other)


def test_resuming_a_run_that_is_being_trained_is_refused_and_leaves_its_log_alone(start: Start) -> None:
    training = finish(start())
    training.run.log.append({"event": "StepDone", "step": 25})
    before = (training.run.path / "metrics.jsonl").read_bytes()
    with writing(training.run.path), pytest.raises(UsageError):
        finish(start(resume=True))
    assert (training.run.path / "metrics.jsonl").read_bytes() == before


def test_the_first_signal_is_remembered_the_second_ends_at_once_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with catching_signals() as request:
        assert request.signal is None
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 143
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(start: Start) -> None:
    training = start(steps=3)
    thread = threading.Thread(target=finish, args=(training,))
    thread.start()
    thread.join()
    assert training.run.load(BEST).step == 3


# The best is kept


def checks_that_find(*values: float) -> Instruments:
    """Instruments with which the quick checks find these values, one after the other."""
    remaining = iter(values)
    return Instruments(fault=lambda name, number: next(remaining) if name == "check" else number)


def network_now(training: Session) -> dict[str, bytes]:
    """The weights in memory."""
    return {name: value.numpy().tobytes() for name, value in training.trainer.objective.network.state_dict().items()}


def test_the_best_weights_are_kept_not_the_last_and_measured(start: Start) -> None:
    training = start(instruments=checks_that_find(3.0, 2.0, 2.5, 2.0))
    at_best = {}
    for event in training.events():
        if isinstance(event, Evaluated) and event.step == 14:
            at_best = network_now(training)
    best = training.run.load(BEST)
    assert (best.step, best.scalars["nats_per_token"]) == (14, 2.0)
    assert tensors(training) == at_best
    assert training.measure().best_step == 14
    assert network_now(training) == at_best


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("seen", [1, 3])
def test_a_training_that_was_left_is_measured(start: Start, direction: str, seen: int) -> None:
    training = start(direction=direction, save_every=100)
    for _, _ in zip(range(seen), training.events(), strict=False):
        pass
    assert training.finished is not None
    assert training.finished.reason == "interrupted"
    result = training.measure()
    assert (result.ended, result.steps) == ("interrupted", training.trainers[""].progress.step)
    assert finish(start(resume=True)).measure().steps == 24


def test_what_has_not_ended_is_not_measured(start: Start) -> None:
    training = start()
    with pytest.raises(UsageError, match="not ended"):
        training.measure()
    events = training.events()
    next(events)
    with pytest.raises(UsageError, match="not ended"):
        training.measure()
    events.close()
    assert training.measure().best_step >= 1


def test_a_training_that_diverged_is_not_measured(start: Start) -> None:
    training = start(instruments=Instruments(fault=lambda name, number: math.nan if name == "loss" else number))
    with pytest.raises(DivergedError):
        finish(training)
    with pytest.raises(UsageError, match="not ended"):
        training.measure()


def test_an_estimate_and_the_final_figures_go_by_the_given_clock(start: Start) -> None:
    ticks = itertools.count()
    training = start(instruments=Instruments(clock=lambda: next(ticks)), steps=3)
    assert finish(training).measure().seconds == next(ticks) - 1
    assert estimate(start("other", instruments=Instruments(clock=lambda: next(ticks)))).seconds >= 24


def test_a_loss_that_is_not_a_number_is_never_the_best(start: Start) -> None:
    training = start(instruments=checks_that_find(math.nan, 2.0, math.nan, math.inf))
    assert finish(training).run.load(BEST).step == 14


def test_without_a_validation_part_the_best_is_the_last(start: Start) -> None:
    training = finish(start(valid_fraction=0.0))
    assert training.corpus.valid is None
    assert training.run.load(BEST).step == 24
    last = training.run.load(LAST).tensors
    assert all(np.array_equal(last[f"network.{n}"], value) for n, value in training.run.load(BEST).tensors.items())


def test_without_a_validation_part_a_killed_training_has_a_best_too(start: Start) -> None:
    training = start(valid_fraction=0.0)
    events = training.events()
    for event in events:
        if isinstance(event, StepDone) and event.step == 12:
            break
    kill(events)
    assert training.run.load(BEST).step == training.run.load(LAST).step == 10


def test_patience_ends_a_training_that_no_longer_improves(start: Start) -> None:
    instruments = checks_that_find(3.0, 2.0, 2.1, 2.0, 2.2, 1.0)
    training = start(instruments=instruments, eval_every=2, patience=3)
    (finished,) = [event for event in training.events() if isinstance(event, Finished)]
    assert finished.step == 10
    assert "3 evaluations" in finished.reason


def test_patience_0_never_ends_a_training(start: Start) -> None:
    instruments = checks_that_find(*map(float, range(20)))
    assert finish(start(instruments=instruments, eval_every=2, patience=0)).trainer.progress.step == 24


# The schedule and the budget


@pytest.mark.parametrize(("total", "warmup"), [(100, 10), (1000, 50), (7, 0), (2, 1)])
def test_the_learning_rate_rises_in_the_warm_up_and_then_falls_to_zero(total: int, warmup: int) -> None:
    factors = [learning_rate_factor(step, total, warmup) for step in range(total + 1)]
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert max(factors) == factors[warmup] == 1.0
    assert factors[-1] == 0.0
    assert all(factor > 0 for factor in factors[:-1])


def test_values_of_the_schedule() -> None:
    factors = [learning_rate_factor(step, 8, 3) for step in range(9)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_a_short_training_warms_up_for_less_so_that_its_rate_falls_too(steps: int) -> None:
    assert default_warmup(steps) <= steps // 2


CEILING = 10**6  # steps, which no budget here comes to


def run_clock(budget: StepBudget, seconds_per_step: Callable[[int], float]) -> tuple[int, float, list[int]]:
    """Steps and seconds until the budget is used up, and the steps at which the plan changed."""
    step, seconds, planned = 0, 0.0, []
    while step < budget.max_steps:
        step += 1
        seconds += seconds_per_step(step)
        if budget.observe(step, seconds):
            planned.append(step)
    return step, seconds, planned


def test_the_budget_decides_early_corrects_once_and_keeps_to_its_time() -> None:
    budget = StepBudget(seconds=60.0, ceiling=CEILING)
    _, seconds, planned = run_clock(budget, lambda step: 1.0 if step <= 3 else 0.02 if step < 100 else 0.03)
    assert len(planned) == 2
    assert planned[0] <= 13
    assert seconds == pytest.approx(60.0, rel=0.05)


def test_a_plan_made_while_the_machine_was_busy_is_corrected() -> None:
    _, seconds, planned = run_clock(
        StepBudget(seconds=100.0, ceiling=CEILING), lambda step: 0.5 if step <= 13 else 0.02
    )
    assert len(planned) == 2
    assert seconds == pytest.approx(100.0, rel=0.1)


def test_training_ends_when_the_machine_becomes_much_slower() -> None:
    budget = StepBudget(seconds=100.0, ceiling=CEILING)
    run_clock(budget, lambda step: 0.02)
    assert not budget.is_overrun(102.0)
    assert budget.is_overrun(103.0)


def test_the_first_slow_steps_do_not_count_for_the_speed() -> None:
    budget = StepBudget(seconds=100.0, ceiling=CEILING)
    step, seconds, (first, _) = run_clock(budget, lambda step: 1.0 if step <= 3 else 0.05)
    assert seconds == pytest.approx(100.0, rel=0.02)
    assert first < 0.1 * step


@pytest.mark.parametrize("ceiling", [30, 500])
def test_the_budget_respects_its_ceiling(ceiling: int) -> None:
    step, _, _ = run_clock(StepBudget(seconds=60.0, ceiling=ceiling), lambda step: 0.02)
    assert step == ceiling


def test_a_fixed_number_of_steps_is_never_changed() -> None:
    assert run_clock(StepBudget(total_steps=50), lambda step: 9.0)[::2] == (50, [])


def test_time_is_kept_to_and_the_plan_is_stored_with_the_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    instruments = fake_clock(monkeypatch)
    training = start(instruments=instruments, steps=None, eval_every=None, save_every=None, time="1.5s")
    planned = [event for event in training.events() if isinstance(event, Planned)]
    progress, last = training.trainer.progress, training.run.load(LAST)
    assert 1 <= len(planned) <= 2
    assert progress.step == planned[-1].total_steps == last.scalars["plan"]["total_steps"]
    assert last.scalars["plan"]["decisions"] == len(planned)
    assert 1.2 < progress.seconds < 1.6


@pytest.mark.parametrize("step", [3, 14])  # where the pace begins to count, and where the number of steps is decided
def test_who_leaves_a_training_for_some_time_changes_no_plan(
    start: Start, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: dict[str, Any] = {"steps": None, "time": "1.5s", "eval_every": None, "save_every": None}
    straight = finish(start("straight", instruments=fake_clock(monkeypatch), **timed))
    instruments = fake_clock(monkeypatch)
    events = start("left", instruments=instruments, **timed).events()
    next(event for event in events if isinstance(event, StepDone) and event.step == step)
    events.close()
    resumed = finish(start("left", instruments=instruments, resume=True))
    assert resumed.trainer.budget == straight.trainer.budget
    assert tensors(resumed, LAST) == tensors(straight, LAST)


def test_epochs_are_passes_over_the_text(start: Start) -> None:
    training = start(steps=None, epochs=1.5)
    per_pass = training.trainer.objective.batches_per_pass
    assert training.trainer.budget.total_steps == round(1.5 * per_pass)
    tokens = training.corpus.train.num_tokens
    assert finish(training).trainer.progress.tokens_seen == pytest.approx(1.5 * tokens, rel=0.05)


# What goes wrong


@pytest.mark.parametrize(("setting", "limit"), [("clip_norm", 0.3), ("clip_value", 0.01)])
def test_gradients_are_clipped_by_norm_or_by_value(setting: str, limit: float) -> None:
    generator = torch.Generator().manual_seed(1)
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (7, 50)]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = torch.cat([parameter.grad.clone() for parameter in parameters if parameter.grad is not None])
    norm = clip(parameters, TrainingSettings(**{setting: limit}))
    after = torch.cat([parameter.grad for parameter in parameters if parameter.grad is not None])
    assert float(norm) == pytest.approx(float(before.norm()), rel=1e-5)
    if setting == "clip_norm":
        torch.testing.assert_close(after, before * limit / before.norm(), rtol=1e-4, atol=1e-6)
    else:
        torch.testing.assert_close(after, before.clamp(-limit, limit))


def test_a_gradient_within_the_limit_stays_as_it_is() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([0.1, -0.2, 0.3])
    clip([parameter], TrainingSettings(clip_norm=5.0))
    assert torch.equal(parameter.grad, torch.tensor([0.1, -0.2, 0.3]))


# What is decided


SMALL = Architecture("lstm", 1, 5, 3, tie_embeddings=False, initial_state="zero", vocab_size=77)


@pytest.mark.parametrize("num_tokens", [2, 9, 40, 1000])
@pytest.mark.parametrize("asked", [{}, {"bptt": 5000}, {"batch_size": 900}, {"bptt": 300, "batch_size": 8}])
def test_windows_fit_the_text_whatever_was_asked_for(num_tokens: int, asked: dict[str, int]) -> None:
    decided, notes = decide_training(TrainingSettings(**asked), SMALL, "char", num_tokens, MACHINE)
    assert decided.bptt is not None
    assert decided.batch_size is not None
    assert decided.bptt * decided.batch_size <= num_tokens
    assert all(getattr(decided, name) == value for name, value in asked.items()) or notes


def test_what_was_given_is_not_decided_anew() -> None:
    given = TrainingSettings(
        bptt=9, batch_size=3, learning_rate=0.5, warmup_steps=7, clip_value=2.0, steps=100, dropout=0.0
    )
    decided, notes = decide_training(given, SMALL, "word", 10**6, MACHINE)
    asked = {name: value for name, value in dataclasses.asdict(given).items() if value is not None}
    assert {name: getattr(decided, name) for name in asked} == asked
    assert decided.clip_norm is None
    assert notes == []


@pytest.mark.parametrize("unit", ["char", "byte", "word", "subword"])
@pytest.mark.parametrize("num_tokens", [100, 10**5, 10**6, 10**9])
def test_every_size_is_decided_for_every_text(unit: Any, num_tokens: int) -> None:
    decided = decide_architecture(ModelSettings(), unit, 77, num_tokens, MACHINE)
    assert decided.vocab_size == 77
    assert min(decided.hidden_size, decided.embedding_size, decided.num_layers) >= 1
    given = ModelSettings(hidden_size=5, embedding_size=3, num_layers=2, tie_embeddings=True)
    as_given = Architecture("lstm", 2, 5, 3, tie_embeddings=True, initial_state="zero", vocab_size=77)
    assert decide_architecture(given, unit, 77, num_tokens, MACHINE) == as_given


def test_a_text_shorter_than_a_window_shrinks_it_and_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("the pear\nand the pair\n")
    training = start(corpus=tmp_path / "short.txt", bptt=64, batch_size=3)
    assert any("window shrinks" in note for note in training.notes)
    assert finish(training).trainer.progress.step == 24


def test_the_check_is_the_whole_of_a_small_part_and_a_spread_slice_of_a_large_one() -> None:
    ids = np.arange(1, 200_000) % 50
    assert [piece.tolist() for piece in check_pieces(ids[:500], 0, line_by_line=False)] == [ids[:500].tolist()]
    pieces = check_pieces(ids, 0, line_by_line=False)
    assert sum(map(len, pieces)) == CHECK_TOKENS
    assert np.array_equal(pieces[0], ids[: len(pieces[0])])
    assert np.array_equal(pieces[-1], ids[-len(pieces[-1]) :])
    lines = check_pieces(ids[:500], 0, line_by_line=True)
    assert sum(map(len, lines)) == 500
    assert all(0 not in line[:-1] for line in lines)


# The result, and where it goes


def test_the_result_says_what_was_measured(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("The cat sees it.\nA dog likes the pear!\n")
    run = str(tmp_path / "runs" / "x")
    result = charlm.train(corpus, run=run, test=tmp_path / "test.txt", **TINY)
    lm = charlm.load(run)
    assert (result.run, result.steps, result.tokens_seen) == (run, 24, 24 * 13 * 5)
    assert result.num_params == sum(value.size for value in RunDirectory(lm.path).load(BEST).tensors.values())
    assert 0 < result.seconds < 60
    assert result.valid_streamed is not None
    assert result.valid_cold is not None
    assert result.test is not None
    assert set(result.as_json()) >= {
        "run",
        "steps",
        "tokens_seen",
        "seconds",
        "train_nats_per_token",
        "valid_nats_per_token",
        "valid_nats_per_char",
        "valid_cold_nats_per_char",
        "test_nats_per_token",
        "num_params",
    }
    assert result.test.total_nats == pytest.approx(lm.score_stream(tmp_path / "test.txt").total_nats, rel=1e-6)
    assert result.test.tokens == 39
    assert 0 < result.train_nats_per_token < math.log(lm.tokenizer.vocab_size)


@pytest.mark.parametrize("unit", ["char", "byte", "word", "subword"])
def test_scoring_the_validation_part_as_a_stream_gives_the_number_that_training_gave(
    corpus: Path, tmp_path: Path, unit: str
) -> None:
    text = corpus.read_text(encoding="utf-8")
    part = text[int(0.9 * len(text)) :]
    if unit in ("word", "subword"):
        part = part[part.index("\n") + 1 :]
    (tmp_path / "part.txt").write_text(part, encoding="utf-8")
    result = charlm.train(
        corpus,
        run=str(tmp_path / "runs" / "x"),
        unit=unit,
        vocab_size=None if unit != "subword" else 300,
        ngram="none",
        **TINY,
    )
    network = charlm.load(result.run, predictor="network")
    streamed = network.score_stream(tmp_path / "part.txt")
    assert result.valid_streamed is not None
    assert streamed.total_nats == pytest.approx(result.valid_streamed.total_nats, rel=1e-6)
    assert dataclasses.replace(streamed, total_nats=0, unknown_nats=0) == dataclasses.replace(
        result.valid_streamed, total_nats=0, unknown_nats=0
    )
    lines = part.removesuffix("\n").split("\n")
    cold = sum((score.tally for score in network.score_lines(lines)), start=Tally())
    assert result.valid_cold is not None
    assert cold.total_nats == pytest.approx(result.valid_cold.total_nats, rel=1e-6)


def test_without_a_test_or_validation_part_their_figures_are_null(corpus: Path, tmp_path: Path) -> None:
    record = charlm.train(corpus, run=str(tmp_path / "x"), valid_fraction=0.0, **TINY).as_json()
    nulls = {"valid_nats_per_token", "valid_nats_per_char", "valid_cold_nats_per_char", "test_nats_per_token"}
    assert {name for name, value in record.items() if value is None} == nulls


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 0},
        {"dropout": 1.0},
        {"dropout": math.nan},
        {"steps": 0},
        {"epochs": math.inf},
        {"epochs": math.nan},
        {"time": "0s"},
        {"time": "soon"},
        {"cell": "transformer"},
        {"valid_fraction": -0.1},
        {"learning_rate": "fast"},
        {"hiden_size": 24},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_naming_it_and_nothing_is_created(
    corpus: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    given = {name: value for name, value in TINY.items() if not (wrong.keys() & {"epochs", "time"} and name == "steps")}
    (name,) = wrong
    with pytest.raises(UsageError, match=name.replace("_", ".")):
        charlm.train(corpus, run=str(tmp_path / "runs" / "x"), **{**given, **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"aaaa", b"\n\n\n", b"a\xff\xfeb\n"])
def test_a_text_that_teaches_nothing_is_refused_and_nothing_is_created(tmp_path: Path, content: bytes) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    with pytest.raises(TextError) as caught:
        charlm.train(text, run=str(tmp_path / "runs" / "x"), **TINY)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == [text]


def test_what_was_given_is_held_converted_by_kind() -> None:
    settings = Settings.parsed({"steps": "7", "seed": 3, "hidden_size": "12", "unit": "byte"})
    assert settings.given_of(TextSettings, TrainingSettings) == {"unit": "byte", "steps": 7, "seed": 3}
    assert (settings.training.steps, settings.model.hidden_size, settings.text.unit) == (7, 12, "byte")


def test_a_run_that_exists_is_refused_and_replaced_by_force(start: Start) -> None:
    first = finish(start(steps=3)).run
    with pytest.raises(UsageError, match="--force"):
        start(steps=3)
    replaced = finish(start(steps=3, force=True)).run
    assert replaced.path == first.path
    assert replaced.config["run_id"] != first.config["run_id"]


@pytest.mark.parametrize(("save_every", "eval_every"), [(5, 7), (7, 5)])
def test_a_run_goes_on_being_checked_and_measured_after_it_replaced_another(
    start: Start, save_every: int, eval_every: int
) -> None:
    finish(start(steps=3))
    training = start(force=True, save_every=save_every, eval_every=eval_every)
    checks = [event.step for event in training.events() if isinstance(event, Evaluated)]
    assert checks == [*range(eval_every, 24, eval_every), 24]
    assert training.measure().valid_tokens_measured == training.run.config["corpus"]["valid_tokens"]


def test_force_with_a_bad_text_leaves_the_old_run_alone(start: Start, tmp_path: Path) -> None:
    before = tensors(finish(start(steps=3)))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(TextError):
        start(corpus=tmp_path / "empty.txt", force=True)
    after = RunDirectory(tmp_path / "runs" / "run").load(BEST).tensors
    assert {name: value.tobytes() for name, value in after.items()} == before


def test_force_does_not_replace_a_run_that_is_being_trained(start: Start) -> None:
    training = finish(start(steps=3))
    with writing(training.run.path), pytest.raises(UsageError):
        start(force=True)
    assert training.run.load(BEST).step == 3


def test_a_prepared_folder_gives_the_same_training_as_its_text(start: Start, corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "prepared", TextSettings(), CorpusSettings())
    assert tensors(finish(start("text"))) == tensors(finish(start("folder", corpus=tmp_path / "prepared")))


def test_a_run_holds_its_own_copy_of_the_ids(start: Start) -> None:
    training = start()
    stored = IdsFile.open(training.run.path / "corpus" / "train.ids")
    assert stored.num_tokens == training.corpus.train.num_tokens
    assert training.run.config["corpus"]["train_tokens"] == stored.num_tokens


def test_deterministic_asks_torch_for_it_and_every_cell_trains_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        for cell in CELLS:
            finish(start(cell, cell=cell, steps=2, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
