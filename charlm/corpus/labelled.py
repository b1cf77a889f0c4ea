"""From labelled data to a folder with the vocabularies and the examples of each part, in constant memory."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charlm.corpus.examples import Examples, Origin, write_examples
from charlm.corpus.labelled_data import DataFiles, LabelledData, open_labelled, placing_errors
from charlm.corpus.parts import Division, taken_lines
from charlm.corpus.schemes import brought_into, scheme_of
from charlm.corpus.seal import check_manifest, read_manifest, write_manifest
from charlm.corpus.sources import number_of
from charlm.corpus.task_data import TASK_DATA, TaskData, about_new_labels
from charlm.corpus.vocabularies import Vocabularies
from charlm.errors import RunError
from charlm.formats.records import Labelled, Record
from charlm.settings import CorpusSettings, DataSettings, Item, TaskName, TextSettings, Unit, ValidSplit
from charlm.system.files import MANIFEST, cannot_write, write_atomically
from charlm.system.folders import making_folder
from charlm.text.items import as_paragraph
from charlm.text.tokenizer import Tokenizer, check_text_settings

TRAIN, VALID, TEST = "train", "valid", "test"
SUFFIX = ".examples"  # of the file of a part
EXAMPLES_FILES = tuple(part + SUFFIX for part in (TRAIN, VALID, TEST))
FIRST_HELD = 1000  # numbers of rows for which it is computed at first whether they are held out
DIGEST_BYTES = 8  # of a row, to find the same one in another part


@dataclass(frozen=True)
class LabelledCorpus:
    """A folder with vocabularies and the examples of each part; `notes` are for the person who asked for it."""

    folder: Path
    task: TaskName
    vocabularies: Vocabularies
    train: Examples
    valid: Examples | None
    test: Examples | None
    notes: tuple[str, ...]
    seal: str
    """sha256 of the folder's MANIFEST.json, which covers the whole folder."""
    division: Division

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the texts; for tags it knows the words."""
        return self.vocabularies.tokenizer

    @property
    def second(self) -> Tokenizer:
        """The tokenizer of the targets, or of the spelling of words."""
        assert self.vocabularies.second is not None
        return self.vocabularies.second

    @property
    def labels(self) -> tuple[str, ...]:
        return self.vocabularies.labels

    @property
    def unit(self) -> Unit:
        """What one token is; for tags, what one token of a word's spelling is."""
        if self.task != "tag":
            return self.tokenizer.unit
        return self.vocabularies.second.unit if self.vocabularies.second else "word"

    def files(self) -> dict[str, bytes]:
        """The files of the vocabularies by name, which a run needs in use, too."""
        return self.vocabularies.files()


@dataclass(frozen=True, kw_only=True)
class LabelledRequest:
    """What labelled data to prepare, and how. `data` has the files by part: train, and perhaps valid and test."""

    task: TaskName
    data: Mapping[str, DataFiles]
    text: TextSettings
    form: DataSettings
    reading: CorpusSettings
    tokenizer: Tokenizer | None = None
    """The tokenizer of the run to begin from."""


