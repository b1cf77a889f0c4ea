"""The only training loop: it trains the network of any objective and yields events. It knows no text and no folder."""

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.errors import ResourceError
from charlm.settings import TrainingSettings
from charlm.system.interrupts import Interrupted, StopRequest
from charlm.system.memory import is_out_of_memory
from charlm.training.budget import StepBudget
from charlm.training.events import (
    BatchSplit,
    Evaluated,
    Event,
    Finished,
    Planned,
    RolledBack,
    Sampled,
    Saved,
    Skipped,
    StepDone,
)
from charlm.training.gradients import add_gradients, rows_of
from charlm.training.keeper import Keeper
from charlm.training.objective import Batch, Objective
from charlm.training.optimizer import Optimizer, clip, make_optimizer, set_learning_rate
from charlm.training.recovery import MAX_ROLLBACKS, MAX_SKIPPED, diverged
from charlm.training.schedule import default_warmup, learning_rate_factor
from charlm.training.state import Progress, TrainingState, collect, put_back

NUM_EVALUATIONS = 20  # per training by default; as many states are saved
MAX_INTERVAL_STEPS = 1000  # between evaluations, and between saved states
NUM_SAMPLES = 5
MIN_SAMPLE_STEPS, MAX_SAMPLE_STEPS = 20, 10_000  # between samples, so a very short training has none

Fault = Callable[[str, float], float]
"""A hook for tests: given a number's name and value, it returns the value to use, or raises an error.

The names are "rows" (of a part of a batch), "loss" and "gradient_norm" (of a batch) and "check" (on validation)."""


