"""Which part of a text is kept for validation, and which notes there are on it."""

import gzip
import itertools
import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.parts import taken_lines
from charlm.corpus.prepare import PreparedCorpus, open_prepared, prepare
from charlm.corpus.seal import MANIFEST
from charlm.corpus.store import IdsFile
from charlm.errors import RunError
from charlm.settings import CorpusSettings, Mode, TextSettings, Unit
from charlm.text.tokenizer import build_tokenizer
from tests.conftest import english

ROOT = Path(__file__).parent.parent
UNITS: tuple[Unit, ...] = ("char", "byte", "word", "subword")
TEXT = "".join(f"Line {n}: the cat, which ate {n % 7} mice, was “full”.\n\n" for n in range(100))


def prepared(
    folder: Path, text: str | bytes, mode: Mode = "sentence", fraction: float = 0.1, unit: Unit = "char", **more: object
) -> PreparedCorpus:
    path = folder / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    settings = CorpusSettings(valid_fraction=fraction)
    return prepare(path, folder / "ids", TextSettings(unit=unit), settings, mode=mode, **more)  # type: ignore[arg-type]


def text_of(corpus: PreparedCorpus, file: IdsFile | None) -> str:
    assert file is not None
    return corpus.tokenizer.decode(file.ids[1:].tolist())


def words(count: int, seed: int = 1) -> list[str]:
    """Made-up words that are like each other where they begin alike, all different."""
    rng = random.Random(seed)
    follows = {letter: rng.choices("abcdefghijklmnopqrstuvwxyz", k=5) for letter in "abcdefghijklmnopqrstuvwxyz"}
    found: set[str] = set()
    while len(found) < count:
        word = rng.choice("abcdefghijklmnopqrstuvwxyz")
        while len(word) < 4 or rng.random() < 0.7:
            word += rng.choice(follows[word[-1]])
        found.add(word)
    return sorted(found)


def notes_of(corpus: PreparedCorpus, about: str) -> list[str]:
    return [note for note in corpus.notes if about in note]


# Which lines


@given(fraction=st.floats(0.001, 0.9), count=st.integers(0, 3000), cuts=st.lists(st.integers(0, 3000), max_size=5))
def test_a_share_of_the_lines_is_taken_whatever_is_read_at_a_time(fraction: float, count: int, cuts: list[int]) -> None:
    whole = taken_lines(0, count, fraction)
    assert abs(whole.sum() - fraction * count) < 0.01 * count + 25
    bounds = sorted({0, count, *(cut for cut in cuts if cut < count)})
    pieces = [taken_lines(first, stop - first, fraction) for first, stop in itertools.pairwise(bounds)]
    assert np.concatenate([*pieces, whole[:0]]).tolist() == whole.tolist()


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.25, 0.5])
def test_of_every_so_many_lines_one_is_taken(fraction: float) -> None:
    taken = taken_lines(0, 2000, fraction).reshape(-1, round(1 / fraction))
    assert (taken.sum(axis=1) == 1).all()
    assert taken.any(axis=0).all(), "whichever of them"


@pytest.mark.parametrize("fraction", [0.003, 0.05, 0.1, 0.3, 0.37, 0.5, 0.9])
def test_the_lines_are_taken_evenly(fraction: float) -> None:
    """Neither a region of a text nor every n-th of its lines is preferred."""
    taken = np.flatnonzero(taken_lines(0, 100_000, fraction))
    expected = len(taken) / 10
    assert np.abs(np.histogram(taken, 10, (0, 100_000))[0] - expected).max() <= 25
    for rhythm in (2, 3, 4, 5, 7, 10):
        counts = np.bincount(taken % rhythm, minlength=rhythm)
        assert np.abs(counts - len(taken) / rhythm).max() < 5 * np.sqrt(len(taken) / rhythm)


@pytest.mark.parametrize("fraction", [5e-324, 1e-300, 1e-12])
def test_hardly_any_line(fraction: float) -> None:
    for first in (0, 10**6, 10**12):
        assert taken_lines(first, 1000, fraction).sum() <= 1


