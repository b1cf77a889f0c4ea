"""Follow trainings while they run: their histories, again and again, as their logs grow."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charlm.inspection.curves import History, read_history
from charlm.runs.lock import is_held
from charlm.runs.log import METRICS

SECONDS_BETWEEN_LOOKS = 1.0
READING_SHARE = 0.1  # of the time at most, so that following long logs takes nothing from the training
PATIENCE_SECONDS = 30.0  # without a training process; a training can take so long to start on a busy machine


def follow(
    paths: Sequence[Path],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[History]]:
    """The histories of runs: at once, and then whenever a log has changed, until all trainings have ended.

    A training has ended when its log says so, or when no process has held the run's lock for PATIENCE_SECONDS. A log
    is read anew each time, so it may also get shorter, as on `--resume`. Raises RunError for a damaged run.
    """
    seen: list[object] = []
    last_held = clock()
    while True:
        began = clock()
        stamps: list[object] = [_stamp(path) for path in paths]
        if stamps != seen:
            seen = stamps
            histories = [read_history(path) for path in paths]
            yield histories
        held = [is_held(path) for path in paths]
        if any(held):
            last_held = clock()
        has_ended = all(history.ended and not is_on for history, is_on in zip(histories, held, strict=True))
        if has_ended or clock() - last_held >= PATIENCE_SECONDS:
            return
        sleep(max(SECONDS_BETWEEN_LOOKS, (clock() - began) / READING_SHARE))


def _stamp(path: Path) -> object:
    """A value that changes whenever the run's log changes or is replaced."""
    try:
        found = os.stat(path / METRICS)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
