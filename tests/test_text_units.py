"""What each unit's tokens are."""

import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import RunError, TextError
from charlm.settings import TextSettings
from charlm.text import numbering as numbering_module
from charlm.text import splitting as splitting_module
from charlm.text.characters import count_characters
from charlm.text.joining import spell, spell_any, unjoin
from charlm.text.numbering import Numbering
from charlm.text.octets import ByteTokenizer
from charlm.text.splitting import SEGMENT, SPELL, Splitting
from charlm.text.subwords import SubwordTokenizer
from charlm.text.tokenizer import build_tokenizer, load_tokenizer
from charlm.text.words import WordTokenizer


def symbols(text: str, **kind: str | bool | int) -> list[str]:
    tokenizer = build_tokenizer(TextSettings(**kind), [text])  # type: ignore[arg-type]
    return [tokenizer.symbol(int(id)) for id in tokenizer.encode(text)]


def words(text: str, **kind: str | bool | int) -> list[str]:
    return symbols(text, unit="word", **kind)


def test_types_are_numbered_by_count_then_code_point() -> None:
    tokenizer = build_tokenizer(TextSettings(unit="char"), ["bb\nca", "a"])
    assert [tokenizer.symbol(id) for id in range(tokenizer.vocab_size)] == ["<eos>", "<unk>", "a", "b", "c"]


def test_vocab_size_counts_special_symbols_and_min_count_drops_rare_ones() -> None:
    assert build_tokenizer(TextSettings(unit="char", vocab_size=3), ["aabbb"]).encode("ab").tolist() == [1, 2]
    assert build_tokenizer(TextSettings(unit="char", min_count=3), ["aabbb"]).encode("ab").tolist() == [1, 2]


@given(st.lists(st.text() | st.text("ab\n", max_size=300), max_size=4))
def test_characters_are_counted_exactly(chunks: list[str]) -> None:
    assert count_characters(chunk.encode() for chunk in chunks) == Counter("".join(chunks))


@given(
    st.text() | st.text("ab\0é“東😀\n", max_size=50), st.sampled_from(["ab\0“", "é東😀", "".join(map(chr, range(300)))])
)
def test_characters_are_encoded_as_one_by_one(text: str, known: str) -> None:
    tokenizer = build_tokenizer(TextSettings(unit="char"), [known * 3])
    ids = {"\n": 0} | {tokenizer.symbol(id): id for id in range(2, tokenizer.vocab_size)}
    encoded = tokenizer.encode_bytes(text.encode())
    assert encoded.ids.tolist() == [ids.get(character, 1) for character in text]
    assert encoded.unknown == tuple(character for character in text if character not in ids)


