"""Archives and several files as one text, which of their files are read, and which are not text."""

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.gathering import Texts
from charlm.corpus.guessing import fitting_encodings
from charlm.corpus.reader import open_text
from charlm.errors import CharlmError, TextError, UsageError
from charlm.lifecycle.request import TrainRequest
from charlm.settings import CorpusSettings, EncodingErrors
from tests.test_cli import QUICK, Charlm, charlm

__all__ = ["charlm"]  # a fixture

STRICT = CorpusSettings()
FILES = {
    "b.txt": b"b, without a line end",
    "b/c.txt": "b/c é\n".encode(),
    "a/x.md": b"a/x\n",
    "a/x.gz": gzip.compress(b"compressed\n", mtime=0),
    "a/.hidden": b"hidden\n",
    ".git/config": b"hidden\n",
    "z.txt": b"\xef\xbb\xbfz\n",
}
EXPECTED = "compressed\na/x\nb, without a line end\nb/c é\nz\n".encode()
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3


def read(given: Path | str | Texts, settings: CorpusSettings = STRICT, raw: bool = False) -> bytes:
    with open_text(given, settings, raw) as text:
        return b"".join(text.blocks())


def refusal(given: Path | str | Texts, settings: CorpusSettings = STRICT, raw: bool = False) -> CharlmError:
    with pytest.raises(CharlmError) as caught:
        open_text(given, settings, raw)
    return caught.value


def tar_of(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


TARS = {
    f"tar {name}{ending}": compress(tar_of(FILES, format))
    for name, format in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT))
    for ending, compress in COMPRESS.items()
}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ZIPS = {f"zip {method}": zip_of(FILES, method) for method in METHODS}


@pytest.mark.parametrize("kind", [*TARS, *ZIPS])
def test_an_archive_is_read_as_the_folder_that_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = {**TARS, **ZIPS}[kind]
    (tmp_path / "archive").write_bytes(data)
    folder = folder_of(FILES, tmp_path / "folder")
    with open_text(tmp_path / "archive", STRICT) as text, open_text(folder, STRICT) as same:
        assert b"".join(text.blocks()) == b"".join(same.blocks()) == EXPECTED
        assert text.sha256 == same.sha256
        assert text.notes[0] == f"{tmp_path / 'archive'}: 5 files"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read("-") == EXPECTED
    (folder / "c.archive").write_bytes(data)
    assert read(folder) == EXPECTED[:-2] + EXPECTED + b"z\n"
    assert sorted(os.listdir(tmp_path)) == ["archive", "folder"]
    assert read(tmp_path / "archive", raw=True) == EXPECTED.replace(b"z\n", b"\xef\xbb\xbfz\n")


@given(
    names=st.lists(st.text("ab./é\\", min_size=1, max_size=9).filter(lambda name: name[-1] != "/"), unique=True),
    kind=st.sampled_from(["tar", "zip"]),
)
def test_any_names_are_only_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: Literal["tar", "zip"]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    files = {name: f"{number}\n".encode() for number, name in enumerate(names)}
    (folder / "a").write_bytes({"tar": tar_of, "zip": zip_of}[kind](files) if files else b"plain\n")
    try:
        read(folder / "a")
    except TextError as error:
        assert "has no files" in error.what  # noqa: PT017 (all of them are hidden)
    assert os.listdir(folder) == ["a"]


def test_of_two_members_with_one_path_the_last_is_meant(tmp_path: Path) -> None:
    made = io.BytesIO(tar_of({"a": b"old\n", "b": b"b\n"}))
    with tarfile.open(fileobj=made, mode="a") as archive:
        info = tarfile.TarInfo("./a")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"new\n"))
    (tmp_path / "x.tar").write_bytes(made.getvalue())
    assert read(tmp_path / "x.tar") == b"new\nb\n"


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"odd{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("text")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"text\n"))
    (tmp_path / "x.tar").write_bytes(made.getvalue())
    assert read(tmp_path / "x.tar") == b"text\n"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("folder/", "")
        zipped.writestr("text", "text\n")
    assert read(tmp_path / "x.zip") == b"text\n"