class Trainer:
    """Trains one network, from its first step or from a restored state.

    When an event is yielded, what it reports is done, and saved and logged by the keeper. A caller that leaves the loop
    early ends the training as a signal does: its newest state is saved.
    """

    def __init__(
        self,
        objective: Objective,
        settings: TrainingSettings,
        budget: StepBudget,
        keeper: Keeper,
        micro_batches: int = 1,
        clock: Callable[[], float] = time.perf_counter,
        fault: Fault = lambda name, number: number,
    ) -> None:
        self.objective, self.settings, self.budget, self._keeper = objective, settings, budget, keeper
        self._start_position, self._micro_batches = objective.position(), micro_batches
        self._clock, self._fault = clock, fault
        self._device = next(objective.network.parameters()).device
        self._restart()

    def _restart(self) -> None:
        """Set everything except the weights to the start of a training."""
        self.progress = Progress(micro_batches=self._micro_batches)
        self.objective.restore_position(self._start_position)
        self._optimizer: Optimizer = make_optimizer(self.objective.network, self.settings)
        seed = self.settings.seed
        self._generators = {name: torch.Generator(self._device).manual_seed(seed) for name in self.objective.generators}
        self._carried: NetworkState | None = None

    def state(self) -> TrainingState:
        """Everything that the next step depends on."""
        tensors = collect(self.objective, self._optimizer, self._generators, self._carried)
        return TrainingState(tensors, self.progress, self.budget)

    def restore(self, state: TrainingState) -> None:
        """Continue from a state. Raises ValueError if it does not belong to such a training."""
        self._restart()
        tensors, optimizer = state.tensors, self.settings.optimizer
        self._carried = put_back(tensors, self.objective, self._optimizer, optimizer, self._generators)
        self.progress, self.budget = dataclasses.replace(state.progress), state.budget

    def events(self, stop: StopRequest) -> Generator[Event, None, None]:
        """Train until the steps or the time are used up, patience has run out, or `stop` has caught a signal.

        Raises DivergedError when training diverges although it went back to saved states, and ResourceError when
        memory is too small for a single sequence.
        """
        events = self._until_finished(stop)
        try:
            for event in events:  # noqa: UP028 - `yield from` would close these events too
                yield event
        except GeneratorExit:
            stop.signal = stop.signal or signal.SIGINT
            for _ in events:  # the rest of this step, and the end
                pass
            raise

    def _until_finished(self, stop: StopRequest) -> Iterator[Event]:
        while not self._is_over(stop):
            yield from self._train(stop)
            if not self._state_is_finite():
                yield self._roll_back()
        if self.objective.has_check and self.progress.evaluated_at != self.progress.step:
            yield from self._evaluate(stop)
        yield from self._finish(stop)

    def _train(self, stop: StopRequest) -> Iterator[Event]:
        """Take steps until training is over, each followed by what is due after it."""
        began = self._clock() - self.progress.seconds
        if self._evaluation_is_due():  # it was interrupted by a signal
            yield from self._after_step(stop)
        while not self._is_over(stop):
            yield from self._step()
            self.progress.seconds = self._clock() - began
            if self.progress.skipped_in_a_row >= MAX_SKIPPED:
                yield self._roll_back()
                continue
            is_planned = self.budget.observe(self.progress.step, self.progress.seconds)
            if is_planned:
                yield self._logged(Planned(self.progress.step, self.budget.max_steps))
            yield from self._after_step(stop, save=is_planned)
            self.progress.seconds = self._clock() - began

    def _step(self) -> Iterator[Event]:
        """Process one batch: compute its gradients, in as many parts as memory requires, and update the weights."""
        batch, progress = self.objective.next_batch(), self.progress
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            try:
                nats, carried = add_gradients(
                    self.objective,
                    batch,
                    self._carried,
                    self._generators,
                    self.settings.precision,
                    progress.micro_batches,
                    self._fault,
                )
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._split(batch)
            yield self._logged(BatchSplit(progress.step, progress.micro_batches))
        norm = self._fault("gradient_norm", float(clip(self.objective.network.parameters(), self.settings)))
        nats = self._fault("loss", nats)
        learning_rate = self._learning_rate()
        progress.step += 1
        progress.tokens_seen += batch.num_seen
        if math.isfinite(nats) and math.isfinite(norm):
            self._update(learning_rate)
            self._carried, progress.skipped_in_a_row = carried, 0
            done = StepDone(progress.step, self.budget.max_steps, nats, norm, learning_rate, batch.num_seen)
            yield self._logged(done)
        else:
            self._carried, progress.skipped_in_a_row = None, progress.skipped_in_a_row + 1
            yield self._logged(Skipped(progress.step, nats, norm))

    def _split(self, batch: Batch) -> None:
        """Double the parts of a batch. Raises ResourceError if each part is a single sequence already."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if len(rows_of(len(batch.examples), self.progress.micro_batches)) == len(batch.examples):
            where = ", ".join(filter(None, (f"step {self.progress.step + 1:,}", batch.size_of_one)))
            raise ResourceError("out of memory: not even one sequence fits", where, batch.to_do)
        self.progress.micro_batches *= 2

    def _learning_rate(self) -> float:
        assert self.settings.learning_rate is not None
        total, warmup = self.budget.max_steps, self.settings.warmup_steps
        factor = learning_rate_factor(self.progress.step, total, default_warmup(total) if warmup is None else warmup)
        return self.settings.learning_rate * factor * self.progress.learning_rate_scale

    def _update(self, learning_rate: float) -> None:
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self.objective.after_update()

    def _after_step(self, stop: StopRequest, save: bool = False) -> Iterator[Event]:
        """Evaluate, sample and save when due. Saving comes last, so a saved state has nothing else left to do."""
        if self._evaluation_is_due():
            yield from self._evaluate(stop)
            if self._evaluation_is_due():
                return
        if self._is_due(self.settings.sample_every or self._sample_interval()) and (text := self.objective.sample()):
            yield self._logged(Sampled(self.progress.step, text))
        if self.progress.skipped_in_a_row:
            return  # training may be diverging: do not save a state that may have to be rolled back
        if save or self._is_due(self.save_interval):
            if not self._state_is_finite():
                yield self._roll_back()
            elif self._keeper.save(self.state()):
                yield Saved(self.progress.step)

    def _evaluate(self, stop: StopRequest) -> Iterator[Event]:
        """Evaluate the network. If a signal interrupts this or memory runs out, it is done again after --resume."""
        try:
            with stop.breaking_off():
                check = self.objective.check()
                nats = self._fault("check", check.nats)
        except Interrupted:
            return
        except Exception as error:
            if is_out_of_memory(error):
                self._keeper.save(self.state())
            raise
        progress = self.progress
        improved = (nats if check.cost is None else check.cost) < progress.best
        if improved:
            progress.best_nats_per_token = nats
            progress.best_cost = math.inf if check.cost is None else check.cost
        progress.evaluations_without_improvement = 0 if improved else progress.evaluations_without_improvement + 1
        progress.evaluated_at = progress.step
        evaluated = self._logged(Evaluated(progress.step, nats, improved, check.cost))
        if improved:
            self._keeper.save_best(self.state())
        yield evaluated

    def _roll_back(self) -> RolledBack:
        """Go back to the newest saved state with half the learning rate, and save that at once.

        Raises DivergedError when there is no saved state, or after MAX_ROLLBACKS.
        """
        before = self.progress
        # After the last rollback the state is not asked for, which would cut the log to it.
        saved = self._keeper.newest() if before.rollbacks < MAX_ROLLBACKS else None
        if saved is None:
            assert self.settings.learning_rate is not None
            raise diverged(before.step, self.settings.learning_rate, before.rollbacks)
        budget = self.budget  # the current plan stays, not the one in the saved state
        self.restore(saved)
        self.progress = dataclasses.replace(
            self.progress,
            rollbacks=before.rollbacks + 1,
            learning_rate_scale=before.learning_rate_scale / 2,
            best_nats_per_token=before.best_nats_per_token,  # of the saved best weights
            best_cost=before.best_cost,
            seconds=before.seconds,
            micro_batches=before.micro_batches,
        )
        self.budget = budget
        self.budget.step_back(self.progress.step, before.seconds)
        event = RolledBack(self.progress.step, before.step, self.progress.learning_rate_scale)
        self._keeper.log(event, before.seconds)
        self._keeper.save(self.state())
        return event

    def _finish(self, stop: StopRequest) -> list[Event]:
        """Save the final state and log the end. Returns the last events.

        Saving comes first: when the run is resumed, the log is cut to the length in the state, without this end.
        """
        events: list[Event] = [] if self._state_is_finite() else [self._roll_back()]
        progress = self.progress
        finished = Finished(progress.step, progress.seconds, self._reason(stop), stop.signal)
        if self._keeper.save(self.state(), finished):
            self._logged(finished)
            events.append(Saved(progress.step))
        return [*events, finished]

    def _logged(self, event: Event) -> Event:
        self._keeper.log(event, self.progress.seconds)
        return event

    def _state_is_finite(self) -> bool:
        """Whether every number in the state is finite."""
        return all(_is_finite(tensor) for tensor in self.state().tensors.values())

    def _evaluation_is_due(self) -> bool:
        every = self.settings.eval_every or self._default_interval()
        return self.objective.has_check and self._is_due(every) and self.progress.evaluated_at != self.progress.step

    @property
    def save_interval(self) -> int:
        """Steps between saved states."""
        return self.settings.save_every or self._default_interval()

    def _default_interval(self) -> int:
        """Steps between evaluations, and between saved states."""
        return max(1, min(MAX_INTERVAL_STEPS, self.budget.max_steps // NUM_EVALUATIONS))

    def _sample_interval(self) -> int:
        """Steps between samples."""
        return max(MIN_SAMPLE_STEPS, min(MAX_SAMPLE_STEPS, self.budget.max_steps // NUM_SAMPLES))

    def _is_due(self, every: int) -> bool:
        return self.progress.step > 0 and self.progress.step % every == 0

    def _is_over(self, stop: StopRequest) -> bool:
        is_done = self.progress.step >= self.budget.max_steps or self.budget.is_overrun(self.progress.seconds)
        return stop.signal is not None or is_done or self._is_out_of_patience()

    def _is_out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.progress.evaluations_without_improvement

    def _reason(self, stop: StopRequest) -> str:
        """Why training ends, in words."""
        if stop.signal is not None:
            return "interrupted"
        if self._is_out_of_patience():
            return f"no improvement in {self.settings.patience} evaluations"
        if self.budget.is_at_ceiling(self.progress.step):
            return f"{self.objective.max_passes} passes are done before the time is over (--epochs trains for more)"
        return "all steps done" if self.progress.step >= self.budget.max_steps else "the time is over"


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
