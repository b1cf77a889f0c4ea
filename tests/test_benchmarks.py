"""The benchmarks run: a broken one would be found too late."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench
from benchmarks.bench import PARTS, line
from benchmarks.layers import circles, read_house
from benchmarks.measure import Row, Way, alternate, rates
from benchmarks.stacks import MOMENTS, read_stacks, read_training_stacks
from benchmarks.structure import read_size
from benchmarks.texts import SYMBOLS, WORDS, characters, sentences


def test_ways_are_timed_in_turn_in_processes_of_their_own() -> None:
    ways = {"small": Way("limits:reading", {"megabytes": 0.1, "gigabytes": 0.001}, threads=1)}
    ways["large"] = Way("limits:reading", {"megabytes": 0.1, "gigabytes": 0.5}, threads=1)
    seconds = alternate(ways, repeats=3, warmup=1)
    assert [len(each) for each in seconds.values()] == [3, 3]
    assert min(seconds["large"]) > min(seconds["small"])


def test_a_way_that_fails_is_said_to(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        alternate({"wrong": Way("limits:no_such_thing")}, repeats=1)
    assert "no_such_thing" in capfd.readouterr().err


def test_a_row_shows_whether_its_target_is_met() -> None:
    row = Row("train", "something", unit="tokens/s", target="2 x plain", met=False, **rates(100, [2.0, 1.0, 4.0]))
    assert (row.value, row.fastest, row.slowest, row.repeats) == (50, 100, 25, 3)
    assert line(row).split(" | ")[2:5] == ["50 tokens/s", "100", "25"]
    assert "**no**" in line(row)


def test_what_was_measured_is_written_even_if_a_part_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def part(quick: bool) -> Any:
        yield Row("limits", "one", 1.0, "s")
        raise RuntimeError("the second fails")

    monkeypatch.setitem(PARTS, "limits", part)
    monkeypatch.setattr("sys.argv", ["bench", "limits", "--json", str(tmp_path / "figures.json")])
    with pytest.raises(RuntimeError, match="second"):
        bench.main()
    assert '"what": "one"' in (tmp_path / "figures.json").read_text()


def test_the_texts_have_the_types_that_the_targets_name() -> None:
    assert set(characters(10_000)) == {*SYMBOLS, "\n"}
    assert len(SYMBOLS) + 2 == 65  # with <eos>, which the line end is, and <unk>
    lines = sentences(500)
    assert len(lines) == 500
    assert {word for line in lines for word in line.split()} <= {f"w{number}" for number in range(WORDS - 2)}


# The structure of the package

DOWNWARD = {
    "__init__": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from charlm.api import load\n",
    "api": "def load():\n    from charlm.text import words\n",
    "text/__init__": "",
    "text/words": "import charlm.errors\nfrom charlm.system.files import read\n",
    "system/__init__": "",
    "system/files": "import os\n\n\ndef read(): ...\n",
    "errors": "",
}


def write_package(checkout: Path, modules: Mapping[str, str]) -> None:
    for name, text in modules.items():
        path = checkout / "charlm" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def faults(checkout: Path, **changed: str) -> list[str]:
    """What is wrong with a small package in which some modules have another text; `_` stands for `/`."""
    write_package(checkout, DOWNWARD | {name.replace("_", "/", 1): text for name, text in changed.items()})
    return [fault for found in read_house(checkout).faults().values() for fault in found]


def test_imports_that_only_go_down_are_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    counts = read_house(tmp_path).counts
    assert counts == {("__init__", "api"): 1, ("api", "text"): 1, ("text", "errors"): 1, ("text", "system"): 1}


@pytest.mark.parametrize(
    "text",
    [
        "import charlm.text.words",
        "from charlm.text import words",
        "from ..text.words import Word",
        "def read():\n    from charlm.text.words import Word",
        "if TYPE_CHECKING:\n    from charlm.text.words import Word",
        "import importlib\nimportlib.import_module('charlm.text.words')",
        "from importlib import import_module\nimport_module(f'charlm.text.{name}')",
    ],
)
def test_an_import_upward_is_found_wherever_it_is(text: str, tmp_path: Path) -> None:
    found = faults(tmp_path, system_files=text)
    line_number = text.count("\n") + 1
    assert f"charlm/system/files.py:{line_number} imports charlm.text.words" in found
    assert "system -> text -> system" in found
    assert "charlm.system.files -> charlm.text.words -> charlm.system.files" in found


def test_rooms_of_one_storey_do_not_import_each_other(tmp_path: Path) -> None:
    found = faults(tmp_path, settings="import charlm.probability", probability="")
    assert found == ["charlm/settings.py:1 imports charlm.probability"]


def test_a_circle_within_a_room_is_found(tmp_path: Path) -> None:
    found = faults(
        tmp_path, text_marks="def mark():\n    from charlm.text.words import Word", text_words="from . import marks"
    )
    assert found == ["charlm.text.marks -> charlm.text.words -> charlm.text.marks"]


def test_a_room_without_a_storey_is_found(tmp_path: Path) -> None:
    assert faults(tmp_path, cellar="") == ["cellar"]


def test_a_checkout_may_state_its_own_storeys(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_layers.py").write_text(
        "STOREYS = (('api',), ('text',), ('cellar', 'system'), ('errors',))"
    )
    assert faults(tmp_path, cellar="import charlm.errors") == []
    assert read_house(tmp_path).storeys == (("__init__",), ("api",), ("text",), ("cellar", "system"), ("errors",))


def test_every_circle_is_named_once() -> None:
    edges = [("b", "c"), ("c", "b"), ("c", "a"), ("a", "b"), ("a", "d"), ("d", "e")]
    assert circles(edges) == [["a", "b", "c"], ["b", "c"]]


def structure(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.structure", *arguments]
    root = Path(__file__).parents[1]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, encoding="utf-8")


def test_the_storeys_are_drawn_from_top_to_bottom(tmp_path: Path) -> None:
    write_package(tmp_path, DOWNWARD)
    done = structure("storeys", "--checkout", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1:6] == [
        ["__init__", "1", "3", "api", "1"],
        ["api", "1", "2", "text", "1"],
        ["text", "2", "2", "system", "1,", "errors", "1"],
        ["system", "2", "2", "nothing"],
        ["errors,", "version", "1", "0", "errors:", "nothing;", "version:", "nothing"],
    ]


def test_an_import_upward_is_marked_and_the_exit_code_says_so(tmp_path: Path) -> None:
    write_package(tmp_path, DOWNWARD | {"errors": "import charlm.api"})
    done = structure("storeys", "--checkout", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "api 1↑↻" in done.stdout
    assert "charlm/errors.py:1 imports charlm.api" in done.stdout


def test_the_size_of_a_folder(tmp_path: Path) -> None:
    write_package(
        tmp_path, {"a": "x = 1\n" * 401, "b": "class B:\n    def f(self):\n\n        return 1\n\ndef g(): ...\n"}
    )
    size = read_size(tmp_path / "charlm")
    assert (size.num_files, size.num_lines, size.num_code_lines) == (2, 407, 405)
    assert (size.num_functions, size.num_classes, sorted(size.function_lines)) == (2, 1, [1, 3])
    assert size.long_files == {"a.py": 401}


COMMANDS = """
import sys

