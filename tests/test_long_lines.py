"""A long line is cut where that changes nothing, so that memory does not grow with it."""

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charlm.corpus import text_file
from charlm.corpus.prepare import PreparedCorpus, encoded_text, prepare
from charlm.corpus.reader import open_text
from charlm.errors import TextError
from charlm.settings import CorpusSettings, Punctuation, Split, SubwordModel, TextSettings
from charlm.text import subwords
from charlm.text.interface import Tokenizer
from charlm.text.long_lines import at_a_space, where_case_is_plain
from charlm.text.subwords import SubwordTokenizer
from charlm.text.tokenizer import build_tokenizer
from tests.cases import slow
from tests.conftest import english
from tests.memory import growth_of_preparing

WHOLE = CorpusSettings(valid_fraction=0.0)
# What a cut could go wrong on: spaces in rows, sigmas, joiners, marks, other white space, line ends.
ODD = [*" ab.'Σσ", " ", " ", "\n", "\t", "\u3000", "\u0301", "￭", "▁", "É", "İ", "<unk>", " the", " Σ"]
TEXTS = st.lists(st.sampled_from(ODD), min_size=1, max_size=60).map("".join)
WORDS = [
    TextSettings(unit="word", split=split, punctuation=punctuation, lowercase=lowercase)
    for split in get_args(Split)
    for punctuation in get_args(Punctuation)
    for lowercase in (False, True)
]


def cut_short(patch: pytest.MonkeyPatch, line: int, left: int = 1, chunk: int = 3) -> None:
    patch.setattr(text_file, "LONG_LINE", line)
    patch.setattr(text_file, "MIN_REST", left)
    patch.setattr(text_file, "BLOCK_SIZE", chunk)


def prepared(folder: Path, text: str, settings: TextSettings, tokenizer: Tokenizer | None = None) -> PreparedCorpus:
    (folder / "text").write_bytes(text.encode())
    return prepare(folder / "text", folder / "ids", settings, WHOLE, tokenizer=tokenizer)


@hypothesis_settings(max_examples=80)
@given(
    settings=st.sampled_from([*WORDS, TextSettings(lowercase=True)]),
    text=TEXTS,
    line=st.integers(1, 9),
    most=st.sampled_from([2, 10**6]),
    block=st.sampled_from([2, 10**6]),
)
def test_a_line_cut_anywhere_is_the_whole_line(
    tmp_path_factory: pytest.TempPathFactory, settings: TextSettings, text: str, line: int, most: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        try:
            whole = prepared(folder, text, settings)
        except TextError:  # one symbol
            assume(False)
        ids, header = whole.train.ids.tolist(), whole.train.header
        cut_short(patch, line)
        patch.setattr("charlm.corpus.numbered.MAX_REMEMBERED", most)
        patch.setattr("charlm.corpus.numbered.BLOCK_LENGTH", block)
        for tokenizer in (None, whole.tokenizer):
            cut = prepared(folder, text, settings, tokenizer)
            assert cut.train.ids.tolist() == ids
            assert cut.train.header == header
            assert cut.tokenizer.files() == whole.tokenizer.files()
        pieces = list(encoded_text(whole.tokenizer, folder / "text", WHOLE))
    read = whole.tokenizer.encode_detailed(text.removeprefix("\ufeff"))
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == read.ids.tolist()
    assert [symbol for piece in pieces for symbol in piece.unknown] == list(read.unknown)
    assert sum(piece.characters for piece in pieces) == read.characters
    assert sum(piece.bytes for piece in pieces) == read.bytes


@pytest.fixture(scope="module", params=get_args(SubwordModel))
def tokenizer(request: pytest.FixtureRequest) -> SubwordTokenizer:
    built = build_tokenizer(TextSettings(unit="subword", vocab_size=330, subword_model=request.param), [english(300)])
    assert isinstance(built, SubwordTokenizer)
    return built


@given(text=TEXTS, line=st.integers(4, 12))
def test_subwords_of_a_line_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: SubwordTokenizer, text: str, line: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "text").write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subwords, "MAX_WHOLE_LINE", 2)
        cut_short(patch, line, left=13)  # bytes: three characters or more
        pieces = list(encoded_text(tokenizer, folder / "text", WHOLE))
        whole = tokenizer.encode_detailed(text)
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == whole.ids.tolist()
    assert sum(piece.characters for piece in pieces) == len(text)
    assert tokenizer.decode(whole.ids.tolist()) == text


