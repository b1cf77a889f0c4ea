"""Paragraphs as items: what stands between blank lines is read, held out, scored and written as a whole."""

import itertools
import json
import math
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import charlm
from charlm.api import LanguageModel
from charlm.corpus.direction import turned
from charlm.corpus.paragraphs import CanonicalForm
from charlm.corpus.parts import taken_lines
from charlm.corpus.prepare import PreparedCorpus, open_prepared, prepare
from charlm.corpus.windows import IGNORED, RareTypes, SentenceWindows
from charlm.errors import UsageError
from charlm.inspection.inspected import inspect_run
from charlm.inspection.report import make_report
from charlm.inspection.states import unit_values
from charlm.lifecycle.verification import verify
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.score import score_sequences, split_items
from charlm.settings import CorpusSettings, Direction, TextSettings, Unit
from charlm.system.interrupts import StopRequest
from charlm.text.items import EndOfItem, as_items, ends_of_items, first_item, last_item
from charlm.text.tokenizer import Tokenizer, build_tokenizer
from tests.conftest import TINY, UNITS, Once
from tests.test_cli import QUICK, Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_resume import assert_same
from tests.test_training import Start, finish, interrupt_after, start, stop

__all__ = ["charlm_command", "start", "stop"]  # fixtures

POEMS = Path(__file__).parents[2] / "shared" / "cases" / "poems.txt"
EOS = 0
LINES = ("the cat sees", "a dog", "it was the sea,", "two apples", "she said: “no”", "x")
BLANK = ("", " ", "\t ", "\r")

lines = st.sampled_from(LINES)
paragraphs = st.lists(st.lists(lines, min_size=1, max_size=4).map("\n".join), min_size=1, max_size=6)


def verses(count: int, seed: int = 1) -> list[str]:
    """Made-up paragraphs of one to three lines; all different, and no line occurs in two of them."""
    rng = random.Random(seed)
    return ["\n".join(f"{n} {rng.choice(LINES)}" for _ in range(rng.randint(1, 3))) for n in range(count)]


def canonical(items: list[str]) -> str:
    return "".join(f"{item}\n\n" for item in items)


@st.composite
def written(draw: st.DrawFn) -> tuple[list[str], str]:
    """Paragraphs, and a text of them with blank lines of all kinds wherever they may be."""
    items = draw(paragraphs)
    gaps = st.lists(st.sampled_from(BLANK), min_size=1, max_size=4)
    text = "".join(f"{blank}\n" for blank in draw(st.lists(st.sampled_from(BLANK), max_size=2)))
    for item in items[:-1]:
        text += item + "\n" + "".join(f"{blank}\n" for blank in draw(gaps))
    end = "\n".join(draw(st.lists(st.sampled_from(BLANK), max_size=3)))
    return items, text + items[-1] + ("\n" + end if end or draw(st.booleans()) else "")


# The canonical form


@given(written(), st.integers(1, 9))
def test_a_text_comes_into_its_canonical_form_in_whatever_blocks_it_is_read(
    case: tuple[list[str], str], size: int
) -> None:
    items, text = case
    data = text.encode()
    blocks = (data[place : place + size] for place in range(0, len(data), size))
    assert b"".join(CanonicalForm().of(blocks)).decode() == canonical(items)
    assert as_items(text, "paragraph") == canonical(items)
    again = CanonicalForm()
    assert b"".join(again.of(iter([canonical(items).encode()]))).decode() == canonical(items)
    assert again.num_joined == 0


@pytest.mark.parametrize("text", ["", "\n", " \n\n \t\n  ", "\r\n\r\n"])
def test_a_text_of_blank_lines_has_no_paragraph(text: str) -> None:
    assert b"".join(CanonicalForm().of(iter([text.encode()]))) == b""


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    text = canonical(verses(80))
    sizes: dict[Unit, dict[str, Any]] = {"char": {}, "byte": {}, "word": {}, "subword": {"vocab_size": 300}}
    return {
        unit: build_tokenizer(TextSettings(unit=unit, **more), text.splitlines(keepends=True))
        for unit, more in sizes.items()
    }


