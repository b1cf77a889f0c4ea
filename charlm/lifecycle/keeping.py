"""A training kept in its run's folder: the newest state, the best weights, and the log."""

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
    """A `training.keeper.Keeper` for a run's folder.

    A run that is to replace another one is hidden until its first `best`, and takes the other's name then.
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
        """Nats per token of the best weights on disk: only what is as good may replace them."""
        self.replacement: Replacement | None = None
        """The old run's, until the new one takes its place."""
        self.spared: Path | None = None
        """The old run, where the new one ended before it replaced it and became one of its own."""
        self.unsaved: ResourceError | None = None
        """Why the end could not be saved, where it could not; the best weights are whole all the same."""

    def begin(self, state: TrainingState, log_bytes: int) -> None:
        """Save where training begins, after so many bytes of the log: a state to go back to, and room for the next."""
        self.run.log.cut(log_bytes)
        self._save_last(state)

    def save(self, state: TrainingState, finished: Finished | None = None) -> bool:
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
        progress = state.progress
        if progress.best_nats_per_token > self.best_nats:
            return
        scalars = finite({"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen})
        tensors = arrays_of(state.tensors)
        network = {name.removeprefix(NETWORK): array for name, array in tensors.items() if name.startswith(NETWORK)}
        with self._forgiving_at_the_end():
            self.run.save(BEST, Weights(network, progress.step, scalars))
            self.best_nats = progress.best_nats_per_token
            if self.replacement:
                self._move(self.replacement.take_place())

    def newest(self) -> TrainingState:
        saved = read_state(self.run.load(LAST), self._training, self.run.path / f"{LAST}.safetensors")
        self.run.log.cut(saved.scalars.metrics_length)
        return saved.state()

    def log(self, event: Event, seconds: float) -> None:
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
        """The run's folder has another name from now on."""
        self.run.path, self.replacement = path, None

    @contextmanager
    def _forgiving_at_the_end(self) -> Iterator[None]:
        """A full disk after the last step is noted, where there are best weights, which are a model all the same."""
        try:
            yield
        except ResourceError as error:
            if not self._is_done or not self.run.has(BEST) or self.replacement:
                raise
            self.unsaved = error
