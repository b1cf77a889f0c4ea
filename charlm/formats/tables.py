"""Tables: TSV, in which each line is a row and a quotation mark is a character, and CSV as in RFC 4180."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from charlm.errors import TextError, UsageError
from charlm.formats.bad_rows import BadRows
from charlm.formats.doubts import Doubts
from charlm.formats.lines import Lines, place
from charlm.formats.options import DataOptions, column_number, num_columns
from charlm.formats.records import FIELDS, MAX_TEXT, Labelled, Pair, Wanted, checked_labels, label_parts

MAX_NAMED = 20  # columns that a message lists, and characters of each
_FIELD = re.compile(r'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n][^,\r\n]*+)?(?:,|\r?\n|\r?\Z)')  # with what ends it
_UNCLOSED = re.compile(r'"[^"]*+(?:""[^"]*+)*+\Z')
_TO_SEPARATE = {
    "\t": "put one tab between columns and none into a text",
    ",": "put quotation marks around a text that contains a comma",
}


class Row(NamedTuple):
    """A row of a table: the number of its first line, its fields, and what is wrong with its quotation marks."""

    line: int
    fields: list[str]
    fault: str = ""


def read_tsv(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Labelled | Pair]:
    """The records of a TSV file. Lines of white space, if it is not tabs, are no rows.

    Raises UsageError if the table lacks a column that the options name, and TextError for wrong rows.
    """
    return _records(_Table(source.name, "\t", wanted, options), tsv_rows(source), bad)


def read_csv(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Labelled | Pair]:
    """The records of a CSV file. A row of several lines has at most MAX_TEXT characters. Blank lines are no rows.

    Raises UsageError if the table lacks a column that the options name, and TextError for wrong rows.
    """
    return _records(_Table(source.name, ",", wanted, options), csv_rows(source), bad)


def _records(table: "_Table", rows: Iterable[Row], bad: BadRows) -> Iterator[Labelled | Pair]:
    records: Iterator[Labelled | Pair] = bad.kept(table.record, rows)
    yield from records
    bad.remarks += table.remarks()


def is_header(fields: list[str], wanted: Wanted) -> bool:
    """Whether these are exactly the names of the columns that are wanted, in any order."""
    return sorted(fields) == sorted(FIELDS[wanted])


def tsv_rows(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a TSV file."""
    for number, line in enumerate(lines, 1):
        if "\t" in line or not line.isspace():
            yield Row(number, line.removesuffix("\n").split("\t"))


