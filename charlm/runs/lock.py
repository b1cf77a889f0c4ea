"""The lock of a run's folder: only one process at a time may write there."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charlm.errors import UsageError
from charlm.system.files import cannot_write, read_file, write_atomically
from charlm.system.folders import sweep

LOCK = ".lock"
HOLDER = f"{LOCK}.holder"  # names the process, for messages; a leftover of a dead one is overwritten
MAX_HOLDER = 1000  # bytes


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the run's lock during the block, and remove the temporary files of a killed writer. Readers never wait.

    The operating system releases the lock when the process dies, however it dies.
    Raises UsageError naming the process that holds the lock, and ResourceError when the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        where = f"{folder}, by {_holder(folder)}"
        raise UsageError("this run is being trained already", where, "wait for it, or end it") from None
    except OSError as error:
        raise cannot_write(folder / LOCK, error) from error
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # the folder may have been renamed when the block ends
    try:
        sweep(folder)
        write_atomically(folder / HOLDER, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            os.unlink(HOLDER, dir_fd=descriptor)
        os.close(descriptor)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process trains this run, as far as can be seen without asking for the lock.

    Of a process on another machine it is believed as long as its note is there, which a killed one leaves behind.
    """
    found = re.fullmatch(r"process (\d{1,18}) on (.*)", _holder(folder), re.DOTALL)
    if not found or found[2] != socket.gethostname():
        return bool(found)
    try:
        os.kill(int(found[1]), 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _holder(folder: Path) -> str:
    try:
        return read_file(folder / HOLDER, MAX_HOLDER).decode() or "another process"
    except (OSError, ValueError):
        return "another process"
