"""Resuming is exact: a training that stopped anywhere goes on as if it had not; each part of what is saved matters."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from charlm.cells import CELLS
from charlm.interrupts import Interrupted, StopRequest
from charlm.run_directory import LAST
from charlm.training import loop, session
from charlm.training.events import Evaluated, Planned, Saved
from charlm.training.loop import Progress
from charlm.training.optimizer import make_optimizer
from charlm.training.session import Session
from tests.test_training import Start, finish, interrupt_after, start, stop, tensors

__all__ = ["start", "stop"]  # fixtures

HARD: dict[str, Any] = {"num_layers": 2, "initial_state": "random", "steps": 23, "sample_every": 6, "eval_every": 4}


def log(training: Session) -> list[dict[str, Any]]:
    """The whole log but for times."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in training.run.metrics()]


def assert_same(one: Session, other: Session) -> None:
    assert tensors(one) == tensors(other)
    assert tensors(one, LAST) == tensors(other, LAST)
    assert log(one) == log(other)


# Stopped anywhere


@pytest.mark.parametrize(("mode", "precision"), [("stream", "bfloat16"), ("sentence", "float32")])
@pytest.mark.parametrize("cell", list(CELLS))
def test_every_cell_goes_on_byte_for_byte_and_line_for_line(
    start: Start, stop: StopRequest, cell: str, mode: str, precision: str
) -> None:
    shape = {**HARD, "cell": cell, "mode": mode, "precision": precision, "residual": True, "head_layers": 1}
    straight = finish(start("straight", **shape))
    interrupt_after(start("stopped", **shape), stop, 9)
    interrupt_after(start("stopped", resume=True), stop, 16)
    assert_same(straight, finish(start("stopped", resume=True)))


@pytest.mark.parametrize("step", range(1, 23))
def test_it_does_not_matter_where_a_training_stops(start: Start, stop: StopRequest, step: int) -> None:
    straight = finish(start("straight", **HARD))
    interrupt_after(start("stopped", **HARD), stop, step)
    assert_same(straight, finish(start("stopped", resume=True)))


@pytest.mark.parametrize("settings", [{}, {"valid_fraction": 0.0}, {"optimizer": "sgd", "learning_rate": 0.5}])
def test_a_training_that_is_cut_off_at_any_event_goes_on_the_same(start: Start, settings: dict[str, Any]) -> None:
    straight = start("straight", **{**HARD, **settings})
    num_events = sum(1 for _ in straight.events())
    for number in range(0, num_events, 3):
        events = start("cut", **{**HARD, **settings}, force=True).events()
        for _ in itertools.islice(events, number):
            pass
        events.close()  # type: ignore[attr-defined]
        assert_same(straight, finish(start("cut", resume=True)))


def test_a_check_that_a_signal_broke_off_is_made_up_for(
    start: Start, stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = finish(start("straight", **HARD))
    check, calls = session._check, itertools.count()

    def broken_off(*arguments: Any) -> Callable[[], float]:
        def run() -> float:
            if next(calls) == 1:
                stop.signal = 15
                raise Interrupted
            return check(*arguments)()

        return run

    with monkeypatch.context() as patch:
        patch.setattr(session, "_check", broken_off)
        finish(start("stopped", **HARD))
    stop.signal = None
    resumed = start("stopped", resume=True)
    assert (resumed.trainer.progress.step, resumed.trainer.progress.evaluated_at) == (8, 4)
    assert_same(straight, finish(resumed))


def fake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances when it is read: a training's pace is then the same each time."""
    ticks = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(ticks) * 0.01)