# The parts


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("ending", ["\n", "", "the last line has no end", "\n\n\n"])
def test_the_parts_are_whole_lines_in_order_and_make_up_the_text(tmp_path: Path, unit: Unit, ending: str) -> None:
    text = TEXT + ending
    corpus = prepared(tmp_path, text, unit=unit, fraction=0.2)
    lines = text.splitlines(keepends=True)
    taken = taken_lines(0, len(lines), 0.2)
    for file, is_valid in ((corpus.train, False), (corpus.valid, True)):
        part = "".join(line for line, chosen in zip(lines, taken, strict=True) if chosen == is_valid)
        assert file is not None
        header, expected = file.header, corpus.tokenizer.encode_detailed(part)
        assert file.ids[1:].tolist() == expected.ids.tolist()
        assert (header.num_characters, header.num_bytes) == (len(part), len(part.encode()))
        assert header.num_lines == part.count("\n") + (not part.endswith("\n"))
        assert header.num_unknown == len(expected.unknown)
        assert header.unknown_bytes == sum(len(word.encode()) + 1 for word in expected.unknown)


@pytest.mark.parametrize("unit", UNITS)
def test_the_vocabulary_is_that_of_the_lines_to_train_on(tmp_path: Path, unit: Unit) -> None:
    text = "".join(f"{word} {word[::-1]}\n" for word in words(400))
    corpus = prepared(tmp_path, text, unit=unit)
    alone = build_tokenizer(TextSettings(unit=unit), [text_of(corpus, corpus.train)])
    assert corpus.tokenizer.files() == alone.files()


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_what_is_read_at_a_time_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Unit, chunk: int
) -> None:
    text = TEXT[:900] + "a long line " * 30 + TEXT[900:1500]
    whole = prepared(tmp_path, text, unit=unit)
    expected = [text_of(whole, part) for part in (whole.train, whole.valid)]
    monkeypatch.setattr("charlm.corpus.text_file.BLOCK_SIZE", chunk)
    chunked = prepared(tmp_path, text, unit=unit)
    assert [text_of(chunked, part) for part in (chunked.train, chunked.valid)] == expected
    assert chunked.notes == whole.notes


def test_bytes_that_are_no_text_are_divided_by_lines_too(tmp_path: Path) -> None:
    lines = [bytes(random.Random(n).choices(b"\x00\x80\xff\r ab", k=n % 9)) + b"\n" for n in range(300)]
    corpus = prepared(tmp_path, b"".join(lines), unit="byte")
    taken = taken_lines(0, len(lines), 0.1)
    assert corpus.valid is not None
    assert corpus.valid.ids[1:].tobytes() == b"".join(itertools.compress(lines, taken))
    assert corpus.train.ids[1:].tobytes() == b"".join(itertools.compress(lines, ~taken))


def test_more_lines_at_the_end_change_nothing_before(tmp_path: Path) -> None:
    first = prepared(tmp_path, TEXT)
    before = text_of(first, first.valid)
    again = prepared(tmp_path, TEXT + "one more line\n" * 50)
    assert text_of(again, again.valid).startswith(before)


def test_how_many_lines_are_taken_is_said(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, TEXT)
    assert corpus.division.split == "lines"
    assert notes_of(corpus, "validation: 20 of 200 lines, taken at random")


@pytest.mark.parametrize(("lines", "fraction"), [(1, 0.9), (1, 0.1), (3, 0.001)])
def test_a_text_of_too_few_lines_has_no_validation_part(tmp_path: Path, lines: int, fraction: float) -> None:
    corpus = prepared(tmp_path, "a line of letters\n" * lines, fraction=fraction)
    assert (corpus.valid, corpus.division.split) == (None, "none")
    assert text_of(corpus, corpus.train).count("\n") == lines
    assert notes_of(corpus, "no validation part")


