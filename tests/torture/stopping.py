"""Promises 2 and 3: a training that was stopped continues as if it had not been; a signal is obeyed soon."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture.injection import slow_steps
from tests.torture.processes import run, start
from tests.torture.record import Missed, Record
from tests.torture.workshop import RESUME, RUN, Workshop, differences, losses_after, read_log, training

SECONDS_TO_LEAVE = 5.0
VARIANTS = (
    (),
    ("--cell", "gru", "--mode", "sentence", "--num-layers", "2"),
    ("--unit", "word", "--initial-state", "random"),
    ("--optimizer", "sgd", "--learning-rate", "0.5", "--valid-fraction", "0", "--initial-state", "learned"),
)
KINDS = (
    ("--direction", "both"),
    ("--objective", "cloze"),
    ("--task", "classify"),
    ("--task", "generate", "--cell", "gru"),
    ("--task", "tag", "--unit", "char"),
    ("--task", "translate", "--target-unit", "word"),
)
LONG = 400  # steps


def exact_resume(shop: Workshop, record: Record) -> None:
    """Stopped anywhere by each signal and continued: the bytes and lines of the training that was left alone."""
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[: shop.times(3, 2)]:
        for variant in VARIANTS[: shop.times(len(VARIANTS), 1)]:
            name = " ".join((signal.Signals(number).name, *variant))
            record.repeat(name, shop.times(4, 1), partial(_stopped, shop, number, variant))
        record.repeat(
            f"{signal.Signals(number).name}, {LONG} steps", shop.times(2, 0), partial(_stopped_twice, shop, number)
        )
    for kind in KINDS:
        record.repeat(f"SIGKILL {' '.join(kind)}", shop.times(3, 0), partial(_stopped, shop, signal.SIGKILL, kind))


def _stopped(shop: Workshop, number: int, variant: tuple[str, ...]) -> Iterator[str]:
    reference, command = shop.reference(*variant), shop.command(*variant)
    home = shop.home()
    yield from _stop(shop, home, number, command)
    yield from losses_after(home, 0, command, reference)


def _stopped_twice(shop: Workshop, number: int) -> Iterator[str]:
    reference, command = shop.reference(steps=LONG), shop.command(steps=LONG)
    home = shop.home()
    yield from _stop(shop, home, number, command)
    yield from _stop(shop, home, number, RESUME)
    yield from losses_after(home, 0, command, reference)


def _stop(shop: Workshop, home: Path, number: int, command: tuple[str, ...]) -> Iterator[str]:
    """Send a signal to a training; it is missed only when the training had come to its own end before."""
    running = training(home, command)
    time.sleep(shop.rng.uniform(0.0, 0.1))
    running.send(number)
    outcome = running.wait()
    if any(event["event"] == "Finished" and event["signal"] is None for event in _events(home)):
        raise Missed
    expected = -number if number == signal.SIGKILL else 128 + number
    if outcome.code != expected:
        yield f"wanted exit {expected}: {outcome}"


def _events(home: Path) -> list[dict[str, Any]]:
    """What the log says; the last line may be cut short."""
    return [event for event in read_log(home / RUN) if isinstance(event, dict)]


def signals(shop: Workshop, record: Record) -> None:
    """Each signal ends a training within seconds, saved, with word of how to go on; a second one ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        name = signal.Signals(number).name
        record.repeat(name, shop.times(5, 1), partial(_signalled, shop, number))
        record.repeat(f"{name} while preparing", shop.times(3, 0), partial(_signalled_early, shop, number))
        record.repeat(f"{name} twice", shop.times(2, 0), partial(_signalled_twice, shop, number))
    record.attempt("a closed pipe", partial(_unread_training, shop))
    record.attempt("a closed pipe", partial(_unread_sample, shop))


def _signalled(shop: Workshop, number: int) -> Iterator[str]:
    home = shop.home()
    running = training(home, shop.command(steps=1_000_000))
    time.sleep(shop.rng.uniform(0.0, 0.3))
    running.send(number)
    began = time.monotonic()
    outcome = running.wait()
    seconds = time.monotonic() - began
    if outcome.code != 128 + number or seconds > SECONDS_TO_LEAVE:
        yield f"wanted exit {128 + number} within {SECONDS_TO_LEAVE:.0f} s: {outcome}, after {seconds:.1f} s"
    if "charlm train --resume --run runs/run" not in outcome.err:
        yield f"it does not say how to go on: {outcome}"
    said, saved = re.search(r"after step ([\d,]+)", outcome.err), _going_on_from(home)
    if said is None or int(said[1].replace(",", "")) != saved:
        yield f"it saved step {saved}, and said: {outcome.err}"


def _going_on_from(home: Path) -> int:
    """The step that a resumed training begins after; it is asked for no further one."""
    outcome = run(home, "train", "--resume", "--run", "run", "--steps", "1")
    found = re.search(r"from step ([\d,]+)", outcome.err)
    return int(found[1].replace(",", "")) if found else -1


def _signalled_early(shop: Workshop, number: int) -> Iterator[str]:
    """A kill before the first step leaves nothing, or a run that can be resumed."""
    home = shop.home()
    running = start(home, *shop.command())
    time.sleep(shop.rng.uniform(0.0, 0.05))
    running.send(number)
    outcome = running.wait()
    if outcome.code in (0, -number):  # it had ended, or Python was not yet told what to do
        raise Missed
    if outcome.code != 128 + number:
        yield f"wanted exit {128 + number}: {outcome}"
    yield from losses_after(home, 0, shop.command(), shop.reference())


def _signalled_twice(shop: Workshop, number: int) -> Iterator[str]:
    home = shop.home()
    running = start(home, *shop.command(), setup=lambda: slow_steps(seconds=30.0, after=7))
    running.until(lambda: (home / RUN / "last.safetensors").exists())
    time.sleep(0.5)
    running.send(number)
    time.sleep(0.3)
    if running.ended():
        raise Missed
    began = time.monotonic()
    running.send(number)
    outcome = running.wait()
    if outcome.code not in (128 + number, 128 + signal.SIGINT) or time.monotonic() - began > 2.0:
        yield f"the second signal did not end it at once: {outcome}"
    yield from losses_after(home, 3, shop.command(), shop.reference())


def _unread_training(shop: Workshop) -> Iterator[str]:
    """Nobody reads what it says: the training is done all the same."""
    home, reference = shop.home(), shop.reference()
    outcome = run(home, *shop.command("-q"), setup=_nobody_reads)
    if outcome.code != 0 or outcome.err:
        yield f"it did not end quietly: {outcome}"
    yield from differences(home / RUN, reference.run)


def _unread_sample(shop: Workshop) -> Iterator[str]:
    home = shop.copy(shop.reference())
    outcome = run(home, "sample", "--run", "run", "--length", "5000", "-q", setup=_nobody_reads)
    if outcome.code not in (0, -signal.SIGPIPE) or outcome.err:
        yield f"it did not end quietly: {outcome}"


def _nobody_reads() -> None:
    """Put a pipe without a reader in the place of stdout."""
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(reader)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (it stays open); the old one takes it for a file
