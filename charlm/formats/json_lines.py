"""JSON Lines: an object on each line, whose fields are named like the columns of a table."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from charlm.errors import TextError
from charlm.formats.bad_rows import BadRows
from charlm.formats.lines import Lines, numbered, place
from charlm.formats.options import DataOptions
from charlm.formats.records import FIELDS, Labelled, Pair, Record, Tagged, Wanted, checked_labels, label_parts

MAX_NAMED = 10  # fields that a message lists
LABELS = "labels"  # is read where there is no "label"
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}


def read_json_lines(source: Lines, wanted: Wanted, options: DataOptions, bad: BadRows) -> Iterator[Record]:
    """The records of a JSON Lines file. Lines of white space are no rows.

    Labels and tags may be numbers and booleans, which become their text. Raises TextError for wrong rows.
    """
    return bad.kept(partial(_record, source.name, wanted, options), numbered(source))


def parse_object(line: str) -> dict[str, Any] | None:
    """The JSON object on a line; None if it is another value. Raises ValueError if it is not JSON."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _record(name: str, wanted: Wanted, options: DataOptions, row: tuple[int, str]) -> Record:
    number, line = row
    row_object = _Object(line, place(name, number))
    return _MAKERS[wanted](row_object, options.columns or row_object.usual_names(wanted), options.several_labels)


class _Object:
    """The fields of one line. Its methods raise TextError for a field that is missing or of a wrong type."""

    def __init__(self, line: str, where: str) -> None:
        self.where = where
        try:
            fields = parse_object(line)
        except ValueError as error:
            raise self.wrong(f"the line is not JSON ({error})", "write one JSON object on each line") from error
        if fields is None:
            raise self.wrong("the line is not a JSON object", 'write an object, such as {"label": "a", "text": "b"}')
        self._fields = fields

    def usual_names(self, wanted: Wanted) -> tuple[str, str]:
        """The names of the two fields of a record where no others were given."""
        first, second = FIELDS[wanted]
        is_plural = wanted == "labelled" and first not in self._fields and LABELS in self._fields
        return (LABELS if is_plural else first), second

    def text(self, name: str) -> str:
        value = self._value(name)
        if not isinstance(value, str):
            raise self.wrong(f"the field {name!r} is {_kind(value)}, not a string", "write a string there")
        return self._sound(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(map(self._word, self._list(name)))

    def names(self, name: str) -> tuple[str, ...]:
        """A list of labels or tags."""
        return tuple(map(self._name, self._list(name)))

    def labels(self, name: str, several: bool) -> tuple[str, ...]:
        """The labels in a field: one, or a list; if `several` are allowed, also a string that has commas between."""
        value = self._value(name)
        if isinstance(value, list):
            labels = list(self.names(name))
        elif several and isinstance(value, str):
            labels = label_parts(self._sound(value))
        else:
            labels = [self._name(value)]
        return checked_labels(labels, several, self.where)

    def wrong(self, what: str, to_do: str) -> TextError:
        return TextError(what, self.where, to_do)

    def _value(self, name: str) -> Any:
        if name not in self._fields:
            known = ", ".join(map(repr, list(self._fields)[:MAX_NAMED])) or "none"
            to_do = f"the fields are {known}; give --columns A,B with the names of two"
            raise self.wrong(f"the object has no field {name!r}", to_do)
        return self._fields[name]

    def _list(self, name: str) -> list[Any]:
        value = self._value(name)
        if not isinstance(value, list):
            raise self.wrong(f"the field {name!r} is {_kind(value)}, not a list", "write a list there")
        return value

    def _word(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(f"a token is {_kind(value)}, not a string", "put quotation marks around each token")
        return self._sound(value)

    def _name(self, value: Any) -> str:
        """A label or a tag as text."""
        if isinstance(value, str):
            return self._sound(value)
        if isinstance(value, bool | int | float):
            return json.dumps(value)
        raise self.wrong(f"a label or tag is {_kind(value)}", "write a string or a number there")

    def _sound(self, text: str) -> str:
        """Raises TextError for half a character: an escape such as \\ud83d without the one that completes it."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            what = f"the escape \\u{ord(text[error.start]):x} is half a character"
            raise self.wrong(what, "write both halves, or the character itself") from error
        return text


def _labelled(row: _Object, names: tuple[str, str], several: bool) -> Labelled:
    return Labelled(row.labels(names[0], several), row.text(names[1]), row.where)


def _pair(row: _Object, names: tuple[str, str], several: bool) -> Pair:
    return Pair(row.text(names[0]), row.text(names[1]), row.where)


def _tagged(row: _Object, names: tuple[str, str], several: bool) -> Tagged:
    return Tagged(row.texts(names[0]), row.names(names[1]), row.where)


_MAKERS: dict[Wanted, Callable[[_Object, tuple[str, str], bool], Record]] = {
    "labelled": _labelled,
    "pairs": _pair,
    "tagged": _tagged,
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")
