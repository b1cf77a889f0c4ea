"""`make torture` in short, and that it notices what it is there to notice."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture import stopping
from tests.torture.disk import Disk, Tree, build, read_tree, tree_number
from tests.torture.durable import _told
from tests.torture.processes import Outcome
from tests.torture.record import MAX_MISSES, Missed, Record
from tests.torture.watching import Operation, read_recorded
from tests.torture.workshop import RUN, Workshop

ROOT = Path(__file__).parents[1]


def torture(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "tests.torture", "--short", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False, env={**os.environ, "COLUMNS": "99"})
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_the_promises_are_kept() -> None:
    _, records = torture()
    broken = [one["name"] for one in records if not one["kept"]]
    assert not broken, [(one["name"], one["lost"]) for one in records]


@pytest.mark.slow
@pytest.mark.parametrize(("sabotage", "promise"), [("stale", "kills"), ("fsync", "power-loss")])
def test_a_broken_save_is_reported_as_lost(sabotage: str, promise: str) -> None:
    code, (record,) = torture(promise, "--sabotage", sabotage, "--seed", "4")  # moments that tell
    assert code == 1
    assert "was saved" in " ".join(record["lost"])
    assert record["survived"] < record["tries"]


# The counting


def test_a_fault_that_did_not_happen_is_no_try() -> None:
    record, faults = Record("x"), iter([False, False, True, True])

    def attempt() -> Iterator[str]:
        if not next(faults):
            raise Missed
        return iter(())

    record.repeat("x", 2, attempt)
    assert (record.tries, record.survived, record.missed, record.lost, record.kept) == (2, 2, 2, [], True)


def test_a_fault_that_never_happens_is_a_loss() -> None:
    record = Record("x")

    def attempt() -> Iterator[str]:
        raise Missed

    record.repeat("x", 2, attempt)
    assert (record.tries, record.missed, record.kept) == (0, 2 * (1 + MAX_MISSES), False)
    assert record.lost


def test_what_is_lost_is_no_survival() -> None:
    record = Record("x")
    record.repeat("it", 1, lambda: ["the last step", "the best one"])
    assert (record.tries, record.survived, record.kept) == (1, 0, False)
    assert record.lost == ["it: the last step", "it: the best one"]


def test_nothing_tried_is_nothing_kept() -> None:
    assert not Record("x").kept


def ended(code: int) -> Outcome:
    return Outcome(code, "", "what\nruns/run (7 bytes)\nto do", 1.0)


PREVIOUS = "runs/run/.previous.safetensors.ab12cd34.charlm -> runs/run/previous.safetensors"


@pytest.mark.parametrize(
    ("failed", "may"),
    [
        ("link runs/run/last.safetensors -> runs/run/.previous.safetensors.ab12cd34.charlm after fsync runs/run", True),
        (f"rename {PREVIOUS} after nothing", True),
        (f"fsync runs/run after rename {PREVIOUS}", True),
        ("unlink runs/run/.lock.holder after fsync runs/run", True),
        ("fsync runs/run after rename runs/run/.x.ab12cd34.charlm -> runs/run/last.safetensors", False),
        ("rename runs/run/.x.ab12cd34.charlm -> runs/run/last.safetensors after nothing", False),
        (f"write runs/run/metrics.jsonl after rename {PREVIOUS}", False),
        ("unlink runs/run/last.safetensors after nothing", False),
        ("mkdir runs after nothing", False),
    ],
)
def test_only_what_can_be_done_without_may_fail_without_a_word(failed: str, may: bool, tmp_path: Path) -> None:
    assert not list(_told(ended(6), tmp_path, failed=failed))
    assert (not list(_told(ended(0), tmp_path, failed=failed))) == may
    assert list(_told(ended(1), tmp_path, failed=failed))


@pytest.mark.parametrize(("code", "finished"), [(143, False), (1, False), (0, False), (0, True), (143, True)])
def test_a_wrong_end_after_a_signal_is_a_loss(
    code: int, finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a training that had come to its own end is tried again."""

    class Ended:
        def send(self, number: int) -> None: ...

        def wait(self) -> Outcome:
            return ended(code)

    monkeypatch.setattr(stopping, "training", lambda *_: Ended())
    (tmp_path / RUN).mkdir(parents=True)
    event = {"event": "Finished", "signal": None if finished else 15}
    (tmp_path / RUN / "metrics.jsonl").write_text(json.dumps(event) + "\n{cut")
    shop = Workshop(tmp_path, random.Random(1), short=True)
    if finished:
        with pytest.raises(Missed):
            list(stopping._stop(shop, tmp_path, 15, ()))
        return
    lost = list(stopping._stop(shop, tmp_path, 15, ()))
    assert bool(lost) == (code != 143)


