"""Saves a training in its run's folder: the newest state, the best weights, and the log."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charlm.errors import ResourceError
from charlm.lifecycle.replacement import Replacement
from charlm.lifecycle.saved_state import GIVEN_ANEW, arrays_of, finite, read_state, weights_of
from charlm.network.architecture import BACKWARD
from charlm.network.snapshot import NETWORK, under
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.weights import Weights
from charlm.settings import TrainingSettings
from charlm.training.events import Event, Finished, StepDone
from charlm.training.objective import DataOrder
from charlm.training.state import TrainingState
from charlm.training.trainer import Trainer

LOG_EVERY = 10  # steps


class RunKeeper:
    """Saves a training, of one network or a pair, into a run's folder. Networks go by their prefix, "" or "backward_".

    A run that replaces an old one (`--force`) stays hidden until its first `best` is saved, and gets its name then.
    """

    def __init__(
        self,
        run: RunDirectory,
        training: TrainingSettings,
        order: DataOrder,
        device: str,
        check_tokens: int,
        has_check: bool,
    ) -> None:
        self.run, self._training, self._order = run, training, order
        self._facts = {
            "length": {name: getattr(training, name) for name in sorted(GIVEN_ANEW)},
            "device": device,
            "check_tokens": check_tokens,
        }
        self._has_check = has_check
        self.trainers: dict[str, Trainer] = {}
        """The trainer of each network; a saved state holds those of all."""
        self._ended: dict[str, str] = {}
        """Why the training of a network ended, for those whose last step is done."""
        self._ends: list[dict[str, Any]] = []
        self._finished: dict[str, Finished] = {}
        """How training ended, for the networks whose end was saved or, after their last step, could not be saved."""
        self.best: dict[str, float] = {}
        """How good the best weights on disk are, as `Progress.best` says; worse weights never replace them."""
        self.replacement: Replacement | None = None
        """Set while the run is hidden, until it has replaced the old run."""
        self.spared: Path | None = None
        """The path of the old run, if training was interrupted before the new run could replace it."""
        self.unsaved: ResourceError | None = None
        """Why the final state could not be saved, if it could not. The best weights are intact nevertheless."""

    def begin(self, log_bytes: int) -> None:
        """Cut the log to `log_bytes` bytes and save the first state, to go back to; this also tests for disk space."""
        self.run.log.cut(log_bytes)
        self._save_last(self._states())

    def save(self, prefix: str, state: TrainingState, finished: Finished | None) -> bool:
        """Save a network's state, with those of the others, as `last`.

        The weights are saved as `best`, too, while there is no such file, or where there is no validation part.
        Returns False if the final state could not be saved, but the best weights are there and can be used.
        """
        if self.unsaved:  # a later state would count what was not written as done, and --resume would not do it again
            self._note_end(prefix, finished)
            return False
        is_interrupted = finished is not None and finished.signal is not None
        if self.replacement and is_interrupted:
            self.spared = self.replacement.path
            self._move(self.replacement.stay_beside())
        if finished is not None and not is_interrupted:
            self._ended[prefix] = finished.reason
        elif not is_interrupted and state.progress.step >= state.budget.max_steps:
            self._ended[prefix] = ""
        else:
            self._ended.pop(prefix, None)
        states = {**self._states(), prefix: state}
        with self._forgiving_at_the_end():
            self._save_last(states)
            for each in states:
                if not self.run.has(each + BEST) or (each == prefix and not self._has_check):
                    self.save_best(each, states[each])
        self._note_end(prefix, finished)
        return self.unsaved is None

    def save_best(self, prefix: str, state: TrainingState) -> None:
        """Save the weights as `best`, unless those on disk are better; the first time, replace the old run."""
        progress = state.progress
        if progress.best > self.best.get(prefix, math.inf):
            return
        scalars = finite({"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen})
        if math.isfinite(progress.best_cost):
            scalars["cost"] = progress.best_cost
        if len(self.trainers) > 1:
            scalars["direction"] = direction_of(prefix)
        network = arrays_of(under(NETWORK, state.tensors))
        with self._forgiving_at_the_end():
            self.run.save(prefix + BEST, Weights(network, progress.step, scalars))
            self.best[prefix] = progress.best
            if self.replacement and self._has_all_best():
                self._move(self.replacement.take_place())

    def newest(self, prefix: str) -> TrainingState:
        """A network's state in `last`. The log is cut to its length at that time."""
        where = self.run.path / f"{LAST}.safetensors"
        saved = read_state(self.run.load(LAST), self._training, self._order, where)
        self.run.log.cut(saved.scalars.metrics_length)
        return saved.states()[prefix]

    def log(self, prefix: str, event: Event, seconds: float) -> None:
        """Add an event to metrics.jsonl; of the steps, only the first and every LOG_EVERY-th.

        In the log of a pair, each event says the direction in which its network reads.
        """
        if isinstance(event, StepDone):
            if event.step >= event.total_steps:
                self._ended[prefix] = ""
            else:
                self._ended.pop(prefix, None)
            if event.step % LOG_EVERY and event.step != 1:
                return
        record = {"event": type(event).__name__, **finite(dataclasses.asdict(event))}
        record["seconds"] = round(seconds, 3)
        if len(self.trainers) > 1:
            record["direction"] = direction_of(prefix)
            if isinstance(event, Finished):
                self._ends.append(record)
                return
        with self._forgiving_at_the_end():
            self.run.log.append(record)

    def end(self) -> None:
        """Log how the trainings of a pair ended.

        That comes after both of them were saved, since a resumed training cuts the log to its length at that time.
        """
        with self._forgiving_at_the_end():
            for record in self._ends:
                self.run.log.append(record)
        self._ends.clear()

    def _note_end(self, prefix: str, finished: Finished | None) -> None:
        if finished is not None:
            self._finished[prefix] = finished

    @property
    def finished(self) -> Finished | None:
        """How training ended, once the end of every network was saved; of a pair, that of the one that ended last."""
        return list(self._finished.values())[-1] if self._finished.keys() == self.trainers.keys() else None

    def _states(self) -> dict[str, TrainingState]:
        return {prefix: trainer.state() for prefix, trainer in self.trainers.items()}

    def _save_last(self, states: Mapping[str, TrainingState]) -> None:
        num_bytes = self.run.log.num_bytes
        log = {"metrics_length": num_bytes, "metrics_sha256": self.run.log.sha256(num_bytes)}
        ended = next(iter(self._ended.values())) if self._is_done and all(self._ended.values()) else ""
        self.run.save(LAST, weights_of(states, self._order, **self._facts, ended=ended, **log))

    @property
    def _is_done(self) -> bool:
        """Whether the last step of each network is done."""
        return self._ended.keys() == self.trainers.keys()

    def _has_all_best(self) -> bool:
        return all(self.run.has(prefix + BEST) for prefix in self.trainers)

    def _move(self, path: Path) -> None:
        """Note that the run's folder has moved to `path` and is not hidden any more."""
        self.run.path, self.replacement = path, None

    @contextmanager
    def _forgiving_at_the_end(self) -> Iterator[None]:
        """After the last step, note a full disk in `unsaved` instead of failing: the best weights can be used."""
        try:
            yield
        except ResourceError as error:
            if not self._is_done or not self._has_all_best() or self.replacement:
                raise
            self.unsaved = error
            return None


@dataclasses.dataclass(frozen=True)
class NetworkKeeper:
    """A `training.keeper.Keeper` for one network of a run, by its prefix."""

    run: RunKeeper
    prefix: str

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        return self.run.save(self.prefix, state, finished)

    def save_best(self, state: TrainingState) -> None:
        self.run.save_best(self.prefix, state)

    def newest(self) -> TrainingState:
        return self.run.newest(self.prefix)

    def log(self, event: Event, seconds: float) -> None:
        self.run.log(self.prefix, event, seconds)


def direction_of(prefix: str) -> str:
    """The direction of a network of a pair, from its prefix."""
    return "backward" if prefix == BACKWARD else "forward"
