"""Filling blanks, held against trying everything."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm
from charlm.api import fill, load_filler
from charlm.errors import RunError, UsageError
from charlm.scoring.score import score_sequences, score_variants
from charlm.settings import FillBy
from charlm.tasks.blanks import Gap, Sentence
from charlm.tasks.fill import CausalFiller, Filler, MeanFiller
from charlm.tasks.fill import fill as fill_with
from charlm.tasks.fill_cloze import ClozeFiller
from tests.cases import slow
from tests.conftest import TINY, Once
from tests.test_cli import Charlm, Outcome, process, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_layers import loaded_by_each

__all__ = ["charlm_command"]  # a fixture

SENTENCES = ["the cat ___ .", "___ sees it .", "the ___", "a ___ sees the ___ .", "___ ___ it ."]
EVERYTHING = 10**6


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Tiny runs on a text of few symbols, by unit and what is trained."""
    folder, made = tmp_path_factory.mktemp("fill"), dict[str, Path]()
    texts = {
        "word": "the cat sees it .\na dog sees the cat .\nthe dog hears it .\na cat hears the dog .\n" * 40,
        "char": "abba\nbab\nacca\ncab\nabc\n" * 60,
    }
    texts |= {"byte": texts["char"], "subword": texts["word"]}

    def run(unit: str, **settings: Any) -> Path:
        name = f"{unit}-{'-'.join(map(str, settings.values()))}"
        if name not in made:
            (folder / f"{unit}.txt").write_text(texts[unit])
            sizes = {"vocab_size": 310} if unit == "subword" else {}
            options = {**TINY, "steps": 40, "mode": "sentence", "unit": unit, **sizes, **settings}
            made[name] = Path(charlm.train(folder / f"{unit}.txt", run=str(folder / name), **options).run)
        return made[name]

    return run


@pytest.fixture(params=["forward", "backward", "mean", "cloze"])
def by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def filler_of(runs: Callable[..., Path], unit: str, by: str) -> Filler:
    run = runs(unit, objective="cloze") if by == "cloze" else runs(unit, direction="both")
    return load_filler(run, by)[0]  # type: ignore[arg-type]


# Sentences with blanks


@pytest.mark.parametrize(
    ("text", "num_blanks"),
    [
        ("___", 1),
        ("a ___ b", 1),
        ("(___)", 1),
        ("___, ___!", 2),
        ("____", 0),
        ("x___", 0),
        ("___x", 0),
        ("__ _", 0),
        ("", 0),
    ],
)
def test_three_underscores_alone_are_a_blank(text: str, num_blanks: int) -> None:
    if num_blanks:
        sentence = Sentence.parsed(text)
        assert sentence.num_blanks == num_blanks
        assert sentence.filled(["___"] * num_blanks) == text
        assert sentence.filled_from_end(["___"] * num_blanks) == text
    else:
        with pytest.raises(UsageError, match="no blank"):
            Sentence.parsed(text)


@pytest.mark.parametrize("unit", ["char", "byte", "word", "subword"])
def test_what_stands_around_a_blank_and_in_it_is_the_sentence(runs: Callable[..., Path], unit: str) -> None:
    tokenizer = charlm.load(runs(unit, direction="both")).tokenizer
    inside = "dog" if unit in ("word", "subword") else "ba"
    before, after = ("a ", " sees it .") if unit in ("word", "subword") else ("ab", "ca")
    gap = Gap(tokenizer, before, after)
    ids = gap.ids_of(inside)
    whole = tokenizer.encode(before + inside + after).tolist()
    assert [*gap.ids_before.tolist(), *ids, *gap.ids_after.tolist()] == whole
    assert gap.filling(ids) == inside


# All ways to fill, against those that are found


def brute_force(filler: Filler, text: str, symbols: list[str], length: int, top: int = EVERYTHING) -> list[Any]:
    """All fillings of up to `length` symbols."""
    sentence = Sentence.parsed(text)
    spans = ["".join(span) for size in range(1, length + 1) for span in itertools.product(symbols, repeat=size)]
    every = list(itertools.product(spans, repeat=sentence.num_blanks))
    nats = filler.nats(sentence, every)
    order = np.argsort(nats, kind="stable")[:top]
    return [(every[n], pytest.approx(nats[n], abs=1e-4)) for n in order.tolist()]


