"""The lines of a source: what readers ask of it, how a place in it is named, and a look at its first lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

MAX_HEAD_LINES = 200
MAX_HEAD = 1 << 16  # characters, after which no further line is looked at


class Lines(Protocol):
    """A named text that gives its lines, from the first one each time that it is iterated over.

    Each line has its "\\n", which only the last one may lack. Nothing else ends a line.
    """

    @property
    def name(self) -> str:
        """What a person calls the text, such as "reviews.tsv"."""

    def __iter__(self) -> Iterator[str]:
        """The lines in their order."""


@dataclass(frozen=True)
class OneReading:
    """The lines of a source, to be iterated over once."""

    name: str
    lines: Iterator[str]

    def __iter__(self) -> Iterator[str]:
        return self.lines


def peek(source: Lines) -> tuple[list[str], OneReading]:
    """The first lines of a source, and all its lines, with those first ones again."""
    lines = iter(source)
    head: list[str] = []
    size = 0
    while size < MAX_HEAD and len(head) < MAX_HEAD_LINES and (line := next(lines, None)) is not None:
        head.append(line)
        size += len(line)
    return head, OneReading(source.name, chain(head, lines))


def numbered(source: Lines) -> Iterator[tuple[int, str]]:
    """The lines that have more than white space, without their ends, with their numbers from 1."""
    for number, line in enumerate(source, 1):
        if not line.isspace():
            yield number, line.removesuffix("\n")


def place(name: str, line: int) -> str:
    """How a line is named in messages and records: "reviews.tsv, line 12"."""
    return f"{name}, line {line}"
