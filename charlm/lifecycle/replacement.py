"""Replacing an old run (`--force`): the new one is trained in a hidden folder, and swapped in once it is usable."""

import dataclasses
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import UsageError
from charlm.runs.destination import refuse_what_is_there
from charlm.runs.lock import writing
from charlm.system.folders import exchange, move_into_place

AnyCorpus = TypeVar("AnyCorpus", PreparedCorpus, LabelledCorpus)
Identity = tuple[int, int]
"""Device and inode of a folder, which stay the same when it is renamed."""


class Replacement:
    """A new run in the hidden folder `draft`, next to the run at `path` that it will replace.

    The draft's lock is held from the start, so that no other process takes it for the remains of a killed one and
    removes it. Until `take_place`, the old run is unchanged and can be used.
    Raises UsageError or ResourceError as `writing` does; the draft is removed then.
    """

    def __init__(self, draft: Path, path: Path) -> None:
        self.draft, self.path = draft, path
        self._is_placed = False
        self._old: Identity | None = None
        self._locks = ExitStack()
        try:
            self._locks.enter_context(writing(draft))
        except BaseException:
            self.withdraw()
            raise

    def withdraw_with(self, owner: object) -> None:
        """Withdraw as soon as nothing uses `owner` any more, at the latest when Python exits."""
        weakref.finalize(owner, self.withdraw)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the old run's lock too. At the end of the block, a new run that is still hidden is removed.

        Raises UsageError when the old run is being trained.
        """
        try:
            self._locks.enter_context(writing(self.path))
            self._old = identity_of(self.path)
            yield
        finally:
            self.withdraw()

    def take_place(self) -> Path:
        """Replace the old run by the new one, in one step, and return the path.

        Raises ResourceError, or UsageError when something else has been put at that path; the old run is kept then.
        """
        if identity_of(self.path) == self._old:
            refuse_what_is_there(self.path, force=True)  # again: somebody may have put a file there since
            exchange(self.draft, self.path)
        else:
            self._move_to(Path(os.path.realpath(self.path)))
        self._is_placed = True
        return self.path

    def stay_beside(self) -> Path:
        """Keep both runs: the new one gets the old one's name and a number. Returns its path. Raises ResourceError."""
        for number in count(2):
            path = self.draft.parent / f"{self.path.name}-{number}"
            with suppress(FileExistsError):
                move_into_place(self.draft, path)
                break
        self._is_placed = True
        return path

    def withdraw(self) -> None:
        """Release the locks, and remove the new run if it is still hidden."""
        if not self._is_placed:
            shutil.rmtree(self.draft, ignore_errors=True)
        self._locks.close()

    def _move_to(self, path: Path) -> None:
        """Move the new run to `path`, which is free because somebody removed the old run. Raises UsageError."""
        try:
            move_into_place(self.draft, path)
        except FileExistsError as error:
            what = "another run was put at this path during the training"
            raise UsageError(what, str(self.path), "train again, with --run NAME") from error


def moved(corpus: AnyCorpus, folder: Path) -> AnyCorpus:
    """A corpus whose folder was renamed to `folder`."""
    parts = {name: getattr(corpus, name) for name in ("train", "valid", "test")}
    opened = {name: part and dataclasses.replace(part, path=folder / part.path.name) for name, part in parts.items()}
    return dataclasses.replace(corpus, folder=folder, **opened)


def identity_of(path: Path) -> Identity | None:
    """The identity of a folder; None if there is no such folder."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
