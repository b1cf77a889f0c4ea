"""Saves a training in its run's folder: the newest state, the best weights, and the log."""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charlm.errors import ResourceError
from charlm.lifecycle.replacement import Replacement
from charlm.lifecycle.saved_state import GIVEN_ANEW, arrays_of, finite, read_state, weights_of
from charlm.network.snapshot import NETWORK
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.weights import Weights
from charlm.settings import TrainingSettings
from charlm.training.events import Event, Finished, StepDone
from charlm.training.state import TrainingState

LOG_EVERY = 10  # steps


class RunKeeper:
    """A `training.keeper.Keeper` that saves into a run's folder.

    A run that replaces an old one (`--force`) stays hidden until its first `best` is saved, and gets its name then.
    """

    def __init__(
        self, run: RunDirectory, training: TrainingSettings, device: str, check_tokens: int, has_check: bool
    ) -> None:
        self.run, self._training = run, training
        self._facts = {
            "length": {name: getattr(training, name) for name in sorted(GIVEN_ANEW)},
            "device": device,
            "check_tokens": check_tokens,
        }
        self._has_check, self._is_done = has_check, False
        self.best_nats = math.inf
        """Nats per token of the best weights on disk; worse weights never replace them."""
        self.replacement: Replacement | None = None
        """Set while the run is hidden, until it has replaced the old run."""
        self.spared: Path | None = None
        """The path of the old run, if training was interrupted before the new run could replace it."""
        self.unsaved: ResourceError | None = None
        """Why the final state could not be saved, if it could not. The best weights are intact nevertheless."""

    def begin(self, state: TrainingState, log_bytes: int) -> None:
        """Cut the log to `log_bytes` bytes and save the first state, to go back to; this also tests for disk space."""
        self.run.log.cut(log_bytes)
        self._save_last(state)

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
        """Save a state as `last`; also as `best` while there is none, or where there is no validation part."""
        if self.unsaved:  # a later state would count what was not written as done, and --resume would not do it again
            return False
        is_interrupted = finished is not None and finished.signal is not None
        if self.replacement and is_interrupted:
            self.spared = self.replacement.path
            self._move(self.replacement.stay_beside())
        self._is_done = not is_interrupted and (finished is not None or state.progress.step >= state.budget.max_steps)
        with self._forgiving_at_the_end():
            self._save_last(state, finished.reason if finished and not is_interrupted else "")
            if not self._has_check or not self.run.has(BEST):
                self.save_best(state)
        return self.unsaved is None

    def save_best(self, state: TrainingState) -> None:
        """Save the weights as `best`, unless those on disk are better; the first time, replace the old run."""
        progress = state.progress
        if progress.best_nats_per_token > self.best_nats:
            return
        scalars = finite({"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen})
        tensors = state.tensors
        network = {name.removeprefix(NETWORK): value for name, value in tensors.items() if name.startswith(NETWORK)}
        with self._forgiving_at_the_end():
            self.run.save(BEST, Weights(arrays_of(network), progress.step, scalars))
            self.best_nats = progress.best_nats_per_token
            if self.replacement:
                self._move(self.replacement.take_place())

    def newest(self) -> TrainingState:
        """The state in `last`. The log is cut to its length at that time."""
        saved = read_state(self.run.load(LAST), self._training, self.run.path / f"{LAST}.safetensors")
        self.run.log.cut(saved.scalars.metrics_length)
        return saved.state()

    def log(self, event: Event, seconds: float) -> None:
        """Add an event to metrics.jsonl; of the steps, only the first and every LOG_EVERY-th."""
        if isinstance(event, StepDone):
            self._is_done = event.step >= event.total_steps
            if event.step % LOG_EVERY and event.step != 1:
                return
        record = {"event": type(event).__name__, **finite(dataclasses.asdict(event))}
        with self._forgiving_at_the_end():
            self.run.log.append({**record, "seconds": round(seconds, 3)})

    def _save_last(self, state: TrainingState, ended: str = "") -> None:
        num_bytes = self.run.log.num_bytes
        log = {"metrics_length": num_bytes, "metrics_sha256": self.run.log.sha256(num_bytes)}
        self.run.save(LAST, weights_of(state, **self._facts, ended=ended, **log))

    def _move(self, path: Path) -> None:
        """Note that the run's folder has moved to `path` and is not hidden any more."""
        self.run.path, self.replacement = path, None

    @contextmanager
    def _forgiving_at_the_end(self) -> Iterator[None]:
        """After the last step, note a full disk in `unsaved` instead of failing: the best weights can be used."""
        try:
            yield
        except ResourceError as error:
            if not self._is_done or not self.run.has(BEST) or self.replacement:
                raise
            self.unsaved = error
