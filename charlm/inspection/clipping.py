"""How often a training had its gradients clipped, from the run's own log."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charlm.errors import RunError
from charlm.inspection.chart import Chart, Line
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run, short_names

MAX_RATIO = 10  # a threshold that is further than this from all norms is not drawn: it would flatten the curve


@dataclass(frozen=True)
class Clipping:
    """The gradient norms of a training's logged steps, before clipping.

    `clip_norm` is the threshold; None if the training limited each component instead (`--clip-value`), so that the norm
    does not tell whether a step was clipped. A norm that is not finite, of a skipped step, is nan.
    """

    run: str
    steps: tuple[int, ...]
    norms: tuple[float, ...]
    clip_norm: float | None
    clip_value: float | None

    @property
    def share_clipped(self) -> float | None:
        """The share of the logged steps whose norm was above the threshold; skipped steps count as above it."""
        if self.clip_norm is None:
            return None
        return sum(not norm <= self.clip_norm for norm in self.norms) / len(self.norms)

    @property
    def largest(self) -> float:
        """The largest finite norm; nan if there is none."""
        return max(self._finite(), default=math.nan)

    @property
    def median(self) -> float:
        """The median of the finite norms; nan if there is none."""
        ordered = sorted(self._finite())
        middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
        return sum(middle) / len(middle) if middle else math.nan

    def _finite(self) -> list[float]:
        return [norm for norm in self.norms if math.isfinite(norm)]


def clipping(names: Sequence[str]) -> list[Clipping]:
    """The gradient norms of several runs, of any kind. Raises RunError for a run whose log has no steps."""
    runs = [RunDirectory(find_run(name)) for name in names]
    return [_read(name, run) for name, run in zip(short_names([run.path for run in runs]), runs, strict=True)]


def chart(results: Sequence[Clipping]) -> Chart:
    """The norms against the steps, with each threshold that is near one of them."""
    thresholds = {result.clip_norm for result in results if result.clip_norm is not None}
    finite = [norm for result in results for norm in (result.largest, result.median) if norm > 0]
    near = [value for value in sorted(thresholds) if finite and value <= MAX_RATIO * max(finite)]
    return Chart(
        "The gradient of each logged step",
        "step",
        "gradient norm before clipping",
        tuple(Line(result.run, result.steps, [norm or math.nan for norm in result.norms]) for result in results),
        is_log_y=True,
        thresholds=tuple(("clipped above", value) for value in near),
        notes=tuple(describe(result) for result in results),
    )


def describe(result: Clipping) -> str:
    """The figures of one run as a sentence."""
    if result.share_clipped is None:
        limit = f"each component limited to {result.clip_value:g}, so the norm does not tell what was clipped"
    else:
        limit = f"{result.share_clipped:.1%} of {len(result.steps):,} logged steps clipped above {result.clip_norm:g}"
    return f"{result.run}: {limit}; median {result.median:.3g}, largest {result.largest:.3g}"


def _read(name: str, run: RunDirectory) -> Clipping:
    training = read_config(run).training
    logged = [record for record in run.log.records() if record.get("event") in ("StepDone", "Skipped")]
    if not logged:
        raise RunError("the log of this run has no steps", str(run.path), "choose a run that was trained")
    steps = tuple(int(_number(record.get("step"))) for record in logged)
    norms = tuple(_number(record.get("gradient_norm")) for record in logged)
    return Clipping(name, steps, norms, training.clip_norm, training.clip_value)


def _number(value: Any) -> float:
    """A number from the log; what is none, as the norm of a skipped step may be, is nan."""
    return float(value) if type(value) in (int, float) else math.nan
