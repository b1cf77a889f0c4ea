"""Every write fails in every way that it can, in turn: what was there stays whole, and no stray file is left."""

import ctypes
import errno
import os
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import ResourceError
from charlm.system import files
from charlm.system.files import (
    append_line,
    open_file,
    put_link,
    read_file,
    replacing,
    sync_file,
    truncate,
    write_atomically,
)
from charlm.system.folders import check_space, copy_tree, exchange, move_into_place, sweep
from charlm.system.json_files import parse_json

CALLS = ("open", "write", "fchmod", "fsync", "replace", "link", "truncate")
Tree = dict[str, bytes]


def tree(folder: Path) -> Tree:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_files(folder: Path) -> Path:
    """A file, another, a finished folder and a draft."""
    for name in ("run", "draft"):
        (folder / name / "corpus").mkdir(parents=True)
        (folder / name / "config.json").write_text(name)
        (folder / name / "corpus" / "train.ids").write_text(name)
    (folder / "a.json").write_bytes(b"old")
    (folder / "log.jsonl").write_bytes(b"one\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_files(tmp_path / "folder")


@contextmanager
def failing(call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The `number`-th call of a function of `os` fails for want of space; how many there were."""
    calls, real = [0], getattr(os, call)

    def fail(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        yield calls


def write_in_pieces(folder: Path) -> None:
    with replacing(folder / "a.json") as file:
        for _ in range(3):
            file.write(b"n" * files.BUFFER_SIZE)


WRITES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "write": (
        lambda folder: write_atomically(folder / "a.json", b"new"),
        lambda folder: (folder / "a.json").read_bytes(),
    ),
    "pieces": (write_in_pieces, lambda folder: (folder / "a.json").read_bytes()),
    "append": (lambda folder: append_line(folder / "log.jsonl", b"two\n"), lambda p: (p / "log.jsonl").read_bytes()),
    "append to nothing": (
        lambda folder: append_line(folder / "new.jsonl", b"1\n"),
        lambda p: (p / "new.jsonl").exists(),
    ),
    "truncate": (lambda folder: truncate(folder / "log.jsonl", 1), lambda folder: (folder / "log.jsonl").read_bytes()),
    "sync": (lambda folder: sync_file(folder / "log.jsonl"), lambda folder: (folder / "log.jsonl").read_bytes()),
    "link": (
        lambda folder: put_link(folder / "a.json", folder / "b.json"),
        lambda folder: (folder / "b.json").exists(),
    ),
    "move": (
        lambda folder: move_into_place(folder / "draft", folder / "new"),
        lambda folder: (folder / "new").exists(),
    ),
    "exchange": (
        lambda folder: exchange(folder / "draft", folder / "run"),
        lambda p: (p / "run/config.json").read_text(),
    ),
    "copy": (lambda folder: copy_tree(folder / "run", folder / "copy"), lambda p: (p / "copy/config.json").exists()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", list(WRITES))
def test_a_write_that_fails_anywhere_leaves_the_old_or_the_new(
    what: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, result = WRITES[what]
    for number in range(1, 100):
        folder = make_files(tmp_path / str(number))
        before, names = result(folder), set(tree(folder))
        caught = None
        with failing(call, number, monkeypatch) as calls:
            try:
                write(folder)
            except ResourceError as error:
                caught = error
        assert not [name for name in set(tree(folder)) - names if Path(name).name.startswith(".")]
        if caught is None:
            break
        assert caught.exit_code == 6
        is_folder = what == "copy" and not Path(caught.where).suffix
        nothing_yet = is_folder or (what, call) == ("pieces", "open")
        assert re.search(rf"{folder}/.* \([\d,]+ bytes\)", caught.where) or nothing_yet
        assert result(folder) == before or call in ("fsync", "open") or what == "copy"  # which come after the rename
    assert calls[0] < number or what in ("link", "exchange")  # another way to link; the old folder that stays
    assert result(folder) != before or what == "sync"


def test_a_write_that_the_system_cuts_short_is_completed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:1]))
    append_line(folder / "log.jsonl", b"two\n")
    write_atomically(folder / "a.json", b"new")
    assert ((folder / "log.jsonl").read_bytes(), (folder / "a.json").read_bytes()) == (b"one\ntwo\n", b"new")


def test_a_line_of_which_only_a_part_fits_is_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.write, [0]

    def write(descriptor: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[:2])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ResourceError, match=r"log\.jsonl \(4 bytes\)"):
        append_line(folder / "log.jsonl", b"two\n")
    assert (folder / "log.jsonl").read_bytes() == b"one\n"


def test_a_disk_that_is_really_full_leaves_nothing(tmp_path: Path) -> None:
    """The system's own limit on a file's size, in a process of its own."""
    code = f"""
        import resource, signal
        from pathlib import Path
        from charlm.errors import ResourceError
        from charlm.system.files import append_line, write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        folder = Path({str(tmp_path)!r})
        append_line(folder / "log.jsonl", b"x" * 9_999 + b"\\n")
        for write in (append_line, write_atomically):
            try:
                write(folder / "log.jsonl", b"x" * 20_000)
            except ResourceError as error:
                assert "20,000 bytes" in error.where
            else:
                raise AssertionError
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert {name: len(data) for name, data in tree(tmp_path).items()} == {"log.jsonl": 10_000}


# Folders


def without_renameat2(name: None, use_errno: bool) -> object:
    """A C library that cannot exchange two names."""
    return object()


def test_a_folder_is_moved_only_where_nothing_is(folder: Path) -> None:
    (folder / "empty").mkdir()
    for taken in ("run", "a.json"):
        with pytest.raises(FileExistsError):
            move_into_place(folder / "draft", folder / taken)
    assert (folder / "draft/config.json").read_text() == "draft"
    move_into_place(folder / "draft", folder / "empty")
    assert tree(folder / "empty") == {"config.json": b"draft", "corpus/train.ids": b"draft"}
    assert not (folder / "draft").exists()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_replaces_another_in_one_step(
    folder: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(ctypes, "CDLL", without_renameat2)
    exchange(folder / "draft", folder / "run")
    assert tree(folder / "run") == {"config.json": b"draft", "corpus/train.ids": b"draft"}
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "log.jsonl", "run"]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "run")
    exchange(folder / "draft", folder / "link")
    assert (folder / "link").is_symlink()
    assert (folder / "run/config.json").read_text() == "draft"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "link", "log.jsonl", "run"]


