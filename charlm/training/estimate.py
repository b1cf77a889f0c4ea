"""What a training will cost, before it is begun."""

import time
from dataclasses import dataclass

from charlm.cells import CELLS
from charlm.interrupts import StopRequest
from charlm.model.kernels import kernel_for, unroll_gathered
from charlm.shape import num_params
from charlm.training.events import StepDone
from charlm.training.session import Session

TRIAL_STEPS = 6  # the first is not counted
BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two averages, in float32
TORCH_BYTES = 250 * 2**20  # torch itself, once imported


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
    budget = session.trainer.budget
    steps = budget.total_steps or min(int((budget.seconds or 0) / pace), budget.ceiling or 10**9)
    return Estimate(
        num_params=num_params(session.shape),
        memory_bytes=_memory_bytes(session, tokens),
        steps=steps,
        tokens_per_step=tokens,
        tokens_per_second=tokens / pace if pace else 0.0,
        seconds=steps * pace,
        passes=steps * tokens / session.corpus.train.num_tokens,
    )


def _memory_bytes(session: Session, tokens: int) -> int:
    """Parameters with their optimizer, and what one window keeps for the backward pass.

    How many numbers a unit keeps was measured: the peak of two steps of 2,048 tokens with 1,024 units.
    """
    shape = session.shape
    gates = len(CELLS[shape.cell].gates)
    unrolled = kernel_for(shape.cell, session.machine.device, shape.hidden_size) is unroll_gathered
    per_unit = 10 * gates + 12 if unrolled else 5 * gates + 10
    floats = shape.embedding_size + shape.num_layers * per_unit * shape.hidden_size + 3 * shape.vocab_size
    floats += 2 * shape.head_layers * shape.head_size
    return TORCH_BYTES + BYTES_PER_PARAMETER * num_params(shape) + 4 * tokens * floats
