"""A run on disk: what is read back is what was written, damage is noticed, a failed write changes nothing."""

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.errors import ResourceError, RunError, UsageError
from charlm.runs.destination import new_run_path
from charlm.runs.directory import BEST, FORMAT, LAST, PREVIOUS, RunDirectory
from charlm.runs.finding import about_copies, find_run, list_runs
from charlm.runs.lock import writing
from charlm.runs.weights import Weights
from charlm.system.files import replacing, write_atomically
from charlm.system.folders import make_folder
from charlm.system.json_files import write_json
from tests.conftest import TINY

CONFIG = {"model": {"cell": "gru", "hidden_size": 7}, "corpus": {"name": "été.txt"}}


def weights(step: int = 3) -> Weights:
    rng = np.random.default_rng(step)
    tensors = {
        "layers.0.weight_hh": rng.normal(size=(7, 5)).astype(np.float32),
        "dropout_generator": rng.integers(0, 255, 16).astype(np.uint8),
        "position": np.array([step, 2**40], np.int64),
        "empty": np.empty((0, 4), np.float32),
    }
    return Weights(tensors, step, {"nats_per_token": 1.25, "progress": {"step": step, "best": None}})


def new_run(path: Path, files: Mapping[str, bytes] | None = None, **config: Any) -> RunDirectory:
    """A run that has saved nothing yet, with an id of its own."""
    return RunDirectory.create(path, {"run_id": uuid.uuid4().hex, **CONFIG, **config}, files or {})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return new_run(tmp_path / "runs" / "x", {"tokenizer.json": b'{"symbols": []}\n'})


def assert_same(one: Weights, other: Weights) -> None:
    assert (one.step, one.scalars, one.tensors.keys()) == (other.step, other.scalars, other.tensors.keys())
    for name, value in one.tensors.items():
        assert (value.dtype, value.shape) == (other.tensors[name].dtype, other.tensors[name].shape)
        assert value.tobytes() == other.tensors[name].tobytes()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Written and read back


def test_saving_and_loading_change_nothing(run: RunDirectory) -> None:
    run.save(BEST, weights())
    again = RunDirectory(run.path)
    assert_same(again.load(BEST), weights())
    assert again.config == run.config
    assert {name: again.config[name] for name in CONFIG} == CONFIG


def test_any_reader_of_safetensors_can_read_the_weights(run: RunDirectory) -> None:
    from safetensors.numpy import load_file

    run.save(BEST, weights())
    loaded = load_file(run.path / "best.safetensors")
    assert np.array_equal(loaded["layers.0.weight_hh"], weights().tensors["layers.0.weight_hh"])


def test_two_runs_of_the_same_settings_have_different_ids(corpus: Path, tmp_path: Path) -> None:
    first, second = (charlm.train(corpus, run=str(tmp_path / name), **TINY, steps=1).run for name in "ab")
    assert RunDirectory(Path(first)).config["run_id"] != RunDirectory(Path(second)).config["run_id"]


def test_the_state_before_the_last_is_kept(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        run.save(LAST, weights(step))
    assert_same(run.load(LAST), weights(3))
    assert_same(run.load(PREVIOUS), weights(2))


def test_where_there_are_no_links_the_state_before_the_last_is_kept_too(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        run.save(LAST, weights(step))
    assert_same(run.load(PREVIOUS), weights(1))
    assert not [name for name in files_in(run.path) if name.startswith(".")]


# Damage


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def assert_damaged(read: Callable[[], object], name: str) -> None:
    with pytest.raises(RunError, match=name.replace(".", r"\.")) as caught:
        read()
    assert caught.value.exit_code == 4
    assert name in caught.value.what


def test_a_flipped_bit_anywhere_in_a_weights_file_is_noticed(run: RunDirectory) -> None:
    run.save(BEST, weights())
    path, unnoticed = run.path / "best.safetensors", ""
    whole = path.read_bytes()
    for at, byte in enumerate(whole):
        path.write_bytes(whole[:at] + bytes([byte ^ 4]) + whole[at + 1 :])
        with suppress(RunError):
            run.load(BEST)
            unnoticed += chr(byte)
    assert unnoticed == ""


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "MANIFEST.json"])
def test_a_flipped_bit_anywhere_in_a_sealed_file_is_noticed(run: RunDirectory, name: str) -> None:
    whole = (run.path / name).read_bytes()
    for at in range(0, len(whole), 3):
        flip(run.path / name, at)
        with pytest.raises(RunError) as caught:
            _ = RunDirectory(run.path).config
        assert name in caught.value.what or name == "MANIFEST.json"
        (run.path / name).write_bytes(whole)


