"""The files that make up one text: single files, and those of folders and archives that the patterns choose."""

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

from charlm.corpus.archives import ArchiveKind, Member, MemberFile, archive_kind, members
from charlm.corpus.not_text import NotText
from charlm.corpus.sources import (
    STDIN,
    Source,
    changed_while_read,
    copy_source,
    files_below,
    is_prepared,
    number_of,
    open_source,
    printable,
    version_of,
)
from charlm.errors import TextError, UsageError

NAMED_AS_ARCHIVE = re.compile(r"\.(?:tar|zip|tgz|tbz2?|txz|tzst|tar\.\w+)$", re.IGNORECASE)
MAX_NAMED = 200  # refused files that an error names
MAX_DEPTH = 3  # of archives within archives: one can contain itself


@dataclass(frozen=True)
class Texts:
    """Paths that are read as one text, and patterns that choose among the files of folders and archives."""

    paths: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    may_be_plain: bool = False
    """Whether patterns are accepted though there is only one file, because they were given for another text."""

    @property
    def is_one_file(self) -> bool:
        return len(self.paths) == 1 and (self.paths[0] == STDIN or not os.path.isdir(self.paths[0]))

    @property
    def name(self) -> str:
        """The first path, and how many more there are, for messages."""
        others = len(self.paths) - 1
        return printable(self.paths[0]) + (f" and {others:,} more" if others else "")

    @property
    def folder(self) -> str:
        """The name of the folder that contains all of several paths; empty where there is none, or only one path."""
        parents = {os.path.dirname(os.path.normpath(path)) for path in self.paths}
        name = os.path.basename(parents.pop()) if len(self.paths) > 1 and len(parents) == 1 else ""
        return name if name != ".." else ""

    def chooses(self, path: str) -> bool:
        """Whether a file is read: patterns are compared with its path, its name, and the folders that it is in."""
        return not self.excludes(path) and (not self.include or _matches(self.include, _names(path)))

    def excludes(self, path: str) -> bool:
        return _matches(self.exclude, _names(path))

    def opens(self, path: str) -> bool:
        """Whether a file is opened: it is read, or its name is that of an archive, which may have files to read."""
        return self.chooses(path) or (bool(NAMED_AS_ARCHIVE.search(path)) and not self.excludes(path))

    def __str__(self) -> str:
        return " ".join(self.paths)

    def with_same_patterns(self, path: Path | None) -> "Texts | None":
        """Another text, to validate or test on; the same patterns choose among its files, if it has several."""
        return None if path is None else Texts((str(path),), self.include, self.exclude, may_be_plain=True)


def texts_of(given: "Path | str | Texts") -> Texts:
    """What was given as a text, without patterns if it is a single path."""
    return given if isinstance(given, Texts) else Texts((str(given),))