def main():
    if sys.argv[1] == "train":
        train()
    elif sys.argv[1] == "sample":
        for character in characters():
            sys.stdout.write(character)
    else:
        sys.stdout.buffer.write(bytes([*digits()]))

def train():
    import torch
    from charlm.model.layers import hidden
    hidden()
    loss = torch.zeros(1, requires_grad=True).sum()
    [step(loss) for _ in range(1)]

def step(loss):
    loss.backward()

def characters():
    from charlm.engine.steps import StepPredictor
    yield ""
    StepPredictor().step()
    yield "ab"

def digits():
    from charlm.engine.steps import StepPredictor
    StepPredictor().logprobs()
    yield from b"is 7"
"""
LAYERS = "def hidden():\n    layer()\n\ndef layer(): ...\n"
STEPS = """
class StepPredictor:
    def logprobs(self):
        return self.step()

    def step(self):
        return 1
"""


def test_the_stack_is_read_at_the_moments_of_a_checkout(tmp_path: Path) -> None:
    modules = {"__init__": "", "cli/__init__": "", "cli/app": COMMANDS, "engine/__init__": "", "engine/steps": STEPS}
    modules |= {
        "model/__init__": "",
        "model/layers": "def hidden():\n    [layer() for _ in (1, 2)]\n\ndef layer(): ...\n",
    }
    write_package(tmp_path, modules)
    stacks = read_stacks(tmp_path)
    assert [stack.moment for stack in stacks] == [moment.name for moment in MOMENTS]
    step = "engine/steps.py:StepPredictor.step"
    assert [stack.functions for stack in stacks] == [
        ["cli/app.py:main", "cli/app.py:train", "cli/app.py:step"],
        ["cli/app.py:main", "cli/app.py:train", "model/layers.py:hidden", "model/layers.py:layer"],
        ["cli/app.py:main"],
        ["cli/app.py:main", "cli/app.py:characters", step],
        ["cli/app.py:main"],
        ["cli/app.py:main", "cli/app.py:digits", "engine/steps.py:StepPredictor.logprobs", step],
    ]
    assert [len(stack.files) for stack in stacks] == [1, 2, 1, 2, 1, 2]


def test_a_moment_that_never_comes_is_said_with_its_command(tmp_path: Path) -> None:
    write_package(tmp_path, {"__init__": "", "cli/__init__": "", "cli/app": "def main(): ..."})
    with pytest.raises(RuntimeError, match=r"charlm train corpus.txt in .*: no backward"):
        read_stacks(tmp_path)


def test_the_readme_lists_the_files_of_a_training_in_order() -> None:
    root = Path(__file__).parents[1]
    (text,) = re.findall(r"To follow `charlm train .*?\n\n`make", (root / "README.md").read_text("utf-8"), re.DOTALL)
    listed = re.findall(r"`(\w+/\w+\.py|api\.py)`", text.split("- From the loop")[1])
    backward, deepest = read_training_stacks(root, "--steps", "1", "--hidden-size", "8")
    dispatch = ["cli/app.py", "cli/help.py"]
    assert [*dispatch, *listed] == [*deepest.files, "cells/lstm.py"]
    assert deepest.files[: len(backward.files)] == backward.files
    assert all((root / "charlm" / name).is_file() for name in re.findall(r"`(\w+/\w+\.py|api\.py)`", text))


@pytest.mark.slow
def test_the_real_commands_are_compared() -> None:
    root = Path(__file__).parents[1]
    done = structure("compare", root, root)
    assert done.returncode == 0, done.stderr
    for moment in MOMENTS:
        assert f"| {moment.name}: before | after |" in done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert all(row[-2] == row[-1] for row in rows if row[-1] != "after")