def prepared(folder: Path, text: str | bytes, tokenizer: Tokenizer | None = None, **more: Any) -> PreparedCorpus:
    path = folder / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    reading = CorpusSettings(item="paragraph", **{"valid_fraction": 0.1, **more})
    return prepare(path, folder / "ids", TextSettings(), reading, tokenizer=tokenizer, mode="sentence")


def text_of(corpus: PreparedCorpus, part: str) -> str:
    return corpus.tokenizer.decode(getattr(corpus, part).ids[1:].tolist())


@pytest.mark.parametrize("unit", list(UNITS))
@settings(max_examples=25)
@given(case=written())
def test_paragraphs_survive_in_every_unit(
    tmp_path_factory: pytest.TempPathFactory, tokenizers: dict[str, Tokenizer], unit: str, case: tuple[list[str], str]
) -> None:
    items, text = case
    assume(len(set(canonical(items))) > 3)
    corpus = prepared(tmp_path_factory.mktemp("text"), text, tokenizers[unit], valid_fraction=0.0)
    assert text_of(corpus, "train") == canonical(items)
    header = corpus.train.header
    assert (header.num_characters, header.num_bytes) == (len(canonical(items)), len(canonical(items).encode()))
    ids = corpus.train.ids[1:]
    found = split_items(ids, corpus.tokenizer.eos_id, "paragraph")
    assert [corpus.tokenizer.decode(piece.tolist()) for piece in found] == [f"{item}\n\n" for item in items]


def test_any_number_of_blank_lines_gives_the_same_ids(tmp_path: Path) -> None:
    texts = [("\n" * count).join(verses(30)) for count in (2, 3, 4)]
    texts += [text.replace("\n", "\r\n") for text in texts] + ["\n \n" + texts[0] + "\n\n\n", canonical(verses(30))]
    ids = {
        (part := prepared(tmp_path, text).train).ids.tobytes() + str(part.header.num_characters).encode()
        for text in texts
    }
    assert len(ids) == 1


def test_the_notes_say_where_blank_lines_were_left_out(tmp_path: Path) -> None:
    assert not [note for note in prepared(tmp_path, "\n\n".join(verses(30))).notes if "empty line" in note]
    (note,) = [note for note in prepared(tmp_path, "\n\n\n".join(verses(30))).notes if "empty line" in note]
    assert "in 29 places" in note


def test_windows_line_ends_in_bytes_do_not_hide_the_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(canonical(verses(20)).replace("\n", "\r\n").encode())
    reading = CorpusSettings(item="paragraph", valid_fraction=0.0)
    corpus = prepare(path, tmp_path / "ids", TextSettings(unit="byte"), reading, mode="sentence")
    assert len(split_items(corpus.train.ids[1:], 10, "paragraph")) == 20


# The parts


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_whole_paragraphs_are_held_out(tmp_path: Path, fraction: float) -> None:
    items = verses(120)
    corpus = prepared(tmp_path, "\n\n\n".join(items), valid_fraction=fraction)
    taken = taken_lines(0, len(items), fraction)
    assert text_of(corpus, "valid") == canonical(
        [item for item, is_taken in zip(items, taken, strict=True) if is_taken]
    )
    assert text_of(corpus, "train") == canonical(
        [item for item, is_taken in zip(items, taken, strict=True) if not is_taken]
    )
    assert f"validation: {taken.sum()} of 120 paragraphs, taken at random" in " ".join(corpus.notes)
    assert corpus.division.split == "paragraphs"
    assert open_prepared(corpus.folder).division == corpus.division


def test_the_parts_are_the_same_however_a_long_text_is_read(tmp_path: Path) -> None:
    items = [f"{n}\n{'wort ' * (n % 97)}." for n in range(7000)]  # more than a block
    corpus = prepared(tmp_path, canonical(items))
    assert text_of(corpus, "valid") == canonical(list(itertools.compress(items, taken_lines(0, len(items), 0.1))))


def test_a_text_of_one_paragraph_has_no_validation_part(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, "\n\nthe cat\nsees it")
    assert (corpus.valid, corpus.division.split) == (None, "none")
    assert "only 1 paragraph" in " ".join(corpus.notes)
    assert text_of(corpus, "train") == "the cat\nsees it\n\n"


