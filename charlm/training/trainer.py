"""Windows -> a better network: a generator of events, and the only training loop."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.windows import Windows
from charlm.errors import ResourceError
from charlm.model.network import LanguageModelNetwork
from charlm.settings import TrainingSettings
from charlm.system.interrupts import Interrupted, StopRequest
from charlm.system.machine import Machine
from charlm.system.memory import is_out_of_memory
from charlm.training.budget import StepBudget
from charlm.training.defaults import MAX_PASSES
from charlm.training.events import (
    BatchSplit,
    Diverged,
    Evaluated,
    Event,
    Finished,
    Planned,
    Sampled,
    SaveDue,
    Skipped,
    StepDone,
)
from charlm.training.gradients import Gradients, rows_of
from charlm.training.optimizer import Optimizer, clip, make_optimizer, set_learning_rate
from charlm.training.recovery import MAX_SKIPPED, diverged
from charlm.training.schedule import default_warmup, learning_rate_factor
from charlm.training.snapshot import restore, snapshot

EVALUATIONS = 20  # evaluations in a training, unless told otherwise
MAX_INTERVAL_STEPS = 1000  # steps between evaluations, and between saved states
SAMPLES = 5
SAMPLE_INTERVALS = (20, 10_000)  # fewest and most steps between samples: none in a training that is over at once


@dataclass
class Progress:
    """How far a training has come: all of it that is a number."""

    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    best_nats_per_token: float = math.inf
    evaluations_without_improvement: int = 0
    evaluated_at: int = 0  # the step of the last evaluation
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    learning_rate_scale: float = 1.0
    micro_batches: int = 1


class Trainer:
    """One network in training. Dropout and random initial states each have their generator; windows bring their own."""

    def __init__(
        self,
        network: LanguageModelNetwork,
        windows: Windows,
        settings: TrainingSettings,
        budget: StepBudget,
        machine: Machine,
        check: Callable[[], float] | None = None,
        sample: Callable[[], str] | None = None,
        micro_batches: int = 1,
    ) -> None:
        self.network, self.windows, self.settings, self.budget = network, windows, settings, budget
        self.machine, self._check, self._sample = machine, check, sample
        self._beginning, self._micro_batches = windows.position(), micro_batches
        self.restart()

    def restart(self) -> None:
        """Put all but the weights to where a training begins."""
        self.progress = Progress(micro_batches=self._micro_batches)
        self.windows.restore(self._beginning)
        self.optimizer: Optimizer = make_optimizer(self.network, self.settings)
        bfloat16, tokens = self.settings.precision == "bfloat16", self.windows.tokens_per_window
        self.gradients = Gradients(self.network, bfloat16, self.settings.seed, tokens)
        self.state: NetworkState | None = None

    def snapshot(self) -> dict[str, Tensor]:
        """All tensors that the next step depends on, by name."""
        return snapshot(self.network, self.optimizer, self.windows, self.gradients, self.state)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a snapshot. Raises ValueError for one that is not of such a training."""
        self.state = restore(tensors, self.network, self.optimizer, self.windows, self.gradients)

    def events(self, stop: StopRequest) -> Iterator[Event]:
        """Train until the steps are done, patience is at its end, or `stop` has caught a signal.

        Who gets Diverged may put the trainer back to a state before it. Raises DivergedError when nobody does, and
        ResourceError when there is no memory for a single sequence.
        """
        while True:
            yield from self._train(stop)
            if self._is_sound():
                break
            yield from self._diverge()
        if self._check and self.progress.evaluated_at != self.progress.step:
            yield from self._evaluate(stop)
        yield Finished(self.progress.step, self.progress.seconds, self._reason(stop), stop.signal)

    def _train(self, stop: StopRequest) -> Iterator[Event]:
        began = time.perf_counter() - self.progress.seconds
        if self._evaluation_is_due():  # a signal broke it off
            yield from self._settle(stop)
        while not self._is_over(stop):
            yield from self._step()
            self.progress.seconds = time.perf_counter() - began
            if self.progress.skipped_in_a_row >= MAX_SKIPPED:
                yield from self._diverge()
                continue
            planned = self.budget.observe(self.progress.step, self.progress.seconds)
            if planned:
                yield Planned(self.progress.step, self.budget.total_or_guess)
            yield from self._settle(stop, save=planned)
            self.progress.seconds = time.perf_counter() - began

    def _step(self) -> Iterator[Event]:
        """One window: its gradients, in as many parts as memory asks for, and the update."""
        window, progress = self.windows.next(), self.progress
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                nats, state = self.gradients.of(window, self.state, progress.micro_batches)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._split_batch(len(window.inputs))
            yield BatchSplit(progress.step, progress.micro_batches)
        norm = float(clip(self.network.parameters(), self.settings))
        learning_rate = self._learning_rate()
        tokens = window.num_seen
        progress.step += 1
        progress.tokens_seen += tokens
        if math.isfinite(nats) and math.isfinite(norm):
            self._update(learning_rate)
            self.state, progress.skipped_in_a_row = state, 0
            yield StepDone(progress.step, self.budget.total_or_guess, nats, norm, learning_rate, tokens)
        else:
            self.state, progress.skipped_in_a_row = None, progress.skipped_in_a_row + 1
            yield Skipped(progress.step, nats, norm)

    def _split_batch(self, batch_size: int) -> None:
        """Twice as many parts a batch. Raises ResourceError where each is a single sequence already."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.machine.device == "cuda":
            torch.cuda.empty_cache()
        if len(rows_of(batch_size, self.progress.micro_batches)) == batch_size:
            raise ResourceError(
                "out of memory: not even one sequence fits",
                f"step {self.progress.step + 1:,}, {self.settings.bptt} tokens a sequence",
                "give a smaller model or a smaller --bptt",
            )
        self.progress.micro_batches *= 2

    def _learning_rate(self) -> float:
        assert self.settings.learning_rate is not None
        total, warmup = self.budget.total_or_guess, self.settings.warmup_steps
        factor = learning_rate_factor(self.progress.step, total, default_warmup(total) if warmup is None else warmup)
        return self.settings.learning_rate * factor * self.progress.learning_rate_scale

    def _update(self, learning_rate: float) -> None:
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        self.network.keep_bounds()

    def _settle(self, stop: StopRequest, save: bool = False) -> Iterator[Event]:
        """What is to be done at this step; saving is last, so that a saved step has nothing left to do."""
        if self._evaluation_is_due():
            yield from self._evaluate(stop)
            if self._evaluation_is_due():
                return
        if self._sample and self._is_due(self.settings.sample_every or self._sample_interval()):
            yield Sampled(self.progress.step, self._sample())
        if self.progress.skipped_in_a_row:
            return  # whether this state is a good one to go back to is not known yet
        if save or self._is_due(self.settings.save_every or self._share(EVALUATIONS)):
            if self._is_sound():
                yield SaveDue(self.progress.step)
            else:
                yield from self._diverge()

    def _diverge(self) -> Iterator[Event]:
        yield Diverged(self.progress.step)
        if self.progress.skipped_in_a_row >= MAX_SKIPPED or not self._is_sound():
            assert self.settings.learning_rate is not None
            raise diverged(self.progress.step, self.settings.learning_rate, self.progress.rollbacks)

    def _is_sound(self) -> bool:
        """Whether every number that would be saved is finite."""
        return all(bool(value.isfinite().all()) for value in self.snapshot().values() if value.is_floating_point())

    def _evaluate(self, stop: StopRequest) -> Iterator[Event]:
        """Nothing comes of it when a signal breaks it off, or memory is short; after --resume it is done again."""
        assert self._check is not None
        try:
            with stop.breaking_off():
                nats = self._check()
        except Interrupted:
            return
        except Exception as error:
            if is_out_of_memory(error):
                yield SaveDue(self.progress.step)
            raise
        progress = self.progress
        improved = nats < progress.best_nats_per_token
        if improved:
            progress.best_nats_per_token = nats
        progress.evaluations_without_improvement = 0 if improved else progress.evaluations_without_improvement + 1
        progress.evaluated_at = progress.step
        yield Evaluated(progress.step, nats, improved)

    def _evaluation_is_due(self) -> bool:
        every = self.settings.eval_every or self._share(EVALUATIONS)
        return self._check is not None and self._is_due(every) and self.progress.evaluated_at != self.progress.step

    def _share(self, times: int) -> int:
        return max(1, min(MAX_INTERVAL_STEPS, self.budget.total_or_guess // times))

    def _sample_interval(self) -> int:
        fewest, most = SAMPLE_INTERVALS
        return max(fewest, min(most, self.budget.total_or_guess // SAMPLES))

    def _is_due(self, every: int) -> bool:
        return self.progress.step > 0 and self.progress.step % every == 0

    def _is_over(self, stop: StopRequest) -> bool:
        done = self.progress.step >= self.budget.total_or_guess
        return stop.signal is not None or done or self._out_of_patience() or self._out_of_time()

    def _out_of_time(self) -> bool:
        return self.budget.is_overrun(self.progress.seconds)

    def _out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.progress.evaluations_without_improvement

    def _reason(self, stop: StopRequest) -> str:
        if stop.signal is not None:
            return "interrupted"
        if self._out_of_patience():
            return f"no improvement in {self.settings.patience} evaluations"
        if self.budget.is_at_ceiling(self.progress.step):
            return f"{MAX_PASSES} passes over the text are done before the time is over (--epochs trains for more)"
        return "all steps done" if self.progress.step >= self.budget.total_or_guess else "the time is over"
