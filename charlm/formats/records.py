"""The records that files of labelled data hold. A record cannot be made without what it needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from charlm.errors import TextError

Wanted = Literal["labelled", "pairs", "tagged"]
DataFormat = Literal["tsv", "csv", "jsonl", "fasttext", "conll", "folder"]

FIELDS: dict[Wanted, tuple[str, str]] = {
    "labelled": ("label", "text"),
    "pairs": ("source", "target"),
    "tagged": ("tokens", "tags"),
}
"""The names of the two columns (TSV, CSV) or fields (JSON) that make a record."""

MAX_TEXT = 1 << 20  # characters of a text that takes several lines


@dataclass(frozen=True)
class Labelled:
    """A text with its label; where texts may have several, with any number of different ones.

    Raises TextError if the text or a label is empty.
    """

    labels: tuple[str, ...]
    text: str
    where: str
    """The place that it is from, such as "reviews.tsv, line 12"."""

    def __post_init__(self) -> None:
        for label in self.labels:
            _refuse_empty("label", label, self.where)
        _refuse_empty("text", self.text, self.where)


@dataclass(frozen=True)
class Pair:
    """A text and what is to be written for it. Raises TextError if one of the two is empty."""

    source: str
    target: str
    where: str
    """The place that it is from, such as "words.tsv, line 12"."""

    def __post_init__(self) -> None:
        _refuse_empty("source", self.source, self.where)
        _refuse_empty("target", self.target, self.where)


@dataclass(frozen=True)
class Tagged:
    """A sentence of tokens, each with its tag. Raises TextError if there are none, or if a token lacks its tag."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    where: str
    """The place of its first token, such as "train.conll, line 12"."""

    def __post_init__(self) -> None:
        if not self.tokens:
            raise TextError("the sentence has no tokens", self.where, "leave it out")
        if len(self.tokens) != len(self.tags):
            what = f"a sentence with {len(self.tokens)} tokens and {len(self.tags)} tags"
            raise TextError(what, self.where, "give each token one tag")
        for token, tag in zip(self.tokens, self.tags, strict=True):
            _refuse_empty("token", token, self.where)
            _refuse_empty("tag", tag, self.where)


Record = Labelled | Pair | Tagged


def label_parts(field: str) -> list[str]:
    """The labels in a field that has them separated by commas, without white space around them; none if it is empty."""
    return [part.strip() for part in field.split(",")] if field.strip() else []


def checked_labels(labels: Iterable[str], several: bool, where: str) -> tuple[str, ...]:
    """Each label once, in the order given. Raises TextError if they are not one, unless `several` are allowed."""
    different = tuple(dict.fromkeys(labels))
    if not different and not several:
        raise _empty("label", where)
    if len(different) > 1 and not several:
        raise TextError(f"the row has {len(different)} labels", where, "give --multi if texts can have several labels")
    return different


def _refuse_empty(what: str, text: str, where: str) -> None:
    if not text or text.isspace():
        raise _empty(what, where)


def _empty(what: str, where: str) -> TextError:
    return TextError(f"the {what} is empty", where, f"write a {what} there, or leave the row out")
