"""What a training will cost, before it is begun."""

import time
from dataclasses import dataclass

from charlm.lifecycle.session import Session
from charlm.network.architecture import num_params
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
    marks, tokens = [], 0
    for event in session.trainer.events(StopRequest()):
        if isinstance(event, StepDone):
            marks.append(time.perf_counter())
            tokens = event.tokens
        if len(marks) == min(TRIAL_STEPS, session.trainer.budget.total_or_guess):
            break
    pace = (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else 0.0
    budget, shape, machine = session.trainer.budget, session.shape, session.machine
    steps = budget.total_steps or min(int((budget.seconds or 0) / pace), budget.ceiling or 10**9)
    return Estimate(
        num_params=num_params(shape),
        memory_bytes=TORCH_BYTES + fixed_bytes(shape, session.training) + window_bytes(shape, machine, tokens),
        steps=steps,
        tokens_per_step=tokens,
        tokens_per_second=tokens / pace if pace else 0.0,
        seconds=steps * pace,
        passes=MAX_PASSES if steps == budget.ceiling else steps * tokens / session.corpus.train.num_tokens,
    )
