"""How many steps a training takes: given, or as many as fit into a time."""

from dataclasses import dataclass, field
from typing import Any

FIRST_DECISION = 0.05  # share of the time after which the number of steps is decided ...
CORRECTION = 0.4  # ... and of the time or the steps, whichever comes first, after which it is corrected, once
OVERRUN = 1.2  # times the time: there training ends, done or not, should the machine have become slower since
SLOW_START_STEPS = 3  # steps that say nothing about the speed: memory is fetched, kernels are chosen
FEWEST_STEPS = 10


@dataclass
class StepBudget:
    """Total steps: fixed, or planned from the speed seen so far and at most `ceiling`."""

    total_steps: int | None = None
    seconds: float | None = None
    ceiling: int | None = None
    decisions: int = 0
    marks: list[tuple[int, float]] = field(default_factory=list)  # a step and its time, from which the pace counts

    def plan(self) -> dict[str, Any]:
        """What has been decided, as JSON: with it a run that is taken up again keeps to its plan."""
        return {"total_steps": self.total_steps, "decisions": self.decisions, "marks": [list(m) for m in self.marks]}

    @property
    def total_or_guess(self) -> int:
        """Steps in all; before the first decision the most that they can be."""
        return self.total_steps or self.ceiling or 10**9

    def observe(self, step: int, seconds: float) -> bool:
        """Take note of the time after a step; true when the plan has just changed."""
        if self.seconds is None or self.decisions == 2:
            return False
        if step == SLOW_START_STEPS:
            self.marks = [(step, seconds)]
        if not self._is_due(step, seconds / self.seconds):
            return False
        (first_step, first_seconds) = self.marks[0] if self.marks else (0, 0.0)
        pace = (seconds - first_seconds) / (step - first_step)
        total = step + max(1, int((self.seconds - seconds) / pace))
        self.total_steps = min(total, self.ceiling or total)
        self.marks = [(step, seconds)]
        self.decisions += 1
        return True

    def is_overrun(self, seconds: float) -> bool:
        return self.seconds is not None and seconds > OVERRUN * self.seconds

    def _is_due(self, step: int, share_of_time: float) -> bool:
        """Whether it is time for the first decision, or for the correction."""
        if step < FEWEST_STEPS + SLOW_START_STEPS:
            return False
        if self.decisions == 0:
            return share_of_time >= FIRST_DECISION
        return max(share_of_time, step / self.total_or_guess) >= CORRECTION