@pytest.mark.parametrize("length", [0, 1, 7, 12, -2])
def test_a_truncated_file_is_noticed(run: RunDirectory, length: int) -> None:
    run.save(BEST, weights())
    for name in ("best.safetensors", "config.json", "tokenizer.json", "MANIFEST.json"):
        whole = (run.path / name).read_bytes()
        (run.path / name).write_bytes(whole[:length])
        assert_damaged(lambda: RunDirectory(run.path).load(BEST), name)
        (run.path / name).write_bytes(whole)
    assert_same(RunDirectory(run.path).load(BEST), weights())


@pytest.mark.parametrize("name", ["best.safetensors", "config.json", "tokenizer.json", "MANIFEST.json"])
def test_a_missing_file_is_named(run: RunDirectory, name: str) -> None:
    run.save(BEST, weights())
    (run.path / name).unlink()
    assert_damaged(lambda: RunDirectory(run.path).load(BEST), name)


def test_a_file_of_another_run_is_named(run: RunDirectory, tmp_path: Path) -> None:
    other = new_run(tmp_path / "other")
    other.save(BEST, weights())
    shutil.copy(other.path / "best.safetensors", run.path)
    assert_damaged(lambda: run.load(BEST), "best.safetensors")


def test_a_weights_file_of_another_tool_is_named(run: RunDirectory) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, run.path / "best.safetensors")
    assert_damaged(lambda: run.load(BEST), "best.safetensors")


def test_a_manifest_that_lists_nothing_vouches_for_nothing(run: RunDirectory) -> None:
    (run.path / "MANIFEST.json").write_text("{}")
    with pytest.raises(RunError):
        _ = RunDirectory(run.path).config


@pytest.mark.parametrize("format", [0, FORMAT + 1, None, "1", True])
def test_another_format_is_refused(run: RunDirectory, format: Any) -> None:
    other = new_run(run.path.parent / "y", format=format)
    with pytest.raises(RunError, match="format"):
        _ = other.config


def test_the_newest_whole_state_is_loaded(run: RunDirectory) -> None:
    for step in (1, 2):
        run.save(LAST, weights(step))
    assert run.load_newest()[0].step == 2
    flip(run.path / "last.safetensors", -5)
    assert run.load_newest()[0].step == 1
    (run.path / "last.safetensors").unlink()
    assert run.load_newest()[0].step == 1
    (run.path / "previous.safetensors").unlink()
    assert_damaged(run.load_newest, "last.safetensors")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "best.safetensors"])