@pytest.mark.parametrize("step", [2, 5, 14, 20, 33, 47])
def test_with_a_time_the_stored_plan_is_replayed(
    start: Start, stop: StopRequest, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_clock(monkeypatch)
    timed = {"steps": None, "time": "1.5s", "eval_every": 8, "save_every": 9}
    straight = start("straight", **timed)
    planned = [event for event in straight.events() if isinstance(event, Planned)]
    assert len(planned) == 2
    assert planned[0].step < 33 < planned[-1].total_steps
    interrupt_after(start("stopped", **timed), stop, step)
    resumed = start("stopped", resume=True)
    if step >= planned[-1].step:
        assert resumed.trainer.budget.total_steps == planned[-1].total_steps
    finish(resumed)
    totals = [line["total_steps"] for line in log(resumed) if line["event"] == "Planned"]
    if step >= planned[-1].step:
        assert_same(straight, resumed)
    assert len(totals) == 2
    assert resumed.trainer.progress.step == totals[-1]


def test_a_plan_is_saved_as_soon_as_it_is_made(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_clock(monkeypatch)
    training = start(steps=None, time="1.5s", eval_every=1000, save_every=1000)
    events = training.events()
    for event in events:
        if isinstance(event, Planned):
            break
    assert any(isinstance(following, Saved) for following in itertools.islice(events, 2))
    events.close()  # type: ignore[attr-defined]
    assert start(resume=True).trainer.budget.total_steps == event.total_steps


# What a saved state holds

Spoil = Callable[[Session, Session], None]


def _weights(training: Session, fresh: Session) -> None:
    training.network.load_state_dict(fresh.network.state_dict())


def _optimizer(training: Session, fresh: Session) -> None:
    training.trainer.optimizer = make_optimizer(training.network, training.training)


def _schedule(training: Session, fresh: Session) -> None:
    training.trainer.progress.step = 0


def _dropout(training: Session, fresh: Session) -> None:
    training.trainer.gradients.dropout.manual_seed(training.training.seed)


def _initial_states(training: Session, fresh: Session) -> None:
    training.trainer.gradients.initial_state.manual_seed(training.training.seed)


def _carried_state(training: Session, fresh: Session) -> None:
    training.trainer.state = None


def _position(training: Session, fresh: Session) -> None:
    training.trainer.windows.restore(fresh.trainer.windows.position())


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
    training.log_length = 0


PARTS: dict[str, Spoil] = {
    spoil.__name__.strip("_"): spoil
    for spoil in (
        *(_weights, _optimizer, _schedule, _dropout, _initial_states, _carried_state, _position, _best_so_far),
        *(_patience, _last_evaluation, _tokens_seen, _learning_rate_scale, _rollbacks),
        *(_micro_batches, _length_of_the_log),
    )
}
NUMBERS = {
    "step": "schedule",
    "best_nats_per_token": "best_so_far",
    "evaluations_without_improvement": "patience",
    "evaluated_at": "last_evaluation",
    "skipped_in_a_row": "rollbacks",  # of which test_recovery.py has a test of its own
}
STOPPED_AT = 12  # where a check has just been made, which was worse than the best


def _eventful(training: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A training whose every part has something to remember: checks that get worse, a bad step, a split batch."""
    checks = iter([3.0, 2.0, 2.1, 2.2, 2.15, 2.3, 2.4, 2.5])
    taken = [next(checks) for _ in range(training.trainer.progress.step // 4)]
    training.trainer._check = lambda: taken.append(next(checks)) or taken[-1]
    of = training.trainer.gradients.of

    def gradients(window: Any, state: Any, micro_batches: int) -> Any:
        nats, state = of(window, state, micro_batches)
        step = training.trainer.progress.step + 1
        return (math.nan if step == 7 else nats), state

    monkeypatch.setattr(training.trainer.gradients, "of", gradients)
    if training.trainer.progress.step == 0:
        training.trainer.progress = Progress(micro_batches=2, learning_rate_scale=0.5, rollbacks=1)
    return training


@pytest.mark.parametrize("part", [None, *PARTS])
def test_each_part_of_a_saved_state_is_needed(
    start: Start, stop: StopRequest, part: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, the training that goes on is another one; with all of them it is the same."""
    settings = {**HARD, "steps": 40, "eval_every": 4, "save_every": 50, "patience": 5, "num_layers": 1}
    with monkeypatch.context() as patch:
        straight = finish(_eventful(start("straight", **settings), patch))
        for event in _eventful(start("stopped", **settings), patch).events():
            if isinstance(event, Evaluated) and event.step == STOPPED_AT:
                stop.signal = 15
        stop.signal = None
        resumed = start("stopped", resume=True)
        if part:
            PARTS[part](resumed, start("fresh", **settings))
        finish(_eventful(resumed, patch))
    same = outcome(straight) == outcome(resumed)
    assert same == (part is None)


def outcome(training: Session) -> tuple[Any, ...]:
    last = training.run.load(LAST)
    progress = {name: value for name, value in last.scalars["progress"].items() if name != "seconds"}
    return tensors(training), tensors(training, LAST), progress, log(training)


def test_every_number_of_a_training_is_among_these_parts() -> None:
    names = {NUMBERS.get(one.name, one.name) for one in dataclasses.fields(Progress)}
    assert names - {"seconds"} <= PARTS.keys()