def test_a_line_of_words_one_by_one_is_the_line(tokenizer: SubwordTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokenizer.goes_by_words
    text = english(50).replace("\n", "  ") + "x" * 99
    whole = tokenizer.encode(text).tolist()
    monkeypatch.setattr(subwords, "MAX_WHOLE_LINE", 10)
    assert tokenizer.encode(text).tolist() == whole
    monkeypatch.setattr(subwords, "MAX_WORD_LENGTH", 7)
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


@given(text=st.text(st.sampled_from(["Σ", "A", "a", ".", "\u0301", "1", "ʰ", "é", "İ", "東"]), max_size=30))
def test_case_where_it_is_plain(text: str) -> None:
    data = text.encode()
    for start in range(len(data)):
        cut = where_case_is_plain(data, start, len(data))
        if cut:
            assert start < cut < len(data)
            assert data[:cut].decode().lower() + data[cut:].decode().lower() == text.lower()


@given(text=TEXTS)
def test_the_pieces_make_up_the_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("cut") / "text"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch, open_text(path, WHOLE) as opened:
        cut_short(patch, 5)
        pieces = list(opened.texts(lines=True, within=at_a_space))
    assert b"".join(pieces).decode() == text
    for before, piece in pairwise(pieces):
        assert before.endswith(b"\n") or piece.startswith(b" ")


@pytest.mark.parametrize("unit", ["word", "subword"])
def test_a_stretch_without_a_space_is_refused(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"two words " + b"ACGT" * (5 << 18))
    with pytest.raises(TextError) as caught:
        prepare(path, tmp_path / "ids", TextSettings(unit=unit), WHOLE)  # type: ignore[arg-type]
    assert caught.value.where == str(path)
    assert "--unit char" in caught.value.to_do
    assert not (tmp_path / "ids").exists()
    lowercase = prepare(path, tmp_path / "ids", TextSettings(lowercase=True), WHOLE)
    assert lowercase.train.num_tokens == path.stat().st_size


def write_line(path: Path, megabytes: int) -> None:
    """Words by chance, on one line."""
    generator = random.Random(1)
    words = english(300).split()
    some = (" ".join(generator.choices(words, k=200_000)) + " Σ ").encode()
    with path.open("wb") as file:
        for _ in range(1 + megabytes * 1_000_000 // len(some)):
            file.write(some)


KINDS: list[tuple[dict[str, object], int]] = [
    ({"unit": "word"}, 60),
    ({"unit": "char", "lowercase": True}, 60),
    ({"unit": "char"}, 30),
    ({"unit": "byte"}, 30),
    ({"unit": "word", "split": "whitespace", "punctuation": "drop", "lowercase": True}, 60),  # by these, slow ones only
    ({"unit": "subword", "vocab_size": 300}, 60),
]


def growth(folder: Path, kind: dict[str, object], megabytes: int) -> int:
    tokens = ""
    if kind["unit"] == "subword":  # learning takes a sample of a fixed size; reading is what is asked about
        tokens = str(folder / "tokenizer")
        os.mkdir(tokens)
        for name, content in build_tokenizer(TextSettings(**kind), [english(300)]).files().items():  # type: ignore[arg-type]
            (folder / "tokenizer" / name).write_bytes(content)
    write_line(folder / "small", 12)
    write_line(folder / "large", megabytes)
    return growth_of_preparing(folder / "small", folder / "large", folder / "ids", json.dumps(kind), tokens)


@pytest.mark.parametrize(("kind", "megabytes"), [KINDS[0], slow(*KINDS[1]), KINDS[2], slow(*KINDS[3])], ids=str)
def test_memory_does_not_grow_with_the_line(tmp_path: Path, kind: dict[str, object], megabytes: int) -> None:
    assert growth(tmp_path, kind, megabytes) < 20e6


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=str)
def test_memory_does_not_grow_with_a_line_of_a_gigabyte(tmp_path: Path, kind: dict[str, object]) -> None:
    assert growth(tmp_path, kind, 1000) < 30e6


MILLION = """
import resource, sys, time
from pathlib import Path
from charlm.settings import CorpusSettings, TextSettings
from charlm.corpus.prepare import open_prepared, prepare

start = time.process_time()
settings = TextSettings(unit="word", vocab_size=1_000_000)
prepare(sys.argv[1], Path(sys.argv[2]), settings, CorpusSettings())
prepared = time.process_time()
tokenizer = open_prepared(Path(sys.argv[2])).tokenizer
assert tokenizer.vocab_size == 1_000_000
loaded = time.process_time()
print(prepared - start, loaded - prepared, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_a_million_types(tmp_path: Path) -> None:
    generator = random.Random(1)
    with (tmp_path / "text").open("w") as file:
        for _ in range(300_000):
            file.write(" ".join(f"w{generator.randrange(1_500_000):x}" for _ in range(12)) + "\n")
    command = [sys.executable, "-c", MILLION, str(tmp_path / "text"), str(tmp_path / "ids")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    prepared_in, loaded_in, peak = map(float, done.stdout.split())
    print(f"prepared in {prepared_in:.1f} s, loaded in {loaded_in:.1f} s, {peak / 1e6:.0f} MB")
    assert prepared_in < 120
    assert loaded_in < 30
    assert peak < 2e9
