"""`charlm verify`: a whole run is ok, and of a damaged one it says which file, and why."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import charlm
from charlm.cli.app import main
from charlm.corpus.prepare import open_prepared
from charlm.errors import RunError
from charlm.lifecycle.verification import verify
from tests.conftest import TINY
from tests.mutations import reseal

LAST, PREVIOUS, METRICS = "last.safetensors", "previous.safetensors", "metrics.jsonl"


@pytest.fixture
def run(trained: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained("char"), tmp_path / "run"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def damaged(run: Path) -> list[str]:
    return [result.file for result in verify(run) if not result.ok]


@pytest.mark.parametrize("unit", ["char", "byte", "word", "subword"])
def test_a_whole_run_is_ok(unit: str, trained: Callable[[str], Path]) -> None:
    checked = verify(trained(unit))
    assert [result.file for result in checked if result.ok] == [
        *("MANIFEST.json", "config.json", "tokenizer.json", "best.safetensors", "last.safetensors"),
        *("previous.safetensors", "ngram.safetensors", "metrics.jsonl", "corpus/"),
    ]


@pytest.mark.parametrize(
    "missing",
    [{PREVIOUS}, {"corpus"}, {LAST, PREVIOUS}, {LAST, PREVIOUS, METRICS}, {LAST, PREVIOUS, METRICS, "corpus"}],
)
def test_what_only_training_needs_may_be_missing(run: Path, missing: set[str]) -> None:
    for path in (run / name for name in missing):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert damaged(run) == []
    assert any("not there" in result.detail or result.detail == "no line" for result in verify(run))


@pytest.mark.parametrize("missing", [LAST, METRICS])
def test_what_must_be_there_since_something_else_is_may_not_be_missing(run: Path, missing: str) -> None:
    (run / missing).unlink()
    assert damaged(run) == [missing]


@pytest.mark.parametrize("name", ["best", "last", "previous"])
def test_a_flipped_bit_is_found_in_every_state(run: Path, name: str) -> None:
    if name == "previous":  # it is the same file as last
        shutil.copy(run / "last.safetensors", run / "copy")
        (run / "previous.safetensors").unlink()
        (run / "copy").rename(run / "previous.safetensors")
    elif name == "last":
        shutil.copy(run / "last.safetensors", run / "copy")
        (run / "copy").replace(run / "last.safetensors")
    flip(run / f"{name}.safetensors", -9)
    assert damaged(run) == [f"{name}.safetensors"]


@pytest.mark.parametrize(
    ("name", "at"),
    [("train.ids", -3), ("train.ids", 30), ("valid.ids", 2000 - 1024), ("tokenizer.json", 40), ("MANIFEST.json", 9)],
)
def test_a_flipped_bit_is_found_in_the_corpus(run: Path, name: str, at: int) -> None:
    flip(run / "corpus" / name, at)
    assert damaged(run) == ["corpus/"]


def test_a_damaged_configuration_leaves_the_rest_unchecked_and_says_so(run: Path) -> None:
    flip(run / "config.json", 20)
    details = {result.file: result.detail for result in verify(run) if not result.ok}
    assert "checksum" in details["MANIFEST.json"]
    assert "not checked" in details["best.safetensors"]


def test_weights_that_are_not_finite_or_of_another_run_are_found(run: Path, trained: Callable[[str], Path]) -> None:
    shutil.copy(trained("word") / "best.safetensors", run / "best.safetensors")
    assert damaged(run) == ["best.safetensors"]


def test_a_tokenizer_that_nothing_vouches_for_is_found(run: Path) -> None:
    manifest = json.loads((run / "MANIFEST.json").read_bytes())
    del manifest["tokenizer.json"]
    (run / "MANIFEST.json").write_text(json.dumps(manifest) + "\n")
    assert damaged(run)[0] == "tokenizer.json"


def test_a_missing_best_is_damage_once_something_was_saved(run: Path) -> None:
    (run / "best.safetensors").unlink()
    assert damaged(run) == ["best.safetensors"]


def test_a_corpus_of_another_run_is_found(run: Path, trained: Callable[[str], Path]) -> None:
    shutil.rmtree(run / "corpus")
    shutil.copytree(trained("word") / "corpus", run / "corpus")
    assert damaged(run) == ["corpus/"]


def test_a_corpus_without_the_run_s_seal_is_refused(run: Path) -> None:
    found = open_prepared(run / "corpus")
    assert len(found.seal) == 64
    assert open_prepared(run / "corpus", found.seal).seal == found.seal
    with pytest.raises(RunError, match="belongs to another run"):
        open_prepared(run / "corpus", "0" * 64)
    (run / "corpus/MANIFEST.json").unlink()
    assert open_prepared(run / "corpus").seal == ""
    with pytest.raises(RunError, match="belongs to another run"):
        open_prepared(run / "corpus", found.seal)


def test_the_seal_in_the_configuration_is_checked(run: Path) -> None:
    config = json.loads((run / "config.json").read_bytes())
    config["corpus"]["seal"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config) + "\n")
    reseal(run)
    assert damaged(run) == ["corpus/"]


def test_the_command_ends_with_4_for_a_damaged_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for harm, code in ((False, 0), (True, 4)):
        if harm:
            flip(run / "best.safetensors", -9)
        for more in ([], ["--json"]):
            monkeypatch.setattr(sys, "argv", ["charlm", "verify", str(run), *more])
            with pytest.raises(SystemExit) as ended:
                main()
            assert (ended.value.code or 0) == code
            printed = capsys.readouterr().out
            if more:
                record = json.loads(printed)
                assert (record["ok"], len(record["files"])) == (not harm, 9)
            else:
                assert ("damaged" in printed) == harm


def test_a_run_is_verified_without_torch(run: Path) -> None:
    code = """import sys