def test_paragraphs_that_are_in_both_parts_are_noted(tmp_path: Path) -> None:
    repeated = [*verses(50), *verses(50)]
    assert "of its 10 paragraphs" in " ".join(prepared(tmp_path, canonical(repeated)).notes)
    headed = [f"M:4/4\n{item}" for item in verses(100)]  # only a line of each is repeated
    assert "word for word" not in " ".join(prepared(tmp_path, canonical(headed)).notes)


# Ids


@given(st.lists(st.integers(0, 2), max_size=30))
def test_ends_found_all_at_once_are_those_found_one_by_one(ids: list[int]) -> None:
    end = EndOfItem(EOS, "paragraph")
    one_by_one = [place for place, id in enumerate(ids) if end.is_at(id)]
    assert ends_of_items(np.array(ids, np.int64), EOS, "paragraph").tolist() == one_by_one


def ids_of(items: list[list[int]]) -> np.ndarray[Any, Any]:
    return np.array([EOS, *(id for item in items for id in [*item, EOS, EOS])])


item_ids = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=3).map(
    lambda rows: [id for row in rows for id in [EOS, *row]][1:]
)


@given(st.lists(item_ids, min_size=1, max_size=8))
def test_a_turned_text_has_the_turned_paragraphs(items: list[list[int]]) -> None:
    assert turned(ids_of(items), "paragraph").tolist() == ids_of([item[::-1] for item in items[::-1]]).tolist()


