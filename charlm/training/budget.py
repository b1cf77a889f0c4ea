"""How many steps a training takes: a given number, or as many as fit into a given time."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import Strict

FIRST_DECISION = 0.05  # share of the time after which the number of steps is decided
CORRECTION = 0.4  # share of the time or the steps, whichever comes first, after which that number is corrected, once
MAX_OVER, MAX_OVER_SECONDS = 0.05, 5.0  # share of the time and seconds; a command may exceed it by the larger one
SLOW_START_STEPS = 3  # steps that are not timed: memory is allocated and kernels are chosen in them
MIN_PACE_STEPS = 10  # steps that the speed is measured on

Mark = Annotated[tuple[int, float], Strict(False)]
"""A step, and the seconds of training up to it. JSON has it as a list."""


@dataclass
class StepBudget:
    """The number of steps: fixed as `total_steps`, or planned from the measured speed so that they take `seconds`.

    A plan has at most `ceiling` steps. If the machine becomes slower afterwards, training ends after `max_seconds`,
    even if the planned steps are not done. Time and ceiling count from `since`, where a new length was given.
    """

    total_steps: int | None = None
    seconds: float | None = None
    ceiling: int | None = None
    max_seconds: float | None = None
    decisions: int = 0
    since: Mark = (0, 0.0)
    marks: list[Mark] = field(default_factory=list)
    """The point from which the speed is measured; empty for `since`."""

    def plan(self) -> dict[str, Any]:
        """All fields for JSON, so that a resumed run keeps its plan."""
        return asdict(self)

    def begin_at(self, step: int, seconds: float) -> None:
        """Count time and ceiling from this step."""
        self.since = (step, seconds)
        self.ceiling = None if self.ceiling is None else step + self.ceiling

    def step_back(self, step: int, seconds: float) -> None:
        """Note that training went back to `step`: the speed is measured again, the plan stays."""
        self.marks = [(step, seconds)]

    @property
    def ends_at(self) -> float | None:
        """The seconds of training after which the time is over; None if a number of steps was given."""
        return None if self.seconds is None else self.since[1] + self.seconds

    @property
    def max_steps(self) -> int:
        """The total number of steps; before it has been decided, the ceiling."""
        steps = self.total_steps or self.ceiling
        assert steps is not None, "a training for some time has a ceiling"
        return steps

    def observe(self, step: int, seconds: float) -> bool:
        """Note the time after a step; decide or correct the number of steps if due. Returns whether it changed."""
        if self.seconds is None or self.decisions == 2:
            return False
        steps, spent = step - self.since[0], seconds - self.since[1]
        if steps == SLOW_START_STEPS:
            self.marks = [(step, seconds)]
        first_step, first_seconds = self.marks[0] if self.marks else self.since
        if step - first_step < MIN_PACE_STEPS or not self._is_due(steps, spent / self.seconds):
            return False
        pace = max(1e-9, (seconds - first_seconds) / (step - first_step))
        total = step + max(1, int((self.seconds - spent) / pace))
        self.total_steps = min(total, self.ceiling or total)
        self.marks = [(step, seconds)]
        self.decisions += 1
        return True

    def is_overrun(self, seconds: float) -> bool:
        """Whether training must end before its planned steps are done, because the machine has become slower."""
        if self.seconds is None:
            return False
        default = self.seconds + half_over(self.seconds)
        return seconds - self.since[1] > (self.max_seconds or default)

    def is_at_ceiling(self, step: int) -> bool:
        """Whether a training with a time limit ends at `step` because it has read the text often enough."""
        return self.seconds is not None and self.ceiling is not None and step >= self.ceiling

    def _is_due(self, steps: int, share_of_time: float) -> bool:
        """Whether the first decision, or the correction, is due."""
        if self.decisions == 0:
            return share_of_time >= FIRST_DECISION
        share_of_steps = steps / max(1, self.max_steps - self.since[0])
        return max(share_of_time, share_of_steps) >= CORRECTION


def max_over(seconds: float) -> float:
    """By how many seconds a command with a time of `seconds` may exceed it."""
    return max(MAX_OVER * seconds, MAX_OVER_SECONDS)


def half_over(seconds: float) -> float:
    """Half of that: training may take one half, measuring the other."""
    return max_over(seconds) / 2
