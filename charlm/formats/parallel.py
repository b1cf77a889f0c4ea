"""Pairs in two files: line n of one belongs to line n of the other."""

from collections.abc import Iterator
from functools import partial

from charlm.errors import TextError
from charlm.formats.bad_rows import BadRows
from charlm.formats.lines import Lines, place
from charlm.formats.records import Pair

_Row = tuple[int, str, str]


def read_parallel(source: Lines, target: Lines, bad: BadRows) -> Iterator[Pair]:
    """The pairs of two files. A line of white space in both is no pair.

    Raises TextError for pairs of which one text is empty, and, after the last pair, if one file has more lines.
    """
    return bad.kept(partial(_pair, f"{source.name} and {target.name}"), _side_by_side(source, target))


def _side_by_side(source: Lines, target: Lines) -> Iterator[_Row]:
    sources, targets = iter(source), iter(target)
    number = 0
    while True:
        first, second = next(sources, None), next(targets, None)
        if first is None or second is None:
            break
        number += 1
        if not (first.isspace() and second.isspace()):
            yield number, first.removesuffix("\n"), second.removesuffix("\n")
    num_sources, num_targets = (
        number + (line is not None) + sum(1 for _ in rest) for line, rest in ((first, sources), (second, targets))
    )
    if num_sources != num_targets:
        where = f"{source.name} has {num_sources:,} lines, {target.name} has {num_targets:,}"
        to_do = "give two files in which line n of one belongs to line n of the other"
        raise TextError("the two files have different numbers of lines", where, to_do)


def _pair(name: str, row: _Row) -> Pair:
    number, source, target = row
    return Pair(source, target, place(name, number))
