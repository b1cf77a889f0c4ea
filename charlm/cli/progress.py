"""What a training shows while it runs: a bar on a terminal, a line every few seconds elsewhere, JSON on request."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from charlm.cli.console import err, visible, write_json
from charlm.training.events import BatchSplit, Evaluated, Event, RolledBack, Sampled, Skipped, StepDone
from charlm.training.session import Session

LINE_EVERY = 5.0  # seconds
SMOOTHING = 0.95  # of the loss that is shown
FAR_AWAY = 10**8  # steps: the plan for --time is not made yet

Show = Callable[[Event], None]


@contextmanager
def following(session: Session, json: bool, quiet: bool) -> Iterator[Show]:
    """Something to hand every event to."""
    figures = Figures(session)
    if json:
        yield _as_json
    elif quiet:
        yield lambda event: None
    elif err.is_terminal:
        columns = (BarColumn(bar_width=None), TextColumn("{task.description}"), TimeLeft(figures))
        with Progress(*columns, console=err, transient=True, expand=True) as bar:
            task = bar.add_task("")
            yield lambda event: _on_terminal(event, figures, bar, task)
    else:
        last = [time.monotonic()]
        yield lambda event: _as_lines(event, figures, last)


class Figures:
    """The newest figures of a training."""

    def __init__(self, session: Session) -> None:
        progress = session.trainer.progress
        self._trainer = session.trainer
        self._first_tokens, self._began = progress.tokens_seen, progress.seconds
        self._limit = session.trainer.budget.ends_at
        self.loss: float | None = None
        self.valid: float | None = None
        self.step, self.total_steps = progress.step, 0
        self._first_step = progress.step

    def take(self, event: Event) -> None:
        if isinstance(event, StepDone):
            new = event.nats_per_token
            self.loss = new if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * new
            self.step, self.total_steps = event.step, event.total_steps
        if isinstance(event, Evaluated):
            self.valid = event.nats_per_token

    @property
    def seconds_left(self) -> float:
        spent = self._trainer.progress.seconds - self._began
        if self.total_steps > FAR_AWAY and self._limit is not None:
            return max(0.0, self._limit - self._trainer.progress.seconds)
        return spent / max(1, self.step - self._first_step) * (self.total_steps - self.step)

    def line(self) -> str:
        spent = max(1e-9, self._trainer.progress.seconds - self._began)
        speed = (self._trainer.progress.tokens_seen - self._first_tokens) / spent
        total = f"/{self.total_steps:,}" if self.total_steps < FAR_AWAY else ""
        valid = f"  valid {self.valid:.3f}" if self.valid is not None else ""
        return f"step {self.step:,}{total}  loss {self.loss or 0:.3f}{valid}  {speed:,.0f} tokens/s"


class TimeLeft(ProgressColumn):
    """Minutes and seconds that are left."""

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def render(self, task: Task) -> Text:
        return Text(f"{_clock(self._figures.seconds_left)} left")


def _on_terminal(event: Event, figures: Figures, bar: Progress, task: object) -> None:
    figures.take(event)
    if isinstance(event, StepDone):
        total = event.total_steps if event.total_steps < FAR_AWAY else None
        bar.update(task, completed=event.step, total=total, description=figures.line())  # type: ignore[arg-type]
    _show_what_happened(event)


def _as_lines(event: Event, figures: Figures, last: list[float]) -> None:
    figures.take(event)
    _show_what_happened(event)
    if isinstance(event, StepDone) and time.monotonic() - last[0] >= LINE_EVERY:
        last[0] = time.monotonic()
        err.print(f"{figures.line()}  {_clock(figures.seconds_left)} left")


def _show_what_happened(event: Event) -> None:
    """A sample, and what a person should know of that went wrong and was mended."""
    if isinstance(event, Sampled):
        err.print(f"[dim]--- sample at step {event.step:,}[/]\n{escape(visible(event.text))}\n[dim]---[/]")
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