@pytest.mark.parametrize("alphabet_size", [100, 300, 5000])
def test_ids_of_many_characters(alphabet_size: int) -> None:
    text = "".join(map(chr, range(32, 32 + alphabet_size))) * 2 + "abc" * 1000
    tokenizer = build_tokenizer(TextSettings(unit="char"), [text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("abc")) == "abc"
    assert tokenizer.encode("\U0010ffff\x01").tolist() == [1, 1]


def test_unknown_characters_are_told() -> None:
    tokenizer = build_tokenizer(TextSettings(unit="char"), ["ab"])
    encoded = tokenizer.encode_detailed("aébc")
    assert encoded.unknown == ("é", "c")
    assert tokenizer.decode(encoded.ids) == "a<unk>b<unk>"


def test_bytes_are_their_values() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("é\n").tolist() == [0xC3, 0xA9, 10]
    assert tokenizer.encode_detailed("é\n").characters == 2
    assert tokenizer.decode([0xC3, 0x28, 0xA9]) == "\udcc3(\udca9"
    assert tokenizer.encode("\udcc3(\udca9").tolist() == [0xC3, 0x28, 0xA9]
    decoder = tokenizer.decoder()
    assert [decoder.feed(byte) for byte in "é".encode()] == ["", "é"]


def test_words_and_punctuation_tell_how_they_join() -> None:
    assert words("The cat, which ate, was full.") == ["The", "cat", "￭,", "which", "ate", "￭,", "was", "full", "￭."]
    assert words("“Don’t”  (he said)") == ["“￭", "Don’t", "￭”", "␣", "(￭", "he", "said", "￭)"]
    assert words("a-b e\u0301t\u00e9") == ["a", "￭-￭", "b", "e\u0301t\u00e9"]
    assert words("'tis dogs'") == ["'￭", "tis", "dogs", "￭'"]


def test_lines_of_words() -> None:
    assert words("a\n\n b\n") == ["a", "<eos>", "<eos>", "␣", "b", "<eos>"]
    assert words("\n\n\n") == ["<eos>"] * 3
    assert words(" ") == ["␣", "␣"]


@settings(max_examples=500)
@given(st.text("ab￭'’,é\u0301“_-", min_size=1) | st.from_regex(r"\w+\W?", fullmatch=True))
def test_symbols_of_a_chunk_are_unambiguous(chunk: str) -> None:
    assert list(spell(chunk)) == list(spell_any(chunk))
    text, joined = "", True
    for symbol in spell(chunk):
        inside, left, right = unjoin(symbol)
        assert joined or left, "two symbols of a chunk touch"
        text, joined = text + inside, right
    assert text == chunk


@settings(max_examples=500)
@given(
    st.text(" \na\r\t\0,é\u3000\x1c") | st.text("ab ", min_size=12),
    st.sampled_from([Splitting(split, punctuation) for split, punctuation in SPELL]),
    st.integers(1, 30),
)
def test_numbers_are_those_of_the_symbols_one_by_one(text: str, splitting: Splitting, segment: int) -> None:
    numbering = Numbering(splitting, {"a": 1}, 2, max_remembered=1000)
    names = ["\n", "a"]
    expected: list[str] = []
    for line in text.split("\n"):
        expected += [*splitting.symbols(line), "\n"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting_module, "SEGMENT", segment)
        patch.setattr(numbering_module, "TABLE_BITS", 3)
        for _ in range(2):  # when the pieces are new, and when they have been seen
            numbers = numbering.number(text.encode()).tolist()
            names = ["\n", "a", *numbering.symbols]
            assert [names[number] for number in numbers] == expected[:-1]
        assert len(set(names)) == len(names)
        numbering.restart()
        assert numbering.number(text.encode()).tolist() == numbers


def test_words_at_white_space_as_they_stand() -> None:
    text = " the <unk> N n.v. \n the\tend , \n"
    assert words(text, split="whitespace") == ["the", "<unk>", "N", "n.v.", "<eos>", "the", "end", ",", "<eos>"]
    tokenizer = build_tokenizer(TextSettings(unit="word", split="whitespace"), [text])
    assert tokenizer.normalise(text) == "the <unk> N n.v.\nthe end ,\n"
    encoded = tokenizer.encode_detailed("the <unk> <eos> ox\n")
    assert encoded.ids.tolist()[1:] == [1, 0, 1, 0]
    assert encoded.unknown == ("ox",)


def test_dropped_punctuation_and_case() -> None:
    assert words("A (b), c-d!", punctuation="drop") == ["A", "b", "c", "d"]
    assert words("n.v. , <unk> -- x", punctuation="drop", split="whitespace") == ["n.v.", "<unk>", "x"]
    assert words("The THE", lowercase=True) == ["the", "the"]
    assert symbols("ΑΣ ΑΣΑ", unit="char", lowercase=True) == list("ας ασα")


@pytest.mark.parametrize("kind", [{"split": "unicode"}, {"split": "whitespace"}, {"punctuation": "drop"}])
def test_a_long_line_of_words_is_cut_where_nothing_changes(kind: dict[str, str]) -> None:
    text = ("ab, c  d' " * 9 + " ") * (SEGMENT // 50)
    tokenizer = build_tokenizer(TextSettings(unit="word", **kind), [text])  # type: ignore[arg-type]
    whole = tokenizer.encode_detailed(text)
    assert tokenizer.decode(whole.ids) == tokenizer.normalise(text)
    assert whole.characters == len(tokenizer.normalise(text))
    assert not whole.unknown


def test_a_word_of_a_million_letters() -> None:
    tokenizer = build_tokenizer(TextSettings(unit="word"), ["a b " + "x" * 10**6 + "\n"])
    encoded = tokenizer.encode_detailed("a " + "x" * 10**6)
    assert [len(word) for word in encoded.unknown] == [10**6]
    assert isinstance(tokenizer, WordTokenizer)
    assert max(map(len, tokenizer.vocabulary.symbols)) < 1000


@pytest.fixture(scope="module")
def subwords() -> SubwordTokenizer:
    text = "the cat sat on the mat  and ▁ that was ▅ that\n" * 20 + "\0\r\t"
    tokenizer = build_tokenizer(TextSettings(unit="subword"), [text])
    assert isinstance(tokenizer, SubwordTokenizer)
    return tokenizer


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(codec="utf-8")))
def test_subwords_give_every_text_back(subwords: SubwordTokenizer, text: str) -> None:
    encoded = subwords.encode_detailed(text)
    assert subwords.lossless
    assert not encoded.unknown
    assert subwords.decode(encoded.ids) == text


