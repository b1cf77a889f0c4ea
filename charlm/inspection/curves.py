"""Curves of training: from the logs of runs to charts, in which the runs lie over one another."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from charlm.errors import RunError, UsageError
from charlm.inspection.chart import MAX_FIGURE, MAX_NOISY_POINTS, Chart, Line
from charlm.runs.directory import RunDirectory

Quantity = Literal["loss", "learning-rate", "gradient-norm", "speed"]
Over = Literal["steps", "time"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
ALL = "all"
LOG_FROM = 20  # a gradient norm whose largest value is so many times its smallest gets a logarithmic axis
TIME_UNITS = ((3 * 3600.0, 3600.0, "h"), (300.0, 60.0, "min"), (0.0, 1.0, "s"))
"""From how many seconds on a unit of time is used, how many seconds it has, and its name."""


@dataclass(frozen=True)
class Step:
    """What the log has of one step. A figure that is missing there, or no finite number, is nan."""

    step: int
    seconds: float
    nats_per_token: float
    gradient_norm: float
    learning_rate: float
    tokens: float


@dataclass(frozen=True)
class Check:
    """What the log has of one check on the validation part."""

    step: int
    seconds: float
    nats_per_token: float


@dataclass
class Curve:
    """The steps and checks of one network, those that were undone left out: later steps took their place."""

    name: str
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def points(self) -> list["Step | Check"]:
        """Steps and checks together, in order."""
        points: list[Step | Check] = [*self.steps, *self.checks]
        return sorted(points, key=lambda point: point.step)

    def add(self, point: "Step | Check") -> None:
        """Add what came next; what the curve has from this step on was undone."""
        points: list[Any] = self.steps if isinstance(point, Step) else self.checks
        _forget(points, point.step - 1)
        points.append(point)

    def undo(self, step: int) -> None:
        """Forget what came after a step."""
        _forget(self.steps, step)
        _forget(self.checks, step)


@dataclass
class History:
    """What the log of a run tells: a curve for each network that it trained, and what else happened."""

    name: str
    unit: str = ""
    """What one token is."""
    target: str = "token"
    """What the loss is measured at: each token, or the masked ones."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """By direction, which is empty where there is only one network."""
    num_skipped: int = 0
    rollbacks: list[tuple[int, int]] = field(default_factory=list)
    """From which step to which."""
    ended: str = ""
    """Why training ended; empty while it has not."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """The record of the last measurement at the end of a training; empty if there was none."""

    @property
    def is_empty(self) -> bool:
        return not any(curve.steps or curve.checks for curve in self.curves.values())

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one record of the log. Those of a newer charlm, or without a step, count as nothing."""
        event, step = record.get("event"), record.get("step")
        if event == "Measured":
            self.measured = record
        if type(step) is not int or not 0 <= step < MAX_FIGURE:
            return
        direction = str(record.get("direction") or "")
        name = f"{self.name}, {direction}" if direction else self.name
        curve = self.curves.setdefault(direction, Curve(name))
        seconds, nats = figure(record.get("seconds")), figure(record.get("nats_per_token"))
        if event == "StepDone":
            others = (figure(record.get(name)) for name in ("gradient_norm", "learning_rate", "tokens"))
            curve.add(Step(step, seconds, nats, *others))
        elif event == "Evaluated":
            curve.add(Check(step, seconds, nats))
        elif event == "Skipped":
            self.num_skipped += 1
        elif event == "RolledBack":
            curve.undo(step)
            before = record.get("diverged_at")
            self.rollbacks.append((before if type(before) is int else step, step))
        elif event == "Finished":
            self.ended = str(record.get("reason") or "ended")
        if event in ("StepDone", "Evaluated"):
            self.ended = ""

    def notes(self) -> Iterator[str]:
        """Sentences on what the curves do not show."""
        if self.num_skipped:
            steps = "1 step was" if self.num_skipped == 1 else f"{self.num_skipped:,} steps were"
            yield f"{self.name}: {steps} skipped, because the loss or the gradient was no finite number."
        for before, after in self.rollbacks:
            yield f"{self.name}: training diverged at step {before:,} and went back to step {after:,}."


def read_history(path: Path) -> History:
    """What the log of a run tells. Raises RunError when the run or its log is damaged."""
    run = RunDirectory(path)
    corpus = run.config.get("corpus")
    model = run.config.get("model")
    is_cloze = isinstance(model, dict) and model.get("kind") == "cloze"
    unit = str(corpus.get("unit", "")) if isinstance(corpus, dict) else ""
    history = History(str(path), unit, "masked token" if is_cloze else "token")
    for record in run.log.records():
        history.take(record)
    return history


def figure(value: object) -> float:
    """A value of a log as a number; nan if it cannot be one."""
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_FIGURE else math.nan  # type: ignore[arg-type]


def chosen(what: Iterable[str]) -> tuple[Quantity, ...]:
    """The quantities with these names, each once; "all" names all of them. Raises UsageError for any other name."""
    names = list(what)
    if unknown := [name for name in names if name not in (*QUANTITIES, ALL)]:
        raise UsageError(f"--what {unknown[0]}: no such quantity", to_do=f"choose from {', '.join(QUANTITIES)}, {ALL}")
    return QUANTITIES if ALL in names else tuple(name for name in QUANTITIES if name in names)


def title_of(runs: Iterable[Path]) -> str:
    """The title of a file with charts of these runs."""
    return f"Training of {', '.join(map(str, runs))}"