@pytest.mark.parametrize("kind", ["tar", "zip", "tgz"])
def test_a_damaged_archive_is_never_read_in_part(tmp_path: Path, kind: str) -> None:
    data = {"tar": tar_of(FILES), "zip": zip_of(FILES), "tgz": gzip.compress(tar_of(FILES))}[kind]
    path = tmp_path / "x"
    for size in range(600, len(data.rstrip(b"\0")), 101):
        path.write_bytes(data[:size])
        assert isinstance(refusal(path), TextError), size
    for offset in range(len(data) // 9, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x55]) + data[offset + 1 :])
        with suppress(TextError):  # except for what has no checksum, such as permissions
            found = read(path)
            assert found == EXPECTED if kind == "tgz" else found.count(b"\n") >= EXPECTED.count(b"\n") - 1
    path.write_bytes(data + tar_of({"more": b"more\n"}))
    if kind == "tar":
        assert isinstance(refusal(path), TextError)


def test_headers_that_lie(tmp_path: Path) -> None:
    good = bytearray(tar_of({"a": b"a\n", "b": b"b\n"}))
    for size in (-512, -1024, 1 << 40):
        header = bytearray(good[:512])
        number = size & ((1 << 88) - 1)
        header[124:136] = (b"\xff" if size < 0 else b"\x80") + number.to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(good[512:]))
        assert isinstance(refusal(tmp_path / "x.tar"), TextError)
    bomb = zip_of({"a.txt": b"a b c\n" * 1000})
    (tmp_path / "x.zip").write_bytes(bomb.replace(struct.pack("<L", 6000), struct.pack("<L", 60)))
    with_wrong_size = refusal(tmp_path / "x.zip")
    assert isinstance(with_wrong_size, TextError)


def test_an_archive_in_itself_ends(tmp_path: Path) -> None:
    data = b"text\n"
    for _ in range(3):
        data = tar_of({"inner.tar": data})
    (tmp_path / "x.tar").write_bytes(data)
    assert read(tmp_path / "x.tar") == b"text\n"
    for _ in range(2):
        data = zip_of({"inner.zip": data})
    (tmp_path / "x.tar").write_bytes(data)
    assert "nested too deeply" in refusal(tmp_path / "x.tar").what


