"""Archives (tar, zip), read where they are: their members as the files of a folder, nothing unpacked under its name."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from stat import S_IFMT, S_ISREG
from typing import IO, BinaryIO, Literal

from charlm.corpus.sources import read_at, shown
from charlm.errors import CharlmError, TextError

HEADER = 512  # bytes of a tar's first header
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
DOCUMENTS = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")  # of docx, odt, epub, jar and their like
MAX_HEADERS = 1 << 26  # bytes read of an archive at once: a zip's whole directory, a name in a tar
CHECKED = 1 << 18  # bytes at a time

ArchiveKind = Literal["tar", "zip"]


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path there, and how it is opened."""

    path: str
    open: Callable[[], IO[bytes]]


class MemberFile:
    """A member that is read from its start to its end. Damage is a TextError."""

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
    """What a file is an archive of; None for what is none, and for documents that are stored as one."""
    head = read_at(file, HEADER, 0, name)
    if head.startswith(ZIP):
        return None if _is_document(file, name) else "zip"
    return "tar" if b"\0" in head and _is_tar(head) else None


def members(file: BinaryIO, kind: ArchiveKind, name: str) -> list[Member]:
    """The ordinary files in an archive, by the bytes of their paths; hidden ones are left out, and devices.

    A hard link to a file in the tar is a file like others. A symbolic one is left out: what it leads to is there
    already, or is not in the archive.

    Of several with one path the last is meant, as when they are unpacked. Raises TextError for a damaged archive.
    """
    with _damage_reported(name):
        listed = _tar_members(file, name) if kind == "tar" else _zip_members(file, name)
        found = {member.path: member for member in listed if not _is_hidden(member.path)}
    return sorted(found.values(), key=lambda member: member.path.encode("utf-8", "surrogateescape"))


class _Bounded:
    """A file of which nothing large is read at once, whatever a header says."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, io.SEEK_END)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._file.tell()
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_HEADERS:
            raise ValueError(f"a header of more than {MAX_HEADERS:,} bytes")
        return self._file.read(max(0, wanted))


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _is_document(file: BinaryIO, name: str) -> bool:
    with _damage_reported(name):
        return not set(DOCUMENTS).isdisjoint(zipfile.ZipFile(_Bounded(file)).namelist())


def _tar_members(file: BinaryIO, name: str) -> Iterator[Member]:
    archive = tarfile.open(fileobj=_Bounded(file), mode="r:", encoding="utf-8")  # type: ignore[call-overload]  # noqa: SIM115
    place, seen = 0, set[str]()
    while member := archive.next():
        if member.size < 0 or archive.offset <= place:
            raise ValueError("a member of a size that cannot be")
        place = archive.offset
        if member.issparse():
            what = "this file is stored with holes"
            raise TextError(what, shown(f"{name}/{member.name}"), "unpack the archive, and give the folder")
        if member.isreg() or (member.islnk() and _path(member.linkname) in seen):
            seen.add(_path(member.name))
            yield Member(_path(member.name), _opener(archive, member))
    _check_end(file, archive.offset, name)


def _opener(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = archive.extractfile(member)
        assert file is not None  # it is an ordinary one
        return file

    return opened


def _check_end(file: BinaryIO, place: int, name: str) -> None:
    """Zeros end a tar; where something else stands, the module `tarfile` just stops."""
    ended = False
    while block := read_at(file, CHECKED, place, name):
        if block.strip(b"\0"):
            raise ValueError("something in it is no header, or stands behind its end")
        ended, place = True, place + len(block)
    if not ended:
        raise TextError("the archive is cut short: its end is missing", name, "make or fetch it again")


def _zip_members(file: BinaryIO, name: str) -> Iterator[Member]:
    archive = zipfile.ZipFile(_Bounded(file))
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if not info.is_dir() and (S_IFMT(mode) == 0 or S_ISREG(mode)):
            yield Member(_path(info.filename), _zip_opener(archive, info, shown(f"{name}/{_path(info.filename)}")))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if info.flag_bits & 1:
            raise TextError("this file is encrypted", name, "unpack the archive with its password, and give the folder")
        with _damage_reported(name):
            return archive.open(info)

    return opened


def _path(name: str) -> str:
    """A member's path without what says nothing: `./` before it, a double slash."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _is_hidden(path: str) -> bool:
    return not path or any(part.startswith(".") and part != ".." for part in path.split("/"))


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Python's modules fail in many ways on what is no sound archive; each is a TextError."""
    try:
        yield
    except (CharlmError, MemoryError):
        raise
    except NotImplementedError as error:
        raise TextError(f"the archive cannot be read: {error}", name, "unpack it, and give the folder") from error
    except Exception as error:
        what = f"the archive is damaged: {str(error)[:200] or type(error).__name__}"
        raise TextError(what, name, "make or fetch it again") from error
