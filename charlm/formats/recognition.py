"""Recognises the form of labelled data by their first lines, whatever the name of their file."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import dropwhile, takewhile

from charlm.errors import TextError
from charlm.formats.conll import split_columns
from charlm.formats.fasttext import LABEL
from charlm.formats.json_lines import parse_object
from charlm.formats.records import DataFormat, Wanted
from charlm.formats.tables import Row, csv_rows, is_header, tsv_rows

MIN_SHARE = 0.5  # of the rows: a form fits if so many have it


def recognise(lines: Sequence[str], wanted: Wanted) -> DataFormat:
    """The form of a file whose first lines these are. Raises TextError if it cannot be recognised.

    A few wrong rows do not matter. A table is CSV or TSV by its header; without one, the form in which more rows have
    the same number of columns.
    """
    rows = [line for line in lines if not line.isspace()]
    if not rows:
        raise TextError("there are no rows", to_do="give a file with data in it")
    if _share(_is_object, rows) >= MIN_SHARE:
        return "jsonl"
    if wanted == "labelled" and _share(_has_label, rows) >= MIN_SHARE:
        return "fasttext"
    found = _conll(rows) if wanted == "tagged" else _table(lines, wanted)
    if found is None:
        raise _unrecognised(rows[0], wanted)
    return found


def _share(fits: Callable[[str], bool], rows: Sequence[str]) -> float:
    return sum(map(fits, rows)) / len(rows)


def _is_object(line: str) -> bool:
    try:
        return parse_object(line) is not None
    except ValueError:
        return False


def _has_label(line: str) -> bool:
    return LABEL.search(line) is not None


def _conll(rows: Iterable[str]) -> DataFormat | None:
    widths = [len(split_columns(row.rstrip("\n"))) for row in rows if "\t" in row or not row.startswith("#")]
    return "conll" if _evenness(widths) >= MIN_SHARE else None


def _table(lines: Iterable[str], wanted: Wanted) -> DataFormat | None:
    tables: dict[DataFormat, list[Row]] = {"tsv": list(tsv_rows(lines)), "csv": _sound_rows(csv_rows(lines))}
    for form, rows in tables.items():
        if rows and is_header(rows[0].fields, wanted):
            return form
    shares = {form: _evenness([len(row.fields) for row in rows]) for form, rows in tables.items()}
    best = max(tables, key=lambda form: shares[form])
    return best if shares[best] >= MIN_SHARE else None


def _sound_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows up to a wrong one that follows them, which may be a row that the last lines have only the start of."""
    return list(takewhile(lambda row: not row.fault, dropwhile(lambda row: bool(row.fault), rows)))


def _evenness(widths: Sequence[int]) -> float:
    """The share of rows that have the number of columns which most rows have; 0 if that is one column."""
    width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
    return count / len(widths) if width > 1 else 0.0


def _unrecognised(row: str, wanted: Wanted) -> TextError:
    if row.lstrip().startswith(("{", "[")):
        return TextError("the data are neither JSON Lines nor a table", to_do="write one JSON object on each line")
    forms = "conll or jsonl" if wanted == "tagged" else "tsv, csv or jsonl"
    to_do = f"give --data-format {forms}; its first wrong row is then named"
    return TextError("the form of the data is not recognised: their rows have no columns", to_do=to_do)