def test_an_encrypted_zip_is_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(zip_of({"secret.txt": b"text\n"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(data))
    error = refusal(tmp_path / "x.zip")
    assert ("encrypted" in error.what, error.where) == (True, f"{tmp_path}/x.zip/secret.txt")


def test_a_few_bytes_of_an_archive_take_no_memory(tmp_path: Path) -> None:
    from tests.memory import peak_of_reading

    for name, data in (("x.tar.xz", lzma.compress(tar_of({"a": b"a b c d\n" * (1 << 21)}))),):
        (tmp_path / name).write_bytes(data)
        assert peak_of_reading(tmp_path / name) < 12e6
    (tmp_path / "x.zip").write_bytes(zip_of({"a": b"a b c d\n" * (1 << 21)}))
    assert peak_of_reading(tmp_path / "x.zip") < 12e6


# Which files are read

TREE = {f"{name}": f"{name}\n".encode() for name in ("src/a.py", "src/deep/b.py", "docs/a.md", "docs/b.txt", "c.py")}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["c.py", "docs/a.md", "docs/b.txt", "src/a.py", "src/deep/b.py"]),
        (("*.py",), (), ["c.py", "src/a.py", "src/deep/b.py"]),
        (("src/*",), (), ["src/a.py", "src/deep/b.py"]),
        (("*.py", "*.md"), (), ["c.py", "docs/a.md", "src/a.py", "src/deep/b.py"]),
        ((), ("docs",), ["c.py", "src/a.py", "src/deep/b.py"]),
        ((), ("deep/", "*.md"), ["c.py", "docs/b.txt", "src/a.py"]),
        (("*.py",), ("src/deep/b.py",), ["c.py", "src/a.py"]),
        (("a.*",), ("./docs/*",), ["src/a.py"]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_patterns_choose(
    tmp_path: Path, kind: str, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    path = tmp_path / kind
    if kind == "folder":
        folder_of({**TREE, "img/x.png": PNG} if "*.py" in include else TREE, path)
    else:
        path.write_bytes({"tar": tar_of, "zip": zip_of}[kind](TREE))
    assert read(Texts((str(path),), include, exclude)).decode().splitlines() == expected


def test_patterns_that_choose_nothing_or_among_nothing(tmp_path: Path) -> None:
    folder = folder_of(TREE, tmp_path / "tree")
    error = refusal(Texts((str(folder),), ("*.nothing",)))
    assert ("none of its 5 files" in error.what, error.exit_code) == (True, 3)
    assert isinstance(refusal(Texts((str(folder / "c.py"),), ("*.py",))), UsageError)
    several = tuple(str(folder / name) for name in ("c.py", "docs/a.md", "docs"))
    assert read(Texts(several, exclude=("*.md",))) == b"c.py\ndocs/b.txt\n"
    (folder / "x.tar").write_bytes(tar_of({"in.py": b"in.py\n", "in.md": b"in.md\n"}))
    assert read(Texts((str(folder),), ("*.py",))).endswith(b"src/deep/b.py\nin.py\n")
    assert b"in.py" not in read(Texts((str(folder),), exclude=("x.tar",)))
    assert read(Texts((str(folder),), ("x.tar",))) == b"in.md\nin.py\n"


# Files that are not text

BINARIES = {
    "png": PNG,
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(range(200)),
    "gif": b"GIF89a\x10\0\x10\0" + bytes(range(200)),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "elf": b"\x7fELF\2\1\1\0" + bytes(50),
    "sqlite": b"SQLite format 3\0" + bytes(90),
    "mp3": b"ID3\3\0\0\0\0\0\x0f",
    "docx": zip_of({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<y/>"}),
    "numbers": struct.pack("<200d", *(1 / (number + 1) for number in range(200))),
    "random": bytes(os.urandom(1)[0] for _ in range(5000)),
}


@pytest.mark.parametrize("kind", BINARIES)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "shift_jis"])
@pytest.mark.parametrize("errors", ["strict", "replace", "ignore"])
def test_no_encoding_makes_a_text_of_a_binary(tmp_path: Path, kind: str, encoding: str, errors: EncodingErrors) -> None:
    path = tmp_path / "x"
    path.write_bytes(BINARIES[kind])
    error = refusal(path, CorpusSettings(encoding=encoding, encoding_errors=errors))
    assert isinstance(error, TextError)
    if kind not in ("numbers", "random"):
        assert "not a text" in error.what
    if kind != "docx":
        assert read(path, raw=True) == BINARIES[kind]


NULS = ["a\0b\n" * 400, "x.txt\0yy.txt\0" * 90, "\x1b[1mbold\x1b[0m\x08\0\n" * 80, "\0", "GIF89a\n"]


@pytest.mark.parametrize("text", NULS)
def test_a_nul_here_and_there_is_a_character(tmp_path: Path, text: str) -> None:
    (tmp_path / "text").write_text(text)
    assert read(tmp_path / "text").decode() == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text", ["Some words.\nAnd more.\n", "Съешь ещё этих булок.\n" * 9, "我昨天买了一本新书。\n好吗？\n" * 9]
)
def test_utf_16_without_its_mark_is_told(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    for other in ("utf-8", "latin-1"):
        error = refusal(path, CorpusSettings(encoding=other, encoding_errors="ignore"))
        assert f"--encoding {encoding}" in error.to_do
    assert read(path, CorpusSettings(encoding=encoding)).decode() == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe und Maß für schöne Bücher, das Mädchen läuft.\n", "cp1252"),
        ("Zażółć gęślą jaźń. Cześć, jak się masz?\n", "cp1250"),
        ("Съешь ещё этих мягких французских булок, да выпей чаю.\n", "cp1251"),
        ("Съешь ещё этих мягких французских булок, да выпей чаю.\n", "koi8-r"),
        ("私は昨日、新しい本を買いました。カメラ\n", "cp932"),
        ("私は昨日、新しい本を買いました。カメラ\n", "euc_jp"),
        ("我昨天买了一本新书，非常有意思。你好吗？\n", "gb18030"),
        ("나는 어제 새 책을 샀습니다. 아주 재미있어요.\n", "cp949"),
    ],
)
def test_the_encoding_that_fits_is_proposed(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"Plain words before it.\n" * 4000 + (text * 3).encode(encoding))
    assert encoding in refusal(path).to_do


@given(st.binary(max_size=300))
def test_there_is_always_an_encoding_to_propose(data: bytes) -> None:
    assert all("".encode(name) is not None for name in fitting_encodings(data))


def test_every_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    files = {"good.txt": b"good\n", "x.png": PNG, "old.txt": "Größe\n".encode("latin-1"), "b/y.png": PNG}
    folder, archive = folder_of(files, tmp_path / "folder"), tmp_path / "x.tar"
    archive.write_bytes(tar_of(files))
    several = Texts(tuple(str(folder / name) for name in files))
    for where in (folder, archive, several):
        error = refusal(where)
        assert "3 of 4 files" in error.what
        assert all(name in error.where for name in ("x.png: a PNG", "b/y.png", "old.txt, line 1, byte offset 2"))
        assert "cp1252" in error.where
        assert (
            "--exclude '*.png' --exclude old.txt" in error.to_do or "--exclude old.txt --exclude '*.png'" in error.to_do
        )
    assert read(Texts((str(folder),), (), ("*.png", "old.txt"))) == b"good\n"
    for number in range(40):
        (folder / f"{number}.png").write_bytes(PNG)
    assert all(f"{number}.png: a PNG" in refusal(folder).where for number in range(40))


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "rot13", "base64"]
)
def test_what_is_no_encoding_of_files_is_refused(charlm: Charlm, name: str) -> None:
    for command in (("train", "corpus.txt"), ("tokenize", "corpus.txt")):
        outcome = charlm(*command, "--encoding", name)
        assert (outcome.code, "utf-8" in outcome.err) == (2, True)
    assert not Path("runs").exists()


