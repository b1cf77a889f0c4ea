"""What every tokenizer promises, whatever its unit."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import RunError, UsageError
from charlm.settings import TextSettings, Unit
from charlm.text.encoded import Counted
from charlm.text.tokenizer import TOKENIZERS, Tokenizer, build_tokenizer, load_tokenizer, text_from_argument

ODD = [
    "",
    "\n",
    "\n\n",
    " ",
    "  ",
    "a  b ",
    " \n \n",
    "\r\n",
    "a\rb",
    "\0",
    "\u2028x\u0085",
    "\ufeffé",
    "e\u0301",
    "▁",
    "▅",
]
TRAINING_TEXT = "The cat, which ate, was “full”.\nThe cats  didn't; they 'were'.\n\n\tSo: naïve 東京\r\n" * 3
texts = st.text() | st.text("ab ▁▅￭'’\n\t\r,.é<>unkeos0x41/") | st.sampled_from(ODD)
SETTINGS = {
    "char": TextSettings(unit="char"),
    "byte": TextSettings(unit="byte"),
    "word": TextSettings(unit="word"),
    "subword": TextSettings(unit="subword"),
    "bpe": TextSettings(unit="subword", subword_model="bpe"),
    "word, whitespace": TextSettings(unit="word", split="whitespace"),
    "word, no punctuation": TextSettings(unit="word", punctuation="drop"),
    "word, whitespace, no punctuation": TextSettings(unit="word", split="whitespace", punctuation="drop"),
    "char, lowercase": TextSettings(unit="char", lowercase=True),
    "word, lowercase": TextSettings(unit="word", lowercase=True),
    "subword, lowercase": TextSettings(unit="subword", lowercase=True),
    "few words": TextSettings(unit="word", vocab_size=8),
    "min-count": TextSettings(unit="char", min_count=5),
}


@pytest.fixture(scope="module", params=SETTINGS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return build_tokenizer(SETTINGS[request.param], [TRAINING_TEXT])


@settings(deadline=None, max_examples=200)
@given(text=texts)
def test_a_text_of_known_symbols_comes_back(tokenizer: Tokenizer, text: str) -> None:
    encoded = tokenizer.encode_detailed(text)
    if not encoded.unknown and "<unk>" not in text:
        assert tokenizer.decode(encoded.ids) == tokenizer.normalise(text)
    if tokenizer.lossless:
        assert tokenizer.normalise(text) == text


@settings(deadline=None, max_examples=100)
@given(text=texts)
def test_counts_are_those_of_the_normalised_text(tokenizer: Tokenizer, text: str) -> None:
    encoded = tokenizer.encode_detailed(text)
    normalised = tokenizer.normalise(text)
    assert encoded.ids.dtype == np.uint32
    assert (encoded.ids < tokenizer.vocab_size).all()
    assert (encoded.ids == tokenizer.eos_id).sum() == normalised.count("\n")
    assert (encoded.characters, encoded.bytes) == (len(normalised), len(normalised.encode()))
    num_unknown = 0 if tokenizer.unk_id is None else int((encoded.ids == tokenizer.unk_id).sum())
    literal = sum(word == "<unk>" for word in normalised.split()) if tokenizer.unit == "word" else 0
    assert num_unknown - literal <= len(encoded.unknown) <= num_unknown


@settings(deadline=None, max_examples=100)
@given(text=texts)
def test_counting_alone_gives_the_same_numbers(tokenizer: Tokenizer, text: str) -> None:
    counted, expected = tokenizer.encode_counted(text.encode()), Counted.from_encoded(tokenizer.encode_detailed(text))
    assert counted.ids.tolist() == expected.ids.tolist()
    assert [*vars(counted).values()][1:] == [*vars(expected).values()][1:]


@settings(deadline=None, max_examples=100)
@given(lines=st.lists(st.text("ab ▁.'é", max_size=8), min_size=2, max_size=6), data=st.data())
def test_a_text_can_be_encoded_in_pieces_of_whole_lines(
    tokenizer: Tokenizer, lines: list[str], data: st.DataObject
) -> None:
    text = "\n".join(lines)
    cut = len("\n".join(lines[: data.draw(st.integers(1, len(lines) - 1))])) + 1
    parts = [tokenizer.encode(text[:cut]), tokenizer.encode(text[cut:])]
    assert np.concatenate(parts).tolist() == tokenizer.encode(text).tolist()


@settings(deadline=None, max_examples=50)
@given(text=texts, data=st.data())
def test_a_streaming_decoder_never_takes_back_a_character(tokenizer: Tokenizer, text: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    decoder = tokenizer.decoder()
    streamed = "".join(decoder.feed(id) for id in ids) + decoder.finish()
    assert streamed == tokenizer.decode(ids)
    # Any ids give real text, and any bytes themselves.
    data_again = streamed.encode(errors="surrogateescape" if tokenizer.unit == "byte" else "strict")
    assert tokenizer.unit != "byte" or data_again == bytes(ids)


def test_files_bring_the_same_tokenizer_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        again = load_tokenizer(place)
        assert again.files() == tokenizer.files()
        assert again.sha256() == tokenizer.sha256()
        assert again.lossless == tokenizer.lossless
        text = TRAINING_TEXT + "Unknown ▁ symbols, ñ\n"
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_every_type_can_be_shown_and_decoded(tokenizer: Tokenizer) -> None:
    for id in range(tokenizer.vocab_size):
        assert tokenizer.symbol(id)
    assert tokenizer.symbol(tokenizer.eos_id) == "<eos>"
    assert tokenizer.decode([tokenizer.eos_id]) == "\n"


@pytest.mark.parametrize("unit", TOKENIZERS)
def test_building_twice_gives_the_same_files(unit: Unit) -> None:
    first, second = (build_tokenizer(TextSettings(unit=unit), [TRAINING_TEXT]) for _ in range(2))
    assert first.files() == second.files()


@pytest.mark.parametrize("unit", TOKENIZERS)
def test_a_damaged_file_is_refused(unit: Unit, tmp_path: Path) -> None:
    files = build_tokenizer(TextSettings(unit=unit), [TRAINING_TEXT]).files()
    fields = json.loads(files["tokenizer.json"])
    damaged = [
        files["tokenizer.json"][:-9],
        b"",
        b"\xff\xfe",
        b"[]",
        json.dumps({**fields, "unit": "syllable"}).encode(),
        json.dumps({**fields, "version": 2}).encode(),
    ]
    if "symbols" in fields:
        for symbols in (["a"], [*fields["symbols"], fields["symbols"][-1]], [1, 2, 3], "ab", None):
            damaged.append(json.dumps({**fields, "symbols": symbols}).encode())
    for content in damaged:
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(RunError):
            load_tokenizer(tmp_path)


FIELDS = {
    "char": {"lowercase": False},
    "byte": {},
    "word": {"split": "unicode", "punctuation": "keep", "lowercase": False},
    "subword": {"lowercase": False},
}


def write_fields(folder: Path, unit: Unit, fields: dict[str, object]) -> None:
    """A tokenizer of which some fields of `tokenizer.json` are replaced; None leaves one out."""
    for name, content in build_tokenizer(TextSettings(unit=unit), [TRAINING_TEXT]).files().items():
        (folder / name).write_bytes(content)
    written = json.loads((folder / "tokenizer.json").read_bytes()) | fields
    kept = {name: value for name, value in written.items() if value is not None}
    (folder / "tokenizer.json").write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize(("unit", "field"), [(unit, field) for unit, fields in FIELDS.items() for field in fields])
@pytest.mark.parametrize("wrong", [None, 1, "yes", ["unicode"]])
def test_a_wrong_field_is_refused_by_name(unit: Unit, field: str, wrong: object, tmp_path: Path) -> None:
    write_fields(tmp_path, unit, {field: wrong})
    with pytest.raises(RunError, match=f"a damaged tokenizer: {field}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("field", "wrong"), [("format", "x"), ("format", None), ("unit", ["word"]), ("unit", None), ("version", "1")]
)
def test_other_json_is_no_tokenizer(field: str, wrong: object, tmp_path: Path) -> None:
    write_fields(tmp_path, "word", {field: wrong})
    with pytest.raises(RunError, match="not a tokenizer of charlm"):
        load_tokenizer(tmp_path)


def test_a_file_of_a_newer_version_is_refused_as_such(tmp_path: Path) -> None:
    write_fields(tmp_path, "word", {"version": 2})
    with pytest.raises(RunError, match="format version 2") as refused:
        load_tokenizer(tmp_path)
    assert "newer charlm" in str(refused.value)


@pytest.mark.parametrize("unit", TOKENIZERS)
def test_fields_are_those_that_older_files_have_too(unit: Unit, tmp_path: Path) -> None:
    write_fields(tmp_path, unit, {"further": [1]})
    fields = json.loads((tmp_path / "tokenizer.json").read_bytes())
    header = {"format": "charlm-tokenizer", "version": 1, "unit": unit}
    assert {name: value for name, value in fields.items() if name not in ("symbols", "further")} == header | FIELDS[
        unit
    ]
    assert load_tokenizer(tmp_path).unit == unit


def test_older_files_of_words_take_marks_for_words(tmp_path: Path) -> None:
    write_fields(tmp_path, "word", {"split": "whitespace", "symbols": ["<eos>", "<unk>", "</s>"]})
    assert load_tokenizer(tmp_path).encode("</s>\n").tolist() == [2, 0]
    write_fields(tmp_path, "word", {"split": "whitespace", "symbols": ["<eos>", "<unk>", "</s>"], "marks": True})
    assert load_tokenizer(tmp_path).encode("</s>\n").tolist() == [0]


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing", tmp_path / "nothing.model"):
        with pytest.raises(RunError):
            load_tokenizer(place)


@pytest.mark.parametrize(
    "wrong",
    [
        TextSettings(unit="byte", lowercase=True),
        TextSettings(unit="byte", vocab_size=100),
        TextSettings(unit="char", split="whitespace"),
        TextSettings(unit="char", punctuation="drop"),
        TextSettings(unit="word", subword_model="bpe"),
        TextSettings(unit="subword", min_count=2),
        TextSettings(unit="subword", vocab_size=100),
    ],
)
def test_settings_without_effect_are_refused(wrong: TextSettings) -> None:
    with pytest.raises(UsageError):
        build_tokenizer(wrong, [TRAINING_TEXT])


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_an_argument_becomes_real_text(text: str) -> None:
    assert text_from_argument(text) == text
    for wrong in ("\ud800", "\udce9", "\udfff"):
        assert text_from_argument(f"{text}{wrong}{text}") == f"{text}\ufffd{text}"