def test_a_long_line_of_subwords_is_cut_where_nothing_changes(
    subwords: SubwordTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "the cat  sat on that " * 500
    whole = subwords.encode(line).tolist()
    monkeypatch.setattr("charlm.text.subwords.MAX_WHOLE_LINE", 50)
    assert subwords.encode(line).tolist() == whole
    no_space = "ab" * 1000
    assert subwords.decode(subwords.encode(no_space)) == no_space


def test_threads_change_nothing(subwords: SubwordTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the cat sat\n\n on ▁ that mat\n" * 500
    alone = subwords.encode(text).tolist()
    monkeypatch.setattr("charlm.text.subwords.MIN_THREADED", 10)
    monkeypatch.setattr("charlm.text.subwords.cores", lambda: 3)
    assert subwords.encode(text).tolist() == alone


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_subwords_of_small_odd_texts(model: str) -> None:
    for text in ("a", "▅▅ ▅", "   ", "\0", "<unk> </s> <0x41> <eos> " * 30, "".join(map(chr, range(0x4E00, 0x6000)))):
        notes: list[str] = []
        settings = TextSettings(unit="subword", subword_model=model)  # type: ignore[arg-type]
        tokenizer = build_tokenizer(settings, [text], notes)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.vocab_size <= 4000
        assert notes
    with pytest.raises(TextError):
        build_tokenizer(TextSettings(unit="subword"), ["\n\n"])


def foreign_model(**options: object) -> bytes:
    from sentencepiece import SentencePieceTrainer

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["hello world, the quick fox"] * 20),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return written.getvalue()


@pytest.mark.parametrize("eos_id", [2, -1])
def test_a_model_from_elsewhere_says_that_it_loses_something(eos_id: int, tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(foreign_model(eos_id=eos_id))
    tokenizer = load_tokenizer(tmp_path / "x.model")
    assert not tokenizer.lossless
    encoded = tokenizer.encode_detailed("hé 東llo\n\nthe  fox\n")
    assert (encoded.ids < tokenizer.vocab_size).all()
    assert (encoded.ids == tokenizer.eos_id).sum() == 3
    assert encoded.unknown == ("é", "東")
    assert tokenizer.normalise("hé 東llo\n\nthe  fox\n") == "hé 東llo\n\nthe fox\n"
    assert tokenizer.decode(encoded.ids) == "h<unk> <unk>llo\n\nthe fox\n"
    assert encoded.characters == len("hé 東llo\n\nthe fox\n")


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    good = foreign_model()
    for content in (b"", b"no model", good[: len(good) // 2]):
        (tmp_path / "x.model").write_bytes(content)
        with pytest.raises(RunError):
            load_tokenizer(tmp_path / "x.model")


@pytest.mark.parametrize(("split", "punctuation"), list(SPELL))
@pytest.mark.parametrize("lowercase", [False, True])
@given(line=st.lists(st.sampled_from([*"abA ,'\t\u3000é“", "<unk>", "  "]), max_size=30).map("".join))
def test_a_short_line_is_encoded_as_a_long_one(split: str, punctuation: str, lowercase: bool, line: str) -> None:
    kind = TextSettings(unit="word", split=split, punctuation=punctuation, lowercase=lowercase)  # type: ignore[arg-type]
    words = WordTokenizer.from_counts(kind, Counter({"ab": 3, "a": 2, ",": 1, "￭,": 1, "": 1}))
    short, long = words.encode_detailed(line), words.encode_bytes(line.encode())
    assert (short.ids.tolist(), short.unknown) == (long.ids.tolist(), long.unknown)
    assert (short.characters, short.bytes) == (long.characters, long.bytes)
