"""Watching what this process does to the files of one folder: to write it down, to make it fail, to end in its midst.

Only Python's own functions can be watched. `tests/test_torture.py` holds what was written down against what is there.
"""

import base64
import builtins
import errno
import fcntl
import io
import json
import os
import signal
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Everything that changes a file or a folder, with the name that an operation has here. `open` is watched by itself.
WATCHED = {
    "write": "write",
    "pwrite": "write",
    "fsync": "fsync",
    "fdatasync": "fsync",
    "truncate": "truncate",
    "ftruncate": "truncate",
    "replace": "rename",
    "rename": "rename",
    "link": "link",
    "unlink": "unlink",
    "remove": "unlink",
    "mkdir": "mkdir",
    "rmdir": "rmdir",
}


@dataclass(frozen=True)
class Operation:
    """One change, or one fsync. Paths are relative to the watched folder."""

    kind: str
    path: str
    target: str = ""  # of a rename or a link
    data: bytes = b""  # of a write
    offset: int = 0  # of a write; the length of a truncate
    said: int = 0  # bytes on stdout by then
    descriptor: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.path}" + (f" -> {self.target}" if self.target else "")


class Observer:
    """Told of each operation before and after it."""

    def before(self, operation: Operation) -> None: ...

    def after(self, operation: Operation) -> None: ...


