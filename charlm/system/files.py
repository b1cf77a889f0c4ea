"""The one place that writes files, and reads what others may have written: each write is atomic and durable.

A file is written beside its place, synced and renamed into it. Whatever fails on the way (no space, no permission, a
torn write) is a ResourceError that names the path and the number of bytes, and leaves no stray file behind.
"""

import ctypes
import errno
import hashlib
import io
import json
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

MAX_JSON = 1 << 20  # bytes of a small JSON file
BUFFER = 1 << 20  # bytes gathered before they are written
UNFINISHED = ".charlm"  # how the names of temporary files end, so that nobody's own file is taken for one
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}" + re.escape(UNFINISHED))  # .best.safetensors.k2x9_a0b.charlm
RENAME_EXCHANGE, AT_FDCWD = 2, -100  # of Linux's renameat2
# A last component that is a link is refused, and a pipe is opened without waiting for its writer.
CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


# Writing one file


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one rename: at any instant the file is the old one or the new one, whole.

    Raises ResourceError when the place cannot be written or the disk is full; no stray file is left.
    """
    with replacing(path, len(data)) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, num_bytes: int = 0) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit: `path` is replaced when the block ends, left alone when it fails."""
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
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, num_bytes or (raw.num_bytes if raw else 0)) from error
    finally:
        _remove(temporary)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def append_line(path: Path, data: bytes) -> None:
    """Put one whole line at the end of a file, in one write; the file is made when there is none.

    Raises ResourceError when that fails, and the file is then as long as before.
    """
    before = None
    descriptor = -1
    try:
        before = _size(path) if path.exists() else None
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | CAREFULLY, 0o666)
        _write_all(descriptor, data)
    except BaseException as error:
        if descriptor >= 0:
            _take_back(path, descriptor, before)
        if isinstance(error, OSError):
            raise cannot_write(path, error, len(data)) from error
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make sure that what was appended to a file outlives a power failure. Raises ResourceError."""
    try:
        _sync(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, _size(path)) from error


def truncate(path: Path, length: int) -> None:
    """Cut a file to a length, durably. Raises ResourceError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | CAREFULLY)
        try:
            os.truncate(descriptor, length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error, length) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there, durably. Raises ResourceError."""
    try:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, _size(path)) from error


def put_link(source: Path, path: Path) -> None:
    """Make `path` the same file as `source`, replacing it in one step; a copy where the file system has no links.

    Raises ResourceError.
    """
    temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}{UNFINISHED}"
    try:
        os.link(source, temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError:
        _copy(source, path)
    finally:
        _remove(temporary)  # a rename between two names of one file does nothing, and says nothing


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably. Raises ResourceError when the place cannot be written."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for one in missing:
            _sync_folder(one.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise ResourceError unless so many bytes are free where `folder` is or will be."""
    place = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    try:
        found = os.statvfs(place)
    except OSError as error:
        raise cannot_write(folder, error, num_bytes) from error
    free = found.f_bavail * found.f_frsize
    if free < num_bytes:
        where = f"{folder}: {num_bytes:,} bytes are needed, {free:,} are free"
        raise ResourceError("the disk has too little room", where, "make room there, or choose another place")


def sweep(folder: Path) -> None:
    """Remove the temporary files that a writer left behind when it died. Only the holder of the lock may call this."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if TEMPORARY.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
                _remove(path)


def cannot_write(path: Path, error: OSError, num_bytes: int = 0) -> ResourceError:
    size = f" ({num_bytes:,} bytes)" if num_bytes else ""
    return ResourceError(
        f"cannot write: {error.strerror or error}", f"{path}{size}", "choose another place, or make room there"
    )


# Whole folders


def move_into_place(draft: Path, path: Path) -> None:
    """Sync everything below `draft`, then rename it to `path`, which may be an empty folder.

    Raises FileExistsError when there is something at `path`, and ResourceError; the draft is then still there.
    """
    num_bytes = sum(_size(path) for path in draft.rglob("*"))
    try:
        _sync_tree(draft)
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise cannot_write(path, error, num_bytes) from error


def exchange(draft: Path, path: Path) -> None:
    """Put the folder `draft` in the place of the folder `path` in one step, then remove what was there.

    Both are on one file system; where `path` is a link, what it leads to is replaced. Where the system cannot exchange
    two names, there is a moment without `path`. Raises ResourceError; before the exchange, all is then as it was.
    """
    path = Path(os.path.realpath(path))
    num_bytes = sum(_size(path) for path in draft.rglob("*"))
    try:
        _sync_tree(draft)
        if not _exchange_names(draft, path):
            _exchange_by_renaming(draft, path)
        try:
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error, num_bytes) from error


def copy_tree(source: Path, target: Path) -> None:
    """Copy the regular files of a folder and of those in it; links, pipes and devices are left out.

    Raises ResourceError when something cannot be read or written.
    """
    make_folder(target)
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            copy_tree(path, target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            _copy(path, target / entry.name)


# Reading what may come from anybody


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read it. Raises OSError, also when it is a link, and ValueError for a pipe or device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | CAREFULLY))  # noqa: SIM115 (returned)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("is not a regular file")
    return file


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`, looked at before anything is read.

    Raises OSError, also when it is a link, and ValueError when it is a pipe, a device, or larger.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise ValueError(f"has {size:,} bytes, more than {most_bytes:,}")
        return file.read(size)


def fingerprint(data: bytes) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def parse_json(data: bytes | str) -> Any:
    """A JSON value. Raises ValueError for whatever is none: nested too deeply, or with a name twice in an object."""
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


# The steps of writing


class _Descriptor(io.RawIOBase):
    """A file being written. Once abandoned, what is still buffered for it goes nowhere."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.num_bytes = 0  # that were to be written
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
    """A buffered file on an open descriptor, which is closed when the block ends, however that is."""
    file = io.BufferedWriter(raw, BUFFER)
    try:
        yield file
        file.flush()
    finally:
        raw.abandoned = True
        file.close()
        os.close(raw.descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _copy(source: Path, target: Path) -> None:
    """Copy a regular file. Raises ResourceError."""
    try:
        with open_file(source) as file, replacing(target, _size(source)) as copy:
            shutil.copyfileobj(file, copy, BUFFER)
    except OSError as error:
        raise cannot_write(target, error, _size(source)) from error


def _take_back(path: Path, descriptor: int, before: int | None) -> None:
    """Undo an append that failed: the file is as long as before, or gone when there was none."""
    with suppress(OSError):
        os.truncate(descriptor, before or 0)
        if before is None:
            os.unlink(path)


def _exchange_names(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot. Raises OSError."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _exchange_by_renaming(draft: Path, path: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        os.replace(path, aside)
        try:
            os.replace(draft, path)
        except OSError:
            os.replace(aside, path)
            raise
        os.replace(aside, draft)
    finally:
        with suppress(OSError):
            aside.rmdir()


def _sync_tree(folder: Path) -> None:
    """Sync every file and folder from `folder` down."""
    for name, _, files in os.walk(folder, topdown=False):
        for path in (Path(name, file) for file in files):
            if stat.S_ISREG(path.lstat().st_mode):
                _sync(path)
        _sync_folder(Path(name))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | CAREFULLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path | str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_size
    return 0


def _remove(path: Path | str | None) -> None:
    if path is not None:
        with suppress(OSError):
            os.unlink(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
