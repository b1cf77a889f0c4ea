"""What a person gives as a text, as a file that can be read at any place: files, pipes, compressed ones, folders."""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from charlm.corpus.compression import MAGIC_SIZE, compression_of, decompressed
from charlm.errors import ResourceError, TextError
from charlm.text.interface import TOKENIZER_FILE

STDIN = "-"
TRAIN = "train.ids"
COPIED = 1 << 18  # bytes at a time
MAX_IN_MEMORY = 1 << 26  # bytes of a copy; a larger one goes to a temporary file
MAX_SHARE = 0.5  # of what is free on the disk, which such a file may take

Version = tuple[int, int]  # a file's size, and when it was last written to


class Readable(Protocol):
    """What can be read from its start to its end."""

    def read(self, size: int, /) -> bytes: ...

    def fileno(self) -> int:
        """Raises OSError where there is no such file of its own."""


@dataclass(frozen=True)
class Source:
    """An open file. One that others can change has its `version`; a copy has the `sha256` of what it was made from."""

    name: str
    file: BinaryIO
    version: Version | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()


def open_source(path: Path | str) -> Source:
    """Open a file; `-` is standard input. Pipes are copied to a temporary file, and what is compressed, decompressed.

    Raises TextError when it is missing, unreadable or damaged; ResourceError when there is no room for a copy;
    UsageError when the package that decompresses it is missing.
    """
    name = shown(path)
    if str(path) == STDIN:
        if sys.stdin is None:
            raise TextError("there is no standard input", to_do="give a text file")
        return copied(sys.stdin.buffer, name)
    file = opened(path, name)
    try:
        version = version_of(file)
        if version and version[0] and compression_of(read_at(file, MAGIC_SIZE, 0, name)) is None:
            return Source(name, file, version)
        source = copied(file, name)
    except BaseException:
        file.close()
        raise
    file.close()
    return source


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and its folders, by the bytes of their paths. What is hidden is left out.

    A link to a file is followed unless that file is there already; a link to a folder is not, so there are no loops.
    Raises TextError when a folder cannot be read or a link leads nowhere.
    """
    files: dict[Path, tuple[int, int]] = {}
    links: dict[Path, tuple[int, int]] = {}
    try:
        for parent, folders, names in os.walk(folder, onerror=_fail):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(parent, name) for name in names if not name.startswith(".")):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    (links if path.is_symlink() else files)[path] = status.st_dev, status.st_ino
    except OSError as error:
        raise cannot_read(error, shown(error.filename or folder)) from error
    seen = set(files.values())
    for path in sorted(links, key=os.fsencode):
        if links[path] not in seen:
            files[path] = links[path]
            seen.add(links[path])
    return sorted(files, key=os.fsencode)


def is_prepared(path: Path) -> bool:
    """Whether this is a folder that `charlm tokenize -o` wrote."""
    return all(os.path.isfile(path / name) for name in (TOKENIZER_FILE, TRAIN))  # Path's own fails for a long name


def shown(path: Path | str) -> str:
    """A path on one line, whatever its name is made of."""
    if str(path) == STDIN:
        return "standard input"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def number_of(count: int, thing: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def version_of(file: Readable) -> Version | None:
    """None for what is no ordinary file."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def changed(name: str) -> TextError:
    return TextError("the text changed while it was read", name, "wait until it is complete, or give a copy of it")


def cannot_read(error: OSError | ValueError, name: str) -> TextError:
    return TextError(f"cannot read: {getattr(error, 'strerror', None) or error}", name, "check the path and its rights")


def read_at(file: BinaryIO, size: int, start: int, name: str) -> bytes:
    """Some bytes of a file, fewer at its end. Raises TextError."""
    try:
        return os.pread(file.fileno(), size, start)
    except OSError as error:
        raise cannot_read(error, name) from error


def written(pieces: Iterable[bytes]) -> BinaryIO:
    """A file without a name that has these bytes: in memory, or on disk where they are many.

    Raises ResourceError, also when they take more than MAX_SHARE of what is free there, and what `pieces` raises.
    """
    file, size, most = _file_in_memory(), 0, MAX_IN_MEMORY
    try:
        for piece in pieces:
            size += len(piece)
            if size > most and most == MAX_IN_MEMORY:
                file, most = _on_disk(file)
            if size > most:
                raise _too_much()
            file.write(piece)
            del piece  # before the next one is made
        file.flush()
    except BaseException as error:
        with suppress(OSError):
            file.close()
        if isinstance(error, OSError):
            raise no_room(error) from error
        raise
    return file


def _file_in_memory() -> BinaryIO:
    """A file that is nowhere but in memory, where the system has such files."""
    if not hasattr(os, "memfd_create"):
        return temporary_file()
    try:
        return open(os.memfd_create("charlm"), "w+b")
    except OSError:  # a sandbox that does not know it
        return temporary_file()


def _on_disk(file: BinaryIO) -> tuple[BinaryIO, int]:
    """A temporary file with the same bytes in place of this one, and how many it may have."""
    copy = temporary_file()
    file.seek(0)
    shutil.copyfileobj(file, copy, COPIED)
    file.close()
    return copy, int(MAX_SHARE * shutil.disk_usage(tempfile.gettempdir()).free)


def _too_much() -> ResourceError:
    what = f"the text takes more than {MAX_SHARE:.0%} of what is free for a copy of it"
    to_do = "make room there, set TMPDIR to another place, or unpack it by hand and give the files"
    return ResourceError(what, tempfile.gettempdir(), to_do)


def temporary_file() -> BinaryIO:
    """A file that vanishes when it is closed. Raises ResourceError."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise no_room(error) from error


def no_room(error: OSError) -> ResourceError:
    to_do = "make room there, or set TMPDIR to another place"
    try:
        place = tempfile.gettempdir()
    except OSError:  # there is none that can be written
        place = ""
    return ResourceError(f"cannot copy the text: {error.strerror or error}", place, to_do)


def opened(path: Path | str, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise TextError("no such file", name, "check the path") from error
    except (OSError, ValueError) as error:
        raise cannot_read(error, name) from error


def copied(file: Readable, name: str) -> Source:
    """What is read from a file to its end, decompressed if it is compressed. Raises what `open_source` raises."""
    version, digest = version_of(file), hashlib.sha256()
    blocks = _blocks(file, name, digest)
    first = next(blocks, b"")
    whole: Iterator[bytes] = chain([first], blocks)
    kind = compression_of(first)
    copy = written(decompressed(whole, kind, name) if kind else whole)
    if version_of(file) != version:
        copy.close()
        raise changed(name)
    notes = (f"{name}: decompressed ({kind})",) if kind else ()
    return Source(name, copy, sha256=digest.hexdigest(), notes=notes)


def _blocks(file: Readable, name: str, digest: "hashlib._Hash") -> Iterator[bytes]:
    while True:
        try:
            block = file.read(COPIED)
        except OSError as error:
            raise cannot_read(error, name) from error
        if not block:
            return
        digest.update(block)
        yield block


def _fail(error: OSError) -> NoReturn:
    raise error
