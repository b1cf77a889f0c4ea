"""Files with a word on each line and blank lines between sentences: the same with the best tag as a further column."""

from collections.abc import Iterable, Iterator, Sequence

from charlm.errors import TextError, UsageError
from charlm.formats.conll import NOT_A_WORD, NUM_CONLL_U_COLUMNS, Row, check_width, split_columns, without_comments
from charlm.formats.lines import place
from charlm.formats.options import column_number
from charlm.settings import DataSettings
from charlm.tasks.tagging import TaggingModel
from charlm.text.visible import visible

NO_TAG = "_"  # in the tags' column, of a row that holds no word


def tagged_columns(
    model: TaggingModel, batches: Iterable[Sequence[str]], name: str, columns: str | None = None
) -> Iterator[str]:
    """The lines of a file with a column more, without their ends, as soon as their sentence is complete.

    The words are in the column that `columns` names, by its number from 1, before a comma or alone; by default in that
    of the training, else in the first one, or for CoNLL-U the second. Comments and blank lines stay as they are. Raises
    UsageError for columns without such a number, and TextError for a row that has other columns than the first one.
    """
    words = _Words(name, _word_column(columns, model.data))
    pending: list[Row] = []
    number = 0
    for lines in batches:
        blocks = list[list[Row]]()
        for line in lines:
            number += 1
            pending.append(Row(number, line, split_columns(line)))
            if not line.strip(" \t\r"):
                blocks.append(pending)
                pending = []
        yield from _tagged(model, blocks, words)
    yield from _tagged(model, [pending], words)


def _word_column(columns: str | None, data: DataSettings) -> int | None:
    """The index of the words' column; None if the file decides. Raises UsageError."""
    given = _first_column(columns) if columns is not None else None
    if columns is not None and (given is None or given < 0):
        raise UsageError(f"--columns {columns}: the words' column is given by its number", to_do="columns count from 1")
    return given if columns is not None or data.columns is None else _first_column(data.columns)


def _first_column(columns: str) -> int | None:
    return column_number(columns.partition(",")[0].strip())


class _Words:
    """Finds the words of a file's sentences. All its rows have as many columns as the first one."""

    def __init__(self, name: str, column: int | None) -> None:
        self._name = name
        self._column = column
        self._width: int | None = None

    def of(self, block: list[Row]) -> dict[int, str]:
        """The words of a sentence, by the numbers of their lines. Raises TextError for a row with other columns."""
        words = {}
        for row in _rows(block):
            where = place(self._name, row.line)
            self._width = self._width or len(row.columns)
            check_width(row, self._width, where)
            is_conll_u = self._width == NUM_CONLL_U_COLUMNS
            if not (is_conll_u and NOT_A_WORD.fullmatch(row.columns[0])):
                words[row.line] = row.columns[self._place(is_conll_u, where)]
        return words

    def _place(self, is_conll_u: bool, where: str) -> int:
        """The index of the words' column; words that stand alone need no other columns."""
        assert self._width is not None
        column = int(is_conll_u) if self._column is None else self._column if self._width > 1 else 0
        if column >= self._width:
            what = f"there is no column {column + 1} for the words"
            raise TextError(what, where, f"the rows have columns 1 to {self._width}: give --columns A with one of them")
        return column


def _tagged(model: TaggingModel, blocks: Sequence[list[Row]], words: _Words) -> Iterator[str]:
    """The lines of whole sentences, each with the blank line behind it."""
    listed = [words.of(block) for block in blocks]
    found = model.tag_all_tokens(list(own.values()) for own in listed)
    for block, own, sentence in zip(blocks, listed, found, strict=True):
        tags = dict(zip(own, sentence.tags, strict=True))
        rows = {row.line for row in _rows(block)}
        for row in block:
            yield _with_column(row.text, tags.get(row.line, NO_TAG)) if row.line in rows else row.text


def _rows(block: list[Row]) -> list[Row]:
    filled = [row for row in block if row.columns]
    return without_comments(filled) if filled else []


def _with_column(line: str, tag: str) -> str:
    line = line.rstrip("\r")
    return f"{line}{' ' if ' ' in line and chr(9) not in line else chr(9)}{visible(tag)}"