@pytest.mark.parametrize("text", SENTENCES)
def test_the_best_of_all_words_are_found(runs: Callable[..., Path], by: str, text: str) -> None:
    filler = filler_of(runs, "word", by)
    words = ["the", "cat", "sees", "it", "a", "dog", "hears", "."]
    expected = brute_force(filler, text, words, 1)
    found = [(filling.texts, filling.nats) for filling in fill_with(filler, text, top=EVERYTHING)]
    known = [(texts, nats) for texts, nats in found if set("".join(texts)) - set(",")]
    by_text = dict(expected)
    best = {texts for texts, _ in expected[: 5 if by != "mean" else 3]}
    assert all(nats == by_text[texts] for texts, nats in known if texts in by_text)
    assert best <= {texts for texts, _ in known}
    assert [nats for _, nats in found] == sorted(nats for _, nats in found)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("text", ["a ___ a", "ab ___", "___ c"])
def test_a_wide_beam_finds_the_same_as_trying_all_spans(runs: Callable[..., Path], direction: str, text: str) -> None:
    lm = charlm.load(runs("char", direction="both"), direction=direction)  # type: ignore[arg-type]
    filler = CausalFiller(lm, span_width=EVERYTHING)
    expected = brute_force(filler, text, ["a", "b", "c"], 3)
    found = [(filling.texts, filling.nats) for filling in fill_with(filler, text, length=3, top=EVERYTHING)]
    own = [(texts, nats) for texts, nats in found if set(texts[0]) <= set("abc")]
    assert dict(own).keys() == dict(expected).keys()
    assert own[0] == expected[0]


def test_a_wide_beam_of_a_cloze_network_finds_the_same_as_trying_all_spans(runs: Callable[..., Path]) -> None:
    narrow = filler_of(runs, "char", "cloze")
    assert isinstance(narrow, ClozeFiller)
    filler = ClozeFiller(narrow.predictor, narrow.tokenizer, narrow.reading, span_width=EVERYTHING)
    expected = brute_force(filler, "a ___ b", ["a", "b", "c"], 2)
    found = [(filling.texts, filling.nats) for filling in fill_with(filler, "a ___ b", length=2, top=EVERYTHING)]
    own = [(texts, nats) for texts, nats in found if set(texts[0]) <= set("abc")]
    assert dict(own).keys() == dict(expected).keys()
    assert own[0] == expected[0]


@pytest.mark.parametrize("unit", ["char", "byte", "subword"])
def test_every_unit_fills_with_spans(runs: Callable[..., Path], by: str, unit: str) -> None:
    filler = filler_of(runs, unit, by)
    text = "the cat ___ it ." if unit == "subword" else "a ___"
    found = fill_with(filler, text, length=3, top=7)
    assert len(found) == 7
    assert len({filling.texts for filling in found}) == 7
    for filling in found:
        assert filling.texts[0]
        assert "\n" not in filling.texts[0]
        assert filling.nats == pytest.approx(filler.nats(Sentence.parsed(text), [filling.texts])[0], abs=1e-4)


def test_the_nats_of_a_direction_are_what_score_gives(runs: Callable[..., Path]) -> None:
    run = runs("word", direction="both")
    text, models = "the ___ sees it .", [charlm.load(run, direction=way) for way in ("forward", "backward")]
    for filling in fill(text, run, by="forward", top=5):
        assert filling.nats == pytest.approx(
            -models[0].score(text.replace("___", *filling.texts)).logprob_nats, abs=1e-4
        )
    for filling in fill(text, run, top=5):
        both = [-lm.score(text.replace("___", *filling.texts)).logprob_nats for lm in models]
        assert filling.nats == pytest.approx(sum(both) / 2, abs=1e-4)


@given(
    ids=st.lists(st.lists(st.integers(0, 9), max_size=9), min_size=1, max_size=6), shared=st.lists(st.integers(0, 9))
)
def test_variants_are_scored_as_whole_sequences(ids: list[list[int]], shared: list[int]) -> None:
    predictor = _Counting()
    sequences = [np.array([*shared, *own], np.int64) for own in ids]
    whole = [scores.sum() for scores in score_sequences(predictor, sequences, 0)]
    read, predictor.tokens = predictor.tokens, 0
    np.testing.assert_allclose(score_variants(predictor, sequences, 0), whole, atol=1e-9)
    if len(ids) > 1 and len(shared) > 20:
        assert predictor.tokens < read


