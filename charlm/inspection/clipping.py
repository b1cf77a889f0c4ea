"""How often a training had its gradients clipped, from the run's own log."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charlm.errors import RunError
from charlm.inspection.axis import number
from charlm.inspection.chart import Chart, Line
from charlm.inspection.curves import read_history
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run, short_names

MAX_RATIO = 10  # a threshold that is further than this from all norms is not drawn: it would flatten the curve


@dataclass(frozen=True)
class Clipping:
    """The gradient norms of a training's logged steps, before clipping.

    `clip_norm` is the threshold; None if the training limited each component instead, to `clip_value`, so that the norm
    does not tell whether a step was clipped. Steps that were skipped, or undone because training had diverged, are not
    among the steps; `notes` has them in words.
    """

    run: str
    steps: tuple[int, ...]
    norms: tuple[float, ...]
    clip_norm: float | None
    clip_value: float | None
    notes: tuple[str, ...] = ()

    @property
    def share_clipped(self) -> float | None:
        """The share of the logged steps whose norm was above the threshold."""
        if self.clip_norm is None:
            return None
        return sum(norm > self.clip_norm for norm in self.norms) / len(self.norms)

    @property
    def largest(self) -> float:
        return max(self.norms)

    @property
    def median(self) -> float:
        return statistics.median(self.norms)


def clipping(names: Sequence[str]) -> list[Clipping]:
    """The gradient norms of several runs, of any kind. Raises RunError for a run whose log has no steps."""
    paths = [find_run(name) for name in names]
    return [each for name, path in zip(short_names(paths), paths, strict=True) for each in _read(name, path)]


def chart(results: Sequence[Clipping]) -> Chart:
    """The norms against the steps, with each threshold that is near one of them."""
    thresholds = {result.clip_norm for result in results if result.clip_norm is not None}
    largest = max(result.largest for result in results)
    near = [value for value in sorted(thresholds) if value <= MAX_RATIO * largest]
    return Chart(
        "The gradient of each logged step",
        "step",
        "gradient norm before clipping",
        tuple(Line(result.run, result.steps, result.norms) for result in results),
        is_log_y=True,
        thresholds=tuple(("clipped above", value) for value in near),
        notes=tuple(note for result in results for note in (describe(result), *result.notes)),
    )


def describe(result: Clipping) -> str:
    """The figures of one run as a sentence."""
    if result.share_clipped is None:
        limit = (
            f"each component limited to {number(result.clip_value or 0.0)}, so the norm does not tell what was clipped"
        )
    else:
        above = number(result.clip_norm or 0.0)
        limit = f"{result.share_clipped:.1%} of {len(result.steps):,} logged steps clipped above {above}"
    return f"{result.run}: {limit}; median {result.median:.3g}, largest {result.largest:.3g}"


def _read(name: str, path: Path) -> Iterator[Clipping]:
    """One result for each network that the run trained."""
    history, training = replace(read_history(path), name=name), read_config(RunDirectory(path)).training
    curves = {direction: curve for direction, curve in history.curves.items() if curve.steps}
    if not curves:
        raise RunError("the log of this run has no steps", str(path), "choose a run that was trained")
    for direction, curve in curves.items():
        steps = [step for step in curve.steps if math.isfinite(step.gradient_norm)]
        yield Clipping(
            f"{name}, {direction}" if direction else name,
            tuple(step.step for step in steps),
            tuple(step.gradient_norm for step in steps),
            training.clip_norm,
            training.clip_value,
            tuple(history.notes()),
        )
