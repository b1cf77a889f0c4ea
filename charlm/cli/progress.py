"""The progress of a training: a bar on a terminal, a line every few seconds elsewhere, or JSON."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from charlm.cli.console import err, write_json
from charlm.lifecycle.session import Session
from charlm.scoring.spelling import spelling_nats
from charlm.text.visible import visible
from charlm.training.events import BatchSplit, Evaluated, Event, RolledBack, Sampled, Skipped, StepDone

SECONDS_BETWEEN_LINES = 5.0
LOSS_SMOOTHING = 0.95  # the weight of the earlier losses in the exponential average that is shown
MIN_BAR_COLUMNS = 6  # with the space behind it

UNITS = {"cloze": "nats/masked token", "classify": "nats/text", "tag": "nats/word", "translate": "nats/token"}
"""What the losses are per, for kinds of network that give no probability of a whole text."""

Show = Callable[[Event], None]


class Counts(Protocol):
    """The counts of a part of a corpus, by which its loss is divided."""

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_characters(self) -> int: ...

    @property
    def unknown_bytes(self) -> int: ...


@contextmanager
def following(session: Session, json: bool, quiet: bool) -> Iterator[Show]:
    """Yield a function that shows each event of the training, in the way that suits the terminal and the options."""
    figures = Figures(session)
    if json:
        yield lambda event: _show_as_json(event, session)
    elif quiet:
        yield lambda event: None
    elif err.is_terminal and not err.is_dumb_terminal:
        columns = (BarColumn(bar_width=None), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=err, transient=True, expand=True) as bar:
            task = bar.add_task("")
            yield lambda event: _show_on_bar(event, figures, bar, task)
    else:
        is_due = _Every(SECONDS_BETWEEN_LINES)
        yield lambda event: _show_as_lines(event, figures, is_due)


class _Every:
    """Tells whether some seconds have passed since it last said so."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self) -> bool:
        is_due = time.monotonic() - self._last >= self._seconds
        if is_due:
            self._last = time.monotonic()
        return is_due


class Figures:
    """The newest figures of a training.

    Losses are in nats per character and include the spelling of unknown symbols, so that they can be compared with the
    final figures. Those of the kinds in UNITS are in nats per what is found there.
    """

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        corpus, trainers = session.corpus, session.trainers.values()
        self._session, self._clock, self._began = session, clock, clock()
        self._train, self._valid = corpus.train.header, (corpus.valid or corpus.train).header
        self._first_tokens = sum(trainer.progress.tokens_seen for trainer in trainers)
        limits = [trainer.budget.ends_at for trainer in trainers]
        self._limit = None if None in limits else sum(filter(None, limits))
        self._losses: dict[str, float] = {}  # nats per token by direction, smoothed
        self._valid_losses: dict[str, float] = {}
        self.step, self.total_steps = session.trainer.progress.step, 0
        self._first_step = self.all_steps

    @property
    def _unit(self) -> str:
        return UNITS.get(self._session.architecture.kind, "nats/char")

    def _shown(self, nats_per_target: float, part: Counts) -> float:
        """A loss in the unit that is shown."""
        is_per_target = self._session.architecture.kind in UNITS
        return nats_per_target if is_per_target else _nats_per_char(nats_per_target, part)

    def take(self, event: Event) -> None:
        """Update the figures."""
        direction = self._session.direction
        if isinstance(event, StepDone):
            before, new = self._losses.get(direction), event.nats_per_token
            smoothed = new if before is None else LOSS_SMOOTHING * before + (1 - LOSS_SMOOTHING) * new
            self._losses[direction] = smoothed
            self.step, self.total_steps = event.step, event.total_steps
        if isinstance(event, Evaluated):
            self._valid_losses[direction] = event.nats_per_token

    @property
    def which(self) -> str:
        """The direction of the network whose turn it is, with a space after it, in a pair; else empty."""
        return f"{self._session.direction} " if len(self._session.trainers) > 1 else ""

    @property
    def all_steps(self) -> int:
        """The number of steps done; for a pair, by both networks."""
        others = (trainer for name, trainer in self._session.trainers.items() if name != self._session.turn)
        return self.step + sum(trainer.progress.step for trainer in others)

    @property
    def planned_steps(self) -> int | None:
        """The number of all steps; None while it is not known yet how many steps --time allows."""
        return self.total_steps if self._session.trainer.budget.total_steps else None

    @property
    def seconds_left(self) -> float:
        """The estimated time that training still takes; for a pair, for both networks."""
        spent, trainers = self._clock() - self._began, self._session.trainers.values()
        left = spent / max(1, self.all_steps - self._first_step) * (len(trainers) * self.total_steps - self.all_steps)
        trained = sum(trainer.progress.seconds for trainer in trainers)
        return left if self._limit is None else max(0.0, min(left, self._limit - trained))

    def line(self, columns: int) -> str:
        """The figures in one line that fits, with the least important ones left out if need be."""
        spent, trainers = max(1e-9, self._clock() - self._began), self._session.trainers.values()
        speed = (sum(trainer.progress.tokens_seen for trainer in trainers) - self._first_tokens) / spent
        step, left = f"{self.which}step {self.step:,}", f"{_minutes(self.seconds_left)} left"
        total = f"/{self.planned_steps:,}" if self.planned_steps else ""
        direction = self._session.direction
        loss = f"{self._shown(self._losses.get(direction, 0.0), self._train):.3f} {self._unit}"
        valid_loss = self._valid_losses.get(direction)
        valid = "" if valid_loss is None else f"valid {self._shown(valid_loss, self._valid):.3f}"
        choices = (
            (step + total, loss, valid, f"{speed:,.0f} tokens/s", left),
            (step + total, loss, valid, left),
            (step, loss, valid, left),
            (step, loss, valid),
            (step, loss),
        )
        lines = ["  ".join(part for part in parts if part) for parts in choices]
        return next((line for line in lines if len(line) <= columns), lines[-1])