@dataclass
class Gathering:
    """The files of some texts, opened one after another; they are counted, and what was done is noted.

    The errors of files that cannot be opened or unpacked are collected in `refused`, to be reported together.
    """

    texts: Texts
    notes: list[str] = field(default_factory=list)
    num_files: int = 0
    num_left_out: int = 0
    refused: list[NotText] = field(default_factory=list)

    def sources(self) -> Iterator[Source]:
        """Each file that the patterns choose. Raises TextError for a prepared folder, ResourceError, UsageError."""
        for path in self.texts.paths:
            if path != STDIN and os.path.isdir(path):
                yield from self._in_folder(Path(path))
            elif _matches(self.texts.exclude, names := {path, os.path.basename(path)}):
                self.num_left_out += 1
            else:
                is_chosen = not self.texts.include or _matches(self.texts.include, names)
                yield from self._opened(partial(open_source, path), is_chosen=is_chosen)

    def in_source(self, source: Source, path: str = "", depth: int = 0, is_chosen: bool = True) -> Iterator[Source]:
        """The source itself if `is_chosen`, or the chosen files in it where it is an archive.

        `path` is that of the source within the folder or archive that was given; `depth` counts the archives around it.
        Raises TextError when the archive has changed.
        """
        kind = kind_of_archive(source)
        if kind is None:
            if is_chosen:
                self.num_files += 1
                yield source
            else:
                self.num_left_out += 1
                source.file.close()
            return
        with closing(source.file):
            self.notes += source.notes
            for member in self._members(source, kind, depth):
                yield from self._in_member(source, member, f"{path}/{member.path}" if path else member.path, depth)
            if source.version and version_of(source.file) != source.version:
                raise changed_while_read(source.name)

    def found(self) -> str:
        """A note that says how many files there were."""
        left_out = f", {self.num_left_out:,} left out" if self.num_left_out else ""
        return f"{self.texts.name}: {number_of(self.num_files, 'file')}{left_out}"

    def nothing(self) -> TextError:
        """The error that says why there is nothing to read."""
        name = self.texts.name
        if self.num_left_out:
            what = f"--include and --exclude leave none of its {number_of(self.num_left_out, 'file')}"
            return TextError(what, name, "give other patterns: they are compared with the paths and names in it")
        kind = "archive" if self.texts.is_one_file else "folder"
        return TextError(f"this {kind} has no files", name, "give a text file, or a folder of them")

    def _in_folder(self, folder: Path) -> Iterator[Source]:
        if is_prepared(folder):
            name = printable(folder)
            raise TextError("this folder has ids, not a text", name, f"give the text, or: charlm train {name}")
        for path in files_below(folder):
            relative = path.relative_to(folder).as_posix()
            if self.texts.opens(relative):
                is_chosen = self.texts.chooses(relative)
                yield from self._opened(partial(open_source, path), relative, is_chosen=is_chosen)
            else:
                self.num_left_out += 1

    def _in_member(self, source: Source, member: Member, path: str, depth: int) -> Iterator[Source]:
        if not self.texts.opens(path):
            self.num_left_out += 1
            return
        name = printable(f"{source.name}/{member.path}")

        def unpacked() -> Source:
            with closing(MemberFile(member.open(), name)) as file:
                return copy_source(file, name)

        yield from self._opened(unpacked, path, depth + 1, self.texts.chooses(path))

    def _opened(
        self, opener: Callable[[], Source], path: str = "", depth: int = 0, is_chosen: bool = True
    ) -> Iterator[Source]:
        """The source that `opener` opens, or the files in it; if that fails, the error is added to `refused`."""
        with self._refusing():
            yield from self.in_source(opener(), path, depth, is_chosen)

    def _members(self, source: Source, kind: ArchiveKind, depth: int) -> list[Member]:
        """The members of an archive; if they cannot be read, none, and the error is added to `refused`."""
        found: list[Member] = []
        with self._refusing():
            if depth == MAX_DEPTH:
                raise TextError("archives are nested too deeply", source.name, "unpack them by hand")
            found += members(source.file, kind, source.name)
        return found

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Collect the error of a single file, to be reported with others."""
        try:
            yield
        except TextError as error:
            self.num_files += 1
            self.refused.append(NotText(error.what, error.where, error.to_do, error.what))


def kind_of_archive(source: Source) -> ArchiveKind | None:
    """The kind of an archive, None for other files. The source is closed when that cannot be found out."""
    try:
        return archive_kind(source.file, source.name)
    except BaseException:
        source.file.close()
        raise


def refusal(gathering: Gathering, encoding: str, others_are_ascii: bool) -> NotText:
    """One error that names all refused files, and proposes what to do.

    Another encoding is proposed if it fits all refused files, and would not change how the others are read.
    """
    refused, num_files = gathering.refused, gathering.num_files
    if num_files == 1 or (len(refused) == 1 and not (refused[0].fitting or refused[0].is_binary)):
        return refused[0]
    lines = [f"{error.where}: {error.reason}" for error in refused[:MAX_NAMED]]
    if len(refused) > MAX_NAMED:
        lines.append(f"and {len(refused) - MAX_NAMED:,} more")
    to_do = "leave out the files that cannot be read: " + " ".join(
        f"--exclude {pattern}" for pattern in _patterns(refused)
    )
    common = set.intersection(*(set(error.fitting) for error in refused))
    fitting = [name for name in refused[0].fitting if name in common]
    if fitting and (len(refused) == num_files or (others_are_ascii and not fitting[0].startswith("utf-"))):
        to_do = f"give --encoding {fitting[0]}, which would fit all files, or {to_do}"
    elif any(error.fitting for error in refused):
        named = f" (it looks like {' or '.join(fitting)})" if fitting else ""
        to_do = f"convert the files in another encoding to UTF-8{named}, or {to_do}"
    if len(refused) == 1:
        return NotText(refused[0].what, refused[0].where, to_do, "")
    what = f"{len(refused):,} of {number_of(num_files, 'file')} cannot be read as text in {encoding}"
    return NotText(what, "\n       ".join(lines), to_do, "")


def _patterns(refused: list[NotText]) -> list[str]:
    """Patterns that exclude these files; one for a binary file excludes all with the same suffix."""
    errors = {PurePosixPath(error.where.partition(", line ")[0]): error for error in refused}
    suffixes = {path.suffix for path, error in errors.items() if path.suffix and error.is_binary}
    patterns = (f"*{path.suffix}" if path.suffix in suffixes else path.name for path in errors)
    return [*dict.fromkeys(map(shlex.quote, patterns))]


def _names(path: str) -> set[str]:
    """What patterns are compared with: the path, the file's name, and names and paths of the folders that it is in."""
    parts = path.split("/")
    return {*parts, *("/".join(parts[:length]) for length in range(1, len(parts) + 1))}


def refuse_idle_patterns(texts: Texts) -> None:
    """Raise UsageError for patterns where there is only one file, so that there is nothing to choose."""
    if (texts.include or texts.exclude) and not texts.may_be_plain:
        option = "--include" if texts.include else "--exclude"
        to_do = "leave it out, or give a folder, an archive or several files"
        raise UsageError(f"{option} does nothing with one text file", texts.name, to_do)


def _matches(patterns: tuple[str, ...], names: set[str]) -> bool:
    cleaned = [pattern.removeprefix("./").rstrip("/") for pattern in patterns]
    return any(fnmatchcase(name, pattern) for pattern in cleaned for name in names)