@pytest.mark.parametrize(("lines", "fraction"), [(10, 0.9), (10, 0.1), (4, 0.25)])
def test_a_text_of_enough_lines_has_one(tmp_path: Path, lines: int, fraction: float) -> None:
    corpus = prepared(tmp_path, "".join(f"line {n}\n" for n in range(lines)), fraction=fraction)
    assert (corpus.valid is not None, corpus.division.split) == (True, "lines")


def test_the_parts_name_the_text_they_are_of(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, gzip.compress(TEXT.encode(), mtime=0))
    stream = prepared(tmp_path, gzip.compress(TEXT.encode(), mtime=0), mode="stream")
    assert corpus.valid is not None
    assert corpus.train.header.source_sha256 == corpus.valid.header.source_sha256 == stream.train.header.source_sha256


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_a_text_of_its_own_is_taken_whole(tmp_path: Path, mode: Mode) -> None:
    (tmp_path / "valid.txt").write_text("the cat ate\nmice\n")
    corpus = prepared(tmp_path, TEXT, mode, valid=tmp_path / "valid.txt")
    assert (text_of(corpus, corpus.train), text_of(corpus, corpus.valid)) == (TEXT, "the cat ate\nmice\n")
    assert corpus.division.split == "given"
    assert prepared(tmp_path, TEXT, mode, fraction=0.0).division.split == "none"


# What the folder remembers


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_the_folder_remembers_how_it_was_divided(tmp_path: Path, mode: Mode) -> None:
    division = prepared(tmp_path, TEXT, mode).division
    assert open_prepared(tmp_path / "ids").division == division
    assert (division.mode, division.split) == (mode, {"stream": "end", "sentence": "lines"}[mode])


def test_a_folder_that_does_not_say_was_cut_at_its_end(tmp_path: Path) -> None:
    prepared(tmp_path, TEXT)
    path = tmp_path / "ids" / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["division"]
    path.write_text(json.dumps(manifest))
    old = open_prepared(tmp_path / "ids").division
    assert (old.mode, old.split) == (None, "end")


@pytest.mark.parametrize(
    "damaged", [None, 7, {}, {"mode": "sentence"}, {"mode": "x", "split": "end"}, {"mode": "stream", "split": ["end"]}]
)
def test_a_division_that_charlm_never_wrote_is_damage(tmp_path: Path, damaged: object) -> None:
    prepared(tmp_path, TEXT)
    path = tmp_path / "ids" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "division": damaged}))
    with pytest.raises(RunError, match=MANIFEST):
        open_prepared(tmp_path / "ids")


# Notes on the end of a text


@pytest.mark.parametrize("unit", ["char", "byte", "word"])
def test_the_end_of_a_sorted_list_is_said_to_be_unlike_the_rest(tmp_path: Path, unit: Unit) -> None:
    listed = words(3000)
    assert notes_of(prepared(tmp_path, "\n".join(listed), "stream", unit=unit), "unlike the rest")
    assert not notes_of(prepared(tmp_path, "\n".join(listed), "sentence", unit=unit), "unlike the rest")
    random.Random(1).shuffle(listed)
    assert not notes_of(prepared(tmp_path, "\n".join(listed), "stream", unit=unit), "unlike the rest")


def test_another_language_or_script_at_the_end_is_unlike_the_rest(tmp_path: Path) -> None:
    other = "".join(chr(ord("а") + ord(c) % 32) if c.isalpha() else c for c in english(60))
    corpus = prepared(tmp_path, english(500) + other, "stream")
    assert notes_of(corpus, "unlike the rest")
    assert notes_of(corpus, "tokens are unknown")
    assert not notes_of(prepared(tmp_path, english(560), "stream"), "unknown")


@pytest.mark.parametrize(
    "name", ["stories.txt", "agreement.txt", "teddy.txt", "dna.txt", "names.txt", "tunes.abc", "README.md"]
)
@pytest.mark.parametrize("unit", ["char", "word"])
def test_ordinary_text_is_not_said_to_be_unlike(tmp_path: Path, name: str, unit: Unit) -> None:
    corpus = prepared(tmp_path, (ROOT / "data" / name).read_bytes(), "stream", unit=unit)
    assert not notes_of(corpus, "unlike the rest")
    assert not notes_of(corpus, "are unknown")


