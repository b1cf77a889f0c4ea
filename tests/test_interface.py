"""What scripts rely on was written down once: options, exit codes, keys of the JSON, extras. A change must be meant."""

from pathlib import Path

import pytest

from tests.interface import __main__ as interface

AGAIN = "if this was meant, say so in CHANGELOG.md and write the files again: python -m tests.interface"


def differences(expected: list[str], found: list[str]) -> list[str]:
    """Which lines are new, and which are missing."""
    return [f"missing: {line}" for line in expected if line not in found] + [
        f"new: {line}" for line in found if line not in expected
    ]


@pytest.mark.parametrize("name", list(interface.FILES))
def test_the_interface_is_as_it_was_written_down(name: str) -> None:
    changed = differences(interface.read(name), interface.FILES[name]())
    assert not changed, "\n".join([f"tests/interface/{name}.txt", *changed, AGAIN])


def test_every_file_is_compared() -> None:
    assert {path.stem for path in Path(interface.HERE).glob("*.txt")} == set(interface.FILES)


def test_a_new_and_a_missing_line_are_both_named() -> None:
    assert differences(["--a: flag", "--b: text"], ["--b: text", "--c: path"]) == [
        "missing: --a: flag",
        "new: --c: path",
    ]
