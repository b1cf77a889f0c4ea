"""The one place that writes files: each write is atomic and durable."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from charlm.errors import ResourceError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one rename: at any instant the file is the old one or the new one, whole.

    Raises ResourceError when the place cannot be written or the disk is full; no stray file is left.
    """
    with replacing(path, len(data)) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, num_bytes: int = 0) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit: `path` is replaced when the block ends, left alone when it fails."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp makes 0600; a model is shared like any file
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, num_bytes) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises ResourceError when the place cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, num_bytes: int = 0) -> ResourceError:
    size = f" ({num_bytes:,} bytes)" if num_bytes else ""
    return ResourceError(
        f"cannot write: {error.strerror or error}", f"{path}{size}", "choose another place, or make room there"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
