"""From a text to ids on disk."""

import json
import tracemalloc
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.prepare import PreparedCorpus, is_prepared, open_prepared, prepare
from charlm.corpus.store import HEADER_SIZE, IdsFile, write_ids
from charlm.errors import ResourceError, RunError, TextError, UsageError
from charlm.settings import CorpusSettings, TextSettings, Unit
from charlm.text.encoded import Counted
from charlm.text.tokenizer import build_tokenizer
from tests.cases import slow
from tests.conftest import english

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
UNITS: tuple[Unit, ...] = ("char", "byte", "word", "subword")
TEXT = "".join(f"Line {n}: the cat, which ate {n % 7} mice, was “full”.\n" for n in range(200))


def prepared(tmp_path: Path, text: str | bytes, corpus: CorpusSettings | None = None, **kind: object) -> PreparedCorpus:
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return prepare(path, tmp_path / "folder", TextSettings(**kind), corpus or CorpusSettings())  # type: ignore[arg-type]


def text_of(corpus: PreparedCorpus, file: IdsFile | None) -> str:
    assert file is not None
    return corpus.tokenizer.decode(file.ids[1:].tolist())


@pytest.mark.parametrize("unit", UNITS)
def test_parts_make_up_the_text(tmp_path: Path, unit: Unit) -> None:
    corpus = prepared(tmp_path, TEXT, unit=unit)
    start = int(0.9 * len(TEXT))
    if unit in ("word", "subword"):
        start = TEXT.index("\n", start - 1) + 1
    assert corpus.tokenizer.unit == unit
    for file, text in ((corpus.train, TEXT[:start]), (corpus.valid, TEXT[start:])):
        assert file is not None
        header = file.header
        assert file.ids[0] == corpus.tokenizer.eos_id
        assert len(file.ids) == file.num_tokens + 1 == header.count
        expected = corpus.tokenizer.encode_detailed(text)
        assert file.ids[1:].tolist() == expected.ids.tolist()
        assert header.num_characters == len(text)
        assert header.num_bytes == len(text.encode())
        assert header.num_lines == text.count("\n") + (not text.endswith("\n"))
        assert header.num_unknown == len(expected.unknown)
        assert header.unknown_bytes == sum(len(word.encode()) + 1 for word in expected.unknown)


@pytest.mark.parametrize("unit", UNITS)
def test_a_prepared_folder_is_opened_again(tmp_path: Path, unit: Unit) -> None:
    corpus = prepared(tmp_path, TEXT, unit=unit)
    assert is_prepared(corpus.folder)
    assert not is_prepared(tmp_path)
    again = open_prepared(corpus.folder)
    assert again.tokenizer.sha256() == corpus.tokenizer.sha256()
    assert text_of(again, again.valid) == text_of(corpus, corpus.valid)
    assert again.train.header == corpus.train.header
    assert again.test is None


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "text",
    ["a\r\nb\rc\r\n" * 20, "a\0b\n" * 20, "a\u2028b\u0085\n" * 20, "ab ▁▅\n" * 20, "\ufeffx\ufeffy\n" * 20, "ab"],
)
def test_odd_texts(tmp_path: Path, unit: Unit, text: str) -> None:
    if unit in ("word", "subword") and text == "ab":
        return  # one word, perhaps one subword: nothing to learn
    corpus = prepared(tmp_path, text, CorpusSettings(valid_fraction=0.0), unit=unit)
    assert text_of(corpus, corpus.train) == (text if unit == "byte" else text.removeprefix("\ufeff"))
    assert corpus.valid is None