from pathlib import Path
from charlm.lifecycle.verification import verify

print(len(verify(Path(sys.argv[1]))), "torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout == "9 False\n"


# The peak of a command that first looks at a run, and then at its twin that is the same but for a file of 40 GB.
PEAKS = """
import resource, sys
from pathlib import Path
from charlm.lifecycle.verification import verify

for run in sys.argv[1:]:
    wrong = [one.detail for one in verify(Path(run)) if not one.ok]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, *wrong)
"""


@pytest.mark.parametrize("kind", ["last", "previous", "best", "initial"])
def test_a_huge_file_is_not_read(run: Path, kind: str, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    shutil.copytree(run, huge)
    path = huge / f"{kind}.safetensors"
    path.touch()
    os.truncate(path, 40 * 10**9)
    command = [sys.executable, "-c", PEAKS, str(run), str(huge)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sound, damaged = done.stdout.splitlines()
    assert int(damaged.split()[0]) - int(sound) < 10 * 2**20
    assert f"{kind}.safetensors has 40,000,000,000 bytes, more than" in damaged


def test_a_huge_state_is_not_read_to_find_out_why_there_is_no_best(run: Path) -> None:
    (run / "best.safetensors").unlink()
    os.truncate(run / "last.safetensors", 40 * 10**9)
    with pytest.raises(RunError, match="40,000,000,000 bytes, more than"):
        charlm.load(run)
    assert set(damaged(run)) >= {"best.safetensors", "last.safetensors"}


def test_a_huge_file_makes_the_command_end_with_4(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(run / "last.safetensors", 40 * 10**9)
    monkeypatch.setattr(sys, "argv", ["charlm", "verify", str(run)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "sentence", "bptt": 3, "batch_size": 40},
        {"cell": "lstm_projected", "num_layers": 2, "bptt": 1},
        {"cell": "minlstm", "hidden_size": 1, "embedding_size": 1, "optimizer": "sgd", "initial_state": "random"},
    ],
)
def test_a_state_of_training_is_never_larger_than_it_may_be(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text("ab\n\n\n\n" * 100)
    monkeypatch.setattr("charlm.network.snapshot.MAX_HEADER_BYTES", 12_000)  # header and generators' states
    path = Path(charlm.train(tmp_path / "lines.txt", run=str(tmp_path / "run"), **{**TINY, **settings, "steps": 3}).run)
    assert damaged(path) == []
