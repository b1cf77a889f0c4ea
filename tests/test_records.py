"""JSON values become records only when every field is of its type and within its range."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from charlm.system.records import MAX_COUNT, MAX_TEXT, NO_OTHER_FIELDS, Count, ShortText, read_record


@dataclass(frozen=True)
class Layer:
    size: Count
    share: float = 0.5


@dataclass(frozen=True)
class Network:
    name: ShortText
    layers: tuple[Layer, ...]
    kind: Literal["lstm", "gru"] = "lstm"
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exact:
    __pydantic_config__ = NO_OTHER_FIELDS
    size: Count


def test_nested_records_lists_and_defaults_are_read() -> None:
    value = {"name": "a", "layers": [{"size": 3}, {"size": MAX_COUNT, "share": 1.0}], "notes": {"b": "é"}}
    assert read_record(Network, value) == Network("a", (Layer(3), Layer(MAX_COUNT, 1.0)), "lstm", {"b": "é"})
    assert read_record(dict[str, Layer], {"first": {"size": 3}}) == {"first": Layer(3)}


def test_unknown_fields_are_ignored_unless_the_record_refuses_them() -> None:
    assert read_record(Layer, {"size": 3, "more": 1}) == Layer(3)
    with pytest.raises(ValueError, match="more"):
        read_record(Exact, {"size": 3, "more": 1})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 7}, "name"),
        ({"name": "x" * (MAX_TEXT + 1)}, "name"),
        ({"name": None}, "name"),
        ({"layers": {}}, "layers"),
        ({"layers": [{}]}, r"layers\.0\.size is missing"),
        ({"layers": [{"size": "3"}]}, r"layers\.0\.size"),
        ({"layers": [{"size": 3.0}]}, r"layers\.0\.size"),
        ({"layers": [{"size": True}]}, r"layers\.0\.size"),
        ({"layers": [{"size": -1}]}, r"layers\.0\.size"),
        ({"layers": [{"size": MAX_COUNT + 1}]}, r"layers\.0\.size"),
        ({"layers": [{"size": 10**30}]}, r"layers\.0\.size"),
        ({"layers": [{"size": 3, "share": "1"}]}, r"layers\.0\.share"),
        ({"kind": "tape"}, "kind"),
        ({"kind": ["lstm"]}, "kind"),
    ],
    ids=str,
)
def test_the_first_field_that_is_wrong_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        read_record(Network, {"name": "a", "layers": [], **change})


@pytest.mark.parametrize("value", [None, 7, "a", [], [1], {}, {"name": "\ud800", "layers": []}], ids=ascii)
def test_what_is_no_such_record_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_record(Network, value)


def test_what_is_nested_very_deeply_is_a_value_error() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        read_record(Network, {"name": "a", "layers": value})