def test_bytes_need_not_be_text(tmp_path: Path) -> None:
    data = bytes(range(256)) * 2
    corpus = prepared(tmp_path, data, CorpusSettings(valid_fraction=0.0), unit="byte")
    assert corpus.train.ids[1:].astype(np.uint8).tobytes() == data


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", ["", "\n\n\n", "aaaaaaaa" * 9, "a\n" * 99])
def test_a_text_of_one_symbol_is_refused_and_nothing_written(tmp_path: Path, unit: Unit, text: str) -> None:
    with pytest.raises(TextError):
        prepared(tmp_path, text, unit=unit)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_the_vocabulary_comes_from_the_training_part_alone(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, "ab" * 45 + "é" * 10)
    assert corpus.valid is not None
    assert corpus.tokenizer.vocab_size == 4
    assert (corpus.valid.header.num_unknown, corpus.valid.header.unknown_bytes) == (10, 30)
    assert corpus.valid.ids.tolist() == [0] + [1] * 10


def test_files_of_their_own_for_validation_and_test(tmp_path: Path) -> None:
    for name, text in (("v", "b a\n"), ("t", "a c\n"), ("c", "a b\n" * 20)):
        (tmp_path / name).write_text(text)
    corpus = prepare(tmp_path / "c", tmp_path / "x", TextSettings(), CorpusSettings(), tmp_path / "v", tmp_path / "t")
    assert text_of(corpus, corpus.train) == "a b\n" * 20
    assert text_of(corpus, corpus.valid) == "b a\n"
    assert text_of(corpus, corpus.test) == "a <unk>\n"
    without = prepare(tmp_path / "c", tmp_path / "x", TextSettings(), CorpusSettings(valid_fraction=0.0))
    assert without.valid is None
    assert open_prepared(tmp_path / "x").test is None, "files of a corpus prepared there before are gone"
    with pytest.raises(UsageError):
        prepare("-", tmp_path / "y", TextSettings(), CorpusSettings(), Path("-"))


def test_one_line_of_words_has_no_validation_part(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, "to be or not to be " * 20, unit="word")
    assert corpus.valid is None
    assert any("no validation part" in note for note in corpus.notes)


def test_a_given_tokenizer_is_kept(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TextSettings(), ["abc "])
    (tmp_path / "c").write_text("ab d\n" * 9)
    corpus = prepare(tmp_path / "c", tmp_path / "x", TextSettings(), CorpusSettings(), tokenizer=tokenizer)
    assert open_prepared(corpus.folder).tokenizer.files() == tokenizer.files()
    assert corpus.train.header.num_unknown == 8


def test_a_text_in_chunks_gives_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, kind in enumerate([{"unit": unit} for unit in UNITS] + [{"unit": "char", "lowercase": True}]):
        whole = prepared(tmp_path, TEXT + "ΑΣΑ ΑΣ\n" * 30, **kind)
        expected = whole.train.ids.tolist(), whole.train.header
        with monkeypatch.context() as patch:
            patch.setattr("charlm.corpus.text_file.BLOCK_SIZE", 11)
            chunked = prepared(tmp_path, TEXT + "ΑΣΑ ΑΣ\n" * 30, **kind)
        assert (chunked.train.ids.tolist(), chunked.train.header) == expected, index


KINDS: list[dict[str, object]] = [
    {},
    {"split": "whitespace"},
    {"punctuation": "drop"},
    {"split": "whitespace", "punctuation": "drop"},
    {"lowercase": True},
    {"vocab_size": 9},
    {"min_count": 3},
]


@pytest.mark.parametrize(
    ("most", "kind"),
    [(most, kind) if most == 40 or not kind else slow(most, kind) for most in (3, 40, 10**6) for kind in KINDS],
    ids=str,
)
def test_words_numbered_as_they_come_are_those_counted_and_encoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: dict[str, object], most: int
) -> None:
    text = TEXT + "<unk> an \u3000 end\n\n  " + "long" * 60 + "\nΑΣ ΑΣ\n" + english(120) + "new words\n"
    monkeypatch.setattr("charlm.corpus.numbered.MAX_REMEMBERED", most)  # a table in all, or hundreds of them
    monkeypatch.setattr("charlm.corpus.numbered.BLOCK_LENGTH", 50)
    monkeypatch.setattr("charlm.corpus.numbered.MAX_SUMMED", most)
    monkeypatch.setattr("charlm.corpus.text_file.BLOCK_SIZE", 200)
    corpus = prepared(tmp_path, text, unit="word", **kind)
    start = text.index("\n", int(0.9 * len(text)) - 1) + 1
    slow = build_tokenizer(TextSettings(unit="word", **kind), [text[:start]])  # type: ignore[arg-type]
    assert corpus.tokenizer.files() == slow.files()
    for file, part in ((corpus.train, text[:start]), (corpus.valid, text[start:])):
        assert file is not None
        expected = slow.encode_detailed(part)
        assert file.ids[1:].tolist() == expected.ids.tolist()
        assert (file.header.num_characters, file.header.num_bytes) == (expected.characters, expected.bytes)
        unknown = len(expected.unknown), sum(len(word.encode()) + 1 for word in expected.unknown)
        assert (file.header.num_unknown, file.header.unknown_bytes) == unknown