# Several files


def test_several_files_are_as_good_as_a_folder(charlm: Charlm) -> None:
    text = Path("corpus.txt").read_bytes()
    Path("part").mkdir()
    names = ["part/a.txt", "part/b.txt", "part/c.txt.gz"]
    for name, content in zip(names, (text, text[:-1], gzip.compress(text)), strict=True):
        Path(name).write_bytes(content)
    assert charlm("train", "part", *QUICK, "--run", "folder").code == 0
    outcome = charlm("train", *names, *[option for option in QUICK if option != "-q"])
    assert (outcome.code, sorted(os.listdir("runs"))) == (0, ["folder", "part"])
    assert "after the folder" in outcome.err
    assert len({Path(f"runs/{run}/corpus/train.ids").read_bytes() for run in ("folder", "part")}) == 1
    assert charlm("train", *names, "--resume", "--steps", "8", "-q").code == 0
    assert charlm("train", "part", "--resume", "--run", "part", "--steps", "9", "-q").code == 0
    assert charlm("train", *names[:2], "--resume", "--run", "part", "-q").code == 2
    assert charlm("train", "corpus.txt", names[0], *QUICK).code == 0
    assert "corpus" in os.listdir("runs")
    summaries = [json.loads(charlm("tokenize", *given, "--json").out) for given in (names, ["part"])]
    assert summaries[0] == summaries[1]
    assert charlm("train", "-", "-").code == 2
    assert charlm("train", "corpus.txt", "missing.txt").code == 3


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (("a.txt", "b.txt"), "a"),
        (("x/a.txt", "x/b.txt"), "x"),
        (("/y/x/a.txt", "/y/x/b.txt"), "x"),
        (("x/a.txt", "y/b.txt"), "a"),
        (("/a.txt", "/b.txt"), "a"),
        (("a.txt.gz", "-"), "a"),
        (("./a.txt", "./b.txt"), "a"),
        (("../a.txt", "../b.txt"), "a"),
        (("x/a/", "x/b/"), "x"),
    ],
)
def test_what_a_run_of_several_texts_is_called(paths: tuple[str, ...], name: str) -> None:
    assert TrainRequest(texts=Texts(paths)).corpus_name == name


