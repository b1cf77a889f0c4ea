"""How many steps a training takes: given, or as many as fit into a time."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import Strict

FIRST_DECISION = 0.05  # share of the time after which the number of steps is decided ...
CORRECTION = 0.4  # ... and of the time or the steps, whichever comes first, after which it is corrected, once
OVERRUN, OVERRUN_SECONDS = 0.025, 2.5  # beyond the time, the larger of share and seconds: where nothing else is said
SLOW_START_STEPS = 3  # steps that say nothing about the speed: memory is fetched, kernels are chosen
MIN_PACE_STEPS = 10

Mark = Annotated[tuple[int, float], Strict(False)]
"""A step, and the seconds of training up to it; in JSON a list."""


@dataclass
class StepBudget:
    """Total steps: fixed, or planned from the speed seen so far, for some `seconds`, and at most `ceiling`.

    Should the machine have become slower since, training ends after `max_seconds`, done or not. A length that is given
    to a training that goes on counts from `since`.
    """

    total_steps: int | None = None
    seconds: float | None = None
    ceiling: int | None = None
    max_seconds: float | None = None
    decisions: int = 0
    since: Mark = (0, 0.0)
    marks: list[Mark] = field(default_factory=list)
    """From where the pace counts."""

    def plan(self) -> dict[str, Any]:
        """All of it as JSON: with it a run that is taken up again keeps to its plan."""
        return asdict(self)

    def begin_at(self, step: int, seconds: float) -> None:
        """Count the time, and the most steps, from here."""
        self.since = (step, seconds)
        self.ceiling = None if self.ceiling is None else step + self.ceiling

    def step_back(self, step: int, seconds: float) -> None:
        """Training went back to a step: the pace counts anew, the plan holds."""
        self.marks = [(step, seconds)]

    @property
    def ends_at(self) -> float | None:
        """The seconds of training at which the time is over, where that is what ends it."""
        return None if self.seconds is None else self.since[1] + self.seconds

    @property
    def max_steps(self) -> int:
        """Steps in all; before the first decision the most that they can be."""
        steps = self.total_steps or self.ceiling
        assert steps is not None, "a training for some time has a ceiling"
        return steps

    def observe(self, step: int, seconds: float) -> bool:
        """Take note of the time after a step; true when the plan has just changed."""
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
        """Whether training has to end, done or not: the machine has become slower since the plan was made."""
        if self.seconds is None:
            return False
        most = self.seconds + max(OVERRUN * self.seconds, OVERRUN_SECONDS)
        return seconds - self.since[1] > (self.max_seconds or most)

    def is_at_ceiling(self, step: int) -> bool:
        """Whether a training for some time ends there because more steps would learn the text by heart."""
        return self.seconds is not None and self.ceiling is not None and step >= self.ceiling

    def _is_due(self, steps: int, share_of_time: float) -> bool:
        """Whether it is time for the first decision, or for the correction."""
        if self.decisions == 0:
            return share_of_time >= FIRST_DECISION
        share_of_steps = steps / max(1, self.max_steps - self.since[0])
        return max(share_of_time, share_of_steps) >= CORRECTION