def csv_rows(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a CSV file.

    A row with a fault has no fields. Its line is the one where the wrong field begins, and the next row is looked for
    in the line after that.
    """
    csv.field_size_limit(max(MAX_TEXT, csv.field_size_limit()))
    taking = _Taking(lines)
    while True:
        try:
            fields = next(csv.reader(taking.next_row(), strict=True), None)
        except csv.Error:
            yield taking.faulty_row()
            continue
        if fields is None:
            return
        if len(fields) > 1 or "".join(fields).strip():
            yield Row(taking.line, fields)


class _Taking:
    """Takes lines for one row at a time. Those that did not belong to it can be taken again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.line = 1
        """The number of the first line that was taken for the row."""
        self._taken: list[str] = []
        self._returned: deque[str] = deque()
        self._rest = iter(lines)

    def next_row(self) -> Iterator[str]:
        """Lines until they have MAX_TEXT characters."""
        self.line += len(self._taken)
        self._taken, size = [], 0
        while size < MAX_TEXT:
            line = self._returned.popleft() if self._returned else next(self._rest, None)
            if line is None:
                return
            self._taken.append(line)
            size += len(line)
            yield line

    def faulty_row(self) -> Row:
        """What is wrong with the row that was taken. The lines after the one where that begins are given back."""
        text = "".join(self._taken)
        position, fault = _fault(text)
        num_before = text.count("\n", 0, position)
        self._returned.extendleft(reversed(self._taken[num_before + 1 :]))
        del self._taken[num_before + 1 :]
        return Row(self.line + num_before, [], fault)


def _fault(row: str) -> tuple[int, str]:
    """Where a row that cannot be read has its first wrong field, and what is wrong with it."""
    position = 0
    while position < len(row) and (field := _FIELD.match(row, position)):
        position = field.end()
    if position == len(row):
        return position - 1, f"a field that ends here has more than {MAX_TEXT:,} characters"
    if row[position] != '"':
        return position, "a carriage return is in a field without quotation marks"
    if not _UNCLOSED.match(row, position):
        return position, "a closing quotation mark is followed by something other than a comma"
    if len(row) < MAX_TEXT:
        return position, "a quotation mark is never closed"
    return position, f"a quotation mark is not closed before the row has {MAX_TEXT:,} characters"


@dataclass(frozen=True)
class _Layout:
    """Where a table has the two columns of a record, how many columns it has, and whether its first row names them."""

    first: int
    second: int
    width: int
    has_header: bool


class _Table:
    """Makes records of the rows of a table, whose first sound row decides on its layout."""

    def __init__(self, name: str, separator: str, wanted: Wanted, options: DataOptions) -> None:
        self._name = name
        self._separator = separator
        self._wanted = wanted
        self._options = options
        self._layout: _Layout | None = None
        self._doubts = Doubts(name, wanted)

    def record(self, row: Row) -> Labelled | Pair | None:
        """The record in a row; None for a header. Raises TextError for a wrong row, UsageError for wrong columns."""
        where = place(self._name, row.line)
        if row.fault:
            to_do = 'in quotation marks, write "" for a quotation mark, and put marks only around a whole field'
            raise TextError(row.fault, where, to_do)
        if self._layout is None:
            self._layout = self._new_layout(row.fields, where)
            if self._layout.has_header:
                return None
        layout = self._layout
        if len(row.fields) != layout.width:
            what = f"the row has {num_columns(len(row.fields))}, not {layout.width}"
            raise TextError(what, where, self._to_separate(len(row.fields)))
        first, second = row.fields[layout.first], row.fields[layout.second]
        self._doubts.look(first, second, where)
        return self._made(first, second, where)

    def remarks(self) -> list[str]:
        """Notes on what is strange about the columns, once all rows are read."""
        if self._layout is None:
            return []
        names = FIELDS[self._wanted] if self._layout.has_header else ("1", "2")
        first, second = self._options.columns or names
        return self._doubts.notes(swapped=f"{second},{first}")

    def _made(self, first: str, second: str, where: str) -> Labelled | Pair:
        if self._wanted == "pairs":
            return Pair(first, second, where)
        several = self._options.several_labels
        return Labelled(checked_labels(label_parts(first) if several else [first], several, where), second, where)

    def _new_layout(self, fields: list[str], where: str) -> _Layout:
        columns, names = self._options.columns, FIELDS[self._wanted]
        if columns is None:
            if is_header(fields, self._wanted):
                return _Layout(fields.index(names[0]), fields.index(names[1]), len(names), True)
            return _Layout(0, 1, len(names), False)
        first, second = (_index(column, fields, where) for column in columns)
        if first == second:
            what = f"--columns {','.join(columns)} has the same column twice"
            raise UsageError(what, where, "give two columns")
        are_named = any(column_number(column) is None for column in columns)
        return _Layout(first, second, len(fields), are_named or (fields[first], fields[second]) == names)

    def _to_separate(self, count: int) -> str:
        to_do = _TO_SEPARATE[self._separator]
        if self._options.columns is None and count > len(FIELDS[self._wanted]):
            return f"{to_do}; for a table with more columns, give --columns A,B with the names or numbers of two"
        return to_do


def _index(column: str, fields: list[str], where: str) -> int:
    """The index of a column that is given by its name or its number from 1. Raises UsageError if there is none."""
    index = column_number(column)
    if index is None and column in fields:
        return fields.index(column)
    if index is not None and index < len(fields):
        return index
    known = ", ".join(f"{name[:MAX_NAMED]!r}" for name in fields[:MAX_NAMED])
    raise UsageError(f"--columns: there is no column {column!r}", where, f"the first row has {known}")
