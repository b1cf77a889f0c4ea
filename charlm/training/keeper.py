"""Whoever keeps a training: the trainer calls it to save, to log and to go back. It never depends on who listens."""

import copy
import dataclasses
from typing import Protocol

from charlm.training.events import Event, Finished
from charlm.training.state import TrainingState


class Keeper(Protocol):
    """Where the states of a training are kept. All may raise ResourceError."""

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        """Keep a state as the newest one; `finished` says how training came to its end, where it did.

        False where that could not be done at the end, and the best weights are a model all the same.
        """

    def save_best(self, state: TrainingState) -> None:
        """Keep the weights, whose check was the best so far."""

    def newest(self) -> TrainingState | None:
        """The state that was saved last; what was logged since is forgotten."""

    def log(self, event: Event, seconds: float) -> None:
        """Note what happened, after so many seconds of training."""


class MemoryKeeper:
    """Keeps the newest and the best state in memory: for a trial, and for tests."""

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
    """A state that training does not change any more."""
    tensors = {name: tensor.detach().clone() for name, tensor in state.tensors.items()}
    return TrainingState(tensors, dataclasses.replace(state.progress), copy.deepcopy(state.budget))
