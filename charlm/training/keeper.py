"""What the trainer calls to save, to log and to go back to a saved state, whether or not anybody reads its events."""

import copy
import dataclasses
from typing import Protocol

from charlm.training.events import Event, Finished
from charlm.training.state import TrainingState


class Keeper(Protocol):
    """Where a trainer saves its states and its log. All methods may raise ResourceError."""

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        """Save a state as the newest one; `finished` says how training ended, if it did.

        Returns False if the final state could not be saved, but the best weights are there and can be used.
        """

    def save_best(self, state: TrainingState) -> None:
        """Save the weights of a state as the best so far."""

    def newest(self) -> TrainingState | None:
        """The state that was saved last, None if there is none; whatever was logged since is removed."""

    def log(self, event: Event, seconds: float) -> None:
        """Log an event that happened after `seconds` of training."""


class MemoryKeeper:
    """A Keeper that holds the newest and the best state in memory, for trials and tests."""

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