def prepare_labelled(request: LabelledRequest, folder: Path) -> LabelledCorpus:
    """Read labelled data, learn its vocabularies from the training part, and write its parts as ids.

    Without a validation part of its own, some rows are held out: by a hash of their numbers, for labels within each
    label. The folder is made only when the input has been found good. Raises UsageError, TextError, ResourceError.
    """
    if request.task != "tag":  # there its words and their spelling have settings of their own, checked when learned
        check_text_settings(request.text)
    task, notes = TASK_DATA[request.task], list[str]()
    with ExitStack() as opened:
        parts = {
            name: open_labelled(files, task.wanted, request.form, request.reading, opened)
            for name, files in request.data.items()
        }
        records, split = _divide(parts, task, request.reading.valid_fraction)
        counts = _counted(records, parts, notes)
        item: Item = "paragraph" if request.reading.item == "paragraph" else task.item(records[TRAIN], notes)
        if item == "paragraph" and request.task == "generate":  # its texts need an end that no line has
            records = {name: partial(_as_paragraphs, read) for name, read in records.items()}
        with placing_errors(parts[TRAIN].name):
            learned = task.learn(records[TRAIN], request.text, request.form, request.tokenizer, notes)
        if request.task == "tag":
            scheme = scheme_of(parts[TRAIN].records)  # of the rows held out, too
            learned = replace(learned, scheme=scheme.name)
            given = parts.keys() - {TRAIN}
            records |= {name: brought_into(scheme, records[name], parts[name].name, notes) for name in given}
        for name in sorted(records.keys() - {TRAIN}, reverse=True) if learned.labels else ():
            notes += about_new_labels(name, records[name](), set(learned.labels))
        notes += _about_duplicates(records, counts)
        notes[:0] = [note for data in parts.values() for note in data.notes]
        if split == "rows" and VALID in counts:
            held, whole = counts[VALID], counts[VALID] + counts[TRAIN]
            notes.append(f"validation: {held:,} of {number_of(whole, 'row')}, taken at random (always the same ones)")
        return _write(folder, request.task, learned, records, parts, notes, Division("sentence", split, item))


def open_labelled_corpus(folder: Path, task: TaskName, seal: str) -> LabelledCorpus:
    """What `prepare_labelled` wrote into a folder, with every byte checked. Raises RunError."""
    manifest = read_manifest(folder)
    if manifest.seal != seal:
        what = f"damaged corpus: {MANIFEST} is missing, altered, or belongs to another run"
        raise RunError(what, str(folder / MANIFEST), "restore the run's own from a copy")
    vocabularies = Vocabularies.load(folder)
    names = [name for name in (TRAIN, VALID, TEST) if name + SUFFIX in manifest.files]
    if TRAIN not in names:
        raise RunError("damaged corpus: there is nothing to train on", str(folder), "restore it from a copy")
    files = {name: Examples.open(folder / (name + SUFFIX)) for name in names}
    check_manifest(folder, manifest, vocabularies.files(), {name + SUFFIX: file for name, file in files.items()})
    sizes = TASK_DATA[task].sizes(vocabularies)
    for file in files.values():
        if file.header.vocabularies_sha256 != vocabularies.sha256():
            raise RunError("these examples were made with other vocabularies", str(file.path), "train again")
        file.verify(sizes)
    train, valid, test = files[TRAIN], files.get(VALID), files.get(TEST)
    return LabelledCorpus(folder, task, vocabularies, train, valid, test, (), seal, manifest.division)


def labelled_sha256(files: DataFiles, task: TaskName, form: DataSettings, reading: CorpusSettings) -> str:
    """The checksum that `prepare_labelled` would store for this data. Raises TextError."""
    with ExitStack() as opened:
        return open_labelled(files, TASK_DATA[task].wanted, form, reading, opened).sha256


Reader = Callable[[], Iterator[Any]]


def _divide(
    parts: Mapping[str, LabelledData], task: TaskData, valid_fraction: float
) -> tuple[dict[str, Reader], ValidSplit]:
    """What reads the records of each part, and how training and validation were told apart."""
    readers: dict[str, Reader] = {name: data.records for name, data in parts.items()}
    if VALID in parts:
        return readers, "given"
    if valid_fraction == 0:
        return readers, "none"
    whole = parts[TRAIN]
    readers[TRAIN] = lambda: _taken(whole.records(), task, valid_fraction, is_valid=False)
    readers[VALID] = lambda: _taken(whole.records(), task, valid_fraction, is_valid=True)
    return readers, "rows"


