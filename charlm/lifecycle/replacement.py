"""A new run that is to replace an old one: made and trained beside it, it takes its place once it can be used."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.store import IdsFile
from charlm.errors import UsageError
from charlm.runs.destination import refuse_what_is_there
from charlm.runs.lock import writing
from charlm.system.folders import exchange, move_into_place


class Replacement:
    """The folder of a new run, hidden beside the run at `path` that it is to replace.

    Its lock is held from here on, so that nobody takes it for one that a killed process left. Until `take_place` the
    old run is untouched, and answers whoever asks for it. Raises UsageError and ResourceError as `writing` does; the
    new run is gone then.
    """

    def __init__(self, draft: Path, path: Path) -> None:
        self.draft, self.path = draft, path
        self._is_placed = False
        self._old: tuple[int, int] | None = None
        self._locks = ExitStack()
        try:
            self._locks.enter_context(writing(draft))
        except BaseException:
            self.withdraw()
            raise

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the old run's lock, too. When the block ends, a new run that was put nowhere vanishes.

        Raises UsageError when the old run is being trained.
        """
        try:
            self._locks.enter_context(writing(self.path))
            self._old = _identity(self.path)
            yield
        finally:
            self.withdraw()

    def take_place(self) -> Path:
        """Put the new run in the place of the old one, in one step; its path.

        Raises UsageError when something else has come there meanwhile, and ResourceError; the old run then stays.
        """
        if _identity(self.path) == self._old:
            refuse_what_is_there(self.path, force=True)  # once more: a person may have put a file there
            exchange(self.draft, self.path)
        else:
            self._move_to(Path(os.path.realpath(self.path)))
        self._is_placed = True
        return self.path

    def stay_beside(self) -> Path:
        """Make the new run one of its own, named after the old one, which stays; its path. Raises ResourceError."""
        for number in count(2):
            path = self.draft.parent / f"{self.path.name}-{number}"
            with suppress(FileExistsError):
                move_into_place(self.draft, path)
                break
        self._is_placed = True
        return path

    def withdraw(self) -> None:
        """Let go of the locks; a new run that was put nowhere vanishes."""
        if not self._is_placed:
            shutil.rmtree(self.draft, ignore_errors=True)
        self._locks.close()

    def _move_to(self, path: Path) -> None:
        """The old run has been removed by somebody."""
        try:
            move_into_place(self.draft, path)
        except FileExistsError as error:
            what = "another run has come to this place meanwhile"
            raise UsageError(what, str(self.path), "train again, with --run NAME") from error


def moved(corpus: PreparedCorpus, folder: Path) -> PreparedCorpus:
    """The same corpus, whose folder has another name now."""

    def at(part: IdsFile | None) -> IdsFile | None:
        return part and IdsFile(folder / part.path.name, part.header)

    train = IdsFile(folder / corpus.train.path.name, corpus.train.header)
    return dataclasses.replace(corpus, folder=folder, train=train, valid=at(corpus.valid), test=at(corpus.test))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which folder this is, whatever its name; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
