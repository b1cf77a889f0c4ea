"""One writer a run."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charlm.errors import UsageError
from charlm.system.files import cannot_write, read_file, write_atomically
from charlm.system.folders import sweep

LOCK = ".lock"
HOLDER = f"{LOCK}.holder"  # who holds it, for people; what a dead process left there is overwritten by the next one
MAX_HOLDER = 1000  # bytes


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the run's lock, and first remove what a writer left behind that was killed. Readers never wait.

    The system lets go of the lock when its process dies, however that is.
    Raises UsageError naming the process that holds it already, and ResourceError when the place cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            "this run is being trained already", f"{folder}, by {_holder(folder)}", "wait for it, or end it"
        ) from None
    except OSError as error:
        raise cannot_write(folder / LOCK, error) from error
    place = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # the folder may have another name when the block ends
    try:
        sweep(folder)
        write_atomically(folder / HOLDER, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            os.unlink(HOLDER, dir_fd=place)
        os.close(place)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return read_file(folder / HOLDER, MAX_HOLDER).decode() or "another process"
    except (OSError, ValueError):
        return "another process"