def test_where_the_second_renaming_fails_the_first_is_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", without_renameat2)
    before = tree(folder)
    with failing("replace", 2, monkeypatch), pytest.raises(ResourceError):
        exchange(folder / "draft", folder / "run")
    assert tree(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "draft", "log.jsonl", "run"]


def test_only_regular_files_are_copied(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "run/link").symlink_to(tmp_path / "secret")
    (folder / "run/folder").symlink_to(tmp_path)
    os.mkfifo(folder / "run/pipe")
    copy_tree(folder / "run", folder / "copy")
    assert tree(folder / "copy") == {"config.json": b"run", "corpus/train.ids": b"run"}


def test_only_what_a_dead_writer_left_is_swept(tmp_path: Path) -> None:
    kept = {".lock", ".lock.holder", "best.safetensors", ".best.safetensors.UPPER123.charlm", "best.ab_9xyz0.charlm"}
    kept |= {".my.notes.markdown", ".notes.markdown", ".notes.charlm", ".best.safetensors.ab_9xyz0"}  # a person's
    for name in (*kept, ".best.safetensors.ab_9xyz0.charlm", ".train.ids.00000000.charlm"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.json.abcdefgh.charlm").mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, ".folder.json.abcdefgh.charlm"}
    sweep(tmp_path / "nowhere")


def test_what_replacing_leaves_when_killed_is_swept(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from charlm.system.files import replacing
        with replacing(Path({str(tmp_path)!r}) / "best.safetensors") as file:
            file.write(b"x" * 10**6)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_put_link_leaves_when_killed_is_swept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*names: object) -> None:
        raise KeyboardInterrupt

    before = tree(folder)
    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(os, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        put_link(folder / "a.json", folder / "b.json")
    monkeypatch.undo()
    assert tree(folder) != before
    sweep(folder)
    assert tree(folder) == before


def test_a_link_to_the_same_file_leaves_no_stray(folder: Path) -> None:
    for _ in range(3):
        put_link(folder / "a.json", folder / "b.json")
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["a.json", "b.json", "log.jsonl"]


def test_too_little_room_is_said_with_both_figures(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(ResourceError, match=r"not/yet/there: 1,000,000,000,000,000,000 bytes are needed, [\d,]+ are"):
        check_space(tmp_path / "not" / "yet" / "there", 10**18)


# Reading


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "a", 4) == b"1234"
    with pytest.raises(ValueError, match="has 4 bytes, more than 3"):
        read_file(tmp_path / "a", 3)
    with pytest.raises(OSError, match="link"):
        read_file(tmp_path / "link", 9)
    for odd in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            open_file(odd)
    with pytest.raises(OSError, match="directory"):
        open_file(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 10**5, '{"a": 1, "a": 2}', "1" * 5000, '{"a": [' * 5000, b"\xff", "\x00"],
    ids=lambda t: t[:9],
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        write_atomically(tmp_path / "a", b"")
        append_line(tmp_path / "b", b"")
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~mask}
