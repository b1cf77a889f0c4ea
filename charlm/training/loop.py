"""Windows -> a better network: a generator of events, and the only training loop."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.config import TrainingSettings
from charlm.corpus.windows import Windows
from charlm.device import Machine
from charlm.errors import DivergedError
from charlm.interrupts import StopRequest
from charlm.model.language_model import LanguageModelNetwork, reset_state
from charlm.training.budget import StepBudget
from charlm.training.events import Evaluated, Event, Finished, Planned, Sampled, SaveDue, StepDone
from charlm.training.optimizer import (
    Optimizer,
    clip,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from charlm.training.schedule import default_warmup, learning_rate_factor

NON_FINITE_IN_A_ROW = 10
EVALUATIONS = 20  # evaluations in a training, unless told otherwise
SAMPLES = 5
LONGEST_INTERVAL = 1000  # steps between evaluations, saved states and samples


@dataclass
class Progress:
    """How far a training has come: all of it that is a number."""

    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    best_nats_per_token: float = math.inf
    evaluations_without_improvement: int = 0


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
    ) -> None:
        self.network, self.windows, self.settings, self.budget = network, windows, settings, budget
        self.progress = Progress()
        self._machine, self._check, self._sample = machine, check, sample
        self._optimizer: Optimizer = make_optimizer(network, settings)
        self._dropout = torch.Generator(machine.device).manual_seed(settings.seed)
        self._initial_state = torch.Generator(machine.device).manual_seed(settings.seed)
        self._state: NetworkState | None = None
        self._non_finite = 0

    def events(self, stop: StopRequest) -> Iterator[Event]:
        """Train until the steps are done, patience is at its end, or `stop` has caught a signal."""
        began = time.perf_counter() - self.progress.seconds
        while stop.signal is None and self.progress.step < self.budget.total_or_guess:
            done = self._step()
            self.progress.seconds = time.perf_counter() - began
            yield done
            if self.budget.observe(self.progress.step, self.progress.seconds):
                yield Planned(self.progress.step, self.budget.total_or_guess)
            yield from self._now_and_then()
            self.progress.seconds = time.perf_counter() - began
            if self._out_of_patience() or self.budget.is_overrun(self.progress.seconds):
                break
        if self._check and stop.signal is None and not self._is_due(self._eval_every()):
            yield self._evaluate()
        yield Finished(self.progress.step, self.progress.seconds, self._reason(stop), stop.signal)

    def snapshot(self) -> dict[str, Tensor]:
        """All tensors that the next step depends on, by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self._optimizer).items()}
        tensors |= {f"windows.{name}": torch.from_numpy(value) for name, value in self.windows.position().items()}
        tensors["dropout_generator"] = self._dropout.get_state()
        if self.network.shape.initial_state == "random":
            tensors["initial_state_generator"] = self._initial_state.get_state()
        for layer, parts in enumerate(self._state or ()):
            tensors |= {f"state.{layer}.{n}": part.detach().float() for n, part in enumerate(parts)}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self.network.load_state_dict(_under("network.", tensors))
        restore_optimizer(self._optimizer, _under("optimizer.", tensors))
        self.windows.restore({name: value.numpy() for name, value in _under("windows.", tensors).items()})
        self._dropout.set_state(tensors["dropout_generator"])
        if self.network.shape.initial_state == "random":
            self._initial_state.set_state(tensors["initial_state_generator"])
        parts = _under("state.", tensors)
        layers = range(len({name.split(".")[0] for name in parts}))
        device = self.network.head.bias.device
        self._state = (
            tuple(
                tuple(parts[name].to(device) for name in sorted(parts) if name.startswith(f"{layer}."))
                for layer in layers
            )
            or None
        )

    def _step(self) -> StepDone:
        window, device = self.windows.next(), self.network.head.bias.device
        inputs, targets = torch.from_numpy(window.inputs).to(device), torch.from_numpy(window.targets).to(device)
        state = self._state_for(len(inputs), torch.from_numpy(window.reset).to(device))
        with torch.autocast(self._machine.device, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            total, new_state = self.network.total_nats(inputs, targets, state, self._dropout)
        tokens = int((window.targets >= 0).sum())
        self._optimizer.zero_grad(set_to_none=True)
        (total / tokens).backward()  # type: ignore[no-untyped-call]
        norm = float(clip(self.network.parameters(), self.settings))
        learning_rate = self._update(norm)
        self._state = None if self._non_finite else tuple(tuple(p.detach() for p in parts) for parts in new_state)
        self.progress.step += 1
        self.progress.tokens_seen += tokens
        return StepDone(
            self.progress.step, self.budget.total_or_guess, float(total.detach()) / tokens, norm, learning_rate, tokens
        )

    def _state_for(self, batch_size: int, reset: Tensor) -> NetworkState:
        initial = self.network.initial_state(batch_size, self._initial_state)
        if self._state is None or len(self._state[0][0]) != batch_size:
            return initial
        return reset_state(self._state, initial, reset)

    def _update(self, gradient_norm: float) -> float:
        """One step of the optimizer, unless the gradient is not finite: such a step is skipped, many are the end."""
        assert self.settings.learning_rate is not None
        total, warmup = self.budget.total_or_guess, self.settings.warmup_steps
        factor = learning_rate_factor(self.progress.step, total, default_warmup(total) if warmup is None else warmup)
        learning_rate = self.settings.learning_rate * factor
        if math.isfinite(gradient_norm):
            self._non_finite = 0
            set_learning_rate(self._optimizer, learning_rate)
            self._optimizer.step()
            self.network.keep_bounds()
            return learning_rate
        self._non_finite += 1
        if self._non_finite == NON_FINITE_IN_A_ROW:
            raise DivergedError(
                f"training diverged: {NON_FINITE_IN_A_ROW} steps in a row without a finite gradient",
                f"step {self.progress.step + 1}",
                f"give a smaller --learning-rate (it is {self.settings.learning_rate:g}) or --clip-norm",
            )
        return learning_rate

    def _now_and_then(self) -> Iterator[Event]:
        if self._check and self._is_due(self._eval_every()):
            yield self._evaluate()
        if self._is_due(self.settings.save_every or self._share(EVALUATIONS)):
            yield SaveDue(self.progress.step)
        if self._sample and self._is_due(self.settings.sample_every or self._share(SAMPLES)):
            yield Sampled(self.progress.step, self._sample())

    def _evaluate(self) -> Evaluated:
        assert self._check is not None
        nats, progress = self._check(), self.progress
        improved = nats < progress.best_nats_per_token
        if improved:
            progress.best_nats_per_token = nats
        progress.evaluations_without_improvement = 0 if improved else progress.evaluations_without_improvement + 1
        return Evaluated(progress.step, nats, improved)

    def _eval_every(self) -> int:
        return self.settings.eval_every or self._share(EVALUATIONS)

    def _share(self, times: int) -> int:
        return max(1, min(LONGEST_INTERVAL, self.budget.total_or_guess // times))

    def _is_due(self, every: int) -> bool:
        return self.progress.step > 0 and self.progress.step % every == 0

    def _out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.progress.evaluations_without_improvement

    def _reason(self, stop: StopRequest) -> str:
        if stop.signal is not None:
            return "interrupted"
        if self._out_of_patience():
            return f"no improvement in {self.settings.patience} evaluations"
        return "all steps done" if self.progress.step >= self.budget.total_or_guess else "the time is over"


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
