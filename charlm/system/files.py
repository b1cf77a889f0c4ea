"""The only module that writes files, each atomically and durably; it also reads files that others may have written.

A file is written beside its destination, synced, and renamed to it. Whatever fails on the way (no space, no permission,
a torn write) is a ResourceError that names the path and the number of bytes, and leaves no stray file behind.
"""

import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from charlm.errors import ResourceError

BUFFER_SIZE = 1 << 20  # bytes gathered before they are written
UNFINISHED = ".charlm"  # ends the names of temporary files, so that nobody's own file is taken for one
MANIFEST = "MANIFEST.json"  # in a folder: its files, each with its `fingerprint`
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}" + re.escape(UNFINISHED))  # .best.safetensors.k2x9_a0b.charlm
# A path whose last component is a link is refused, and a pipe is opened without waiting for its writer.
SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


# Writing


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one rename: at any instant the file is the old one or the new one, whole.

    Raises ResourceError when the file cannot be written or the disk is full; no stray file is left.
    """
    with replacing(path, len(data)) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, num_bytes: int = 0) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` in one rename when the block ends; `path` stays when the block fails.

    `num_bytes`, if known, is the size that an error names. Raises ResourceError.
    """
    temporary, raw = None, None
    try:
        descriptor, temporary = tempfile.mkstemp(UNFINISHED, f".{path.name}.", path.parent)
        raw = _Descriptor(descriptor)
        with _buffered(raw) as file:
            yield file
            file.flush()
            os.fchmod(descriptor, 0o666 & ~_umask())  # mkstemp makes 0600; a model is shared like any file
            os.fsync(descriptor)
        os.replace(temporary, path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, num_bytes or (raw.num_bytes if raw else 0)) from error
    finally:
        if temporary is not None:
            remove_if_possible(temporary)


def append_line(path: Path, data: bytes) -> None:
    """Append one whole line to a file in one write; the file is created when there is none.

    Raises ResourceError when that fails, and the file is then as long as before.
    """
    before = None
    descriptor = -1
    try:
        before = size_of(path) if path.exists() else None
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | SAFE_FLAGS, 0o666)
        _write_all(descriptor, data)
    except BaseException as error:
        if descriptor >= 0:
            _undo_append(path, descriptor, before)
        if isinstance(error, OSError):
            raise cannot_write(path, error, len(data)) from error
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make sure that what was appended to a file outlives a power failure. Raises ResourceError."""
    try:
        fsync_file(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, size_of(path)) from error


def truncate(path: Path, length: int) -> None:
    """Cut a file to a length in bytes, durably. Raises ResourceError."""
    try:
        with _descriptor_of(path, os.O_WRONLY) as descriptor:
            os.truncate(descriptor, length)
            os.fsync(descriptor)
    except OSError as error:
        raise cannot_write(path, error, length) from error


def remove(path: Path) -> None:
    """Remove a file, if it exists, durably. Raises ResourceError."""
    try:
        path.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, size_of(path)) from error


def put_link(source: Path, path: Path) -> None:
    """Make `path` the same file as `source`, in one step; a copy of it where the file system has no hard links.

    Raises ResourceError.
    """
    temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}{UNFINISHED}"
    try:
        os.link(source, temporary)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError:
        copy_file(source, path)
    finally:
        remove_if_possible(temporary)  # a rename between two names of one file does nothing, without an error


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file, atomically and durably. Raises ResourceError."""
    try:
        with open_file(source) as file, replacing(target, size_of(source)) as copy:
            shutil.copyfileobj(file, copy, BUFFER_SIZE)
    except OSError as error:
        raise cannot_write(target, error, size_of(source)) from error


def cannot_write(path: Path, error: OSError, num_bytes: int = 0) -> ResourceError:
    """The error for a file or folder that could not be written; it names `num_bytes` unless they are 0."""
    size = f" ({num_bytes:,} bytes)" if num_bytes else ""
    to_do = "choose another folder, or free some space there"
    return ResourceError(f"cannot write: {error.strerror or error}", f"{path}{size}", to_do)


# Reading files that anybody may have written


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a link, and ValueError for a pipe or a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | SAFE_FLAGS))  # noqa: SIM115 (returned)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("is not a regular file")
    return file


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`; the size is checked before anything is read.

    Raises OSError, also for a link, and ValueError for a pipe, a device, or a larger file.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"has {size:,} bytes, more than {max_bytes:,}")
        return file.read(size)


def fingerprint(data: bytes) -> dict[str, Any]:
    """What a manifest says about a file with this content: its `size` in bytes, and its `sha256`."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# The steps of writing


def fsync_file(path: Path) -> None:
    """Make a file's content durable. Raises OSError, also for a link."""
    with _descriptor_of(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 where it cannot be found out."""
    with suppress(OSError):
        return os.lstat(path).st_size
    return 0


def remove_if_possible(path: Path | str) -> None:
    with suppress(OSError):
        os.unlink(path)


class _Descriptor(io.RawIOBase):
    """A file that is being written. Once it is abandoned, what is still buffered for it is discarded."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.num_bytes = 0  # passed to `write`, whether it succeeded or not
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self.descriptor, offset, whence)

    def write(self, data: Any, /) -> int:
        if self.abandoned:
            return len(memoryview(data))
        self.num_bytes += len(memoryview(data))
        return os.write(self.descriptor, data)


@contextmanager
def _buffered(raw: _Descriptor) -> Iterator[BinaryIO]:
    """A buffered file on an open descriptor, which is closed when the block ends, whether it fails or not."""
    file = io.BufferedWriter(raw, BUFFER_SIZE)
    try:
        yield file
        file.flush()
    finally:
        raw.abandoned = True
        file.close()
        os.close(raw.descriptor)


@contextmanager
def _descriptor_of(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | SAFE_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _undo_append(path: Path, descriptor: int, before: int | None) -> None:
    """Undo an append that failed: the file is as long as before, or removed when there was none."""
    with suppress(OSError):
        os.truncate(descriptor, before or 0)
        if before is None:
            os.unlink(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
