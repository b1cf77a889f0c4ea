"""Training a cloze network: what is masked, what it learns, and that its training goes on exactly."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm
from charlm.api import load_cloze
from charlm.corpus.masking import FIXED_MASKS, MASKED_SHARE, LineMasks
from charlm.corpus.windows import IGNORED
from charlm.errors import RunError
from charlm.lifecycle.cloze import ClozeResult
from charlm.lifecycle.session import Session
from charlm.lifecycle.verification import verify
from charlm.scoring.cloze import with_ends
from charlm.system.interrupts import StopRequest
from tests.conftest import TINY as TINY_LM
from tests.conftest import UNITS, Once
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_resume import assert_same
from tests.test_training import Start, finish, interrupt_after, start, stop, undisturbed

__all__ = ["charlm_command", "start", "stop", "undisturbed"]  # fixtures

EOS, MASK = 0, 99
VOCABULARIES = {"word": {"vocab_size": 40}, "subword": {"vocab_size": 301}}
CLOZE: dict[str, Any] = {
    "objective": "cloze",
    "steps": 23,
    "eval_every": 4,
    "sample_every": None,
    "initial_state": "random",
}


# What is masked


def lines_of(ids: list[int], max_piece: int = 5, seed: int = 3) -> LineMasks:
    return LineMasks(np.array([EOS, *ids]), EOS, MASK, max_piece, seed, None)


def all_of(lines: LineMasks, pass_number: int) -> tuple[list[int], list[int]]:
    """For each token between line ends, in the order of the text: what stands in its place, and its target."""
    masked = lines.masked(np.arange(len(lines)), pass_number)
    read, wanted = [], []
    for inputs, targets, length in zip(masked.inputs, masked.targets, masked.lengths, strict=True):
        read += inputs[1 : length - 1].tolist()
        wanted += targets[1 : length - 1].tolist()
        assert (inputs[length:] == EOS).all()
        assert (targets[[0, *range(length - 1, len(targets))]] == IGNORED).all()
    return read, wanted


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60).filter(any))
def test_each_token_but_a_line_end_is_read_or_to_be_found(ids: list[int]) -> None:
    lines, tokens = lines_of(ids), [id for id in ids if id != EOS]
    assert lines.num_tokens == len(tokens)
    read, wanted = all_of(lines, 0)
    assert [target if target != IGNORED else id for id, target in zip(read, wanted, strict=True)] == tokens
    assert all((id == MASK) == (target != IGNORED) for id, target in zip(read, wanted, strict=True))
    assert MASK in read


def test_the_share_is_right_and_the_masks_are_new_in_each_pass() -> None:
    lines = lines_of(np.random.default_rng(1).integers(0, 7, 20_000).tolist())
    masks = [np.array(all_of(lines, pass_number)[0]) == MASK for pass_number in (0, 1, FIXED_MASKS, FIXED_MASKS)]
    for mask in masks:
        assert mask.mean() == pytest.approx(MASKED_SHARE, abs=0.01)
    assert (masks[0] & masks[1]).mean() == pytest.approx(MASKED_SHARE**2, abs=0.005)
    assert (masks[2] == masks[3]).all()


def test_batches_hold_each_line_once_and_keep_to_their_size() -> None:
    lines = lines_of(np.random.default_rng(2).integers(0, 5, 3000).tolist(), max_piece=9)
    batches = list(lines.batches(np.random.default_rng(3).permutation(len(lines)), 40))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lines)))
    assert all(len(batch) * lines.lengths[batch].max() <= 40 for batch in batches)


# Training


@pytest.fixture(scope="session")
def cloze_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a tiny cloze network by unit, trained when first asked for."""
    folder = tmp_path_factory.mktemp("cloze") / "runs"
    runs: dict[str, Path] = {}

    def run(unit: str) -> Path:
        if unit not in runs:
            settings = {**TINY_LM, **UNITS[unit], **VOCABULARIES.get(unit, {}), "objective": "cloze"}
            runs[unit] = Path(charlm.train(corpus, run=str(folder / unit), unit=unit, **settings).run)
        return runs[unit]

    return run