class _Counting:
    """A predictor whose log p of a token depends on the two tokens before it; it counts what it is asked."""

    vocab_size, can_run_in_segments = 10, True

    def __init__(self) -> None:
        self.tokens = 0

    def initial_state(self, batch_size: int = 1) -> Any:
        return np.zeros(batch_size)

    def logprobs(self, inputs: Any, targets: Any, state: Any) -> Any:
        self.tokens += int((targets >= 0).sum())
        before = np.concatenate([state[:, None], inputs[:, :-1]], axis=1)
        return -np.log1p(before + 3.0 * inputs + 7.0 * np.maximum(targets, 0)), inputs[:, -1].astype(float)

    def select(self, state: Any, rows: Any) -> Any:
        return state[list(rows)]

    def step(self, ids: Any, state: Any) -> Any:
        raise NotImplementedError

    def join(self, states: Any) -> Any:
        raise NotImplementedError


# What the run can


def test_the_best_that_a_run_has_is_the_default(runs: Callable[..., Path]) -> None:
    expected = {
        "forward": ("forward", CausalFiller),
        "backward": ("backward", CausalFiller),
        "both": ("mean", MeanFiller),
    }
    for direction, (by, kind) in expected.items():
        filler, used, _ = load_filler(runs("word", direction=direction))
        assert (used, type(filler)) == (by, kind)
    assert load_filler(runs("word", objective="cloze"))[1] == "cloze"


@pytest.mark.parametrize(("direction", "by"), [("forward", "backward"), ("backward", "mean"), ("both", "cloze")])
def test_a_model_that_the_run_lacks_is_named(runs: Callable[..., Path], direction: str, by: str) -> None:
    with pytest.raises(RunError):
        load_filler(runs("word", direction=direction), by)  # type: ignore[arg-type]


@pytest.mark.parametrize("candidates", [["zebra"], ["cat", ""], ["cat"] * 9])
def test_candidates_that_cannot_be_used(runs: Callable[..., Path], by: str, candidates: list[str]) -> None:
    filler = filler_of(runs, "word", by)
    if len(candidates) == 9:
        text = " ".join(["___"] * 9)
        with pytest.raises(UsageError, match="too many"):
            fill_with(filler, text, ["cat", "dog", "it"])
    else:
        with pytest.raises(UsageError, match=r"unknown|empty"):
            fill_with(filler, "the ___ sees it .", candidates)


PUNCTUATED = ('the cat sees "___" .', '"___" sees it .', "'___'", "(___) ___.", "the\n___")


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (unit, text) if unit == "word" or text == PUNCTUATED[0] else slow(unit, text)
        for unit in ("char", "byte", "word", "subword")
        for text in PUNCTUATED
    ],
)
def test_a_blank_stands_next_to_punctuation(runs: Callable[..., Path], by: str, unit: str, text: str) -> None:
    found = fill_with(filler_of(runs, unit, by), text, length=2, top=5)
    assert found
    assert all(part == part.strip() != "" for filling in found for part in filling.texts)


@pytest.mark.parametrize("by", ["forward", "backward", "mean"])
def test_a_blank_in_which_no_word_can_stand_has_no_filling(runs: Callable[..., Path], by: FillBy) -> None:
    filler, _, _ = load_filler(runs("word", direction="both", split="whitespace"), by)
    assert fill_with(filler, "the '___ sees it .") == []
    assert len(fill_with(filler, "the ___ sees it .")) > 5


def test_given_candidates_are_ranked_and_no_others(runs: Callable[..., Path], by: str) -> None:
    filler = filler_of(runs, "word", by)
    found = fill_with(filler, "the ___ sees the ___ .", ["cat", "dog", "cat"])
    assert {filling.texts for filling in found} == set(itertools.product(["cat", "dog"], repeat=2))
    spans = fill_with(filler, "the ___ .", ["cat", "dog sees it", "cat sees the dog"])
    assert len(spans) == 3