@given(st.lists(item_ids, min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_windows_begin_with_paragraphs_and_have_all_their_tokens(
    items: list[list[int]], batch_size: int, bptt: int, seed: int
) -> None:
    ids = ids_of(items)
    assume(batch_size * bptt <= len(ids) - 1)
    places = np.arange(len(ids))  # as ids, so that each token is recognised
    windows = SentenceWindows(ids, EOS, batch_size, bptt, seed, RareTypes(ids, 6, EOS, None, 1), "paragraph")
    windows._ids = places  # type: ignore[assignment]
    starts = {0, *(1 + ends_of_items(ids[1:], EOS, "paragraph"))}
    seen: list[int] = []
    for _ in range(windows.windows_per_pass):
        window = windows.next()
        for part in filter(None, (window, window.beside)):
            for targets in part.targets:
                own = targets[targets != IGNORED].tolist()
                assert own == (list(range(own[0], own[0] + len(own))) if own else [])
                assert not starts & set(own[:-1])  # no window goes across the end of a paragraph
                seen += own
    assert sorted(seen) == list(range(1, len(ids)))


# Trained models


def train(folder: Path, items: list[str], unit: str = "char", **more: Any) -> Path:
    text = folder / "verses.txt"
    text.write_text("\n\n\n".join(items), encoding="utf-8")
    size = {"vocab_size": 300} if unit == "subword" else {}
    options = {**TINY, "steps": 30, "unit": unit, "item": "paragraph", **size, **more}
    return Path(charlm.train(text, run=str(folder / f"run-{len(list(folder.iterdir()))}"), **options).run)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of a pair of tiny models by unit."""
    found: dict[str, Path] = {}

    def run(unit: str) -> Path:
        if unit not in found:
            found[unit] = train(tmp_path_factory.mktemp("verses"), verses(90), unit, direction="both")
        return found[unit]

    return run


@pytest.fixture(params=[(unit, direction) for unit in UNITS for direction in ("forward", "backward")])
def lm(request: pytest.FixtureRequest, runs: Callable[[str], Path]) -> LanguageModel:
    unit, direction = request.param
    return charlm.load(runs(unit), direction=direction)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_all_paragraphs_of_up_to_five_tokens_and_the_unfinished_ones_are_certain_together(
    tmp_path: Path, direction: Direction
) -> None:
    lm = charlm.load(train(tmp_path, ["a\nb", "b", "ab\na\nb", "ba", "b\na"] * 30, steps=9, direction=direction))
    eos_id, unk_id = lm.tokenizer.eos_id, lm.tokenizer.unk_id
    finished: list[tuple[int, ...]] = []
    going: list[tuple[int, ...]] = [()]
    for _ in range(5):
        extended = [(*ids, id) for ids in going for id in range(lm.tokenizer.vocab_size)]
        finished += [ids for ids in extended if ids[-2:] == (eos_id, eos_id)]
        going = [ids for ids in extended if ids[-2:] != (eos_id, eos_id)]
    sequences = [np.array(ids) for ids in [*finished, *going]]
    logprobs = [float(scores.sum()) for scores in score_sequences(lm.predictor, sequences, eos_id)]
    assert sum(map(math.exp, logprobs)) == pytest.approx(1, abs=1e-5)
    known = {ids: nats for ids, nats in zip(finished, logprobs, strict=False) if ids[0] != eos_id and unk_id not in ids}
    assert len(known) == 2 + 4 + 8 + 4  # a, ab, aba and a <eos> b, each of a and b
    contents = [ids[:-2] if direction == "forward" else ids[-3::-1] for ids in known]
    scores = lm.score_lines(map(lm.tokenizer.decode, contents))
    assert [score.logprob_nats for score in scores] == pytest.approx(list(known.values()), abs=1e-5)


def test_the_end_is_two_tokens_and_two_characters(lm: LanguageModel) -> None:
    text = "the cat sees\na dog"
    with_end, without = lm.score(text), lm.score(text, eos=False)
    assert with_end.tally.tokens == without.tally.tokens + 2
    assert with_end.tally.characters == without.tally.characters + 2 == len(text) + 2
    for same in (f"{text}\n", f"{text}\n\n", f"\n \n{text}\n\n\n", f"{text}\n  "):
        assert lm.score(same).logprob_nats == pytest.approx(with_end.logprob_nats, abs=1e-6)
    tokens = lm.score(text, per_token=True).tokens_scored
    is_end = [token.id == lm.tokenizer.eos_id for token in tokens]
    ends = is_end[:2] if lm.direction == "backward" else is_end[-2:]
    assert ends == [True, True]
    assert sum(is_end) == 3
    assert sum(token.logprob_nats for token in tokens) == pytest.approx(with_end.logprob_nats, abs=1e-4)


def test_a_text_of_several_paragraphs_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(UsageError, match="several paragraphs"):
        lm.score("a dog\n\nx")
    with pytest.raises(UsageError, match="each paragraph on its own"):
        lm.score_stream("verses.txt")


def test_a_context_is_the_beginning_of_the_paragraph(runs: Callable[[str], Path]) -> None:
    for unit in UNITS:
        lm = charlm.load(runs(unit))
        whole, context = lm.score("a dog\nthe cat sees").logprob_nats, lm.score("a dog\n", eos=False).logprob_nats
        for before in ("a dog\n", "x\ntwo apples\n\na dog\n"):
            found = lm.score("the cat sees", context=before)
            assert found.logprob_nats == pytest.approx(whole - context, abs=1e-4)
        at_start = lm.score("the cat sees", context="a dog\n\n").logprob_nats
        assert at_start == pytest.approx(lm.score("the cat sees").logprob_nats, abs=1e-4)
        assert lm.next_tokens("a dog\n\n", 3) == lm.next_tokens("", 3)


def test_the_validation_figure_is_the_score_of_the_paragraphs(runs: Callable[[str], Path]) -> None:
    for unit in UNITS:
        lm, corpus = charlm.load(runs(unit), predictor="network"), open_prepared(runs(unit) / "corpus")
        items = text_of(corpus, "valid").split("\n\n")[:-1]
        scores = [lm.score(item).tally for item in items]
        measured = charlm.describe(runs(unit)).measured
        assert measured is not None
        nats, characters = sum(tally.total_nats for tally in scores), sum(tally.characters for tally in scores)
        if "<unk>" not in "".join(items):
            assert measured["valid_network_nats_per_char"] == pytest.approx(nats / characters, rel=1e-3)
        assert measured["valid_cold_nats_per_char"] == measured["valid_nats_per_char"]


# Sampling


def test_a_sample_ends_exactly_at_the_end_of_a_paragraph(lm: LanguageModel) -> None:
    samples = list(lm.sample_many("", Strategy(temperature=0.9), Ending(length=300, until_eos=True), 12, seed=4))
    ended = [sample for sample in samples if sample.stopped_by == "eos"]
    assert len(ended) > 6
    for sample in ended:
        reading = sample.ids[::-1] if lm.direction == "backward" else sample.ids
        assert ends_of_items(np.array(reading), lm.tokenizer.eos_id, "paragraph").tolist() == [len(reading) - 1]
        assert "\n\n" not in sample.text
        assert "".join(token.text for token in sample.per_token) == sample.text
        content = sample.ids[2:] if lm.direction == "backward" else sample.ids[:-2]
        assert sample.text == lm.tokenizer.decode(content)
        if lm.tokenizer.unit == "char" and as_items(sample.text, "paragraph") == f"{sample.text}\n\n":
            assert lm.score(sample.text).logprob_nats == pytest.approx(sample.logprob_nats, abs=1e-3)
    assert any("\n" in sample.text for sample in ended)


def test_after_a_paragraph_the_state_starts_anew(lm: LanguageModel) -> None:
    sample = lm.sample(length=600, temperature=0.9, seed=3)
    tokens = sample.per_token[::-1] if lm.direction == "backward" else sample.per_token
    ids, places = np.array([token.id for token in tokens]), [0]
    places += [
        int(place) + 1
        for place in ends_of_items(np.array([token.id for token in tokens]), lm.tokenizer.eos_id, "paragraph")
    ]
    assert len(places) > 4
    for first, end in itertools.pairwise(places):
        own = ids[first:end]
        inputs = np.concatenate([[lm.tokenizer.eos_id], own[:-1]])[None]
        logprobs, _ = lm.predictor.logprobs(inputs, own[None], lm.predictor.initial_state())
        assert sum(token.logprob_nats for token in tokens[first:end]) == pytest.approx(float(logprobs.sum()), abs=1e-3)


def test_only_the_paragraph_that_goes_on_is_read_of_a_prompt(lm: LanguageModel) -> None:
    texts = ("", "x", "a dog\nthe")
    for text in texts:
        backward = lm.direction == "backward"
        longer = f"{text}\n\ntwo apples" if backward else f"two apples\n\n\n{text}"
        one, other = (
            lm.sample(**{"suffix" if backward else "prompt": given}, length=40, seed=2) for given in (text, longer)
        )
        assert one.text == other.text


def test_a_prompt_that_ends_with_a_line_may_end_a_paragraph(runs: Callable[[str], Path]) -> None:
    lm = charlm.load(runs("char"))
    likely = lm.sample("a dog\n", until_eos=True, seed=1, top_k=1, length=50)
    ids = [
        sample.ids for sample in lm.sample_many("a dog\n", Strategy(), Ending(length=300, until_eos=True), 20, seed=1)
    ]
    assert any(found == [lm.tokenizer.eos_id] for found in ids)
    assert likely.stopped_by == "eos"


def test_samples_side_by_side_are_those_one_by_one(lm: LanguageModel) -> None:
    ending, wild = Ending(length=90), Strategy(temperature=1.1)
    together = [sample.text for sample in lm.sample_many(["x", ""], wild, ending, 2, seed=5)]
    alone = [
        "".join(token.text for token in lm.sample_tokens(text, wild, ending, seed=5, number=number))
        for text in ("x", "")
        for number in range(2)
    ]
    assert together == alone


def test_the_item_that_goes_on_and_the_one_that_ends() -> None:
    assert [last_item(text, "paragraph") for text in ("a\n\nb\nc", "a\n\n", "\n\na", "a\n \n\n b", "a\n")] == [
        "b\nc", "", "a", " b", "a\n"
    ]  # fmt: skip
    assert [first_item(text, "paragraph") for text in ("a\n\nb\nc", "\n\na", "\na\n\n", "a\n \n\n b", "a\n")] == [
        "a", "", "\na", "a", "a"
    ]  # fmt: skip
    assert last_item("a\n\nb", "line") == first_item("a\n\nb", "line") == "a\n\nb"


# Runs


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_stopped_training_goes_on_byte_for_byte(start: Start, stop: StopRequest, direction: Direction) -> None:
    shape: dict[str, Any] = {
        "item": "paragraph",
        "direction": direction,
        "steps": 20,
        "eval_every": 4,
        "sample_every": 5,
    }
    straight = finish(start("straight", **shape))
    interrupt_after(start("stopped", **shape), stop, 9)
    assert_same(straight, finish(start("stopped", resume=True)))
    assert straight.training.mode == "sentence"


def test_texts_of_their_own_to_validate_and_test_on_are_measured_by_paragraph(tmp_path: Path) -> None:
    items = verses(60)
    for name, some in (("valid", items[:9]), ("test", items[9:14])):
        (tmp_path / name).write_text("\n\n" + "\n\n\n".join(some))
    run = train(tmp_path, items[14:], valid=tmp_path / "valid", test=tmp_path / "test")
    measured, lm = charlm.describe(run).measured, charlm.load(run)
    assert measured is not None
    for name, some in (("valid", items[:9]), ("test", items[9:14])):
        ids = open_prepared(run / "corpus")
        assert text_of(ids, name) == canonical(some)
        scores = [lm.score(item).tally for item in some]
        nats, tokens = sum(tally.total_nats for tally in scores), sum(tally.tokens for tally in scores)
        assert measured[f"{name}_nats_per_token"] == pytest.approx(nats / tokens, rel=1e-3)


def test_a_run_goes_on_and_another_one_starts_from_it(tmp_path: Path) -> None:
    items = verses(60)
    stopped = train(tmp_path, items, steps=12)
    charlm.train(run=str(stopped), resume=True, steps=24, item="paragraph")
    assert charlm.load(stopped).item == "paragraph"
    with pytest.raises(UsageError, match="--item paragraph, not line"):
        charlm.train(run=str(stopped), resume=True, item="line")
    new = train(
        tmp_path,
        items,
        init_from=str(stopped),
        **dict.fromkeys(("hidden_size", "embedding_size", "num_layers", "unit"), None),
    )
    assert charlm.load(new).item == "paragraph"
    assert all(checked.ok for checked in verify(new))


def test_a_run_is_inspected_and_reported_on_by_paragraph(runs: Callable[[str], Path]) -> None:
    run = inspect_run(str(runs("char")))
    text = "a dog\nx\n\n\nthe cat"
    sequences = run.sequences(text)
    assert [run.tokenizer.decode(ids.tolist()) for ids in sequences] == ["a dog\nx\n\n", "the cat\n\n"]
    values = [unit_values(run, ids, None, None) for ids in (run.tokens(text).ids, run.tokens("the cat").ids)]
    length = len(values[1])
    assert values[0][-length:] == pytest.approx(values[1], abs=1e-6)
    report = make_report(runs("char"))
    assert "each paragraph on its own" in report
    assert "the start of a paragraph" in report


@pytest.mark.skipif(not POEMS.exists(), reason="needs the shared texts")
def test_poems(tmp_path: Path) -> None:
    text = POEMS.read_text(encoding="utf-8")
    items = [item.strip("\n") for item in re.split(r"\n\s*\n", text.strip("\n"))]
    corpus = prepared(tmp_path, text, valid_fraction=0.0)
    assert len(split_items(corpus.train.ids[1:], corpus.tokenizer.eos_id, "paragraph")) == len(items)


# As a person types it


@pytest.fixture
def typed(charlm_command: Charlm, once: Once) -> Charlm:
    Path("verses.txt").write_text("\n\n\n".join(verses(60)) + "\n", encoding="utf-8")
    once("verses", lambda: succeed(charlm_command, "train", "verses.txt", "--item", "paragraph", *QUICK))
    return charlm_command


def test_a_file_is_scored_paragraph_by_paragraph(typed: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    items = ["a dog\nx", "the cat sees", "two apples\nx\nx"]
    Path("some.txt").write_text("\n \n" + "\n\n\n".join(items), encoding="utf-8")
    found = records(typed("score", "--file", "some.txt", "--json"))
    lm = charlm.load("verses")
    assert [record["text"] for record in found[:-1]] == items
    for record, item in zip(found, items, strict=False):
        assert record["logprob_nats"] == pytest.approx(lm.score(item).logprob_nats, abs=1e-4)
    assert found[-1]["characters"] == len(canonical(items))
    shown = typed("score", "--file", "some.txt").out.splitlines()
    assert [line.split("  ")[-1] for line in shown[:3]] == ["a dog x", "the cat sees", "two apples x x"]
    Path("windows.txt").write_bytes("\n\n".join(items).replace("\n", "\r\n").encode())
    assert [record["text"] for record in records(typed("score", "--file", "windows.txt", "--json"))[:-1]] == items
    with open("some.txt") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [record["text"] for record in records(typed("score", "-", "--json"))[:-1]] == items


def test_samples_are_separated_by_blank_lines(typed: Charlm) -> None:
    options = ("--seed", "2", "--length", "30", "--temp", "0.5")
    one = typed("sample", "--until-eos", *options, "--json")
    text = str(records(one)[0]["text"])
    assert typed("sample", "--until-eos", *options).out == text + "\n"
    texts = [str(record["text"]) for record in records(typed("sample", "--num-samples", "3", *options, "--json"))]
    shown = typed("sample", "--num-samples", "3", *options).out
    assert shown == "\n".join(text if text.endswith("\n") else f"{text}\n" for text in texts)


def test_stop_texts_of_paragraphs(typed: Charlm) -> None:
    assert "can never come" in typed("sample", "--until-eos", "--stop", r"\n\n", "--length", "9").err
    assert "can never come" not in typed("sample", "--until-eos", "--stop", r"\n", "--length", "9").err


def test_a_prepared_text_is_trained_on_by_paragraph(charlm_command: Charlm) -> None:
    Path("verses.txt").write_text("\n\n\n".join(verses(60)), encoding="utf-8")
    written_parts = ("--write-parts", "parts")
    outcome = charlm_command("tokenize", "verses.txt", "--item", "paragraph", "-o", "ids", *written_parts)
    assert "validation: 6 of 60 paragraphs" in outcome.err
    assert Path("parts/valid.txt").read_text().count("\n\n") == 6
    assert charlm_command("train", "ids", *QUICK).code == 0
    (record,) = records(charlm_command("info", "ids", "--json"))
    assert record["reading"]["item"] == "paragraph"  # type: ignore[index]
    assert record["training"]["mode"] == "sentence"  # type: ignore[index]
    assert record["corpus"]["split"] == "paragraphs"  # type: ignore[index]
    assert "paragraph" in charlm_command("info", "ids").out
    assert charlm_command("verify", "ids").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("train", "verses.txt", "--item", "paragraph", "--mode", "stream"), 2, "--mode stream"),
        (("tokenize", "verses.txt", "--item", "paragraph", "--mode", "stream"), 2, "--mode stream"),
        (("train", "verses.txt", "--item", "paragraph", "--objective", "cloze"), 2, "cloze network"),
        (("train", "verses.txt", "--item", "paragraph", "--unit", "word", "--punctuation", "drop"), 2, "punctuation"),
        (("train", "verses.txt", "--item", "stanza"), 2, "stanza"),
        (("train", "blank.txt", "--item", "paragraph"), 3, "nothing to learn"),
        (("score", "--stream", "verses.txt"), 2, "each paragraph on its own"),
        (("score", "a\n\nb"), 2, "several paragraphs"),
        (("score", "--file", "verses.txt", "--run", "verses", "--run", "corpus"), 2, "each line on its own"),
    ],
)
def test_what_does_not_go_together_is_refused(typed: Charlm, arguments: tuple[str, ...], code: int, words: str) -> None:
    Path("blank.txt").write_text("\n \n\n")
    assert typed("train", "corpus.txt", *QUICK).code == 0
    if "--run" not in arguments and arguments[0] == "score":
        arguments = (*arguments, "--run", "verses")
    outcome = typed(*arguments)
    assert (outcome.code, words in " ".join(outcome.err.split())) == (code, True), outcome.err


def test_the_item_can_come_from_the_environment_and_a_file(
    charlm_command: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("verses.txt").write_text("\n\n".join(verses(60)), encoding="utf-8")
    monkeypatch.setenv("CHARLM_ITEM", "paragraph")
    found = json.loads(charlm_command("tokenize", "verses.txt", "--json").out)
    assert found["split"] == "paragraphs"
    monkeypatch.delenv("CHARLM_ITEM")
    Path("run.toml").write_text('item = "paragraph"\n')
    found = json.loads(charlm_command("tokenize", "verses.txt", "--config", "run.toml", "--json").out)
    assert found["split"] == "paragraphs"
