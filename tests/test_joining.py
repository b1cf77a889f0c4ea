"""Context and text, prompt and new text: however a text is cut, it is read as one."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import charlm as package
from charlm.api import LanguageModel
from charlm.probability import log_softmax
from charlm.sampling.generate import Ending, Sample, collect
from charlm.sampling.healing import go_on, start_after
from charlm.sampling.strategies import Strategy
from charlm.scoring.joining import join
from charlm.scoring.spelling import spelling_nats
from charlm.settings import TextSettings
from charlm.text.tokenizer import Tokenizer, build_tokenizer, load_tokenizer
from tests.conftest import TINY, Once
from tests.test_cli import QUICK, Charlm, charlm, process, records, succeed

__all__ = ["charlm"]  # a fixture

TEXT = "The old cat, which ate, was “full”.\nThe cats  don't; they sat on the older mat.\n" * 5
SETTINGS = {
    "char": TextSettings(unit="char"),
    "byte": TextSettings(unit="byte"),
    "word": TextSettings(unit="word"),
    "subword": TextSettings(unit="subword"),
    "word, whitespace": TextSettings(unit="word", split="whitespace"),
    "word, no punctuation": TextSettings(unit="word", punctuation="drop"),
    "word, lowercase": TextSettings(unit="word", lowercase=True),
    "char, lowercase": TextSettings(unit="char", lowercase=True),
}
ODD = ("the", "old", " ", "  ", "\n", "don't", "don'", ",", "“", "é", "İ", "▁", "ox", "-", "<unk>")
texts = st.lists(st.sampled_from(ODD), max_size=6).map("".join)


@pytest.fixture(scope="module", params=SETTINGS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return build_tokenizer(SETTINGS[request.param], [TEXT])


# Scores


@pytest.mark.parametrize("unit", ["word", "subword"])
def test_a_space_is_read_alike_on_either_side_of_the_border_or_where_it_is_missing(
    models: Callable[[str], LanguageModel], unit: str
) -> None:
    lm = models(unit)
    ways = [("The cat", " follows it."), ("The cat ", "follows it."), ("The cat", "follows it.")]
    scores = [lm.score(text, context=context) for context, text in ways]
    assert len({score.tally.tokens for score in scores}) == 1
    assert all(score.logprob_nats == pytest.approx(scores[0].logprob_nats, abs=1e-9) for score in scores)
    assert [score.has_space for score in scores] == [False, False, True]
    together = [next(iter(lm.score_lines([text], context=context))) for context, text in ways]
    assert [score.logprob_nats for score in together] == pytest.approx([score.logprob_nats for score in scores])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=texts, text=texts, eos=st.booleans())
def test_in_words_the_whole_is_context_and_text(
    models: Callable[[str], LanguageModel], context: str, text: str, eos: bool
) -> None:
    lm = models("word")
    after = lm.score(text, context=context, eos=eos)
    whole = lm.score(f"{context} {text}" if after.has_space else context + text, eos=eos)
    before = lm.score(context, eos=False)
    assert whole.logprob_nats == pytest.approx(before.logprob_nats + after.logprob_nats, abs=1e-6)
    assert whole.tally.tokens == before.tally.tokens + after.tally.tokens
    assert whole.tally.unknown == before.tally.unknown + after.tally.unknown


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=texts, text=texts, eos=st.booleans())
def test_a_text_is_joined_one_by_one_as_it_is_at_once(tokenizer: Tokenizer, context: str, text: str, eos: bool) -> None:
    fast, slow = (join(tokenizer, context, text, eos, one_by_one) for one_by_one in (False, True))
    assert fast.whole.tolist() == slow.whole.tolist()
    assert len(fast.before) == len(slow.before)
    assert fast.counted.unknown == slow.counted.unknown
    alone = tokenizer.encode_detailed(text + "\n" * eos)
    assert (fast.counted.characters, fast.counted.bytes) == (alone.characters, alone.bytes)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
def test_tokens_one_by_one_are_those_of_the_text_and_end_in_it(tokenizer: Tokenizer, text: str) -> None:
    tokens, encoded = tokenizer.tokens(text), tokenizer.encode_detailed(text)
    assert [token.id for token in tokens] == encoded.ids.tolist()
    assert tuple(token.unknown for token in tokens if token.unknown is not None) == encoded.unknown
    ends = [token.end for token in tokens]
    assert ends == sorted(ends)
    assert all(0 < end <= len(text) for end in ends)


def test_a_character_of_several_tokens_belongs_to_all_of_them() -> None:
    for kind in ("byte", "subword"):
        tokenizer = build_tokenizer(SETTINGS[kind], [TEXT])
        joined = join(tokenizer, "The old é", "é", eos=False)
        assert tokenizer.decode(joined.counted.ids.tolist()) == "é"


@pytest.mark.parametrize("text", ["  The cat", "The  cat", "The cat ", " ", "   ", "The cat \n sees"])
def test_spaces_are_never_an_unknown_of_nothing(models: Callable[[str], LanguageModel], text: str) -> None:
    lm = models("word")  # whose corpus has no two spaces side by side
    assert lm.unknown_in(text) == ()
    assert lm.score(text).tally.unknown == 0
    assert lm.tokenizer.decode(lm.tokenizer.encode(text).tolist()) == text


def test_an_older_vocabulary_without_two_spaces_has_no_empty_warning(tmp_path: Path) -> None:
    folder = older(build_tokenizer(SETTINGS["word"], ["The cat sat\n" * 9]), tmp_path, without="")
    tokenizer = load_tokenizer(folder)
    encoded = tokenizer.encode_detailed("The  cat")
    assert encoded.ids.tolist()[1] == tokenizer.unk_id
    assert encoded.unknown == ("",)  # an end mark alone, as it was


def older(tokenizer: Tokenizer, folder: Path, without: str) -> Path:
    """The tokenizer as charlm 0.1 would have written it, lacking a symbol or a field."""
    for name, content in tokenizer.files().items():
        fields = json.loads(content)
        fields.pop("marks", None)
        fields["symbols"] = [symbol for symbol in fields["symbols"] if symbol != without]
        (folder / name).write_text(json.dumps(fields, ensure_ascii=False))
    return folder


# Spelling


def test_an_unknown_symbol_is_spelled_as_the_text_has_it_and_shown_so(models: Callable[[str], LanguageModel]) -> None:
    lm = models("word")
    score = lm.score("The cat#sees it", per_token=True)
    (unknown,) = [token for token in score.tokens_scored if token.unknown]
    assert unknown.unknown == "#"
    assert unknown.spelling_nats == pytest.approx(spelling_nats(1 + 1))
    known = math.fsum(token.logprob_nats for token in score.tokens_scored)
    assert score.logprob_nats == pytest.approx(known - spelling_nats(2), abs=1e-6)
    (comma,) = [token for token in lm.score("It, too", per_token=True).tokens_scored if "," in token.text]
    assert (comma.plain, comma.joins) == (",", "no space before")


def test_a_file_is_spelled_as_a_sentence_is(models: Callable[[str], LanguageModel], tmp_path: Path) -> None:
    lm, text = models("word"), "The cat#sees (her), §5.\n"
    (tmp_path / "text").write_text(text)
    streamed, alone = lm.score_stream(tmp_path / "text"), lm.score(text.removesuffix("\n")).tally
    assert streamed.unknown_nats == pytest.approx(alone.unknown_nats, abs=1e-4)
    counted = lm.tokenizer.encode_counted(text.encode())
    unknown = lm.unknown_in(text)
    assert counted.unknown_bytes == sum(len(symbol.encode()) + 1 for symbol in unknown)
    assert not any("￭" in symbol for symbol in unknown)


# Marks of other tools


@pytest.mark.parametrize("mark", ["<eos>", "</s>"])
@pytest.mark.parametrize("before", ["", "<s> "])
def test_marks_of_sentences_are_the_ends_that_they_mean(mark: str, before: str) -> None:
    lines = ["the cat sat", "a dog", "", "the dog ran"]
    plain = "".join(f"{line}\n" for line in lines)
    marked = "".join(f"{before}{line} {mark}\n" for line in lines)
    tokenizer = build_tokenizer(SETTINGS["word, whitespace"], [marked])
    assert tokenizer.files() == build_tokenizer(SETTINGS["word, whitespace"], [plain]).files()
    expected = tokenizer.encode_detailed(plain)
    for text in (marked, marked.replace("\n", " ")):
        found = tokenizer.encode_detailed(text)
        assert found.ids.tolist() == expected.ids.tolist()
        assert (found.characters, found.bytes, found.unknown) == (expected.characters, expected.bytes, ())
        assert tokenizer.encode_bytes(text.encode()).ids.tolist() == expected.ids.tolist()


def test_a_sentence_with_its_mark_is_scored_as_without(tmp_path: Path) -> None:
    lines = [f"the {noun} sat on {noun} ." for noun in ("cat", "dog", "mat", "ox")] * 20
    (tmp_path / "marked.txt").write_text("".join(f"{line} <eos>\n" for line in lines))
    trained = package.train(
        tmp_path / "marked.txt", run=str(tmp_path / "run"), unit="word", split="whitespace", steps=3, **TINY
    )
    lm = package.load(trained.run)
    for marked in (f"{lines[0]} <eos>", f"<s> {lines[0]} </s>"):
        assert lm.score(marked).tally == lm.score(lines[0]).tally
    assert lm.score(lines[0]).tally.unknown == 0
    assert lm.score(f"{lines[0]} <eos>", eos=False).tally == lm.score(lines[0]).tally


def test_what_becomes_of_marks_is_said(charlm: Charlm) -> None:
    Path("marked.txt").write_text("<s> a b </s>\n<|endoftext|>\na c <eos>\n" * 30)
    outcome = charlm("tokenize", "marked.txt", "--unit", "word", "--split", "whitespace", "--json")
    for mark in ("<s>", "</s>", "<eos>", "<|endoftext|>"):
        assert f"{mark} occurs in it 30 times" in outcome.err
    assert records(outcome)[0]["coverage"] == 1.0


def test_an_older_tokenizer_reads_marks_as_it_did(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(older(build_tokenizer(SETTINGS["word, whitespace"], ["a b\n" * 9]), tmp_path, ""))
    assert tokenizer.encode_detailed("a <eos>\n").unknown == ("<eos>",)
    assert b"marks" not in tokenizer.files()["tokenizer.json"]


# Prompts


class Flat:
    """A network with written log-probabilities, whatever came before; it has no state."""

    def __init__(self, logits: NDArray[np.float64]) -> None:
        self._logits = logits

    def initial_state(self, batch_size: int = 1) -> None:
        return None

    def step(self, ids: NDArray[Any], state: None) -> tuple[NDArray[np.float64], None]:
        return np.tile(self._logits, (len(ids), 1)), None

    def select(self, state: None, rows: Sequence[int]) -> None:
        return None

    def join(self, states: Sequence[None]) -> None:
        return None


def samples(tokenizer: Tokenizer, prompt: str, count: int, network: Flat | None = None, **kind: Any) -> list[Sample]:
    logits = np.random.default_rng(0).normal(size=tokenizer.vocab_size)
    logits[[id for id in range(tokenizer.vocab_size) if tokenizer.symbol(id) == "␣"]] = -99.0
    network = network or Flat(logits)
    start = start_after(tokenizer, network, prompt, allow_unk=False)
    rngs = [np.random.default_rng([7, number]) for number in range(count)]
    written: list[list[Any]] = [[] for _ in rngs]
    for tokens in go_on(network, [start] * count, Strategy(**kind), Ending(length=3), rngs):
        for number, token in tokens.items():
            written[number].append(token)
    return [collect(prompt, tokens) for tokens in written]


def test_a_prompt_goes_on_in_proportion_to_what_the_model_says_of_all_that_begins_so() -> None:
    tokenizer = build_tokenizer(SETTINGS["word"], ["The old cat, the older cat, the oldest, the sun.\n"])
    network = Flat(np.random.default_rng(3).normal(size=tokenizer.vocab_size))
    found = Counter(
        sample.text.partition(" ")[0].split(",")[0].split(".")[0]
        for sample in samples(tokenizer, "The ol", 4000, network)
    )
    symbols = [tokenizer.symbol(id) for id in range(tokenizer.vocab_size)]
    p = np.exp(log_softmax(network.step(np.array([0]), None)[0][0]))
    mass = {symbol.removeprefix("ol"): p[id] for id, symbol in enumerate(symbols) if symbol.startswith("ol")}
    total = sum(mass.values())
    counts = Counter({rest: sum(n for text, n in found.items() if text.split("\n")[0] == rest) for rest in mass})
    for rest, share in mass.items():
        assert counts[rest] / 4000 == pytest.approx(share / total, abs=0.03)


def all_ways(tokenizer: Tokenizer, logprobs: NDArray[np.float64], rest: bytes) -> dict[int, float]:
    """The slow, obvious twin: of each first token, the probability of all ways to read `rest` that begin with it."""
    masses = {}
    for id, text in enumerate(tokenizer.texts_after(tokenizer.eos_id)):
        if text and id != tokenizer.unk_id:
            if text.startswith(rest):
                masses[id] = math.exp(logprobs[id])
            elif rest.startswith(text):
                masses[id] = math.exp(logprobs[id]) * sum(all_ways(tokenizer, logprobs, rest[len(text) :]).values())
    return masses


@pytest.mark.parametrize("prompt", ["The old", "The older ma", "T", "cat"])
def test_subwords_of_an_open_end_have_the_probability_of_all_ways_to_read_it(prompt: str) -> None:
    tokenizer = build_tokenizer(TextSettings(unit="subword", vocab_size=300), [TEXT])
    network = Flat(np.random.default_rng(1).normal(size=tokenizer.vocab_size))
    start = start_after(tokenizer, network, prompt, allow_unk=False)
    assert start.position is not None
    logprobs = log_softmax(network.step(np.array([0]), None)[0][0])
    expected = all_ways(tokenizer, logprobs, tokenizer.open_end(prompt).rest)
    found = np.exp(logprobs + start.position.bias)
    assert found.sum() == pytest.approx(sum(expected.values()), rel=1e-3)
    for id, mass in expected.items():
        assert found[id] == pytest.approx(mass, abs=1e-3 * found.sum())


@pytest.mark.parametrize(
    "prompt", ["The old", "The ol", "The old ", "don'", "The “", "cats  ", "  The", "was\n", "zq", ""]
)
def test_a_sample_goes_on_from_its_prompt_as_it_stands(tokenizer: Tokenizer, prompt: str) -> None:
    for sample in samples(tokenizer, prompt, 30) + samples(tokenizer, prompt, 10, temperature=0.7, top_k=3):
        assert sample.prompt == prompt
        assert len(sample.ids) == 3
        assert "<unk>" not in sample.text
        if tokenizer.unit == "word" and "  " not in prompt:
            assert "  " not in prompt + sample.text
        if tokenizer.unit == "word" and prompt == "The old ":
            assert sample.text[0].isalpha() or sample.text[0] in "“.,;”"


def test_a_word_is_never_cut_off_by_the_prompts_end() -> None:
    tokenizer = build_tokenizer(SETTINGS["word"], [TEXT])
    words = {"old", "older"}
    for sample in samples(tokenizer, "The ol", 50):
        assert ("ol" + sample.text).split()[0].rstrip(",.;“”\n")[:5] in words | {"old"}, sample.text
    for sample in samples(tokenizer, "They don'", 50):
        assert ("don'" + sample.text).startswith("don't")


def test_where_nothing_begins_so_the_prompt_is_read_as_it_is(models: Callable[[str], LanguageModel]) -> None:
    lm = models("word")
    assert lm.unknown_in_prompt("The zzz") == ("zzz",)
    assert lm.unknown_in_prompt("The ca") == ()
    assert lm.unknown_in_prompt("The zzz ca") == ("zzz",)
    assert lm.sample("The zzz", seed=1, length=5).text


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_characters_and_bytes_leave_nothing_open(models: Callable[[str], LanguageModel], unit: str) -> None:
    lm = models(unit)
    for prompt in ("", "The ", "The ol", "caf\udcc3" if unit == "byte" else "caf"):
        start = start_after(lm.tokenizer, lm.predictor, prompt, allow_unk=False)
        assert start.position is None
        assert start.ids[1:].tolist() == lm.tokenizer.encode(prompt).tolist()


def test_the_likeliest_words_after_a_space_are_those_after_the_word(models: Callable[[str], LanguageModel]) -> None:
    lm = models("word")
    assert lm.next_tokens("The cat ") == lm.next_tokens("The cat")
    first = lm.score("sees it", context="The cat ", per_token=True).tokens_scored[0]
    assert first in lm.next_tokens("The cat ", lm.tokenizer.vocab_size)


# Bytes


BYTES = [b"caf\xe9 noir", b"\xff\xfe", b"\xc3", b"plain", "é".encode(), b"a\x80\x80b"]


@pytest.fixture
def of_bytes(charlm: Charlm, once: Once) -> Charlm:
    Path("bytes.txt").write_bytes(b"\n".join(BYTES * 30) + b"\n")
    once("bytes", lambda: succeed(charlm, "train", "bytes.txt", "--unit", "byte", *QUICK))
    return charlm


def test_the_same_bytes_have_the_same_figure_in_every_way(of_bytes: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lines.txt").write_bytes(b"\n".join(BYTES))
    filed = records(of_bytes("score", "--file", "lines.txt", "--json", "-q"))[:-1]
    given = [records(of_bytes("score", data.decode(errors="surrogateescape"), "--json", "-q"))[0] for data in BYTES]
    lm = package.load()
    for data, one, other in zip(BYTES, filed, given, strict=True):
        Path("one.txt").write_bytes(data + b"\n")
        figures = [
            one["logprob_nats"],
            other["logprob_nats"],
            lm.score(data).logprob_nats,
            lm.score(data.decode(errors="surrogateescape")).logprob_nats,
            records(of_bytes("score", "--stream", "one.txt", "--json", "-q"))[0]["logprob_nats"],
        ]
        assert figures == pytest.approx([figures[0]] * len(figures), abs=1e-3)
        assert one["bytes"] == other["bytes"] == len(data) + 1
        text = str(one["text"]).encode() if "text_hex" not in one else bytes.fromhex(str(one["text_hex"]))
        assert text == data


def test_samples_of_bytes_are_those_bytes(of_bytes: Charlm) -> None:
    lm, prompt = package.load(), b"caf\xe9 \xc3"
    sample = lm.sample(prompt, length=40, seed=3)
    data = (sample.prompt + sample.text).encode(errors="surrogateescape")
    assert data == prompt + bytes(sample.ids)
    record = records(of_bytes("sample", "--prompt", sample.prompt, "--length", "40", "--seed", "3", "--json", "-q"))[0]
    for name, expected in (("prompt", prompt), ("text", bytes(sample.ids))):
        found = record.get(f"{name}_hex")
        assert (bytes.fromhex(str(found)) if found else str(record[name]).encode()) == expected
    command = process("sample", "--prompt", sample.prompt, "--length", "40", "--seed", "3", "-q")
    printed, _ = command.communicate()
    assert printed.removesuffix(b"\n") == data.removesuffix(b"\n")


def test_bytes_that_are_no_text_are_refused_by_other_units_which_name_the_one_that_takes_them(
    charlm: Charlm, lm: LanguageModel
) -> None:
    Path("bytes.txt").write_bytes(b"caf\xe9\n" * 9)
    outcome = charlm("train", "bytes.txt", *QUICK)
    assert outcome.code == 3
    assert "--unit byte" in outcome.err.splitlines()[2]
    with pytest.raises(Exception, match="--unit byte"):
        lm.score(b"caf\xe9")
    assert lm.score("café".encode()).tally == lm.score("café").tally


def test_one_note_says_that_a_space_was_put_between(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", "--unit", "word", *QUICK).code == 0
    said = "one space was put between"
    assert charlm("score", "--context", "the cat", "sat", "ran", "sees").err.count(said) == 1
    assert said not in charlm("score", "--context", "the cat ", "sat").err
    Path("lines.txt").write_text("sat\nran\n")
    assert charlm("score", "--context", "the cat", "--file", "lines.txt").err.count(said) == 1
