"""How a person says that labelled data are to be read."""

import re
from dataclasses import dataclass

from charlm.errors import UsageError
from charlm.formats.records import DataFormat

_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class DataOptions:
    """The options of reading. Raises UsageError for columns that cannot be."""

    data_format: DataFormat | None = None
    """The form of the file; None: it is recognised by the content."""
    columns: tuple[str, str] | None = None
    """The two columns that make a record, by names or by numbers from 1; for JSON, the names of two fields."""
    tag_column: int | None = None
    """CoNLL: the column of the tags, counted from 1; None: the last one."""
    several_labels: bool = False
    """Whether a text may have several labels."""
    skip_bad: int = 0
    """How many wrong rows are skipped before one is refused."""

    def __post_init__(self) -> None:
        if self.tag_column is not None and self.tag_column < 1:
            raise UsageError(f"there is no --tag-column {self.tag_column}", to_do="columns are counted from 1")
        if self.skip_bad < 0:
            raise UsageError(f"--skip-bad {self.skip_bad} is out of range", to_do="give a number from 0")
        if self.columns:
            _check_columns(self.columns)


def column_number(column: str) -> int | None:
    """The index, from 0, of a column that is given by its number, from 1. None if a name is given."""
    return int(column) - 1 if _NUMBER.fullmatch(column) else None


def num_columns(count: int) -> str:
    """A number of columns in words: "1 column", "3 columns"."""
    return "1 column" if count == 1 else f"{count} columns"


def _check_columns(columns: tuple[str, str]) -> None:
    given = f"--columns {','.join(columns)}"
    numbers = [column_number(column) for column in columns]
    if columns[0] == columns[1] or (numbers[0] is not None and numbers[0] == numbers[1]):
        raise UsageError(f"{given} has the same column twice", to_do="give two columns")
    if -1 in numbers:
        raise UsageError(f"{given}: there is no column 0", to_do="columns are counted from 1")
