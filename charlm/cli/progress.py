"""What a training shows while it runs: a bar on a terminal, a line every few seconds elsewhere, JSON on request."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from charlm.cli.console import err, visible, write_json
from charlm.corpus.store import Header
from charlm.lifecycle.session import Session
from charlm.scoring.spelling import spelling_nats
from charlm.training.events import BatchSplit, Evaluated, Event, RolledBack, Sampled, Skipped, StepDone

LINE_EVERY = 5.0  # seconds
SMOOTHING = 0.95  # of the loss that is shown
MIN_BAR_COLUMNS = 6  # columns, with the space behind it

Show = Callable[[Event], None]


@contextmanager
def following(session: Session, json: bool, quiet: bool) -> Iterator[Show]:
    """Something to hand every event to."""
    figures = Figures(session)
    if json:
        yield _as_json
    elif quiet:
        yield lambda event: None
    elif err.is_terminal and not err.is_dumb_terminal:
        columns = (BarColumn(bar_width=None), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=err, transient=True, expand=True) as bar:
            task = bar.add_task("")
            yield lambda event: _on_terminal(event, figures, bar, task)
    else:
        last = [time.monotonic()]
        yield lambda event: _as_lines(event, figures, last)


class Figures:
    """The newest figures of a training, per character, as the final ones are: unknown symbols with their spelling."""

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        progress, corpus = session.trainer.progress, session.corpus
        self._trainer, self._clock, self._began = session.trainer, clock, clock()
        self._train, self._valid = corpus.train.header, (corpus.valid or corpus.train).header
        self._first_tokens, self._first_step = progress.tokens_seen, progress.step
        self._limit = session.trainer.budget.ends_at
        self._loss: float | None = None  # nats per token, smoothed
        self._valid_loss: float | None = None
        self.step, self.total_steps = progress.step, 0

    def take(self, event: Event) -> None:
        if isinstance(event, StepDone):
            new = event.nats_per_token
            self._loss = new if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * new
            self.step, self.total_steps = event.step, event.total_steps
        if isinstance(event, Evaluated):
            self._valid_loss = event.nats_per_token

    @property
    def planned_steps(self) -> int | None:
        """Steps in all; none while the number that --time comes to is not known yet."""
        return self.total_steps if self._trainer.budget.total_steps else None

    @property
    def seconds_left(self) -> float:
        spent = self._clock() - self._began
        left = spent / max(1, self.step - self._first_step) * (self.total_steps - self.step)
        return left if self._limit is None else max(0.0, min(left, self._limit - self._trainer.progress.seconds))

    def line(self, columns: int) -> str:
        """As much as fits, what matters least left out first."""
        spent = max(1e-9, self._clock() - self._began)
        speed = (self._trainer.progress.tokens_seen - self._first_tokens) / spent
        step, left = f"step {self.step:,}", f"{_clock(self.seconds_left)} left"
        total = f"/{self.planned_steps:,}" if self.planned_steps else ""
        loss = f"{_nats_per_char(self._loss or 0.0, self._train):.3f} nats/char"
        valid = "" if self._valid_loss is None else f"valid {_nats_per_char(self._valid_loss, self._valid):.3f}"
        choices = (
            (step + total, loss, valid, f"{speed:,.0f} tokens/s", left),
            (step + total, loss, valid, left),
            (step, loss, valid, left),
            (step, loss, valid),
            (step, loss),
        )
        lines = ["  ".join(part for part in parts if part) for parts in choices]
        return next((line for line in lines if len(line) <= columns), lines[-1])


def _nats_per_char(nats_per_token: float, part: Header) -> float:
    nats = nats_per_token * part.num_tokens + spelling_nats(part.unknown_bytes)
    return nats / max(1, part.num_characters)


def _on_terminal(event: Event, figures: Figures, bar: Progress, task: object) -> None:
    figures.take(event)
    if isinstance(event, StepDone):
        line = figures.line(err.width - MIN_BAR_COLUMNS)
        bar.update(task, completed=event.step, total=figures.planned_steps, description=line)  # type: ignore[arg-type]
    _show_what_happened(event)


def _as_lines(event: Event, figures: Figures, last: list[float]) -> None:
    figures.take(event)
    _show_what_happened(event)
    if isinstance(event, StepDone) and time.monotonic() - last[0] >= LINE_EVERY:
        last[0] = time.monotonic()
        err.print(figures.line(err.width))


def _show_what_happened(event: Event) -> None:
    """A sample, and what a person should know of that went wrong and was mended."""
    if isinstance(event, Sampled):
        err.print(f"[dim]--- sample at step {event.step:,}[/]")
        err.print(Text(visible(event.text)), soft_wrap=False)  # which wraps at words
        err.print("[dim]---[/]")
    elif message := happened(event):
        err.print(f"[yellow]{escape(message)}[/]")


def happened(event: Event) -> str:
    """What went wrong and was mended, in a sentence."""
    if isinstance(event, Skipped):
        return f"step {event.step:,} skipped: its loss or gradient is not finite"
    if isinstance(event, RolledBack):
        rate = f"the learning rate is halved, to {event.learning_rate_scale:g} of what it was to be"
        return f"diverged at step {event.diverged_at:,}: back to step {event.step:,}; {rate}"
    if isinstance(event, BatchSplit):
        parts = f"each batch is worked on in {event.micro_batches} parts from now on, for the same updates"
        return f"out of memory after step {event.step:,}: the micro-batch is halved; {parts}"
    return ""


def _as_json(event: Event) -> None:
    if isinstance(event, Evaluated):
        write_json({"event": "evaluated", **dataclasses.asdict(event)})
    elif message := happened(event):
        err.print(escape(message))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@contextmanager
def measuring(json: bool, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Something to tell the share that has been measured."""
    if json or quiet:
        yield lambda share: None
    elif err.is_terminal:
        columns = (BarColumn(bar_width=None), TextColumn("measuring"))
        with Progress(*columns, console=err, transient=True, expand=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share: bar.update(task, completed=share)
    else:
        last = [time.monotonic()]

        def show(share: float) -> None:
            if time.monotonic() - last[0] >= LINE_EVERY:
                last[0] = time.monotonic()
                err.print(f"measuring: {share:.0%}")

        yield show