def plot(runs: Iterable[Path], what: Sequence[Quantity] = ("loss",), over: Over = "steps") -> list[Chart]:
    """Charts of what the logs of runs tell, one for each quantity. Raises RunError if no run has logged a step yet."""
    histories = [read_history(path) for path in dict.fromkeys(runs)]
    if all(history.is_empty for history in histories):
        where = ", ".join(history.name for history in histories)
        raise RunError("nothing to draw: no step has been logged yet", where, "wait for it, or give --follow")
    return charts_of(histories, what, over)


def charts_of(histories: Sequence[History], what: Sequence[Quantity], over: Over) -> list[Chart]:
    """A chart for each quantity, over the steps or over the time of training."""
    drawing = _Drawing(histories, over)
    makers: dict[Quantity, Callable[[], Chart]] = {
        "loss": drawing.loss,
        "learning-rate": drawing.learning_rate,
        "gradient-norm": drawing.gradient_norm,
        "speed": drawing.speed,
    }
    return [makers[name]() for name in what]


def _forget(points: list[Any], step: int) -> None:
    while points and points[-1].step > step:
        points.pop()


class _Drawing:
    """Charts of some histories over the same x axis."""

    def __init__(self, histories: Sequence[History], over: Over) -> None:
        self.histories, self.over = histories, over
        self.curves = [curve for history in histories for curve in history.curves.values()]
        moments = [step.seconds for curve in self.curves for step in curve.steps]
        moments += [check.seconds for curve in self.curves for check in curve.checks]
        longest = max(filter(math.isfinite, moments), default=0.0)
        _, self.unit_seconds, unit = next(each for each in TIME_UNITS if longest >= each[0])
        self.x_label = "step" if over == "steps" else f"time of training ({unit})"

    def loss(self) -> Chart:
        lines = []
        for place, curve in enumerate(self.curves):
            is_alone = len(self.curves) == 1  # then its two lines have two colours
            steps, checks = curve.steps, curve.checks
            if steps:
                y = [step.nats_per_token for step in steps]
                lines.append(Line(f"{curve.name}, training", self._x(steps), y, style=place, is_noisy=True))
            if checks:
                x, y = self._x(checks), [check.nats_per_token for check in checks]
                style = place + 1 if is_alone else place
                lines.append(Line(f"{curve.name}, validation", x, y, has_marks=True, style=style))
        targets = " or ".join(sorted({history.target for history in self.histories}))
        return self._chart("Loss", f"loss (nats per {targets})", lines, (*_about_means(lines), *self._about_units()))

    def learning_rate(self) -> Chart:
        lines = self._lines(lambda step: step.learning_rate)
        return self._chart("Learning rate", "learning rate", lines, starts_at_zero=True)

    def gradient_norm(self) -> Chart:
        lines = self._lines(lambda step: step.gradient_norm)
        norms = [norm for line in lines for norm in line.y if math.isfinite(norm)]
        is_log = bool(norms) and min(norms) > 0 and max(norms) >= LOG_FROM * min(norms)
        return self._chart("Gradient norm", "gradient norm before clipping", lines, is_log_y=is_log)

    def speed(self) -> Chart:
        lines = []
        for place, curve in enumerate(self.curves):
            speeds = list(map(_speed, *zip(*pairwise(curve.steps), strict=True))) if len(curve.steps) > 1 else []
            lines.append(Line(curve.name, self._x(curve.steps[1:]), speeds, style=place, is_noisy=True))
        notes = ("The time of checks, samples and saves is counted.", *_about_means(lines))
        return self._chart("Speed", "tokens per second", lines, notes, starts_at_zero=True)

    def _lines(self, quantity: Callable[[Step], float]) -> list[Line]:
        return [
            Line(curve.name, self._x(curve.steps), list(map(quantity, curve.steps)), style=place)
            for place, curve in enumerate(self.curves)
        ]

    def _x(self, points: Sequence[Step | Check]) -> list[float]:
        if self.over == "steps":
            return [float(point.step) for point in points]
        return [point.seconds / self.unit_seconds for point in points]

    def _about_units(self) -> tuple[str, ...]:
        shown = [history for history in self.histories if not history.is_empty]
        if len({history.target for history in shown}) > 1:
            return ("One of these losses is of masked tokens only: it cannot be compared with the others.",)
        units = {history.unit for history in shown}
        if len(units) < 2:
            return ()
        return (f"These runs have different tokens ({', '.join(sorted(units))}): their losses cannot be compared.",)

    def _chart(
        self,
        title: str,
        y_label: str,
        lines: Sequence[Line],
        notes: tuple[str, ...] = (),
        is_log_y: bool = False,
        starts_at_zero: bool = False,
    ) -> Chart:
        of_runs = tuple(note for history in self.histories for note in history.notes())
        return Chart(
            title,
            self.x_label,
            y_label,
            tuple(lines),
            is_log_y=is_log_y,
            notes=(*notes, *of_runs),
            starts_at_zero=starts_at_zero,
        )


def _about_means(lines: Sequence[Line]) -> tuple[str, ...]:
    are_long = any(line.is_noisy and len(line.x) > MAX_NOISY_POINTS for line in lines)
    return ("Long curves are drawn as means of neighbouring steps.",) if are_long else ()


def _speed(before: Step, after: Step) -> float:
    """Tokens per second between two steps of the log, if the steps between them had as many tokens as the last one."""
    seconds = after.seconds - before.seconds
    return (after.step - before.step) * after.tokens / seconds if seconds > 0 else math.nan
