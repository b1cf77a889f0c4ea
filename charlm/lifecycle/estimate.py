"""What a training will cost, before it is begun."""

import time
from dataclasses import dataclass

from charlm.lifecycle.session import Session
from charlm.system.interrupts import StopRequest
from charlm.training.defaults import MAX_PASSES
from charlm.training.events import StepDone
from charlm.training.memory import TORCH_BYTES, fixed_bytes, window_bytes

TRIAL_STEPS = 6  # the first is not counted


@dataclass(frozen=True)
class Estimate:
    """Speed is measured on a few steps; memory is counted from the shapes."""

    num_params: int
    memory_bytes: int
    steps: int
    tokens_per_step: int
    tokens_per_second: float
    seconds: float
    passes: float


def estimate(session: Session) -> Estimate:
    """Take a few steps with a session that is then thrown away."""
    trainer, marks, num_tokens = session.trainer, [], 0
    for event in trainer.events(StopRequest()):
        if isinstance(event, StepDone):
            marks.append(time.perf_counter())
            num_tokens = event.tokens
        if len(marks) == min(TRIAL_STEPS, trainer.budget.max_steps):
            break
    pace = (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else 0.0
    budget, architecture, training = trainer.budget, session.architecture, session.training
    steps = budget.total_steps or min(int((budget.seconds or 0) / pace), budget.max_steps)
    window = window_bytes(architecture, session.machine, num_tokens)
    return Estimate(
        num_params=architecture.num_params,
        memory_bytes=TORCH_BYTES + fixed_bytes(architecture, training) + window,
        steps=steps,
        tokens_per_step=num_tokens,
        tokens_per_second=num_tokens / pace if pace else 0.0,
        seconds=steps * pace,
        passes=MAX_PASSES if steps == budget.ceiling else steps * num_tokens / session.corpus.train.num_tokens,
    )
