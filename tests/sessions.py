"""Trainings for tests that look at more than `charlm.train` gives back."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.api import start_training
from charlm.corpus.gathering import Texts
from charlm.lifecycle.request import Settings, TrainRequest
from charlm.lifecycle.session import Instruments, Session
from charlm.training.events import Event, Finished
from charlm.training.state import TrainingState


def request_for(
    corpus: Path | str | None = None, settings: Mapping[str, Any] | None = None, **options: Any
) -> TrainRequest:
    """A request to train on a text; `options` are the other fields of TrainRequest."""
    texts = Texts((str(corpus),)) if corpus is not None else None
    return TrainRequest(texts=texts, settings=Settings.parsed(settings or {}), **options)


def open_session(
    corpus: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    instruments: Instruments | None = None,
    **options: Any,
) -> Session:
    """The training that such a request leads to, before its first step."""
    return start_training(request_for(corpus, settings, **options), instruments)


class MemoryKeeper:
    """A `training.keeper.Keeper` that holds the newest and the best state in memory."""

    def __init__(self) -> None:
        self.last: TrainingState | None = None
        self.best: TrainingState | None = None
        self.events: list[Event] = []

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        self.last = _copied(state)
        return True

    def save_best(self, state: TrainingState) -> None:
        self.best = _copied(state)

    def newest(self) -> TrainingState | None:
        return self.last and _copied(self.last)

    def log(self, event: Event, seconds: float) -> None:
        self.events.append(event)


def _copied(state: TrainingState) -> TrainingState:
    """A copy of a state, which further training does not change."""
    tensors = {name: tensor.detach().clone() for name, tensor in state.tensors.items()}
    return TrainingState(tensors, dataclasses.replace(state.progress), copy.deepcopy(state.budget))
