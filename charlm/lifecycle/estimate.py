"""Estimate the time and memory that a training will take, before it starts."""

from dataclasses import dataclass

from charlm.lifecycle.session import Session
from charlm.system.interrupts import StopRequest
from charlm.training.events import StepDone
from charlm.training.keeper import NoKeeper
from charlm.training.memory import TORCH_BYTES, fixed_bytes, window_bytes
from charlm.training.trainer import Trainer

TRIAL_STEPS = 6  # steps; the first one is not timed


@dataclass(frozen=True)
class Estimate:
    """What a training would take. Speed is measured on a few steps, memory is computed from the sizes.

    `passes` is how often the text would be read; `seconds` is for the steps alone. For a pair, `steps` and `passes` are
    those of each network.
    """

    num_params: int
    memory_bytes: int
    steps: int
    tokens_per_step: int
    tokens_per_second: float
    seconds: float
    passes: float


def estimate(session: Session) -> Estimate:
    """Estimate a training from a few steps of it, which are not saved. The session cannot be used afterwards."""
    own, num_networks, clock = session.trainer, len(session.trainers), session.instruments.clock
    trainer = Trainer(own.objective, session.training, own.budget, NoKeeper(), own.progress.micro_batches, clock)
    times, num_tokens = [], 0
    for event in trainer.events(StopRequest()):
        if isinstance(event, StepDone):
            times.append(clock())
            num_tokens = event.tokens
        if len(times) == min(TRIAL_STEPS, trainer.budget.max_steps):
            break
    seconds_per_step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    budget, architecture, training = trainer.budget, session.architecture, session.training
    steps = budget.total_steps or min(int((budget.seconds or 0) / seconds_per_step), budget.max_steps)
    max_passes, tokens_per_pass = own.objective.max_passes, session.corpus.train.num_tokens
    window = window_bytes(architecture, session.machine, num_tokens)
    return Estimate(
        num_params=architecture.num_params,
        memory_bytes=TORCH_BYTES + fixed_bytes(architecture, training) + window,
        steps=steps,
        tokens_per_step=num_tokens,
        tokens_per_second=num_tokens / seconds_per_step if seconds_per_step else 0.0,
        seconds=num_networks * steps * seconds_per_step,
        passes=max_passes if steps == budget.ceiling else steps * num_tokens / tokens_per_pass,
    )
