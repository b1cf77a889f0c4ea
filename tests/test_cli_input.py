"""Texts as people give them to the commands: odd names, odd files, empty parts, folders, compressed files."""

import gzip
import json
import os
import socket
import sys
from pathlib import Path

import pytest

import charlm as package
from charlm.corpus.prepare import prepare
from charlm.errors import TextError
from charlm.settings import CorpusSettings, TextSettings
from tests.test_cli import QUICK, Charlm, charlm, process, records, trained

__all__ = ["charlm", "trained"]  # fixtures

NO_TEXT = os.fsdecode(b"\xff\xfe.txt")
NAMES = ["a b.txt", "a\nb.txt", "100%s%d.txt", "größe 東.txt", "--help.txt", "[bold]x.txt", NO_TEXT, "é" * 125, "~"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_all_kinds(charlm: Charlm, name: str) -> None:
    Path("corpus.txt").rename(name)
    assert charlm("tokenize", "--json", "--", name).code == 0
    outcome = charlm("train", *QUICK, "--json", "--valid", f"./{name}", "--test", f"./{name}", "--", name)
    assert (outcome.code, outcome.err) == (0, "")
    run = records(outcome)[-1]["run"]
    scored = charlm("score", "--stream", f"./{name}", "--json", "--run", os.listdir("runs")[0])
    assert (scored.code, run is not None) == (0, True)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_what_is_not_there_is_named_on_one_line(charlm: Charlm, name: str) -> None:
    for arguments in (("train", *QUICK, "--", name), ("train", *QUICK, "--valid", f"./{name}", "--", "corpus.txt")):
        outcome = charlm(*arguments)
        assert outcome.code == 3
        assert len(outcome.err.splitlines()) == 3, outcome.err
        assert not Path("runs").exists()


def place(kind: str) -> str:
    """Something odd where a text is meant."""
    path = Path(kind)
    if kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(kind)
    elif kind == "loop":
        path.symlink_to(kind)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "empty":
        path.touch()
    elif kind == "short.gz":
        path.write_bytes(gzip.compress(b"a b c\n" * 99)[:-5])
    elif kind == "under/a/file":
        return "corpus.txt/text"
    elif kind == "long":
        return "x" * 300
    return kind


ODD = ["folder", "socket", "loop", "dangling", "empty", "short.gz", "under/a/file", "long"]


@pytest.mark.parametrize("kind", [*ODD, "/dev/null", "/proc/self/mem"])
def test_odd_things_are_refused_as_texts(trained: Charlm, kind: str) -> None:
    path = place(kind)
    before = sorted(os.listdir()), sorted(os.listdir("runs"))
    for arguments in (
        ("train", path, *QUICK),
        ("train", "corpus.txt", "--valid", path, *QUICK),
        ("train", "corpus.txt", "--test", path, *QUICK),
        ("tokenize", path, "-o", "ids"),
        ("score", "--stream", path),
        ("score", "--file", path),
    ):
        outcome = trained(*arguments)
        assert outcome.code == 3, (arguments, outcome.err)
        assert outcome.err.count("error:") == 1
        assert "Traceback" not in outcome.err
    assert before == (sorted(os.listdir()), sorted(os.listdir("runs")))


def test_odd_things_where_something_else_is_meant(trained: Charlm) -> None:
    for arguments, code in (
        (("train", "corpus.txt", "--config", "/"), 2),
        (("train", "corpus.txt", "--config", "corpus.txt"), 2),
        (("train", "corpus.txt", "--tokenizer", "/dev/null"), 4),
        (("train", "corpus.txt", "--tokenizer", "corpus.txt"), 4),
        (("train", "corpus.txt", "--run", "corpus.txt/run", *QUICK), 6),
        (("train", "corpus.txt", "--run", "/proc/run", *QUICK), 6),
        (("tokenize", "corpus.txt", "-o", "corpus.txt"), 6),
        (("tokenize", "corpus.txt", "-o", "/proc/ids"), 6),
        (("score", "x", "--run", "corpus.txt"), 4),
        (("sample", "--run", "/dev/null"), 4),
        (("info", "corpus.txt"), 4),
    ):
        outcome = trained(*arguments)
        assert outcome.code == code, (arguments, outcome.err)
        assert "Traceback" not in outcome.err


def test_a_nul_in_a_path(tmp_path: Path) -> None:
    with pytest.raises(TextError):
        prepare("a\0b", tmp_path / "ids", TextSettings(), CorpusSettings())
    with pytest.raises(TextError):
        package.train("a\0b", run=str(tmp_path / "run"), steps=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it(charlm: Charlm) -> None:
    os.chmod("corpus.txt", 0)
    assert charlm("train", "corpus.txt").code == 3


def test_arguments_that_are_no_text(trained: Charlm) -> None:
    odd = os.fsdecode(b"caf\xe9 \xff")
    assert trained("score", odd, "the cat", "--json").code == 0
    assert trained("score", "--context", odd, "--next", "3").code == 0
    assert trained("sample", "--prompt", odd, "--length", "3", "--stop", odd).code == 0
    assert trained("tokenize", "corpus.txt", "--text", odd).code == 0
    assert trained("train", "corpus.txt", *QUICK, "--run", os.fsdecode(b"r\xff")).code == 0
    assert trained("info", os.fsdecode(b"r\xff")).code == 0
    assert trained("train", "corpus.txt", "--unit", odd).code == 2
    assert trained("score", "x", "--run", odd).code == 4
    assert trained("score", "--stream", "corpus.txt", "--encoding", odd).code == 2


@pytest.mark.parametrize("option", ["--valid", "--test"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_part_is_refused(charlm: Charlm, option: str, content: bytes) -> None:
    Path("part.txt").write_bytes(content)
    outcome = charlm("train", "corpus.txt", option, "part.txt", *QUICK)
    assert (outcome.code, "part.txt" in outcome.err) == (3, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--valid-fraction", "0"),
        ("--valid-fraction", "1e-300"),
        ("--unit", "word", "--valid-fraction", "0.001"),
        ("--unit", "word", "--punctuation", "drop", "--valid", "dots.txt", "--test", "dots.txt"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_without_a_token_to_validate_on(charlm: Charlm, options: tuple[str, ...], mode: str) -> None:
    Path("dots.txt").write_text("... ?! ...")
    arguments = [option for option in QUICK if option != "-q"]
    outcome = charlm("train", "corpus.txt", *arguments, *options, "--mode", mode, "--json")
    assert outcome.code == 0, outcome.err
    last = records(outcome)[-1]
    assert last["valid_nats_per_token"] is None
    assert last["test_nats_per_token"] is None
    assert options[-1] == "0" or "no validation part" in outcome.err or "no such part" in outcome.err
    assert charlm("score", "the cat").code == 0
    if "--punctuation" in options:
        assert charlm("score", "--stream", "dots.txt", "--json").code in (0, 3)


def test_a_part_of_empty_lines(charlm: Charlm) -> None:
    Path("lines.txt").write_text("\n\n\n")
    for unit in ("char", "byte", "word", "subword"):
        size = ("--vocab-size", "300") if unit == "subword" else ()
        outcome = charlm("train", "corpus.txt", "--valid", "lines.txt", "--unit", unit, *size, *QUICK, "--json")
        assert isinstance(records(outcome)[-1]["valid_nats_per_token"], float)


def test_a_folder_and_a_compressed_text_go_through_every_command(charlm: Charlm) -> None:
    text = Path("corpus.txt").read_bytes()
    Path("texts/more").mkdir(parents=True)
    Path("texts/a.txt").write_bytes(text)
    Path("texts/more/b.gz").write_bytes(gzip.compress(text[:-1]))
    Path("both.txt").write_bytes(text * 2)
    Path("both.txt.gz").write_bytes(gzip.compress(text * 2))
    settings = [option for option in QUICK if option != "-q"]
    outcome = charlm("train", "texts", "--valid", "both.txt.gz", "--test", "texts", *settings)
    assert outcome.code == 0
    assert "texts: 2 files" in outcome.err
    assert charlm("train", "both.txt.gz", *QUICK).code == 0
    assert sorted(os.listdir("runs")) == ["both", "texts"]
    totals = [charlm("score", "--stream", path, "--json") for path in ("both.txt", "both.txt.gz", "texts")]
    assert [total.code for total in totals] == [0, 0, 0]
    assert len({total.out for total in totals}) == 1
    lines = [charlm("score", "--file", path, "--json").out for path in ("both.txt", "texts")]
    assert lines[0] == lines[1]
    summaries = [json.loads(charlm("tokenize", path, "--json").out) for path in ("both.txt", "both.txt.gz", "texts")]
    assert summaries[0] == summaries[1] == summaries[2]
    assert charlm("tokenize", "texts", "-o", "ids").code == 0
    assert charlm("train", "ids", *QUICK).code == 0
    assert charlm("score", "--stream", "ids").code == 3


def test_a_compressed_text_on_standard_input(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("text.gz").write_bytes(gzip.compress(Path("corpus.txt").read_bytes()))
    with Path("text.gz").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        outcome = charlm("train", "-", *QUICK, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert str(records(outcome)[-1]["run"]).endswith("stdin")


def test_a_closed_standard_input(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    outcome = charlm("tokenize", "-")
    assert (outcome.code, "no standard input" in outcome.err) == (3, True)


def test_a_text_that_grows_while_it_is_read(charlm: Charlm) -> None:
    """A real one, and a real writer."""
    with open("log.txt", "w") as file:
        file.writelines(f"line {number} of a log\n" for number in range(100_000))
    training = process("tokenize", "log.txt", "--unit", "word", "-o", "ids")
    with open("log.txt", "a", buffering=1) as file:
        while training.poll() is None:
            file.write("one more line\n")
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 3
    assert b"the text changed while it was read" in errors
    assert not Path("ids").exists()
