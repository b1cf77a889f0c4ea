"""Files as text: what is read, what is refused, and where a text is divided."""

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.corpus import text_file
from charlm.corpus.reader import open_text
from charlm.corpus.text_file import Span
from charlm.errors import CharlmError, TextError, UsageError
from charlm.settings import CorpusSettings

STRICT = CorpusSettings()


def read(path: Path | str, settings: CorpusSettings = STRICT, raw: bool = False) -> str:
    with open_text(path, settings, raw) as text:
        return "".join(text.chunks())


def refusal(path: Path, settings: CorpusSettings = STRICT) -> CharlmError:
    with pytest.raises(CharlmError) as caught:
        open_text(path, settings)
    return caught.value


@settings(deadline=None)
@given(text=st.text(min_size=1), size=st.integers(1, 9))
def test_a_text_is_read_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    path = tmp_path_factory.mktemp("text") / "text"
    text = text.removeprefix("\ufeff") or "x"
    path.write_bytes(text.encode())
    with open_text(path, STRICT) as opened:
        assert "".join(opened.chunks(size=size)) == text
        assert b"".join(opened.blocks(size=size)) == text.encode()
        lines = list(opened.lines(size=size))
        assert "".join(lines) == text
        assert all(chunk.endswith("\n") for chunk in lines[:-1])
        assert "".join(opened.lines()) == text


@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab\né東😀"), min_size=1), fraction=st.sampled_from([0.1, 0.25, 0.5]))
def test_the_last_part_begins_at_a_character_or_at_the_next_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, fraction: float
) -> None:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_bytes(text.encode())
    start = int((1 - fraction) * len(text))
    next_line = text.find("\n", max(start - 1, 0)) + 1 or len(text)
    for raw in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_file, "BLOCK_SIZE", 7)
            with open_text(path, STRICT, raw) as opened:
                train, valid = opened.split(fraction, at_line=False)
                assert b"".join(opened.blocks(train)).decode() == text[:start]
                assert b"".join(opened.blocks(valid)).decode() == text[start:]
                train, valid = opened.split(fraction, at_line=True)
                assert b"".join(opened.blocks(train)).decode() == text[:next_line]
                assert train.stop == valid.start


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_other_encodings_and_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    text = "Größe\r\nél\0\n"
    path = tmp_path / "text"
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    path.write_bytes((mark + text).encode(encoding))
    with open_text(path, CorpusSettings(encoding=encoding)) as opened:
        assert "".join(opened.chunks()) == text
        assert len(opened.notes) == (0 if encoding in ("latin-1", "cp1252") else 1)


def test_a_byte_order_mark_is_kept_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffab".encode())
    assert read(path) == "ab"
    assert read(path, raw=True) == "\ufeffab"


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_what_does_not_decode_is_located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(text_file, "BLOCK_SIZE", chunk)
    path = tmp_path / "text"
    path.write_bytes(b"ab\n\xc3\xa9\nx\xe9y\n")
    error = refusal(path)
    assert isinstance(error, TextError)
    assert error.where == f"{path}, line 3, byte offset 7"
    assert "--encoding" in error.to_do
    assert read(path, CorpusSettings(encoding="latin-1")).endswith("xéy\n")
    assert read(path, CorpusSettings(encoding_errors="replace")) == "ab\né\nx\ufffdy\n"
    assert read(path, CorpusSettings(encoding_errors="ignore")) == "ab\né\nxy\n"
    path.write_bytes("a\nb\n".encode("utf-16-be") + b"\xd8\x00\x00\x00")
    assert refusal(path, CorpusSettings(encoding="utf-16-be")).where == f"{path}, line 3, byte offset 8"


def test_a_text_in_utf_16_is_told_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("ab".encode("utf-16"))
    assert "--encoding utf-16" in refusal(path).to_do
    path.write_bytes(b"ab\xc3")
    assert refusal(path).where == f"{path}, line 1, byte offset 2"


def test_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    only_mark = tmp_path / "mark"
    only_mark.write_bytes(b"\xef\xbb\xbf")
    for path in (empty, only_mark, tmp_path, tmp_path / "missing", Path("/dev/null")):
        assert isinstance(refusal(path), TextError), path
    for encoding in ("klingon", "hex", "rot13", ""):
        assert isinstance(refusal(empty, CorpusSettings(encoding=encoding)), UsageError), encoding


def test_standard_input_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("é\r\n".encode())))
    assert read("-") == "é\r\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"abc\n" * 9,))
    writer.start()
    assert read(pipe) == "abc\n" * 9
    writer.join()


def test_parts_can_be_read_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("abcdef")
    with open_text(path, STRICT) as text:
        first, second = text.chunks(Span(0, 3), size=1), text.chunks(Span(3, 6), size=1)
        assert ["".join(pair) for pair in zip(first, second, strict=True)] == ["ad", "be", "cf"]