def test_a_damaged_model_is_not_loaded(trained: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(trained("char"), tmp_path / "copy")
    flip(copy / name, (copy / name).stat().st_size // 2)
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        charlm.load(copy).score("the sea")


def test_a_newer_format_names_the_charlm_that_wrote_it(run: RunDirectory) -> None:
    other = new_run(run.path.parent / "y", format=7, charlm="9.1")
    with pytest.raises(RunError, match=rf"by charlm 9\.1 in format 7; this charlm reads up to {FORMAT}"):
        _ = other.config


@pytest.mark.parametrize("damage", ["flip", "remove", "empty", "link"])
def test_after_falling_back_the_good_state_is_never_replaced_by_the_damaged_one(
    run: RunDirectory, damage: str, tmp_path: Path
) -> None:
    for step in (1, 2):
        run.save(LAST, weights(step))
    path = run.path / "last.safetensors"
    if damage == "flip":
        flip(path, -5)
    else:
        path.unlink()
    if damage == "empty":
        path.touch()
    elif damage == "link":
        path.symlink_to(tmp_path)
    saved, note = run.load_newest()
    assert saved.step == 1
    assert "last.safetensors" in note
    assert "step 1" in note
    run.save(LAST, weights(3))
    assert (run.load(LAST).step, run.load(PREVIOUS).step) == (3, 1)
    assert run.load_newest()[1] == ""


def test_recovering_makes_the_good_state_the_last_again(run: RunDirectory) -> None:
    for step in (1, 2):
        run.save(LAST, weights(step))
    flip(run.path / "last.safetensors", -5)
    for _ in range(2):
        run.recover()
        assert_same(RunDirectory(run.path).load(LAST), weights(1))
    assert not [name for name in files_in(run.path) if name.startswith(".")]
    run.save(LAST, weights(4))
    assert (run.load(LAST).step, run.load(PREVIOUS).step) == (4, 1)


def test_weights_that_are_larger_than_they_may_be_are_not_read(run: RunDirectory) -> None:
    run.save(BEST, weights())
    size = (run.path / "best.safetensors").stat().st_size
    assert run.load(BEST, size).step == 3
    with pytest.raises(RunError, match="more than"):
        run.load(BEST, size - 1)


def test_of_states_that_are_larger_than_they_may_be_the_one_before_is_taken(run: RunDirectory) -> None:
    for step in (1, 2):
        run.save(LAST, weights(step))
    size = (run.path / "previous.safetensors").stat().st_size
    os.truncate(run.path / "last.safetensors", 40 * 10**9)
    saved, note = run.load_newest(size)
    assert (saved.step, "more than" in note) == (1, True)
    with pytest.raises(RunError, match="more than"):
        run.load_newest(size - 1)


# The log


def test_a_line_of_the_log_that_is_no_object_is_named(run: RunDirectory) -> None:
    for line, number in ((b"[1]\n", 2), (b"{\n", 2), (b"\n", 2), (b"\xff\n", 2), (b"[" * 10**5 + b"\n", 2)):
        (run.path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'{"step": 2}\n')
        with pytest.raises(RunError, match=rf"metrics\.jsonl has no JSON object in line {number}"):
            list(run.log.records())


def test_what_a_saved_state_says_of_the_log_is_durable_before_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    run.log.append({"step": 1})
    monkeypatch.setattr("charlm.runs.log.sync_file", lambda path: order.append(path.name))
    monkeypatch.setattr("charlm.runs.directory.write_atomically", lambda path, data: order.append(path.name))
    run.save(LAST, weights())
    assert order == ["metrics.jsonl", "last.safetensors"]


def test_an_incomplete_last_line_of_the_log_is_ignored(run: RunDirectory) -> None:
    for step in (1, 2):
        run.log.append({"step": step, "text": "é\n\u2028"})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "te')
    assert [record["step"] for record in run.log.records()] == [1, 2]
    assert next(iter(run.log.records()))["text"] == "é\n\u2028"


def test_the_log_is_cut_to_a_length_and_goes_on_there(run: RunDirectory) -> None:
    run.log.append({"step": 1})
    length = run.log.num_bytes
    run.log.append({"step": 2})
    run.log.cut(length)
    run.log.cut(10**6)
    run.log.append({"step": 3})
    assert [record["step"] for record in run.log.records()] == [1, 3]


def test_a_line_that_was_cut_short_is_not_gone_on_with(run: RunDirectory) -> None:
    run.log.append({"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 2, "te')
    run.log.cut(10**6)
    run.log.append({"step": 3})
    assert [record["step"] for record in run.log.records()] == [1, 3]


def test_a_changed_log_is_noticed(run: RunDirectory) -> None:
    for step in (1, 2):
        run.log.append({"step": step})
    length = run.log.num_bytes
    scalars = {"metrics_length": length, "metrics_sha256": run.log.sha256(length)}
    run.log.append({"step": 3})
    assert run.log.begins_as_saved(scalars)
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    for at in range(length):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert not run.log.begins_as_saved(scalars)
    path.write_bytes(whole[: length - 1])
    assert not run.log.begins_as_saved(scalars)
    path.unlink()
    assert not run.log.begins_as_saved(scalars)


def test_without_a_log_there_is_nothing_to_read_or_cut(run: RunDirectory) -> None:
    run.log.cut(0)
    assert (list(run.log.records()), run.log.num_bytes) == ([], 0)


# Writing


def fail_with(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, fail)


@pytest.mark.parametrize("function", ["replace", "fsync", "fchmod"])
def test_a_failed_write_leaves_the_old_file_and_no_stray(
    run: RunDirectory, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(BEST, weights(1))
    before = files_in(run.path)
    with monkeypatch.context() as patch:
        fail_with(patch, function)
        with pytest.raises(ResourceError, match="No space left") as caught:
            run.save(BEST, weights(2))
        assert caught.value.exit_code == 6
    assert files_in(run.path) == before


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failed_save_of_the_last_state_leaves_a_whole_one(
    run: RunDirectory, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        run.save(LAST, weights(step))
    with monkeypatch.context() as patch:
        fail_with(patch, function)
        with pytest.raises(ResourceError):
            run.save(LAST, weights(3))
    assert run.load_newest()[0].step == 2
    assert not [name for name in files_in(run.path) if name.startswith(".")]


@pytest.mark.parametrize("fallen_back", [False, True])
@pytest.mark.parametrize("function", ["open", "write", "fchmod", "fsync", "replace", "link"])
def test_wherever_saving_fails_the_newest_whole_state_is_still_there(
    run: RunDirectory, function: str, fallen_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.log.append({"step": 1})
    for step in (1, 2):
        run.save(LAST, weights(step))
    if fallen_back:
        flip(run.path / "last.safetensors", -5)
    newest = run.load_newest()[0].step
    real, failures = getattr(os, function), list[str]()
    for number in range(1, 50):
        calls = 0

        def fail(*arguments: Any, number: int = number, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            try:
                run.save(LAST, weights(newest + 1))
            except ResourceError as error:
                failures.append(error.where)
        found = RunDirectory(run.path).load_newest()[0].step
        assert found in (newest, newest + 1)
        assert not [name for name in files_in(run.path) if name.startswith(".")]
        newest = found
        if calls < number:
            break
    assert found > 2 - fallen_back
    assert failures or function == "link"
    assert all("bytes" in where for where in failures)


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    with suppress(ZeroDivisionError), replacing(tmp_path / "a") as file:
        file.write(b"new" * 10**5)
        _ = 1 / 0
    assert files_in(tmp_path) == {"a": b"old"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (
        lambda: write_atomically(tmp_path / "nowhere" / "a", b""),
        lambda: make_folder(tmp_path / "file" / "folder"),
    ):
        with pytest.raises(ResourceError, match=str(tmp_path)):
            write()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    old = os.umask(mask)
    try:
        run = new_run(tmp_path / "x", {"tokenizer.json": b"{}"})
        run.save(BEST, weights())
        run.log.append({})
        assert os.umask(mask) == mask
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.path.iterdir()} == {mode}


def test_json_is_written_as_people_read_it(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", CONFIG)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == CONFIG
    assert "été" in text
    assert text.endswith("}\n")


# Names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def usable(path: str, age: int = 0) -> Path:
    """A run that was begun and saved so many seconds before another one."""
    moment = datetime(2026, 11, 26, 12, 0, 0, 999_999, UTC) - timedelta(seconds=age)
    run = new_run(Path(path), created=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    run.save(BEST, weights(), moment)
    return run.path


def test_a_run_is_found_by_its_path_or_its_name_and_by_default_the_one_saved_last(here: Path) -> None:
    for path, age in (("runs/old", 9), ("runs/new", 0), ("elsewhere/x", -9)):
        usable(path, age)
    new_run(Path("runs/unfinished"))
    assert find_run(None) == Path("runs/new")
    assert find_run("old") == find_run("runs/old") == Path("runs/old")
    assert find_run("elsewhere/x") == Path("elsewhere/x")
    assert find_run(str(here / "runs/new")) == here / "runs/new"
    assert list_runs() == [Path("runs/new"), Path("runs/old")]


def begun(path: str, age: int) -> RunDirectory:
    """A run that has saved nothing yet."""
    run = RunDirectory(usable(path, age))
    (run.path / "best.safetensors").unlink()
    return run


def test_runs_that_have_saved_nothing_are_found_when_asked_for(here: Path) -> None:
    usable("runs/old", age=9)
    usable("runs/new")
    begun("runs/begun", age=5)
    make_folder(Path("runs/no-run"))
    assert list_runs(saved=False) == [Path("runs/new"), Path("runs/begun"), Path("runs/old")]
    RunDirectory(Path("runs/old")).save(LAST, weights())
    assert find_run(None, saved=False) == Path("runs/old")


def test_neither_touching_nor_copying_nor_moving_changes_which_run_is_the_newest(here: Path) -> None:
    for name, age in (("a", 9), ("b", 0), ("c", 5)):
        usable(f"runs/{name}", age)
    shutil.copytree("runs/a", "runs/copy")
    Path("runs/c").rename("runs/moved")
    for path in (*Path("runs/a").iterdir(), Path("runs/a"), *Path("runs/moved").iterdir()):
        path.touch()
    assert list_runs() == [Path(f"runs/{name}") for name in ("b", "moved", "a", "copy")]


def test_of_a_run_and_its_copy_the_first_by_name_answers_and_the_other_is_named(here: Path) -> None:
    usable("runs/other", age=9)
    usable("runs/m")
    for name in ("z", "b"):
        shutil.copytree("runs/m", f"runs/{name}")
    assert find_run(None) == Path("runs/b")
    assert [note.split()[0] for note in about_copies(Path("runs/b"))] == ["runs/m", "runs/z"]
    assert list(about_copies(Path("runs/other"))) == []
    RunDirectory(Path("runs/z")).save(BEST, weights(4))  # it went on: no longer the same model
    assert find_run(None) == Path("runs/z")


def without_saved_at(path: Path) -> None:
    """The file as an older charlm wrote it."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {name: value for name, value in metadata.items() if name != "saved_at"})


def test_of_runs_that_do_not_say_when_they_were_saved_it_counts_when_they_were_begun(here: Path) -> None:
    for name, age in (("a", 5), ("b", 0), ("c", 9)):
        without_saved_at(usable(f"runs/{name}", age) / "best.safetensors")
    assert list_runs() == [Path(f"runs/{name}") for name in "bac"]
    Path("runs/b/config.json").write_text("{")
    Path("runs/a/config.json").write_text('{"created": 5}')
    assert list_runs() == [Path(f"runs/{name}") for name in "cab"]
    (Path("runs/c") / "best.safetensors").write_bytes(b"half")
    assert find_run(None) == Path("runs/c")


@pytest.mark.parametrize("wrong", ["", "soon", "2026-11-26T12:00:00", "0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"])
def test_a_moment_that_is_none_is_damage(run: RunDirectory, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.runs.weights.written", lambda moment: wrong)
    run.save(BEST, weights())
    assert run.saved_at is None
    assert_damaged(lambda: run.load(BEST), "best.safetensors")


def test_the_moment_of_saving_is_read_without_the_arrays(run: RunDirectory) -> None:
    moment = datetime(2026, 11, 26, 12, 0, 0, 5, UTC)
    run.save(BEST, weights(), moment)
    path = run.path / "best.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: 8 + int.from_bytes(whole[:8], "little")])
    assert run.saved_at == moment


def test_drafts_are_no_runs(here: Path) -> None:
    usable("runs/.pears.17.draft")
    assert list_runs() == list_runs(saved=False) == []
    with pytest.raises(RunError, match="charlm train"):
        find_run(None)


def test_a_run_that_is_not_there_is_an_error_that_names_those_that_are(here: Path) -> None:
    with pytest.raises(RunError, match="charlm train"):
        find_run(None)
    usable("runs/pears")
    with pytest.raises(RunError, match="pears") as caught:
        find_run("pairs")
    assert caught.value.exit_code == 4


def test_new_runs_of_one_corpus_are_numbered(here: Path) -> None:
    names = []
    for _ in range(3):
        names.append(new_run_path(None, "pears", force=False).name)
        make_folder(Path("runs") / names[-1])
    assert names == ["pears", "pears-2", "pears-3"]


def test_an_explicit_run_that_exists_needs_force_and_what_is_no_run_is_never_replaced(here: Path) -> None:
    usable("runs/pears")
    make_folder(Path("photos"))
    Path("photos/sea.jpg").touch()
    assert new_run_path("pears", "x", force=True) == new_run_path("runs/pears", "x", force=True) == Path("runs/pears")
    assert new_run_path("plums", "x", force=False) == Path("runs/plums")
    for name, force in (("pears", False), ("./photos", False), ("./photos", True), ("photos/sea.jpg", True)):
        with pytest.raises(UsageError):
            new_run_path(name, "x", force=force)


@pytest.mark.parametrize(
    "foreign", ["letters/mother.txt", ".git/HEAD", "notes.txt", "corpus/mine.txt", "best.safetensors/x", ".my.notes.md"]
)
def test_what_is_more_than_a_run_is_not_replaced(here: Path, foreign: str) -> None:
    run = usable("runs/pears")
    (run / "corpus").mkdir()
    for name in (".lock", ".best.safetensors.ab_9xyz0.charlm", "metrics.jsonl", "corpus/train.ids", "tokenizer.model"):
        (run / name).touch()
    assert new_run_path("pears", "x", force=True) == run
    if foreign.startswith("best"):
        (run / "best.safetensors").unlink()
    (run / foreign).parent.mkdir(exist_ok=True)
    (run / foreign).touch()
    named = foreign if foreign.startswith("corpus/") else foreign.split("/")[0]
    with pytest.raises(UsageError, match=re.escape(str(run / named))) as caught:
        new_run_path("pears", "x", force=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("lost", ["config.json", "MANIFEST.json", "best.safetensors"])
def test_a_damaged_run_may_be_replaced(here: Path, lost: str) -> None:
    (usable("runs/pears") / lost).unlink()
    assert new_run_path("pears", "x", force=True) == Path("runs/pears")


def test_a_folder_with_a_configuration_of_something_else_is_not_replaced(here: Path) -> None:
    make_folder(Path("project/src"))
    Path("project/config.json").write_text("{}")
    with pytest.raises(UsageError, match="project/src"):
        new_run_path("./project", "x", force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "./", "../", "./runs", "./runs/", "runs/x/..", "../..", "/.", "link"]
)
def test_folders_that_contain_others_are_no_place_for_a_run(here: Path, name: str, force: bool) -> None:
    make_folder(Path("runs/x"))
    Path("runs/link").symlink_to(here)
    Path("config.json").write_text("{}")
    Path("runs/config.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be the folder of a run"):
        new_run_path(name, "x", force=force)


# One writer


def test_a_second_writer_is_refused_naming_the_first(tmp_path: Path) -> None:
    with writing(tmp_path), pytest.raises(UsageError, match=str(os.getpid())) as caught, writing(tmp_path):
        pass
    assert caught.value.exit_code == 2
    with writing(tmp_path):
        pass


def test_the_lock_holds_between_processes_and_goes_with_its_process(tmp_path: Path) -> None:
    holder = f"""
        import sys, os
        from pathlib import Path
        from charlm.runs.lock import writing
        with writing(Path({str(tmp_path)!r})):
            print("held", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(holder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=str(process.pid)), writing(tmp_path):
            pass
        process.kill()
    with writing(tmp_path):
        pass


def test_what_a_dead_process_left_is_overwritten_and_then_removed(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock.holder").write_text("process 1 on another machine")
    (tmp_path / ".last.safetensors.ab_9xyz0.charlm").touch()
    with writing(tmp_path):
        with pytest.raises(UsageError, match=f"process {os.getpid()} on "), writing(tmp_path):
            pass
        assert str(os.getpid()) in (tmp_path / ".lock.holder").read_text()
        assert not (tmp_path / ".last.safetensors.ab_9xyz0.charlm").exists()
    assert not (tmp_path / ".lock.holder").exists()


def test_a_lock_that_is_a_link_changes_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run/.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ResourceError, match=r"\.lock"), writing(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_place_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="file"), writing(tmp_path / "file"):
        pass


def test_a_lock_is_let_go_when_training_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        _ = 1 / 0
    with writing(tmp_path):
        pass
