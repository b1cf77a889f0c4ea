"""What the trainer calls to save, to log and to go back to a saved state, whether or not anybody reads its events."""

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


class NoKeeper:
    """Keeps nothing: for a few steps on trial, after which the training is thrown away."""

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        return True

    def save_best(self, state: TrainingState) -> None: ...

    def newest(self) -> TrainingState | None:
        return None

    def log(self, event: Event, seconds: float) -> None: ...