@pytest.mark.parametrize(
    "kind", [{"unit": "char"}, {"unit": "word"}, slow({"unit": "word", "split": "whitespace"})], ids=str
)
def test_memory_does_not_grow_with_the_text(tmp_path: Path, kind: dict[str, object]) -> None:
    peaks = []
    for name, repeats in (("short", 4), ("long", 24)):
        (tmp_path / name).write_bytes(english(20_000).encode() * repeats)
        tracemalloc.start()
        prepare(tmp_path / name, tmp_path / f"{name}-ids", TextSettings(**kind), CorpusSettings())  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 2e6


def test_no_room_for_the_numbers_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> BinaryIO:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr("charlm.corpus.numbered.temporary_file", full)
    with pytest.raises(ResourceError) as caught:
        prepared(tmp_path, TEXT, unit="word")
    assert "TMPDIR" in caught.value.to_do
    assert not (tmp_path / "folder").exists()


@given(st.lists(st.binary(max_size=300), max_size=3), st.sampled_from([256, 300, 70_000]))
def test_ids_are_counted(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], size: int) -> None:
    dtype = {256: np.uint8, 300: np.uint16, 70_000: np.uint32}[size]
    path = tmp_path_factory.mktemp("ids") / "x.ids"
    tokenizer = build_tokenizer(TextSettings(), ["".join(map(chr, range(0x10000, 0x10000 + size - 2)))])
    pieces = [Counted(np.frombuffer(text, np.uint8).astype(np.uint32), 0, 0, 0, 0) for text in texts]
    file = write_ids(path, tokenizer, pieces)
    assert file.ids.dtype == dtype
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.corpus.store.COUNTED_IDS", 7)
        counts = file.counts(size)
    assert dict(enumerate(counts.tolist())) == {
        id: b"".join(texts).count(bytes([id])) if id < 256 else 0 for id in range(size)
    }


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(1 << 8, "uint8"), ((1 << 8) + 1, "uint16"), (1 << 16, "uint16"), ((1 << 16) + 1, "uint32")],
)
def test_ids_take_as_few_bytes_as_they_need(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + vocab_size - 2)))
    tokenizer = build_tokenizer(TextSettings(), [text])
    file = write_ids(tmp_path / "x.ids", tokenizer, [Counted.from_encoded(tokenizer.encode_detailed(text))])
    assert file.header.dtype == dtype
    assert IdsFile.open(file.path).ids.max() == vocab_size - 1
    assert tokenizer.decode(file.ids[1:].tolist()) == text