@pytest.mark.parametrize("unit", list(UNITS))
def test_every_unit_can_be_trained_and_gives_pseudo_log_likelihoods(
    cloze_run: Callable[[str], Path], unit: str
) -> None:
    run = cloze_run(unit)
    assert all(check.ok for check in verify(run))
    model = load_cloze(run)
    text = "The cat sees it."
    score = model.pseudo_score(text)
    ids = model.tokenizer.encode(text).astype(np.int64)
    whole, total = with_ends(ids, model.tokenizer.eos_id), 0.0
    for place in range(1, len(ids) + 1):
        masked = whole.copy()
        masked[place] = model.predictor.mask_id
        logprobs = model.predictor.logprobs(masked[None], np.array([len(whole)]), np.array([0]), np.array([place]))
        assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-5)
        total += float(logprobs[0, whole[place]])
    assert score.pseudo_logprob_nats == pytest.approx(total, abs=1e-4)
    assert score.tokens == len(ids)


def test_a_cloze_network_gives_no_probability_of_a_text(
    cloze_run: Callable[[str], Path], trained: Callable[[str], Path]
) -> None:
    with pytest.raises(RunError, match=r"gives no P\(sentence\)"):
        charlm.load(cloze_run("char"))
    with pytest.raises(RunError, match="language model"):
        load_cloze(trained("char"))


def test_it_learns_what_only_both_sides_tell(tmp_path: Path) -> None:
    """In `a1a` or `b2b`, what stands in the middle follows from either side, and the ends from the middle."""
    rng, text = np.random.default_rng(1), tmp_path / "text.txt"
    kinds = ["xay", "xby", "zaw", "zbw"]  # the first symbol follows from the last one alone
    text.write_text("".join(kinds[n] + "\n" for n in rng.integers(0, 4, 600)))
    result = charlm.train(
        text,
        run=str(tmp_path / "run"),
        objective="cloze",
        hidden_size=16,
        steps=150,
        device="cpu",
        threads=1,
        dropout=0.0,
    )
    model = load_cloze(result.run)
    for whole in kinds:
        ids = with_ends(model.tokenizer.encode(whole), model.tokenizer.eos_id)
        ids[1] = model.predictor.mask_id
        logprobs = model.predictor.logprobs(ids[None], np.array([len(ids)]), np.array([0]), np.array([1]))
        assert model.tokenizer.symbol(int(logprobs.argmax())) == whole[0]
        assert logprobs.max() > math.log(0.95)


@pytest.mark.parametrize("cell", ["lstm", "indrnn"])
def test_its_training_goes_on_byte_for_byte_and_line_for_line(
    start: Start, undisturbed: Callable[..., Session], stop: StopRequest, cell: str
) -> None:
    straight = undisturbed(**CLOZE, cell=cell)
    interrupt_after(start("stopped", **CLOZE, cell=cell), stop, 1)
    for step in (9, 22):
        interrupt_after(start("stopped", resume=True), stop, step)
    assert_same(straight, finish(start("stopped", resume=True)))


def test_its_figures_are_per_masked_token(start: Start) -> None:
    result = finish(start("figures", **CLOZE)).measure()
    assert isinstance(result, ClozeResult)
    found = result.as_json()
    assert result.valid is not None
    assert found["valid_nats_per_masked_token"] == result.valid.nats_per_masked_token > 0
    assert 0 <= result.valid.accuracy <= 1
    assert "valid_nats_per_char" not in found


