"""One writer a run."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charlm.errors import UsageError

LOCK = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the run's lock. Raises UsageError naming the process that holds it already; readers never wait."""
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = (folder / f"{LOCK}.holder").read_text() if (folder / f"{LOCK}.holder").is_file() else "another process"
        raise UsageError(
            "this run is being trained already", f"{folder}, by {holder}", "wait for it, or end it"
        ) from None
    try:
        (folder / f"{LOCK}.holder").write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        (folder / f"{LOCK}.holder").unlink(missing_ok=True)
        lock.release()