def _taken(records: Iterator[Record], task: TaskData, valid_fraction: float, is_valid: bool) -> Iterator[Record]:
    """The records that are held out, or the other ones: of each group the same share, chosen by their numbers in it."""
    numbers, held = Counter[str](), np.zeros(0, np.bool_)
    for record in records:
        group = task.group(record)
        if numbers[group] >= len(held):
            held = taken_lines(0, max(FIRST_HELD, 2 * len(held)), valid_fraction)
        if held[numbers[group]] == is_valid:
            yield record
        numbers[group] += 1


def _as_paragraphs(read: Reader) -> Iterator[Record]:
    """The records, each with the line end of its last line; the end that its ids lack is then that of a paragraph."""
    for record in read():
        assert isinstance(record, Labelled)
        yield replace(record, text=f"{as_paragraph(record.text)}\n")


def _counted(records: dict[str, Reader], parts: Mapping[str, LabelledData], notes: list[str]) -> dict[str, int]:
    """The number of rows of each part, which is dropped where it has none. Raises TextError for a wrong row."""
    counts = {name: sum(1 for _ in read()) for name, read in records.items()}
    if VALID in counts and not counts[VALID]:
        notes.append("there are too few rows to hold some out: there is no validation part")
        del records[VALID], counts[VALID]
    for name, data in parts.items():
        if data.skipped:
            notes.append(f"{name}: {data.skipped}")
    return counts


def _about_duplicates(records: Mapping[str, Reader], counts: Mapping[str, int]) -> Iterator[str]:
    """A note on each part that has rows of the training part, and on the test part if it has rows of validation."""
    others = {name: Counter(map(_digest, records[name]())) for name in records.keys() - {TRAIN}}
    seen = {name: set[bytes]() for name in others}
    for record in records[TRAIN]() if others else ():
        digest = _digest(record)
        for name in others:
            if digest in others[name]:
                seen[name].add(digest)
    for name in sorted(others, reverse=True):
        if seen[name]:
            number = sum(others[name][digest] for digest in seen[name])
            yield f"{name}: {number:,} of {number_of(counts[name], 'row')} are in the training part, too"
    if others.keys() >= {VALID, TEST}:
        number = sum(count for digest, count in others[TEST].items() if digest in others[VALID])
        if number:
            yield f"{TEST}: {number:,} of {number_of(counts[TEST], 'row')} are in the validation part, too"


def _digest(record: Record) -> bytes:
    """A fingerprint of what a record says, wherever it stands."""
    content = repr([value for name, value in vars(record).items() if name != "where"])
    return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()


def _write(
    folder: Path,
    task_name: TaskName,
    learned: Vocabularies,
    records: Mapping[str, Reader],
    parts: Mapping[str, LabelledData],
    notes: list[str],
    division: Division,
) -> LabelledCorpus:
    """Write the folder. Raises ResourceError, and TextError when data has changed since it was opened."""
    task = TASK_DATA[task_name]
    sizes, sha256 = task.sizes(learned), learned.sha256()
    with making_folder(folder):
        try:
            for name, content in learned.files().items():
                write_atomically(folder / name, content)
            files = {}
            for name, read in records.items():
                data = parts.get(name, parts[TRAIN])
                reading = replace(data.reading, line_ends=data.reading.line_ends or "keep")
                origin = Origin(sha256, data.sha256, reading.line_ends or "keep", reading.normal_form)
                rows = (task.row(record, learned) for record in read())
                files[name] = write_examples(folder / (name + SUFFIX), sizes, rows, origin)
            named = {name + SUFFIX: file for name, file in files.items()}
            if VALID not in files:
                division = replace(division, split="none")
            seal = write_manifest(folder, learned.files(), named, division)
        except OSError as error:
            raise cannot_write(folder, error) from error
    notes += [
        f"{name}: {number_of(file.header.num_unknown, 'token')} of {file.num_tokens:,} not in the vocabulary"
        for name, file in files.items()
        if name != TRAIN and file.header.num_unknown
    ]
    train, valid, test = files[TRAIN], files.get(VALID), files.get(TEST)
    return LabelledCorpus(folder, task_name, learned, train, valid, test, tuple(notes), seal, division)