def test_mask_is_in_the_vocabulary_s_count_and_new_symbols_leave_it_the_last(
    cloze_run: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_cloze(cloze_run("word"))
    assert base.tokenizer.vocab_size + 1 == VOCABULARIES["word"]["vocab_size"]
    text = tmp_path / "more.txt"
    text.write_text("A zebra sees the quagga.\n" * 60)
    result = charlm.train(
        text, run=str(tmp_path / "more"), init_from=cloze_run("word"), steps=2, device="cpu", threads=1
    )
    grown = load_cloze(result.run)
    assert grown.tokenizer.vocab_size > base.tokenizer.vocab_size
    assert grown.predictor.mask_id == grown.tokenizer.vocab_size


# The command line

QUICK = ("--steps", "6", "--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "-q")


@pytest.fixture
def charlm_cloze(charlm_command: Charlm, once: Once) -> Charlm:
    arguments = ("train", "corpus.txt", "--run", "c", "--objective", "cloze", *QUICK)
    once("cloze network", lambda: succeed(charlm_command, *arguments))
    return charlm_command


def test_a_cloze_network_on_the_command_line(charlm_cloze: Charlm) -> None:
    found = records(charlm_cloze("score", "--pseudo", "the cat", "a dog", "--json"))
    assert [record["text"] for record in found] == ["the cat", "a dog"]
    assert all(float(str(record["pseudo_logprob_nats"])) < 0 for record in found)
    shown = charlm_cloze("score", "--pseudo", "--file", "corpus.txt")
    assert (shown.code, len(shown.out.splitlines())) == (0, 120)
    assert "pseudo-log-likelihood" in shown.err
    assert charlm_cloze("info", "c").code == charlm_cloze("verify", "c").code == 0
    resumed = charlm_cloze("train", "--resume", "--run", "c", "--steps", "8", "--json", "-q")
    assert "valid_nats_per_masked_token" in records(resumed)[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("score", "the cat"), 4, "whole sentence"),
        (("sample",), 4, "charlm fill"),
        (("train", "corpus.txt", "--objective", "cloze", "--direction", "both"), 2, "--direction"),
        (("train", "corpus.txt", "--objective", "cloze", "--mode", "stream"), 2, "--mode"),
        (("train", "corpus.txt", "--objective", "cloze", "--sample-every", "5"), 2, "writes no text"),
        (("train", "corpus.txt", "--init-from", "c", "--sample-every", "5"), 2, "writes no text"),
        (("train", "corpus.txt", "--objective", "cloud"), 2, "cloud"),
        (("train", "corpus.txt", "--objective", "cloze", "--vocab-size", "300", "--unit", "subword"), 2, "<mask>"),
        (("train", "corpus.txt", "--objective", "cloze", "--vocab-size", "3", "--unit", "word"), 2, "give 4 or more"),
        (("score", "--pseudo", "--stream", "corpus.txt"), 2, "--stream"),
        (("score", "--pseudo", "x", "--per-token"), 2, "--per-token"),
        (("train", "--resume", "--run", "c", "--objective", "causal"), 2, "--objective cloze"),
        (("train", "--resume", "--run", "c", "--direction", "both"), 2, "reads in both directions"),
        (("train", "--resume", "--run", "c", "--sample-every", "5"), 2, "writes no text"),
        (("inspect", "c", "--embeddings"), 4, "--clipping is for every run"),
        (("inspect", "c", "--states", "the cat", "--neuron", "1"), 4, "--clipping is for every run"),
        (("inspect", "c", "--agreement", "pairs.tsv"), 4, "--clipping is for every run"),
    ],
)
def test_what_a_cloze_network_refuses(charlm_cloze: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    Path("pairs.tsv").write_text("good\tbad\tdistance\nthe cat sat\tthe cat sit\t0\n")
    outcome = charlm_cloze(*arguments)
    assert outcome.code == code
    assert named in " ".join(outcome.err.split())


def test_a_setting_that_does_nothing_is_refused_with_the_place_where_it_was_given(
    charlm_command: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.toml").write_text('direction = "both"\n')
    train = ("train", "corpus.txt", "--objective", "cloze", *QUICK)
    in_file = charlm_command(*train, "--config", "run.toml")
    assert (in_file.code, "where: run.toml" in in_file.err) == (2, True)
    typed = charlm_command(*train, "--direction", "both")
    assert (typed.code, "where:" in typed.err) == (2, False)
    monkeypatch.setenv("CHARLM_DIRECTION", "backward")
    in_environment = charlm_command(*train)
    assert (in_environment.code, "where: CHARLM_DIRECTION in the environment" in in_environment.err) == (2, True)
    assert not Path("runs/corpus").exists()


def test_the_gradient_norms_of_a_cloze_network_can_be_inspected(charlm_cloze: Charlm) -> None:
    assert charlm_cloze("inspect", "c", "--clipping").code == 0


def test_pseudo_needs_a_cloze_network(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", *QUICK).code == 0
    outcome = charlm_command("score", "--pseudo", "the cat")
    assert outcome.code == 4
    assert "charlm score --run" in outcome.err