def _nats_per_char(nats_per_token: float, part: Counts) -> float:
    nats = nats_per_token * part.num_tokens + spelling_nats(part.unknown_bytes)
    return nats / max(1, part.num_characters)


def _show_on_bar(event: Event, figures: Figures, bar: Progress, task: TaskID) -> None:
    figures.take(event)
    if isinstance(event, StepDone):
        line = figures.line(err.width - MIN_BAR_COLUMNS)
        bar.update(task, completed=event.step, total=figures.planned_steps, description=line)
    show_what_happened(event, figures.which)


def _show_as_lines(event: Event, figures: Figures, is_due: Callable[[], bool]) -> None:
    figures.take(event)
    show_what_happened(event, figures.which)
    if isinstance(event, StepDone) and is_due():
        err.print(figures.line(err.width))


def show_what_happened(event: Event, which: str = "") -> None:
    """Print a sample, or a problem that training has dealt with. In a pair, `which` names the network."""
    if isinstance(event, Sampled):
        err.print(f"[dim]--- {which}sample at step {event.step:,}[/]")
        err.print(Text(visible(event.text)), soft_wrap=False)  # which wraps at words
        err.print("[dim]---[/]")
    elif message := happened(event):
        err.print(f"[yellow]{which}{escape(message)}[/]")


def happened(event: Event) -> str:
    """A sentence about a problem that training has dealt with; empty for other events."""
    if isinstance(event, Skipped):
        return f"step {event.step:,} skipped: its loss or gradient is not finite"
    if isinstance(event, RolledBack):
        rate = f"the learning rate is halved, to {event.learning_rate_scale:g} of what was planned"
        return f"diverged at step {event.diverged_at:,}: back to step {event.step:,}; {rate}"
    if isinstance(event, BatchSplit):
        parts = f"each batch is computed in {event.micro_batches} parts from now on, for the same updates"
        return f"out of memory after step {event.step:,}: the micro-batch is halved; {parts}"
    return ""


def _show_as_json(event: Event, session: Session) -> None:
    if isinstance(event, Evaluated):
        direction = {"direction": session.direction} if len(session.trainers) > 1 else {}
        write_json({"event": "evaluated", **dataclasses.asdict(event), **direction})
    elif message := happened(event):
        err.print(escape(message))


def _minutes(seconds: float) -> str:
    """A duration as minutes and seconds, such as 4:07."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@contextmanager
def measuring(json: bool, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield a function that shows which share has been measured; it is called now and then with a number up to 1."""
    if json or quiet:
        yield lambda share: None
    elif err.is_terminal:
        columns = (BarColumn(bar_width=None), TextColumn("measuring"))
        with Progress(*columns, console=err, transient=True, expand=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share: bar.update(task, completed=share)
    else:
        is_due = _Every(SECONDS_BETWEEN_LINES)

        def show(share: float) -> None:
            if is_due():
                err.print(f"measuring: {share:.0%}")

        yield show
