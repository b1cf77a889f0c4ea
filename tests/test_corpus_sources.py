"""What a person may give as a text: compressed files, folders, pipes; and files that change while they are read."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import compression, sources
from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import prepare
from charlm.corpus.reader import open_text
from charlm.corpus.store import HEADER_SIZE, IdsFile
from charlm.errors import CharlmError, TextError, UsageError
from charlm.lifecycle.request import TrainRequest
from charlm.settings import CorpusSettings, TextSettings, Unit
from tests.conftest import english

STRICT = CorpusSettings()
TEXT = "The pear, the “pair”.\n".encode() * 300 + b"No line end"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
}
KINDS = pytest.mark.parametrize("kind", list(COMPRESS))


def read(path: Path | str, settings: CorpusSettings = STRICT, raw: bool = False) -> bytes:
    with open_text(path, settings, raw) as text:
        return b"".join(text.blocks())


def refusal(path: Path | str, raw: bool = False) -> CharlmError:
    with pytest.raises(CharlmError) as caught:
        open_text(path, STRICT, raw)
    return caught.value


# Compressed files


@KINDS
@pytest.mark.parametrize("raw", [False, True])
def test_a_compressed_text_is_told_by_its_first_bytes(tmp_path: Path, kind: str, raw: bool) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(COMPRESS[kind](TEXT))
    with open_text(path, STRICT, raw) as text:
        assert b"".join(text.blocks()) == TEXT
        assert text.notes == [f"{path}: decompressed ({kind})"]
        assert text.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@KINDS
def test_from_pipes_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = COMPRESS[kind](TEXT)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read("-") == TEXT
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    with open_text(pipe, STRICT) as text:
        assert b"".join(text.blocks()) == TEXT
        assert text.sha256 == hashlib.sha256(data).hexdigest()
    writer.join()


@KINDS
@pytest.mark.parametrize("most", [7, 1 << 18])
def test_members_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, most: int) -> None:
    monkeypatch.setattr(compression, "MAX_OUTPUT_SIZE", most)
    monkeypatch.setattr(compression, "ZSTD_INPUT_SIZE", most)
    monkeypatch.setattr(sources, "COPY_SIZE", 11)
    path = tmp_path / "text"
    path.write_bytes(COMPRESS[kind](b"one\n" * 50) + COMPRESS[kind](b"") + COMPRESS[kind](b"two\n") + bytes(24))
    assert read(path) == b"one\n" * 50 + b"two\n"


@KINDS
def test_damage_is_never_silent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "text"
    good = COMPRESS[kind](TEXT)
    for size in range(compression.MAGIC_SIZE, len(good), 7):
        path.write_bytes(good[:size])
        error = refusal(path)
        assert isinstance(error, TextError)
        assert (error.where, "cut short" in error.what) == (str(path), True)
    for tail in (b"rubbish behind the end", good[:-3], b"\0\0rubbish"):
        path.write_bytes(good + tail)
        assert isinstance(refusal(path), TextError), tail
    for offset in range(compression.MAGIC_SIZE, len(good) - 12, 5):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0x55]) + good[offset + 1 :])
        with suppress(TextError):  # except for what is not checked, such as the time in a gzip header
            assert read(path) == TEXT


def test_what_begins_like_a_compressed_text_but_is_none(tmp_path: Path) -> None:
    for text in (b"BZh9 is how bzip2 begins", b"BZ", b"\x1f\x8b", b"(", b"7zXZ"):
        path = tmp_path / "text"
        path.write_bytes(text)
        assert read(path, raw=True) == text


def test_an_empty_compressed_text_is_empty(tmp_path: Path) -> None:
    for compress in COMPRESS.values():
        (tmp_path / "text").write_bytes(compress(b""))
        assert refusal(tmp_path / "text").what == "the text is empty"


def test_zstd_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_bytes(COMPRESS["zstd"](TEXT))
    for name in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    error = refusal(path)
    assert isinstance(error, UsageError)
    assert "charlm[zst]" in error.to_do


def test_other_encodings_within(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(gzip.compress("é\n".encode("utf-16")))
    with open_text(tmp_path / "text", CorpusSettings(encoding="utf-16")) as text:
        assert b"".join(text.blocks()) == "é\n".encode()
        assert len(text.notes) == 2


def test_a_few_bytes_that_stand_for_many_take_no_memory(tmp_path: Path) -> None:
    from tests.memory import peak_of_reading

    for kind, compress in COMPRESS.items():
        (tmp_path / kind).write_bytes(compress(b"a b c d\n" * (1 << 21)))
        assert (tmp_path / kind).stat().st_size < 1 << 17
        assert peak_of_reading(tmp_path / kind) < 12e6, kind


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("corpus.txt", "corpus"),
        ("a/corpus.txt.gz", "corpus"),
        ("corpus.xz", "corpus"),
        ("c.d.txt.zst", "c.d"),
        (".gz", "gz"),
        ("a\0b", "a\0b"),
    ],
)
def test_what_a_run_of_it_is_called(corpus: str, name: str) -> None:
    assert TrainRequest(texts=Texts((corpus,))).corpus_name == name


# Folders


def test_the_files_of_a_folder_are_one_text(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "b" / ".git").mkdir(parents=True)
    (folder / "b.txt").write_text("b.txt, without a line end")
    (folder / "b" / "c").write_bytes(gzip.compress("b/c é\n".encode()))
    (folder / "b" / ".git" / "x").write_text("hidden\n")
    (folder / ".x").write_text("hidden\n")
    (folder / "empty").touch()
    (folder / "a").write_bytes(b"\xef\xbb\xbfa\n")
    (tmp_path / "elsewhere").write_text("linked\n")
    os.mkfifo(folder / "pipe")
    (folder / "l1").symlink_to(tmp_path / "elsewhere")
    (folder / "l2").symlink_to(tmp_path / "elsewhere")
    (folder / "l0").symlink_to(folder / "a")
    (folder / "b" / "loop").symlink_to(folder)
    os.link(folder / "a", folder / "z")
    expected = "a\nb.txt, without a line end\nb/c é\nlinked\na\n".encode()
    with open_text(folder, STRICT) as text:
        assert b"".join(text.blocks()) == expected
        assert text.notes[0] == f"{folder}: 6 files"
        assert sum("byte order mark" in note for note in text.notes) == 2
        assert text.sha256 == hashlib.sha256(expected).hexdigest()
    assert read(folder, raw=True) == expected.replace(b"a\n", b"\xef\xbb\xbfa\n")


def test_many_notes_are_few(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(gzip.compress(b"text\n", mtime=0))
    with open_text(tmp_path, STRICT) as text:
        assert len(text.notes) == 7
        assert text.notes[-1].endswith("15 more such notes")


def test_an_error_names_the_file_within(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("ab\n")
    (tmp_path / "wrong").write_bytes(b"ab\n\xff")
    assert refusal(tmp_path).where == f"{tmp_path / 'wrong'}, line 2, byte offset 3"
    (tmp_path / "wrong").write_bytes(gzip.compress(TEXT)[:-9])
    assert refusal(tmp_path).where == f"{tmp_path / 'wrong'}"
    (tmp_path / "wrong").unlink()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert refusal(tmp_path).where == f"{tmp_path / 'dangling'}"


def test_folders_without_a_text(tmp_path: Path) -> None:
    assert refusal(tmp_path).what == "this folder has no files"
    (tmp_path / "empty").touch()
    assert refusal(tmp_path).what == "the text is empty"
    (tmp_path / "corpus").write_bytes(TEXT)
    prepare(tmp_path / "corpus", tmp_path / "ids", TextSettings(), STRICT)
    assert "charlm train" in refusal(tmp_path / "ids").to_do


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("b\n")

    def scandir(path: Path | str) -> object:
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(tmp_path).where == str(tmp_path / "a")


# Files that change


class Changing:
    """A text that somebody writes to at the nth read of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Path], None]) -> None:
        self.path, self.change, self.reads, self.at = path, change, 0, -1
        self.original = os.pread
        monkeypatch.setattr(os, "pread", self.pread)

    def pread(self, descriptor: int, size: int, start: int) -> bytes:
        if self.reads == self.at:
            self.change(self.path)
        self.reads += 1
        return self.original(descriptor, size, start)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def shorten(path: Path) -> None:
    os.truncate(path, 1000)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"XYZ")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [append, shorten, overwrite])
