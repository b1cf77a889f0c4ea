"""Archives (tar, zip), read without unpacking them to disk: their members are treated as the files of a folder."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from stat import S_IFMT, S_ISREG
from typing import IO, BinaryIO, Literal

from charlm.corpus.sources import printable, read_at
from charlm.errors import CharlmError, TextError

HEADER_SIZE = 512  # bytes of a header in a tar
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
DOCUMENT_FILES = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")  # in docx, odt, epub, jar and similar
MAX_HEADER_SIZE = 1 << 26  # bytes read at once from an archive: a zip's whole directory, a name in a tar
BLOCK_SIZE = 1 << 18  # bytes checked at a time behind the last member

ArchiveKind = Literal["tar", "zip"]


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path in the archive, and a function that opens it."""

    path: str
    open: Callable[[], IO[bytes]]


class MemberFile:
    """A member that is read from its start to its end; reading raises TextError when the archive is damaged."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int, /) -> bytes:
        with _damage_reported(self._name):
            return self._file.read(size)

    def fileno(self) -> int:
        raise io.UnsupportedOperation

    def close(self) -> None:
        self._file.close()


def archive_kind(file: BinaryIO, name: str) -> ArchiveKind | None:
    """The kind of an archive; None for other files, and for documents that are stored as an archive.

    Raises TextError when a zip is damaged.
    """
    head = read_at(file, HEADER_SIZE, 0, name)
    if head.startswith(ZIP_MAGIC):
        return None if _is_document(file, name) else "zip"
    return "tar" if b"\0" in head and _is_tar(head) else None


def members(file: BinaryIO, kind: ArchiveKind, name: str) -> list[Member]:
    """The regular files in an archive, sorted by the bytes of their paths; hidden files are left out.

    A hard link to a file in the tar counts as a file. A symbolic link is left out: the file that it leads to is listed
    itself, or is not in the archive. Where several files have the same path, the last is taken, as when they are
    unpacked. Raises TextError for a damaged archive.
    """
    with _damage_reported(name):
        listed = _tar_members(file, name) if kind == "tar" else _zip_members(file, name)
        by_path = {member.path: member for member in listed if not _is_hidden(member.path)}
    return sorted(by_path.values(), key=lambda member: member.path.encode("utf-8", "surrogateescape"))


class _Bounded:
    """A file that never gives more than MAX_HEADER_SIZE bytes at once, whatever size a header claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, io.SEEK_END)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._file.tell()
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_HEADER_SIZE:
            raise ValueError(f"a header of more than {MAX_HEADER_SIZE:,} bytes")
        return self._file.read(max(0, wanted))


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _is_document(file: BinaryIO, name: str) -> bool:
    with _damage_reported(name):
        return not set(DOCUMENT_FILES).isdisjoint(zipfile.ZipFile(_Bounded(file)).namelist())


def _tar_members(file: BinaryIO, name: str) -> Iterator[Member]:
    archive = tarfile.open(fileobj=_Bounded(file), mode="r:", encoding="utf-8")  # type: ignore[call-overload]  # noqa: SIM115
    offset, seen = 0, set[str]()
    while member := archive.next():
        if member.size < 0 or archive.offset <= offset:
            raise ValueError("a member has an impossible size")
        offset = archive.offset
        if member.issparse():
            what = "this file is stored as a sparse file"
            raise TextError(what, printable(f"{name}/{member.name}"), "unpack the archive, and give the folder")
        if member.isreg() or (member.islnk() and _path(member.linkname) in seen):
            seen.add(_path(member.name))
            yield Member(_path(member.name), _opener(archive, member))
    _check_end(file, archive.offset, name)


def _opener(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = archive.extractfile(member)
        assert file is not None  # it is a regular file, or a link to one
        return file

    return opened


def _check_end(file: BinaryIO, offset: int, name: str) -> None:
    """Check that only zeros follow, which end a tar: `tarfile` just stops at anything that is not a header."""
    has_end = False
    while block := read_at(file, BLOCK_SIZE, offset, name):
        if block.strip(b"\0"):
            raise ValueError("something in it is not a header, or follows its end")
        has_end, offset = True, offset + len(block)
    if not has_end:
        raise TextError("the archive is cut short: its end is missing", name, "make or fetch it again")


def _zip_members(file: BinaryIO, name: str) -> Iterator[Member]:
    archive = zipfile.ZipFile(_Bounded(file))
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if not info.is_dir() and (S_IFMT(mode) == 0 or S_ISREG(mode)):
            yield Member(_path(info.filename), _zip_opener(archive, info, printable(f"{name}/{_path(info.filename)}")))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if info.flag_bits & 1:
            raise TextError("this file is encrypted", name, "unpack the archive with its password, and give the folder")
        with _damage_reported(name):
            return archive.open(info)

    return opened


def _path(name: str) -> str:
    """A member's path without redundant parts, such as `./` at its start or a double slash."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _is_hidden(path: str) -> bool:
    return not path or any(part.startswith(".") and part != ".." for part in path.split("/"))


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Turn every error of Python's modules about a damaged archive, of which there are many kinds, into a TextError."""
    try:
        yield
    except (CharlmError, MemoryError):
        raise
    except NotImplementedError as error:
        raise TextError(f"the archive cannot be read: {error}", name, "unpack it, and give the folder") from error
    except Exception as error:
        what = f"the archive is damaged: {str(error)[:200] or type(error).__name__}"
        raise TextError(what, name, "make or fetch it again") from error
