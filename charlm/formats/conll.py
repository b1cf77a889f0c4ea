"""CoNLL's forms: a token on each line, with its tag in another column, and blank lines between sentences.

CoNLL-2002, CoNLL-2003 and many corpora since have some columns with spaces or tabs between them. CoNLL-U has ten, with
tabs between them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from charlm.errors import TextError, UsageError
from charlm.formats.bad_rows import BadRows
from charlm.formats.lines import Lines, place
from charlm.formats.options import DataOptions, column_number, num_columns
from charlm.formats.records import Tagged, Wanted

MAX_TOKENS = 100_000  # of a sentence, which is read as a whole
NUM_CONLL_U_COLUMNS = 10
NEARLY_ALL = 0.8  # of the rows
DOCUMENT_START = "-DOCSTART-"
_COLUMN = re.compile(r"[^ \t]+")  # other white space, such as a no-break space, is part of a token
_BLANKS = " \t\r\n"
_SENTENCE_END = re.compile(r"\w[^\w\s]*[.!?…。！？][^\w\s]*\s*\Z")  # a full stop right behind a word
_COMMENT = re.compile(r"#[^=\t]* = ")  # as in "# sent_id = 3"
NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U: the number of a token of several words, or of an empty node


class Row(NamedTuple):
    """The number of a line, its text without the end, and its columns."""

    line: int
    text: str
    columns: list[str]


def read_conll(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Tagged]:
    """The sentences of a CoNLL file. A sentence with a wrong row is wrong as a whole, and counts once.

    The first column has the token and the last one the tag, unless the options say otherwise. Comments before a
    sentence and -DOCSTART- lines are skipped. Raises UsageError if the options do not give columns by their numbers,
    and TextError for wrong rows.
    """
    return bad.kept(_Sentences(source.name, options).record, blocks(source))


def is_in_columns(lines: Sequence[str]) -> bool:
    """Whether lines look like words in columns, and not like sentences. A few rows that are wrong do not matter.

    Words in columns have the same number of columns in most rows, with tabs between them; or in nearly all rows, of
    which some stand right below one another, and that number is one, or blank lines or comments are between sentences.
    But if most rows end as sentences do, they are sentences.
    """
    rows = [line.rstrip("\r\n") for line in lines if _is_row(line)]
    widths = Counter(len(split_columns(row)) for row in rows)
    if not rows or 2 * sum(_SENTENCE_END.search(row) is not None for row in rows) > len(rows):
        return False
    width, count = widths.most_common(1)[0]
    if 2 * sum("\t" in row for row in rows) > len(rows):
        return 2 * count > len(rows)
    has_blocks = any(_is_row(line) and _is_row(after) for line, after in pairwise(lines))
    has_ends = any(not line.strip(_BLANKS) or _COMMENT.match(line) for line in lines)
    return has_blocks and count >= NEARLY_ALL * len(rows) and (width == 1 or has_ends)


def _is_row(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    return bool(line.strip(_BLANKS)) and ("\t" in line or not line.startswith("#"))


def split_columns(line: str) -> list[str]:
    """The columns of a line: between tabs if it has as many as CoNLL-U, else between spaces and tabs."""
    fields = line.split("\t")
    return fields if len(fields) == NUM_CONLL_U_COLUMNS else _COLUMN.findall(line)


def blocks(lines: Iterable[str]) -> Iterator[list[Row]]:
    """The rows between blank lines; of a long block only as many as show that it is too long."""
    block: list[Row] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.strip(" \t"):
            if len(block) <= MAX_TOKENS:
                block.append(Row(number, text, split_columns(text)))
        elif block:
            yield block
            block = []
    if block:
        yield block


class _Sentences:
    """Makes sentences of the blocks of a file, whose rows all have the same number of columns."""

    def __init__(self, name: str, options: DataOptions) -> None:
        self._name = name
        self._token, self._tag = _token_and_tag(options)
        self._width: int | None = None

    def record(self, block: list[Row]) -> Tagged | None:
        """The sentence in a block; None if it has no tokens. Raises TextError for a wrong row."""
        rows = without_comments(block)
        if not rows:
            return None
        if len(block) > MAX_TOKENS:
            what = f"a sentence has more than {MAX_TOKENS:,} rows"
            raise TextError(what, place(self._name, block[0].line), "put blank lines between sentences")
        for row in rows:
            self._check(row)
        words = self._words(rows)
        tokens = tuple(row.columns[self._token] for row in words)
        return Tagged(tokens, tuple(row.columns[self._tag] for row in words), place(self._name, rows[0].line))

    def _check(self, row: Row) -> None:
        where, width = place(self._name, row.line), len(row.columns)
        if width == 1:
            raise TextError("the row has only one column", where, "write a token and its tag on each line")
        self._width = self._width or width
        check_width(row, self._width, where)
        if self._tag >= width or self._token >= width:
            what = f"there is no column {max(self._tag, self._token) + 1}"
            raise TextError(what, where, f"the rows have columns 1 to {width}")

    def _words(self, rows: list[Row]) -> list[Row]:
        """The rows that hold words of the sentence. Raises TextError if numbers are taken for the words."""
        if self._width != NUM_CONLL_U_COLUMNS:
            return rows
        words = [row for row in rows if not NOT_A_WORD.fullmatch(row.columns[0])]
        if self._token == 0 and [row.columns[0] for row in words] == [str(n) for n in range(1, len(words) + 1)]:
            to_do = "for CoNLL-U, give --columns 2,4 to learn its universal tags, or 2 and another column"
            raise TextError("the first column numbers the tokens", place(self._name, rows[0].line), to_do)
        return words


def check_width(row: Row, width: int, where: str) -> None:
    """Raise TextError for a row that has more or fewer columns than the first row."""
    if len(row.columns) != width:
        what = f"the row has {num_columns(len(row.columns))}, not {width} as the rows before"
        raise TextError(what, where, "give all rows the same columns, and let no token contain a space")


def _token_and_tag(options: DataOptions) -> tuple[int, int]:
    """The indices of the columns of token and tag; -1 is the last one. Raises UsageError."""
    token, tag = options.columns or ("1", str(options.tag_column or 0))
    token_index, tag_index = column_number(token), column_number(tag)
    if token_index is None or tag_index is None:
        raise UsageError(f"--columns {token},{tag}: the columns of CoNLL have no names", to_do="give their numbers")
    if token_index == tag_index:
        raise UsageError("--tag-column 1 is the column of the tokens", to_do="give another one")
    return token_index, tag_index


def without_comments(block: list[Row]) -> list[Row]:
    """The rows of a block that are not comments, and do not start a document."""
    start = 0
    while start < len(block) and _is_no_token(block[start], block[-1]):
        start += 1
    return block[start:]


def _is_no_token(row: Row, last: Row) -> bool:
    """Whether a row is a comment or starts a document. `last` is the last row of its block.

    A "#" can also be a token. It is one where the row has the form of the other rows.
    """
    if row.columns[0] == DOCUMENT_START:
        return True
    if not row.text.startswith("#") or "\t" in row.text:
        return False
    return "\t" in last.text or len(row.columns) != len(last.columns) or _COMMENT.match(row.text) is not None