@pytest.mark.parametrize("unit", ["char", "byte", "word"])
def test_a_text_that_changes_is_refused_whenever_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Unit, change: Callable[[Path], None]
) -> None:
    path, folder = tmp_path / "text", tmp_path / "ids"
    changing = Changing(monkeypatch, path, change)

    def attempt() -> int:
        path.write_text(english(100))
        changing.reads = 0
        prepare(path, folder, TextSettings(unit=unit), STRICT)
        return changing.reads

    num_reads = attempt()
    for name in folder.iterdir():
        name.unlink()
    folder.rmdir()
    for number in range(num_reads):
        changing.at = number
        with pytest.raises(TextError, match="changed while it was read"):
            attempt()
        assert not folder.exists()


def test_a_compressed_text_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(os.urandom(3 << 18)))
    monkeypatch.setattr(sources, "decompress", lambda blocks, *_: [*blocks, *filter(None, [append(path)])])
    assert "changed" in refusal(path, raw=True).what


def test_a_prepared_folder_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tmp_path / "text", tmp_path / "ids"
    path.write_text(english(100))
    prepare(path, folder, TextSettings(unit="byte"), STRICT)
    changing = Changing(monkeypatch, path, append)
    prepare(path, folder, TextSettings(unit="byte"), STRICT)
    changing.at, changing.reads = changing.reads - 1, 0
    with pytest.raises(TextError):
        prepare(path, folder, TextSettings(unit="byte"), STRICT)
    assert not sources.is_prepared(folder)


# What the ids say of their source


def test_the_ids_know_what_they_were_made_from(tmp_path: Path) -> None:
    path, valid = tmp_path / "text", tmp_path / "valid"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT)
    valid.write_bytes("Größe\n".encode("latin-1") * 9)
    hashes = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("text", "valid")}
    for settings in (STRICT, CorpusSettings(encoding="latin-1")):
        own = None if settings is STRICT else valid
        corpus = prepare(path, tmp_path / "ids", TextSettings(), settings, own)
        assert corpus.valid is not None
        assert corpus.train.header.source_sha256 == hashes["text"]
        assert corpus.valid.header.source_sha256 == hashes["valid" if own else "text"]
        assert IdsFile.open(corpus.train.path).header == corpus.train.header


def test_ids_that_do_not_say_so_are_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    file = prepare(tmp_path / "text", tmp_path / "ids", TextSettings(), STRICT).train
    data = file.path.read_bytes()
    head = data[:HEADER_SIZE].replace(f', "source_sha256": "{file.header.source_sha256}"'.encode(), b"")
    file.path.write_bytes(head.ljust(HEADER_SIZE) + data[HEADER_SIZE:])
    again = IdsFile.open(file.path)
    assert (again.header.source_sha256, again.header.count) == ("", file.header.count)


@given(data=st.binary(min_size=1, max_size=200), kind=st.sampled_from(list(COMPRESS)))
def test_any_bytes_come_back_from_what_compressed_them(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "text"
    path.write_bytes(COMPRESS[kind](data))
    assert read(path, raw=True) == data
