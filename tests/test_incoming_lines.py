"""`charlm score` on standard input and pipes: each line is scored when it comes, and read as a file's lines are."""

import codecs
import gzip
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.incoming import batches_of_lines
from charlm.errors import TextError
from charlm.settings import CorpusSettings
from tests.test_asking import TEXTS, Asking, ask, type_in
from tests.test_cli import Outcome, charlm, process, records

__all__ = ["ask", "charlm", "type_in"]  # fixtures


@pytest.mark.parametrize("source", ["stdin", "fifo"])
def test_a_line_is_answered_before_the_next_comes(ask: Asking, source: str) -> None:
    os.mkfifo("fifo")
    from_where = ("-",) if source == "stdin" else ("--file", "fifo")
    reading, writing = os.pipe()
    scoring = process("score", *from_where, "--run", "char", "--json", stdin=reading)
    os.close(reading)
    into = writing if source == "stdin" else os.open("fifo", os.O_WRONLY)
    assert scoring.stdout is not None
    for text in TEXTS:
        os.write(into, text.encode() + b"\n")
        assert json.loads(scoring.stdout.readline())["text"] == text
    os.write(into, b"no line end")
    os.close(into)
    line, total = scoring.stdout.read().splitlines()
    assert (json.loads(line)["text"], json.loads(total)["total"]) == ("no line end", True)
    scoring.communicate(timeout=60)


def test_ctrl_c_while_waiting_for_a_line_ends_quietly(ask: Asking) -> None:
    reading, writing = os.pipe()
    scoring = process("score", "-", "--run", "char", "-q", stdin=reading)
    assert scoring.stdout is not None
    os.write(writing, b"The cat\n")
    assert scoring.stdout.readline()
    time.sleep(0.2)
    scoring.send_signal(signal.SIGINT)
    assert scoring.communicate(timeout=60) == (b"", b"")
    assert scoring.returncode == 130


def test_lines_before_one_that_does_not_decode_are_scored(type_in: Callable[..., Outcome]) -> None:
    outcome = type_in("The cat\nthe café\nth".encode() + b"\xff\nmore\n", "score", "-", "--run", "char", "--json")
    assert (outcome.code, "line 3, byte offset 20" in outcome.err) == (3, True)
    assert [record["text"] for record in records(outcome)] == ["The cat", "the café"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_read_as_a_file_is(type_in: Callable[..., Outcome], encoding: str, packed: bool) -> None:
    data = "The café\n\ntwo\tit\r\nend".encode(encoding)
    data = gzip.compress(data) if packed else data
    Path("text").write_bytes(data)
    arguments = ("--run", "char", "--json", "--encoding", encoding)
    typed, read = type_in(data, "score", "-", *arguments), type_in(b"", "score", "--file", "text", *arguments)
    assert (typed.code, typed.out) == (0, read.out)
    of_the_whole = "".join(line for line in read.err.splitlines(keepends=True) if "line ends" not in line)
    assert typed.err == of_the_whole.replace("text:", "standard input:")


@given(
    st.text("ab\né☃\U0001f600\r\ufeff\u2028", max_size=30),
    st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32", "shift_jis", "utf-7"]),
    st.data(),
)
def test_the_lines_are_the_text_s_however_it_comes(text: str, encoding: str, data: st.DataObject) -> None:
    text = "".join(c for c in text if encoding != "shift_jis" or c in "ab\n\r") + "x"
    whole = text.encode(encoding)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    blocks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    most = data.draw(st.integers(1, 5))
    batches = list(lines_of(blocks, encoding, most))
    dropped = whole.startswith(codecs.BOM_UTF8) and encoding == "utf-8"
    dropped |= text.startswith("\ufeff") and encoding == "utf-16-be"
    assert [line.decode() for batch in batches for line in batch] == (text[1:] if dropped else text).split("\n")
    assert all(0 < len(batch) <= most for batch in batches)


def lines_of(blocks: list[bytes], encoding: str, most: int) -> Iterator[list[bytes]]:
    """The lines of a pipe to which these blocks are written one after another."""
    reading, writing = os.pipe()
    stdin = sys.stdin
    with os.fdopen(reading) as sys.stdin:  # type: ignore[assignment]
        try:
            for block in blocks:
                os.write(writing, block)
            os.close(writing)
            yield from batches_of_lines("-", CorpusSettings(encoding=encoding), most, lambda note: None)
        finally:
            sys.stdin = stdin


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_nothing_to_score_is_no_text(type_in: Callable[..., Outcome], data: bytes) -> None:
    outcome = type_in(data, "score", "-", "--run", "char")
    assert (outcome.code, outcome.out, "empty" in outcome.err) == (3, "", True)


def test_lines_before_a_damaged_place_of_a_compressed_text_come_first() -> None:
    damaged = gzip.compress(b"one\ntwo\n")[:-4]
    lines = lines_of([damaged], "utf-8", 5)
    assert next(lines) == [b"one", b"two"]
    with pytest.raises(TextError, match="cut short"):
        next(lines)


def test_an_archive_on_standard_input_is_not_scored_as_text(type_in: Callable[..., Outcome]) -> None:
    Path("a.txt").write_text("The cat\n" * 40)
    with tarfile.open("a.tar", "w") as archive:
        archive.add("a.txt")
    whole = Path("a.tar").read_bytes()
    for data in (whole, gzip.compress(whole)):
        outcome = type_in(data, "score", "-", "--run", "char")
        assert (outcome.code, outcome.out, "archive" in outcome.err) == (3, "", True)


def test_a_carriage_return_of_a_windows_line_end_is_no_part_of_the_line(type_in: Callable[..., Outcome]) -> None:
    outcome = type_in(b"The cat\r\nthe dog\r\n", "score", "-", "--run", "char", "--json")
    assert [record["text"] for record in records(outcome) if "text" in record] == ["The cat", "the dog"]
