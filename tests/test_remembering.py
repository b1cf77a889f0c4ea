"""Every command of docs/what-a-network-remembers.md runs, on a part of the text and for a few steps."""

import io
import shlex
import sys
from pathlib import Path

import pytest

from charlm.cli.app import main
from tests.test_docs import commands
from tests.test_readme import shortened

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "what-a-network-remembers.md"


def lines(name: str, count: int) -> str:
    return "".join((ROOT / "data" / name).read_text(encoding="utf-8").splitlines(keepends=True)[:count])


def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_STEPS", "2")
    monkeypatch.setenv("CHARLM_PRECISION", "float32")
    Path("data").mkdir()
    for name, count in (("agreement.txt", 900), ("agreement-pairs.tsv", 9)):
        Path("data", name).write_text(lines(name, count), encoding="utf-8")
    sentence = max((line.split("\t")[0] for line in lines("agreement-pairs.tsv", 900).splitlines()), key=len)
    ran = []
    for command in (each for each in commands(PAGE) if len(each.split()) > 2):
        arguments = shlex.split(command, comments=True)
        monkeypatch.setattr(sys, "argv", shortened(arguments) if arguments[1] == "train" else arguments)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{sentence}\n".encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None), command
        ran.append(command)
    views = ("--gradients", "--clipping", "--states", "--find", "--agreement", "--embeddings")
    assert all(any(view in command for command in ran) for view in views)