# Notes on lines that are in both parts


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_lines_that_stand_in_both_parts_are_counted(tmp_path: Path, mode: Mode) -> None:
    rng = random.Random(2)
    lines = [f"{rng.choice('abc')}{rng.randrange(60)}\n" if n % 3 else " \n" for n in range(1200)]
    corpus = prepared(tmp_path, "".join(lines), mode, unit="word")
    train = set(text_of(corpus, corpus.train).splitlines())
    valid = [line for line in text_of(corpus, corpus.valid).splitlines() if line.strip()]
    repeated = sum(line in train for line in valid)
    assert repeated > 0.1 * len(valid)
    assert notes_of(corpus, f"validation: {repeated:,} of its {len(valid):,} lines ({repeated / len(valid):.1%})")


def test_of_very_many_lines_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.corpus.comparison.MAX_LINES", 50)
    monkeypatch.setattr("charlm.corpus.text_file.BLOCK_SIZE", 64)
    lines = [f"{n % 2 and n}\n" for n in range(8000)]  # every other one is 0
    (note,) = notes_of(prepared(tmp_path, "".join(lines), "stream", unit="word"), "lines looked at")
    repeated, looked_at = (int(word) for word in note.split() if word.isdigit())
    assert 40 <= looked_at <= 60
    assert 0.2 * looked_at < repeated < 0.8 * looked_at


def test_lines_that_are_all_different_are_not_spoken_of(tmp_path: Path) -> None:
    for mode in ("stream", "sentence"):
        corpus = prepared(tmp_path, "".join(f"{word}\n\n" for word in words(300)), mode)  # type: ignore[arg-type]
        assert not notes_of(corpus, "word for word")


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_a_part_that_is_the_text_itself_or_from_it_is_said(tmp_path: Path, part: str, mode: Mode) -> None:
    text = "".join(f"{word} and {word[::-1]}\n" for word in words(400))
    given = tmp_path / "given.txt"
    given.write_text(text)
    assert notes_of(prepared(tmp_path, text, mode, fraction=0.0, **{part: given}), "is the text to train on")
    for other in (text[: len(text) // 3], text.replace("\n", "\n\n")):
        given.write_text(other)
        assert notes_of(prepared(tmp_path, text, mode, fraction=0.0, **{part: given}), "taken from there")
    given.write_text("".join(f"{word} and {word}\n" for word in words(100)))
    assert not notes_of(prepared(tmp_path, text, mode, fraction=0.0, **{part: given}), "word for word")


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    monkeypatch.setattr("charlm.corpus.comparison.MAX_LINES", 1000)
    peaks = []
    for repeats in (4, 24):
        text = b"".join(english(20_000, seed).encode() for seed in range(repeats))
        (tmp_path / "corpus.txt").write_bytes(text)
        del text
        tracemalloc.start()
        prepare(tmp_path / "corpus.txt", tmp_path / "ids", TextSettings(), CorpusSettings(), mode=mode)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 2e6


@pytest.mark.parametrize("way", ["on one line", "with a space behind each line"])
def test_a_part_of_the_text_is_told_though_its_lines_differ(tmp_path: Path, way: str) -> None:
    text = english(300)
    (tmp_path / "corpus.txt").write_text(text.replace("\n", " ") if way == "on one line" else text)
    part = text[2000:6000]
    (tmp_path / "valid.txt").write_text(part.replace("\n", " " if way == "on one line" else " \n"))
    (tmp_path / "other.txt").write_text(english(100, seed=7).replace("sees", "has seen"))
    for name, is_told in (("valid.txt", True), ("other.txt", False)):
        corpus = prepare(
            tmp_path / "corpus.txt", tmp_path / name[:3], TextSettings(), CorpusSettings(), tmp_path / name
        )
        assert any("occur in the text to train on" in note for note in corpus.notes) == is_told
