"""The results of trainings that are measured on the validation and test parts, all in one way."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from charlm.lifecycle.results import Outcome, Result, about_training, corpus_of, logged, with_best_weights
from charlm.lifecycle.task_limit import share_within

Figures = TypeVar("Figures")


@dataclass(frozen=True, kw_only=True)
class PartsResult(Result, ABC, Generic[Figures]):
    """How a training went, and how good its best weights are on the validation and test parts; None if there is none.

    `share_measured` is below 1 if time was too short to measure all examples; the figures are then estimates.
    """

    examples: ClassVar[str]
    """What the examples are called, such as "texts"."""
    valid: Figures | None
    test: Figures | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the {self.examples} were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        parts = {**self.figures_as_json("valid", self.valid), **self.figures_as_json("test", self.test)}
        return {**super().as_json(), "share_measured": self.share_measured, **parts}

    @abstractmethod
    def figures_as_json(self, part: str, figures: Figures | None) -> dict[str, object]:
        """The figures of a part ("valid" or "test"), whose names begin with that of the part."""


AnyPartsResult = TypeVar("AnyPartsResult", bound=PartsResult[Any])
FiguresOf = Callable[[Any, Any, float], Any]
"""Takes an objective with the best weights, a part of its corpus, and the share of it that there is time to measure;
returns the figures of the part."""


def measure_parts(
    kind: type[AnyPartsResult], figures_of: FiguresOf, outcome: Outcome, show: Callable[[float], None]
) -> AnyPartsResult:
    """Measure the best weights of a network, and log the result, unless another process holds the run's lock.

    With a time limit for the command, only as much is measured as there is time for. `show` is called with the share
    that is done (0 to 1).
    """
    return logged(outcome, unlogged_parts(kind, figures_of, outcome, show))


def unlogged_parts(
    kind: type[AnyPartsResult],
    figures_of: FiguresOf,
    outcome: Outcome,
    show: Callable[[float], None] = lambda share: None,
) -> AnyPartsResult:
    """As `measure_parts`, for a result that is not complete yet."""
    (objective, best), corpus = with_best_weights(outcome), corpus_of(outcome)
    share = share_within(objective, corpus, outcome.limit, outcome.clock)
    parts, figures = {"valid": corpus.valid, "test": corpus.test}, dict[str, Any]()
    for number, (name, part) in enumerate(parts.items(), 1):
        figures[name] = figures_of(objective, part, share) if part else None
        show(number / len(parts))
    return kind(**about_training(outcome, best), **figures, share_measured=share)
