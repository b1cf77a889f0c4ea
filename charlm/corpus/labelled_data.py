"""The files of labelled data, opened and checked: their records can be read again and again, in constant memory."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from charlm.corpus.forms import bring_into_form
from charlm.corpus.gathering import Texts
from charlm.corpus.reader import open_text
from charlm.corpus.sources import STDIN, files_below, printable
from charlm.corpus.text_file import TextFile
from charlm.errors import TextError, UsageError
from charlm.formats.bad_rows import BadRows
from charlm.formats.folders import read_folder
from charlm.formats.options import DataOptions
from charlm.formats.parallel import read_parallel
from charlm.formats.reading import check_form, read_records
from charlm.formats.records import Record, Wanted
from charlm.settings import CorpusSettings, DataSettings


@dataclass(frozen=True)
class DataFiles:
    """Where labelled data is: one or several files or a folder; for pairs perhaps a second file with the targets."""

    texts: Texts
    target: Path | None = None

    def __str__(self) -> str:
        return f"{self.texts} with {self.target}" if self.target else str(self.texts)


@dataclass(frozen=True)
class TextLines:
    """The lines of an open text, each with its line end; it can be iterated over again."""

    name: str
    text: TextFile

    def __iter__(self) -> Iterator[str]:
        for piece in self.text.lines():
            yield from _lines(piece)


@dataclass
class LabelledData:
    """Open labelled data. `reading` says how its text is read; `notes` are for people, more once all was read."""

    name: str
    wanted: Wanted
    options: DataOptions
    reading: CorpusSettings
    sources: list[TextLines] = field(default_factory=list)
    target: TextLines | None = None
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None
    """How many wrong rows were left out, and why, once all records were read; None if there were none."""

    def records(self) -> Iterator[Record]:
        """All records. Raises TextError for a wrong row, UsageError for columns that the data does not have."""
        bad = BadRows(self.options.skip_bad)
        if self.folder:
            by_paragraph = self.reading.item == "paragraph"
            with placing_errors(printable(self.folder)):
                yield from read_folder(self._files_of_folder(self.folder, bad), bad, by_paragraph)
        elif self.target:
            yield from read_parallel(self.sources[0], self.target, bad)
        else:
            for source in self.sources:
                yield from read_records(source, self.wanted, self.options, bad)
        self.skipped = bad.note()
        self.notes += (remark for remark in bad.remarks if remark not in self.notes)

    @property
    def sha256(self) -> str:
        """A checksum of the data as it was given."""
        texts = [*self.sources, *([self.target] if self.target else [])]
        if self.folder is None and len(texts) == 1:
            return texts[0].text.sha256
        digest = hashlib.sha256("".join(lines.text.sha256 for lines in texts).encode())
        for path in files_below(self.folder) if self.folder else ():
            digest.update(f"{path.relative_to(self.folder or Path())}\n".encode(errors="surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _files_of_folder(self, folder: Path, bad: BadRows) -> Iterator[tuple[str, TextLines]]:
        """The files of a folder, each opened when its turn comes: its path within the folder, and its lines.

        One that is empty, or no text, is a wrong row.
        """
        for path in files_below(folder):
            try:
                text = open_text(path, self.reading)
            except TextError as error:
                bad.add(error)
                continue
            with text:
                bring_into_form(text, self.reading, raw=False)
                yield path.relative_to(folder).as_posix(), TextLines(printable(path), text)


def open_labelled(
    files: DataFiles, wanted: Wanted, data: DataSettings, reading: CorpusSettings, opened: ExitStack
) -> LabelledData:
    """Open labelled data, whose files are closed by `opened`. Raises TextError, UsageError and ResourceError."""
    options = _options(data)
    if options.data_format != "folder":
        check_form(options, wanted)
    found = LabelledData(files.texts.name, wanted, options, reading)
    folders = [path for path in files.texts.paths if path != STDIN and Path(path).is_dir()]
    if folders or options.data_format == "folder":
        if len(files.texts.paths) > 1 or not folders or options.data_format not in (None, "folder"):
            what = "labelled data is one folder, or files of one form"
            raise UsageError(what, files.texts.name, "give the folder alone, or the files and no folder")
        if wanted != "labelled":
            raise UsageError("a folder of texts has labels only", folders[0], "give the files")
        found.folder = Path(folders[0])
        return found
    for path in files.texts.paths:
        found.sources.append(_open(Texts((path,), may_be_plain=True), reading, found, opened))
    if files.target is not None:
        if wanted != "pairs":
            raise UsageError("--target does nothing here: this data has no targets", to_do="leave it out")
        if len(found.sources) > 1:
            raise UsageError("--target goes with one file of sources", files.texts.name, "join the files")
        if files.target.is_dir():
            raise UsageError("--target is a file, not a folder", str(files.target), "give the file with the targets")
        found.target = _open(Texts((str(files.target),)), reading, found, opened)
    return found


@contextmanager
def placing_errors(name: str) -> Iterator[None]:
    """Add the name of the data to an error about them that gives no place."""
    try:
        yield
    except TextError as error:
        raise error if error.where else TextError(error.what, name, error.to_do) from error


def _open(texts: Texts, reading: CorpusSettings, found: LabelledData, opened: ExitStack) -> TextLines:
    """Open a file, whose line ends are its own. What was decided on them is noted in `found`."""
    text = opened.enter_context(open_text(texts, reading))
    own = bring_into_form(text, reading, raw=False)
    if found.reading.line_ends != "lf":  # one file in which CR was no character is enough
        found.reading = own
    found.notes += text.notes
    return TextLines(text.name, text)


def _options(data: DataSettings) -> DataOptions:
    columns = None
    if data.columns is not None:
        first, *others = (column.strip() for column in data.columns.split(","))
        if len(others) != 1 or not (first and others[0]):
            raise UsageError(f"--columns {data.columns}: two columns are needed", to_do="write it as --columns 1,2")
        columns = (first, others[0])
    return DataOptions(data.data_format, columns, data.tag_column, data.multi, data.skip_bad)


def _lines(piece: str) -> Iterator[str]:
    """The lines of a text that is cut after line ends, each with its line end."""
    start = 0
    while (end := piece.find("\n", start) + 1) > 0:
        yield piece[start:end]
        start = end
    if start < len(piece):
        yield piece[start:]
