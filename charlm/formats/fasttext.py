"""fastText's form: a text on each line, in which words that begin with `__label__` are its labels."""

import re
from collections.abc import Iterator
from functools import partial

from charlm.errors import TextError
from charlm.formats.bad_rows import BadRows
from charlm.formats.lines import Lines, numbered, place
from charlm.formats.options import DataOptions
from charlm.formats.records import Labelled, Wanted, checked_labels

WHITE_SPACE = " \t\r\v\f\0"  # what fastText itself separates words by
LABEL = re.compile(rf"(?<![^{WHITE_SPACE}])__label__([^{WHITE_SPACE}]*)[{WHITE_SPACE}]*")


def read_fasttext(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Labelled]:
    """The records of a file in fastText's form. Lines of white space are no rows.

    The text is the line without the labels, and without white space at its ends. If texts may have several labels, a
    line without any is one that has none. Raises TextError for wrong rows.
    """
    return bad.kept(partial(_record, source.name, options.several_labels), numbered(source))


def _record(name: str, several: bool, row: tuple[int, str]) -> Labelled:
    number, line = row
    where = place(name, number)
    labels = LABEL.findall(line)
    if not labels and not several:
        raise TextError("the row has no label", where, "put its label into the line, as __label__NAME")
    return Labelled(checked_labels(labels, several, where), LABEL.sub("", line).strip(WHITE_SPACE), where)