class Recorder(Observer):
    """Writes down every operation that was done."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (it stays open)

    def after(self, operation: Operation) -> None:
        fields = {**vars(operation), "data": base64.b85encode(operation.data).decode(), "descriptor": None}
        self._file.write(json.dumps(fields) + "\n")
        self._file.flush()


class AtNth(Observer, ABC):
    """Does something when the n-th operation (from 1) is due, and leaves word that it did."""

    def __init__(self, n: int, mark: Path) -> None:
        self._left, self._mark, self._done = n, mark, "nothing"

    def after(self, operation: Operation) -> None:
        self._done = str(operation)

    def before(self, operation: Operation) -> None:
        self._left -= 1
        if self._left == 0:
            self._mark.write_text(f"{operation} after {self._done}")
            if operation.kind == "write" and operation.descriptor is not None:
                UNWATCHED["write"](operation.descriptor, operation.data[: len(operation.data) // 2])
            self.act(operation)

    @abstractmethod
    def act(self, operation: Operation) -> None:
        """What to do at the call."""


class FailAtNth(AtNth):
    """The operation fails; of a write, half is done."""

    def __init__(self, n: int, mark: Path, number: int) -> None:
        super().__init__(n, mark)
        self._number = number

    def act(self, operation: Operation) -> None:
        raise OSError(self._number, os.strerror(self._number), operation.path)


class DieAtNth(AtNth):
    """The process is killed; of a write, half is done."""

    def act(self, operation: Operation) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def read_recorded(path: Path) -> list[Operation]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Operation(**{**record, "data": base64.b85decode(record["data"])}) for record in records]


UNWATCHED: dict[str, Callable[..., Any]] = {}


def watch(folder: Path, observer: Observer) -> None:
    """From now on, until this process ends, tell `observer` of everything done within `folder`."""
    watcher = _Watcher(folder.resolve(), observer)
    for name, kind in WATCHED.items():
        UNWATCHED[name] = getattr(os, name)
        setattr(os, name, watcher.watched(name, kind))
    UNWATCHED.update({"os.open": os.open, "open": io.open})
    os.open = watcher.open_descriptor
    os.sendfile = _no_sendfile  # the standard library copies by reading and writing instead
    io.open = builtins.open = watcher.open_file


class _Watcher:
    def __init__(self, folder: Path, observer: Observer) -> None:
        self._folder, self._observer, self._busy = folder, observer, False

    def watched(self, name: str, kind: str) -> Callable[..., Any]:
        """`os.name`, watched."""
        original = UNWATCHED[name]

        def function(*arguments: Any, **options: Any) -> Any:
            operation = self._operation(name, kind, arguments, options)
            return self.observe(operation, lambda: original(*arguments, **options))

        return function

    def observe(self, operation: Operation | None, do: Callable[[], Any]) -> Any:
        if operation is None or self._busy:
            return do()
        self._tell(self._observer.before, operation)
        result = do()
        self._tell(self._observer.after, operation)
        return result

    def open_descriptor(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        operation = self._opening(self._inside(path, options.get("dir_fd")), flags)
        result: int = self.observe(operation, lambda: UNWATCHED["os.open"](path, flags, *arguments, **options))
        return result

    def open_file(self, file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
        inside = self._inside(file)
        if inside is None or self._busy or not set(mode) & set("wax+") or options.get("opener"):
            return UNWATCHED["open"](file, mode, buffering, *more, **options)
        flags = os.O_CREAT | (os.O_TRUNC if "w" in mode else 0)
        operation = None if isinstance(file, int) else self._opening(inside, flags)
        closefd = options.pop("closefd", True)
        raw = self.observe(operation, lambda: _WatchedFile(self, file, mode.replace("b", "").replace("t", ""), closefd))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **options)

    def writing(self, descriptor: int, data: bytes, offset: int | None = None) -> Operation | None:
        """The operation of writing there."""
        inside = self._inside(descriptor)
        if inside is None:
            return None
        if offset is None:
            appends = _flags(descriptor) & os.O_APPEND
            offset = os.fstat(descriptor).st_size if appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        return Operation("write", inside, data=data, offset=offset, said=_said(), descriptor=descriptor)

    def _operation(self, name: str, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Operation | None:
        if kind == "write":
            return self.writing(arguments[0], bytes(arguments[1]), *arguments[2:])
        source = self._inside(arguments[0], options.get("src_dir_fd", options.get("dir_fd")))
        if kind in ("rename", "link"):
            target = self._inside(arguments[1], options.get("dst_dir_fd"))
            if source is None or target is None:  # nothing comes or goes over the border
                return None
            return Operation(kind, source, target=target, said=_said())
        length = arguments[1] if kind == "truncate" else 0
        if source is None or self._changes_nothing(kind, source):
            return None
        return Operation(kind, source, offset=length, said=_said())

    def _changes_nothing(self, kind: str, inside: str) -> bool:
        """Whether it had nothing to do: to make a folder that is there, or to remove what is not."""
        path = self._folder / inside
        return (kind == "mkdir" and path.is_dir()) or (kind == "unlink" and not os.path.lexists(path))

    def _opening(self, inside: str | None, flags: int) -> Operation | None:
        """Opening is a change when it makes a file or empties one."""
        if inside is None:
            return None
        there = (self._folder / inside).exists()
        if not there and flags & os.O_CREAT:
            return Operation("create", inside, said=_said())
        return Operation("truncate", inside, said=_said()) if there and flags & os.O_TRUNC else None

    def _inside(self, file: Any, folder: int | None = None) -> str | None:
        """The path relative to the watched folder; None outside of it."""
        if isinstance(file, int):
            path = os.readlink(f"/proc/self/fd/{file}")
        else:
            beside = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()
            path = os.path.normpath(os.path.join(beside, os.fsdecode(file)))
        whole = str(self._folder)
        if path == whole:
            return "."
        return path[len(whole) + 1 :] if path.startswith(whole + os.sep) else None

    def _tell(self, listener: Callable[[Operation], None], operation: Operation) -> None:
        self._busy = True
        try:
            listener(operation)
        finally:
            self._busy = False


class _WatchedFile(io.FileIO):
    def __init__(self, watcher: _Watcher, file: Any, mode: str, closefd: bool) -> None:
        super().__init__(file, mode, closefd)
        self._watcher = watcher

    def write(self, data: Any, /) -> int:
        operation = self._watcher.writing(self.fileno(), bytes(data))
        written: int = self._watcher.observe(operation, lambda: super(_WatchedFile, self).write(data))
        return written

    def truncate(self, size: int | None = None, /) -> int:
        os.ftruncate(self.fileno(), self.tell() if size is None else size)
        return self.tell() if size is None else size


def _no_sendfile(*arguments: Any, **options: Any) -> int:
    raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))


def _flags(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


def _said() -> int:
    """Bytes on stdout so far, where that is a file."""
    status = os.fstat(1)
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
