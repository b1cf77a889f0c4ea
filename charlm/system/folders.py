"""Whole folders: made, moved, exchanged and copied durably, each change in one step where the system can do that."""

import ctypes
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charlm.errors import ResourceError
from charlm.system.files import (
    TEMPORARY,
    cannot_write,
    copy_file,
    fsync_file,
    fsync_folder,
    remove_if_possible,
    size_of,
)

RENAME_EXCHANGE, AT_FDCWD = 2, -100  # of Linux's renameat2


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably. Raises ResourceError when it cannot be made."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            fsync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def making_folder(path: Path) -> Iterator[None]:
    """A folder that is made for the block; when the block fails, a folder that is new is removed with its content.

    Raises ResourceError when it cannot be made.
    """
    is_new = not path.exists()
    try:
        make_folder(path)
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise ResourceError unless `num_bytes` are free on the disk where `folder` is or will be."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    try:
        disk = os.statvfs(existing)
    except OSError as error:
        raise cannot_write(folder, error, num_bytes) from error
    free = disk.f_bavail * disk.f_frsize
    if free < num_bytes:
        where = f"{folder}: {num_bytes:,} bytes are needed, {free:,} are free"
        raise ResourceError("the disk has too little space", where, "free some space there, or choose another folder")


def sweep(folder: Path) -> None:
    """Remove the temporary files that a writer left behind when it died. Only the holder of the lock may call this."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if TEMPORARY.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
                remove_if_possible(path)


def move_into_place(draft: Path, path: Path) -> None:
    """Sync everything below `draft`, then rename it to `path`, which may be an empty folder.

    Raises FileExistsError when there is something at `path`, and ResourceError; the draft is then still there.
    """
    num_bytes = _size_of_tree(draft)
    try:
        _sync_tree(draft)
        os.replace(draft, path)
        fsync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise cannot_write(path, error, num_bytes) from error


def exchange(draft: Path, path: Path) -> None:
    """Replace the folder `path` by the folder `draft` in one step, then remove the old folder.

    Both must be on one file system. Where `path` is a link, the folder that it leads to is replaced. Where the system
    cannot exchange two names, `path` is missing for a moment. Raises ResourceError; if that happens before the
    exchange, nothing has changed.
    """
    path = Path(os.path.realpath(path))
    num_bytes = _size_of_tree(draft)
    try:
        _sync_tree(draft)
        if not _exchange_names(draft, path):
            _exchange_by_renaming(draft, path)
        try:
            fsync_folder(path.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error, num_bytes) from error


def copy_tree(source: Path, target: Path) -> None:
    """Copy the regular files of a folder and of its subfolders; links, pipes and devices are left out.

    Raises ResourceError when something cannot be read or written.
    """
    make_folder(target)
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            copy_tree(path, target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            copy_file(path, target / entry.name)


def _exchange_names(draft: Path, path: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot. Raises OSError."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(draft), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(path))


def _exchange_by_renaming(draft: Path, path: Path) -> None:
    """Exchange two names in three steps; when the second fails, the first is undone. Raises OSError."""
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
    """Sync a folder with all files and folders below it."""
    for name, _, file_names in os.walk(folder, topdown=False):
        for path in (Path(name, file_name) for file_name in file_names):
            if stat.S_ISREG(path.lstat().st_mode):
                fsync_file(path)
        fsync_folder(Path(name))


def _size_of_tree(folder: Path) -> int:
    return sum(size_of(path) for path in folder.rglob("*"))