def test_an_archive_goes_through_the_commands(charlm: Charlm) -> None:
    text = Path("corpus.txt").read_bytes()
    Path("texts.tar.gz").write_bytes(gzip.compress(tar_of({"b": text[:-1], "a": text, "x.png": PNG})))
    assert charlm("train", "texts.tar.gz", *QUICK).code == 3
    given = ("texts.tar.gz", "--exclude", "*.png")
    assert charlm("train", *given, *QUICK).code == 0
    assert os.listdir("runs") == ["texts"]
    assert charlm("train", *given, "--resume", "--steps", "8", "-q").code == 0
    assert json.loads(charlm("tokenize", *given, "--json").out)["valid_tokens"] == 2 * len(text.decode()) // 10
    folder_of({"a.txt": text, "x.png": PNG}, Path("other"))
    for valid in ("other", "corpus.txt"):
        assert charlm("train", *given, "--valid", valid, *QUICK).code == 0
    assert charlm("train", *given, "--valid", "other", "--resume", "--run", "texts-2", "--steps", "8", "-q").code == 0
    Path("both.zip").write_bytes(zip_of({"1": text, "2": text}))
    Path("both.txt").write_bytes(text * 2)
    for way in ("--file", "--stream"):
        scores = [charlm("score", way, name, "--json").out for name in ("both.zip", "both.txt")]
        assert scores[0] == scores[1]


def test_what_is_excluded_is_not_opened(tmp_path: Path) -> None:
    folder = folder_of({"a.txt": b"good\n", "backup/old.tar": tar_of(FILES)[:700]}, tmp_path / "folder")
    for pattern in ("backup", "*.tar", "backup/*"):
        assert read(Texts((str(folder),), (), (pattern,))) == b"good\n"
    assert "damaged" in refusal(folder).what


def test_damaged_and_missing_files_are_named_with_the_others(tmp_path: Path) -> None:
    files = {"a.txt": b"good\n", "b.tar": tar_of(FILES)[:700], "c.gz": gzip.compress(b"text\n" * 99)[:-9], "d.png": PNG}
    folder = folder_of(files, tmp_path / "folder")
    paths = (*(str(folder / name) for name in files), str(folder / "missing"), str(folder / "lost"))
    for files_given, number in ((folder, 3), (Texts(paths), 5)):
        error = refusal(files_given)
        assert f"{number} of {number + 1} files" in error.what
        assert all(name in error.where for name in ("b.tar", "c.gz", "d.png"))
    assert "missing: no such file" in error.where
    assert "lost: no such file" in error.where


@pytest.mark.parametrize(
    ("other", "proposed"), [("plain\n", "--encoding cp1252"), ("naïve\n", "to UTF-8"), ("Größe\n", "convert")]
)
def test_an_encoding_is_proposed_only_where_it_fits_all_files(tmp_path: Path, other: str, proposed: str) -> None:
    folder_of({"old.txt": "Größe und Länge\n".encode("cp1252"), "new.txt": other.encode()}, tmp_path / "folder")
    assert proposed in refusal(tmp_path / "folder").to_do


def test_utf_8_is_proposed_for_what_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("naïve café über straße\n")
    assert "--encoding utf-8" in refusal(tmp_path / "text", CorpusSettings(encoding="ascii")).to_do


def test_a_hard_link_in_a_tar_is_a_file(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        first, link = tarfile.TarInfo("./a"), tarfile.TarInfo("b")
        first.size, link.type, link.linkname = 2, tarfile.LNKTYPE, "./a"
        archive.addfile(first, io.BytesIO(b"a\n"))
        archive.addfile(link)
    (tmp_path / "x.tar").write_bytes(made.getvalue())
    assert read(tmp_path / "x.tar") == b"a\na\n"


def test_a_copy_that_takes_most_of_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.corpus.sources.MAX_IN_MEMORY", 1000)
    (tmp_path / "x.zip").write_bytes(zip_of({"a": b"text\n" * 1000}))
    assert read(tmp_path / "x.zip") == b"text\n" * 1000
    monkeypatch.setattr("charlm.corpus.sources.MAX_SHARE", 0.0)
    error = refusal(tmp_path / "x.zip")
    assert (error.exit_code, "of the free space" in error.what) == (6, True)


def test_bytes_at_random_are_no_text_without_a_nul_too(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(1, 256, 2000)
    (tmp_path / "data").write_bytes(bytes(numbers.tolist()))
    assert "not a text" in refusal(tmp_path / "data", CorpusSettings(encoding="latin-1")).what
