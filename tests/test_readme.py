"""Every command of the README runs, on a smaller model and for fewer steps."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from charlm.cli.app import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
LENGTHS = ("--time", "--steps", "--epochs", "--preset")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """The commands of all `console` blocks: the lines after a $."""
    return [line[2:] for block in blocks("console") for line in block.split("\n") if line.startswith("$ ")]


def shortened(arguments: list[str]) -> list[str]:
    """A training without its length and size: the environment gives small ones."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument not in LENGTHS:
            kept.append(argument)
        skip = argument in LENGTHS
    return kept


MAX_BYTES = 30_000


def copy_data() -> None:
    """The folder `data` with the first lines of each text, up to MAX_BYTES."""
    shutil.copytree(ROOT / "data", "data")
    for path in Path("data").iterdir():
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            path.write_bytes(path.read_bytes()[:MAX_BYTES].rpartition(b"\n")[0] + b"\n")


def test_every_charlm_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_STEPS", "4")
    monkeypatch.setenv("CHARLM_HIDDEN_SIZE", "8")
    monkeypatch.setenv("CHARLM_VOCAB_SIZE", "")
    copy_data()
    story = Path("data/stories.txt").read_text()
    Path("corpus.txt").write_text(story[:12_000])
    Path("sentences.txt").write_text("The cat was full.\nThe cats were full.\n")
    ran = [shlex.split(command) for command in commands() if command.startswith("charlm ")]
    for command in ran:
        monkeypatch.setattr(sys, "argv", shortened(command) if command[1] == "train" else command)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None), command
    commands_of_charlm = {"tokenize", "train", "sample", "score", "info", "verify", "plot", "report", "cells"}
    commands_of_charlm |= {"classify", "tag", "translate", "evaluate"}
    assert {command[1] for command in ran} >= commands_of_charlm


@pytest.mark.parametrize("page", [README, PYTHON], ids=["README", "python"])
def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """One after another, each on the results of those before it, and shorter than they are written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_STEPS", "4")
    monkeypatch.setenv("CHARLM_HIDDEN_SIZE", "8")
    copy_data()
    Path("corpus.txt").write_text((ROOT / "data" / "stories.txt").read_text()[:12_000])
    names: dict[str, object] = {}
    for block in blocks("python", page):
        exec(compile(re.sub(r", (time|epochs)=[^,)]+", "", block), "an example", "exec"), names)


def test_every_example_in_python_has_its_output() -> None:
    assert len(blocks("python", PYTHON)) == len(blocks("text", PYTHON))
    assert all(block.strip() for block in blocks("text", PYTHON))


def test_every_function_is_on_the_page_about_python() -> None:
    import charlm

    functions = set(charlm.__all__) - {"Sample", "Score", "TokenScore", "__version__", "draft_training", "load_filler"}
    assert [name for name in sorted(functions) if f"charlm.{name}" not in PYTHON] == []


def test_the_make_targets_of_the_readme_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {command.split()[1] for command in commands() if command.startswith("make ")}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
