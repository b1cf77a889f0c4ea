"""Files, pipes, standard input and compressed files, each as a file that can be read at any offset."""

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

from charlm.corpus.compression import MAGIC_SIZE, compression_of, decompress
from charlm.errors import ResourceError, TextError
from charlm.text.interface import TOKENIZER_FILE

STDIN = "-"
TRAIN = "train.ids"
COPY_SIZE = 1 << 18  # bytes copied at a time
MAX_IN_MEMORY = 1 << 26  # bytes of a copy; a larger copy is a temporary file on disk
MAX_SHARE = 0.5  # of the free space on the disk, for such a file

Version = tuple[int, int]  # a file's size in bytes, and when it was last written to, in nanoseconds


class Readable(Protocol):
    """A file that can be read from its start to its end."""

    def read(self, size: int, /) -> bytes: ...

    def fileno(self) -> int:
        """The file's descriptor. Raises OSError where it has none."""


@dataclass(frozen=True)
class Source:
    """An open file.

    `version` is None for a copy, which nobody else can change; `sha256` is that of the bytes that a copy was made from.
    """

    name: str
    file: BinaryIO
    version: Version | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()


def open_source(path: Path | str) -> Source:
    """Open a file; `-` is standard input. A pipe is copied, and a compressed file decompressed, into a temporary file.

    Raises TextError when the file is missing, unreadable or damaged; ResourceError when there is no space for a copy;
    UsageError when the package that decompresses it is missing.
    """
    name = printable(path)
    if str(path) == STDIN:
        if sys.stdin is None:
            raise TextError("there is no standard input", to_do="give a text file")
        return copy_source(sys.stdin.buffer, name)
    file = open_binary(path, name)
    try:
        version = version_of(file)
        if version and version[0] and compression_of(read_at(file, MAGIC_SIZE, 0, name)) is None:
            return Source(name, file, version)
        source = copy_source(file, name)
    except BaseException:
        file.close()
        raise
    file.close()
    return source


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, sorted by the bytes of their paths; hidden ones are left out.

    A link to a file is followed unless that file is listed already; links to folders are not, so there are no loops.
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
        raise cannot_read(error, printable(error.filename or folder)) from error
    seen = set(files.values())
    for path in sorted(links, key=os.fsencode):
        if links[path] not in seen:
            files[path] = links[path]
            seen.add(links[path])
    return sorted(files, key=os.fsencode)


def is_prepared(path: Path) -> bool:
    """Whether this is a folder that `charlm tokenize -o` wrote."""
    return all(os.path.isfile(path / name) for name in (TOKENIZER_FILE, TRAIN))  # `Path.is_file` fails for a long name


def printable(path: Path | str) -> str:
    """A path for a message: on one line, whatever characters it has."""
    if str(path) == STDIN:
        return "standard input"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def number_of(count: int, thing: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def version_of(file: Readable) -> Version | None:
    """The version of a regular file; None for anything else."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def changed_while_read(name: str) -> TextError:
    """The error for a text that was written to while it was read."""
    return TextError("the text changed while it was read", name, "wait until it is complete, or give a copy of it")


def cannot_read(error: OSError | ValueError, name: str) -> TextError:
    reason = getattr(error, "strerror", None) or error
    return TextError(f"cannot read: {reason}", name, "check the path and its permissions")


def read_at(file: BinaryIO, size: int, start: int, name: str) -> bytes:
    """`size` bytes of a file from offset `start` on, fewer at its end. Raises TextError."""
    try:
        return os.pread(file.fileno(), size, start)
    except OSError as error:
        raise cannot_read(error, name) from error


def temporary_copy(pieces: Iterable[bytes]) -> BinaryIO:
    """A file without a name that has these bytes: in memory, or on disk where there are more than MAX_IN_MEMORY.

    Raises ResourceError, also when they take more than MAX_SHARE of the free space there, and what `pieces` raises.
    """
    file, size, max_size, is_on_disk = _file_in_memory(), 0, MAX_IN_MEMORY, False
    try:
        for piece in pieces:
            size += len(piece)
            if size > max_size and not is_on_disk:
                file, max_size, is_on_disk = _moved_to_disk(file), _max_size_on_disk(), True
            if size > max_size:
                raise _too_large()
            file.write(piece)
            del piece  # before the next one is made
        file.flush()
    except BaseException as error:
        with suppress(OSError):
            file.close()
        if isinstance(error, OSError):
            raise cannot_copy(error) from error
        raise
    return file


def _file_in_memory() -> BinaryIO:
    """A file in memory; on disk where the system has no such files."""
    if not hasattr(os, "memfd_create"):
        return temporary_file()
    try:
        return open(os.memfd_create("charlm"), "w+b")
    except OSError:  # a sandbox without that system call
        return temporary_file()


def _moved_to_disk(file: BinaryIO) -> BinaryIO:
    """A temporary file with the same bytes as this one, which is closed."""
    copy = temporary_file()
    file.seek(0)
    shutil.copyfileobj(file, copy, COPY_SIZE)
    file.close()
    return copy


def _max_size_on_disk() -> int:
    return int(MAX_SHARE * shutil.disk_usage(tempfile.gettempdir()).free)


def _too_large() -> ResourceError:
    what = f"a copy of the text takes more than {MAX_SHARE:.0%} of the free space"
    to_do = "free some space there, set TMPDIR to another folder, or unpack the text by hand and give the files"
    return ResourceError(what, tempfile.gettempdir(), to_do)


def temporary_file() -> BinaryIO:
    """A file on disk that is removed when it is closed. Raises ResourceError."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise cannot_copy(error) from error


def cannot_copy(error: OSError) -> ResourceError:
    to_do = "free some space there, or set TMPDIR to another folder"
    try:
        folder = tempfile.gettempdir()
    except OSError:  # no folder for temporary files can be written
        folder = ""
    return ResourceError(f"cannot copy the text: {error.strerror or error}", folder, to_do)


def open_binary(path: Path | str, name: str) -> BinaryIO:
    """Open a file. Raises TextError."""
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise TextError("no such file", name, "check the path") from error
    except (OSError, ValueError) as error:
        raise cannot_read(error, name) from error


def copy_source(file: Readable, name: str) -> Source:
    """A copy of what a file has from here on, decompressed if it is compressed. Raises what `open_source` raises."""
    version, digest = version_of(file), hashlib.sha256()
    blocks = _blocks(file, name, digest)
    first = next(blocks, b"")
    whole: Iterator[bytes] = chain([first], blocks)
    kind = compression_of(first)
    copy = temporary_copy(decompress(whole, kind, name) if kind else whole)
    if version_of(file) != version:
        copy.close()
        raise changed_while_read(name)
    notes = (f"{name}: decompressed ({kind})",) if kind else ()
    return Source(name, copy, sha256=digest.hexdigest(), notes=notes)


def _blocks(file: Readable, name: str, digest: "hashlib._Hash") -> Iterator[bytes]:
    """The blocks of a file up to its end, which are also given to `digest`. Raises TextError."""
    while True:
        try:
            block = file.read(COPY_SIZE)
        except OSError as error:
            raise cannot_read(error, name) from error
        if not block:
            return
        digest.update(block)
        yield block


def _fail(error: OSError) -> NoReturn:
    raise error