# The command line


def test_one_sentence_loads_no_torch(runs: Callable[..., Path]) -> None:
    pair, cloze = (
        ("--run", str(runs("word", **trained_as))) for trained_as in ({"direction": "both"}, {"objective": "cloze"})
    )
    commands = [
        ("fill", "the ___ sees it .", *pair),
        ("sample", "--suffix", "sees it .", "--length", "9", *pair),
        ("score", "the cat", "--direction", "backward", *pair),
        ("fill", "the ___ sees it .", *cloze),
        ("score", "--pseudo", "the cat", *cloze),
    ]
    found = loaded_by_each(commands)
    assert len(found) == len(commands)
    for command, (printed, loaded) in zip(commands, found, strict=True):
        assert printed.strip(), command
        assert "torch" not in loaded, command


@pytest.fixture
def charlm_words(charlm_command: Charlm, once: Once) -> Charlm:
    quick = ("--steps", "8", "--hidden-size", "9", "--precision", "float32", "-q", "--unit", "word")
    arguments = ("train", "corpus.txt", "--run", "w", "--direction", "both", *quick)
    once("pair of words", lambda: succeed(charlm_command, *arguments))
    return charlm_command


def test_fill_on_the_command_line(charlm_words: Charlm) -> None:
    outcome = charlm_words("fill", "the ___ sat on the mat", "--top", "4")
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 5)
    assert "a ranking" in outcome.err
    found = records(charlm_words("fill", "the ___ sat on the mat", "--top", "4", "--json"))
    assert [record["rank"] for record in found] == [1, 2, 3, 4]
    assert found[0].keys() == {"schema_version", "rank", "filling", "nats"}
    several = records(charlm_words("fill", "the ___ sat on the ___", "--candidates", "cat,mat", "--json"))
    assert {tuple(record["filling"]) for record in several} == set(itertools.product(["cat", "mat"], repeat=2))  # type: ignore[arg-type]


def test_each_line_of_standard_input_with_a_blank_is_a_sentence(
    charlm_words: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_lines(text: str, *options: str) -> Outcome:
        Path("typed.txt").write_bytes(text.encode())
        with Path("typed.txt").open() as typed:
            monkeypatch.setattr(sys, "stdin", typed)
            return charlm_words("fill", "-", "--top", "2", *options)

    first, second = "the ___ sat on the mat", "the cat sat on the ___"
    outcome = fill_lines(f"{first}\r\n\nthe dog sat\n{second}", "--json")
    assert (outcome.code, "left out: 1 line without a blank" in outcome.err) == (0, True)
    found = records(outcome)
    assert [record["text"] for record in found] == [first, first, second, second]
    for text in (first, second):
        alone = records(charlm_words("fill", text, "--top", "2", "--json"))
        assert [{**record, "text": text} for record in alone] == [each for each in found if each["text"] == text]
    shown = fill_lines(f"{first}\n{second}\n")
    assert [line for line in shown.out.splitlines() if "___" in line] == [first, second]
    assert shown.err.count("lower is better") == 1
    assert fill_lines("the dog sat\n").code == 3


def test_a_sentence_is_filled_before_the_next_line_comes(charlm_words: Charlm) -> None:
    filling = process("fill", "-", "--json", "--top", "1", stdin=subprocess.PIPE)
    assert filling.stdin is not None
    assert filling.stdout is not None
    for text in ("the ___ sat on the mat", "the cat sat on the ___"):
        filling.stdin.write(f"{text}\n".encode())
        filling.stdin.flush()
        assert json.loads(filling.stdout.readline())["text"] == text
    filling.communicate(timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("no blank here",), 2, "___"),
        (("a ___", "--candidates", "zebra"), 2, "zebra"),
        (("a ___", "--candidates", "cat,,mat"), 2, "empty"),
        (("a ___", "--by", "cloze"), 4, "cloze"),
        (("a ___", "--by", "luck"), 2, "luck"),
        (("a ___", "--top", "0"), 2, "top"),
        (("a ___", "--run", "nowhere"), 4, "nowhere"),
    ],
)
def test_what_fill_refuses(charlm_words: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_words("fill", *arguments)
    assert outcome.code == code
    assert named in outcome.err
