"""Trainings on labelled data for tests."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from charlm.api import start_training
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.results import Result
from charlm.lifecycle.session import Session
from charlm.system.interrupts import StopRequest
from tests.sessions import request_for
from tests.test_resume import assert_same
from tests.test_training import finish, interrupt_after, stopped_by

SMALL: dict[str, Any] = {
    "hidden_size": 9,
    "embedding_size": 7,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}
FAST: dict[str, Any] = {"dropout": 0.0, "learning_rate": 0.01}

AnyResult = TypeVar("AnyResult", bound=Result)


def task_request(data: Path, run: Path, settings: Mapping[str, Any]) -> TrainRequest:
    """A request to train on labelled data. Settings may name files of other parts; those that are None are left out."""
    files = {name: settings[name] for name in ("valid", "test", "init_from") if name in settings}
    given = {name: value for name, value in settings.items() if name not in files and value is not None}
    return request_for(data, given, run=str(run), **files)


def measured(request: TrainRequest, kind: type[AnyResult]) -> tuple[Session, AnyResult]:
    """A finished training, and its result, which is of this kind."""
    session = finish(start_training(request))
    result = session.measure()
    assert isinstance(result, kind)
    return session, result


def assert_goes_on(request: Callable[[Path], TrainRequest], runs: Path, *steps: int) -> Session:
    """Compare a training with one that is stopped at some steps, as if by a signal, and resumed; the first is returned.

    `request` makes the request for a run's path.
    """
    stop = StopRequest()
    straight = finish(start_training(request(runs / "straight"), stopped_by(stop)))
    resumed = TrainRequest(run=str(runs / "stopped"), resume=True)
    for number, step in enumerate(steps):
        interrupt_after(start_training(resumed if number else request(runs / "stopped"), stopped_by(stop)), stop, step)
    assert_same(straight, finish(start_training(resumed, stopped_by(stop))))
    return straight