def test_damage_is_found(tmp_path: Path) -> None:
    folder = prepared(tmp_path, TEXT).folder
    train = folder / "train.ids"
    good = train.read_bytes()
    header = json.loads(good[:HEADER_SIZE].split(b"\n")[1])
    other_count = json.dumps({**header, "count": -5}).encode()
    damaged = [
        b"",
        good[:100],
        good[:-1],
        good + b"\0",
        b"x" + good[1:],
        good[:20] + b"!" + good[21:],
        good[:-3] + bytes([good[-3] ^ 1]) + good[-2:],
        good.replace(good[13:HEADER_SIZE], other_count.ljust(HEADER_SIZE - 13)),
    ]
    for content in damaged:
        train.write_bytes(content)
        with pytest.raises(RunError) as caught:
            open_prepared(folder)
        assert str(train) in caught.value.where
    train.unlink()
    with pytest.raises(RunError):
        open_prepared(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": "7"}, "count: it should be"),
        ({"num_lines": True}, "num_lines: it should be"),
        ({"num_bytes": -1}, "num_bytes: it should be"),
        ({"dtype": "float32"}, "dtype: it should be"),
        ({"tokenizer_sha256": None}, "tokenizer_sha256: it should be"),
        ({"normal_form": "nfkc"}, "normal_form: it should be"),
        ({"wings": 2}, "wings"),
        ({"num_lines": 10**9}, "contradict each other"),
        ({"num_tokens": 3}, "contradict each other"),
    ],
    ids=str,
)
def test_a_header_that_charlm_never_wrote_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = prepared(tmp_path, TEXT).train.path
    data = path.read_bytes()
    head, ids = data[:HEADER_SIZE], data[HEADER_SIZE:]
    magic, fields = head.split(b"\n", 1)
    forged = magic + b"\n" + json.dumps({**json.loads(fields), **change}).encode()
    path.write_bytes(forged.ljust(HEADER_SIZE) + ids)
    with pytest.raises(RunError, match=f"damaged ids: .*{said}"):
        IdsFile.open(path)


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("train.ids", {"size": "7", "header_sha256": ""}, "cannot be read: train.ids"),
        ("train.ids", {"size": 7}, "cannot be read: train.ids"),
        ("train.ids", {"size": 7, "header_sha256": "", "sha256": ""}, "cannot be read: train.ids"),
        ("train.ids", {"size": 7, "header_sha256": ""}, "train.ids is not what"),
        ("tokenizer.json", {"size": 7, "header_sha256": ""}, "tokenizer.json is not what"),
        ("more.json", {"size": 7, "sha256": ""}, "more.json is not what"),
        ("division", {"mode": "stream"}, "cannot be read: division.split is missing"),
    ],
    ids=str,
)
def test_a_manifest_that_charlm_never_wrote_is_refused(tmp_path: Path, name: str, entry: object, said: str) -> None:
    folder = prepared(tmp_path, TEXT).folder
    path = folder / "MANIFEST.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), name: entry}))
    with pytest.raises(RunError, match=f"damaged corpus: .*{said}"):
        open_prepared(folder)


def test_ids_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path, TEXT).folder
    for name, content in build_tokenizer(TextSettings(), ["abc"]).files().items():
        (folder / name).write_bytes(content)
    with pytest.raises(RunError):
        open_prepared(folder)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file is in the way")
    with pytest.raises(ResourceError):
        prepared(tmp_path, TEXT)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs ../shared/corpora")
def test_the_split_of_tinyshakespeare(tmp_path: Path) -> None:
    for unit in ("char", "byte"):
        settings = TextSettings(unit=unit)
        corpus = prepare(CORPORA / "tinyshakespeare.txt", tmp_path / unit, settings, CorpusSettings())
        assert corpus.valid is not None
        assert (corpus.train.num_tokens, corpus.valid.num_tokens) == (1_003_854, 111_540)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs ../shared/corpora")
def test_the_counts_of_penn_treebank(tmp_path: Path) -> None:
    files = [CORPORA / f"ptb.{part}.txt" for part in ("train", "valid", "test")]
    settings = TextSettings(unit="word", split="whitespace", vocab_size=10_000)
    corpus = prepare(files[0], tmp_path, settings, CorpusSettings(), files[1], files[2])
    assert corpus.valid is not None
    assert corpus.test is not None
    parts = corpus.train, corpus.valid, corpus.test
    assert [part.num_tokens for part in parts] == [929_589, 73_760, 82_430]
    assert [part.header.num_unknown for part in parts] == [0, 0, 0]
    assert corpus.tokenizer.vocab_size == 10_000