# The model of a disk


def after(*operations: Operation) -> tuple[Tree, list[Tree]]:
    disk = Disk()
    for operation in operations:
        disk.apply(operation)
    return disk.now(), list(disk.after_power_loss())


CREATE, WRITE = Operation("create", "new"), Operation("write", "new", data=b"abcd")
SYNC, RENAME, SYNC_FOLDER = Operation("fsync", "new"), Operation("rename", "new", target="old"), Operation("fsync", ".")


def test_bytes_that_were_not_synced_may_be_gone_or_half_there() -> None:
    now, left = after(CREATE, WRITE)
    assert now == {"new": b"abcd"}
    expected: list[Tree] = [{}, {"new": b""}, {"new": b"ab"}]
    assert {tree_number(tree) for tree in left} == {tree_number(tree) for tree in expected}


def test_a_name_is_safe_after_an_fsync_of_its_folder() -> None:
    _, left = after(CREATE, WRITE, SYNC, SYNC_FOLDER)
    assert all(tree == {"new": b"abcd"} for tree in left)


def test_a_rename_without_an_fsync_may_or_may_not_have_happened() -> None:
    _, left = after(CREATE, WRITE, SYNC, SYNC_FOLDER, RENAME)
    assert {"new": b"abcd"} in left
    assert {"old": b"abcd"} in left


def test_a_rename_before_the_bytes_are_safe_leaves_an_empty_file() -> None:
    _, left = after(CREATE, WRITE, RENAME, SYNC_FOLDER)
    assert {"old": b""} in left


def test_two_names_of_one_file_and_a_folder_that_moves() -> None:
    folder = (Operation("mkdir", "draft"), Operation("create", "draft/a"), Operation("write", "draft/a", data=b"x"))
    link = Operation("link", "draft/a", target="draft/b")
    now, left = after(*folder, link, Operation("rename", "draft", target="run"))
    assert now == {"run": None, "run/a": b"x", "run/b": b"x"}
    assert {"run": None} in left
    assert {} in left


def test_appending_and_cutting() -> None:
    more, cut = Operation("write", "new", data=b"ef", offset=4), Operation("truncate", "new", offset=1)
    now, left = after(CREATE, WRITE, SYNC, SYNC_FOLDER, more)
    assert now == {"new": b"abcdef"}
    assert left == [{"new": b"abcd"}, {"new": b"abcde"}] * 2
    assert after(CREATE, WRITE, cut)[0] == {"new": b"a"}


def test_a_tree_is_built_as_it_is_read(tmp_path: Path) -> None:
    tree: Tree = {"a": None, "a/b": b"x", "c": b""}
    build(tree, tmp_path / "here")
    assert read_tree(tmp_path / "here") == tree


WATCHED_PROGRAM = """
import io, os, shutil, sys, tempfile
from pathlib import Path
from tests.torture.watching import Recorder, watch
here = Path(sys.argv[1])
watch(here, Recorder(Path(sys.argv[2])))
(here / "folder" / "deeper").mkdir(parents=True)
(here / "folder" / "text").write_text("one\\ntwo\\n")
descriptor, name = tempfile.mkstemp(dir=here)
with os.fdopen(descriptor, "wb") as file:
    file.write(b"bytes" * 5000)
os.replace(name, here / "folder" / "bytes")
with (here / "log").open("a") as log:
    log.write("a line")
    log.flush()
    log.write(", another")
os.link(here / "log", here / "log2")
os.truncate(here / "log", 5)
shutil.copytree(here / "folder", here / "copy", copy_function=shutil.copyfile)
shutil.rmtree(here / "folder")
with open(here / "copy" / "text", "r+b") as file:
    file.seek(4)
    file.write(b"TWO")
    file.truncate(6)
out = os.open(here / "raw", os.O_CREAT | os.O_WRONLY)
os.write(out, b"raw")
os.pwrite(out, b"R", 0)
os.fsync(out)
Path(here / "copy" / "bytes").write_bytes(b"")
"""


def test_what_is_recorded_is_what_was_done(tmp_path: Path) -> None:
    """All that a program did, replayed on the model, gives what is on the real disk."""
    here, trace = tmp_path / "here", tmp_path / "trace"
    here.mkdir()
    subprocess.run([sys.executable, "-c", WATCHED_PROGRAM, str(here), str(trace)], cwd=ROOT, check=True)
    disk = Disk()
    for operation in read_recorded(trace):
        disk.apply(operation)
    assert disk.now() == read_tree(here)
    assert any(operation.kind == "fsync" for operation in read_recorded(trace))
