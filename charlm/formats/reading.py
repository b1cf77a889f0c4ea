"""Labelled data of any form, read as records."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from charlm.errors import TextError, UsageError
from charlm.formats.bad_rows import BadRows
from charlm.formats.conll import read_conll
from charlm.formats.fasttext import read_fasttext
from charlm.formats.json_lines import read_json_lines
from charlm.formats.lines import MAX_HEAD_LINES, Lines, OneReading, peek
from charlm.formats.options import DataOptions
from charlm.formats.recognition import recognise
from charlm.formats.records import DataFormat, Labelled, Pair, Record, Tagged, Wanted
from charlm.formats.tables import read_csv, read_tsv


@dataclass(frozen=True)
class Form:
    """How a file of one form is read, what it can hold, and whether `--columns` can choose its columns."""

    read: Callable[[Lines, Wanted, DataOptions, BadRows], Iterator[Record]]
    holds: tuple[Wanted, ...]
    has_columns: bool = True


FORMS: dict[DataFormat, Form] = {
    "tsv": Form(read_tsv, ("labelled", "pairs")),
    "csv": Form(read_csv, ("labelled", "pairs")),
    "jsonl": Form(read_json_lines, ("labelled", "pairs", "tagged")),
    "fasttext": Form(read_fasttext, ("labelled",), has_columns=False),
    "conll": Form(read_conll, ("tagged",)),
}
"""The forms of a single file. Folders are read by `read_folder`, and two files side by side by `read_parallel`."""


@overload
def read_records(
    source: Lines, wanted: Literal["labelled"], options: DataOptions, bad: BadRows
) -> Iterator[Labelled]: ...
@overload
def read_records(source: Lines, wanted: Literal["pairs"], options: DataOptions, bad: BadRows) -> Iterator[Pair]: ...
@overload
def read_records(source: Lines, wanted: Literal["tagged"], options: DataOptions, bad: BadRows) -> Iterator[Tagged]: ...
def read_records(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Record]:
    """The records of a file, read one after the other as they are asked for.

    Wrong rows are given to `bad`, which refuses or counts them; use a new one for each pass. Raises UsageError for
    options that do not fit, and TextError for wrong rows, for a form that is not recognised, and if there are no
    records. All but the UsageError of a given form come when records are asked for.
    """
    check_form(options, wanted)
    return _records(source, wanted, options, bad)


def check_form(options: DataOptions, wanted: Wanted) -> None:
    """Raises UsageError if the form that the options give cannot be read as they say. An open form is not checked."""
    if options.data_format == "folder":
        raise UsageError("--data-format folder is for a folder", to_do="give a folder, or another form")
    if options.data_format is not None:
        _check(options.data_format, options, wanted)


def have_labels(lines: Sequence[str], labels: Collection[str], several_labels: bool) -> bool:
    """Whether half of a file's first lines or more are rows of labelled data with known labels.

    The lines are given without their ends.
    """
    head = lines[:MAX_HEAD_LINES]
    source, bad = OneReading("", (f"{line}\n" for line in head)), BadRows(len(head))
    try:
        records = list(read_records(source, "labelled", DataOptions(several_labels=several_labels), bad))
    except TextError:
        return False
    num_known = sum(bool(record.labels) and all(label in labels for label in record.labels) for record in records)
    return 2 * num_known >= sum(bool(line.strip()) for line in head)


def _records(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Record]:
    head, lines = peek(source)
    form = options.data_format or _recognised(head, wanted, source.name)
    _check(form, options, wanted)
    records = FORMS[form].read(lines, wanted, options, bad)
    first = next(records, None)
    if first is None:
        to_do = bad.note() or "give a file with data in it"
        raise TextError(f"there are no records in this {form} file", source.name, to_do)
    yield first
    yield from records


def _recognised(head: list[str], wanted: Wanted, name: str) -> DataFormat:
    try:
        return recognise(head, wanted)
    except TextError as error:
        raise TextError(error.what, name, error.to_do) from error


def _check(form: DataFormat, options: DataOptions, wanted: Wanted) -> None:
    if wanted not in FORMS[form].holds:
        fitting = ", ".join(name for name, other in FORMS.items() if wanted in other.holds)
        raise UsageError(f"a {form} file cannot be read for this task", to_do=f"give one of these forms: {fitting}")
    if options.columns and not FORMS[form].has_columns:
        raise UsageError(f"a {form} file has no columns", to_do="leave out --columns")
    if options.tag_column is not None and (form != "conll" or options.columns):
        raise UsageError("--tag-column is for CoNLL files, without --columns", to_do="leave out one of the options")
