"""What a text's probability promises: it is a probability, whichever way it is computed, and its units are right."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.api import LanguageModel, Score
from charlm.cells import CELLS
from charlm.engine.predictor import StepPredictor
from charlm.model.network import TorchNetwork
from charlm.model.predictor import TorchPredictor
from charlm.network.architecture import Architecture
from charlm.probability import log_softmax
from charlm.scoring import score as scoring
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.predictor import Predictor
from charlm.scoring.score import score_sequence, score_sequences, split_items
from charlm.scoring.spelling import spelled_bytes, spelling_nats

EOS = 0
LINES = ["The cat sees the sea.", "", "She likes it", "A dog doesn't hear two apples!", "Nobody, as always; it", "é"]


def random_weights(cell: str, vocab_size: int, seed: int = 1) -> tuple[Architecture, dict[str, Any]]:
    """A network of random float64 weights with a learned start."""
    architecture = Architecture(
        cell=cell,
        num_layers=2,
        hidden_size=6,
        embedding_size=5,
        tie_embeddings=False,
        initial_state="learned",
        vocab_size=vocab_size,
        proj_size=4,
        mogrifier_rounds=3,
        mogrifier_rank=2,
    )
    rng = np.random.default_rng(seed)
    return architecture, {name: rng.normal(0, 0.6, weight.size) for name, weight in architecture.weights().items()}


def random_predictor(cell: str = "gru", vocab_size: int = 9) -> StepPredictor:
    return StepPredictor(*random_weights(cell, vocab_size))


def random_sequences(count: int, longest: int, vocab_size: int = 9, seed: int = 2) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, rng.integers(0, longest + 1)) for _ in range(count)]


def one_by_one(predictor: Predictor, ids: Any) -> list[float]:
    """The slow twin: one step a token, the state carried."""
    state, previous, logprobs = predictor.initial_state(), EOS, []
    for id in ids:
        logits, state = predictor.step(np.array([previous]), state)
        logprobs.append(float(log_softmax(logits[0])[id]))
        previous = id
    return logprobs


# A probability is a probability


@pytest.mark.parametrize("cell", list(CELLS))
def test_over_all_sequences_up_to_a_length_and_the_unfinished_ones_the_probability_sums_to_one(cell: str) -> None:
    types, longest = range(1, 4), 5
    finished = [(*line, EOS) for n in range(longest) for line in product(types, repeat=n)]
    unfinished = list(product(types, repeat=longest))
    sequences = [np.array(ids) for ids in finished + unfinished]
    scores = score_sequences(random_predictor(cell, vocab_size=4), sequences, EOS)
    assert math.fsum(math.exp(logprobs.sum()) for logprobs in scores) == pytest.approx(1.0, abs=1e-9)


def test_the_next_tokens_of_a_model_sum_to_one(any_lm: LanguageModel) -> None:
    tokens = any_lm.next_tokens("The cat", any_lm.tokenizer.vocab_size)
    assert math.fsum(math.exp(token.logprob_nats) for token in tokens) == pytest.approx(1.0, abs=1e-9)
    assert [token.rank for token in tokens] == list(range(1, len(tokens) + 1))
    assert sorted((token.logprob_nats for token in tokens), reverse=True) == [token.logprob_nats for token in tokens]


# Whichever way it is computed


@pytest.mark.parametrize("cell", list(CELLS))
def test_a_sequence_is_scored_as_one_token_after_another(cell: str) -> None:
    predictor = random_predictor(cell)
    (ids,) = random_sequences(1, 1000)
    np.testing.assert_allclose(score_sequence(predictor, ids, EOS), one_by_one(predictor, ids), rtol=0, atol=1e-9)


def test_sequences_together_are_scored_as_each_alone_in_their_order_empty_ones_too() -> None:
    predictor, empty = random_predictor(), np.empty(0, np.int64)
    sequences = [empty, *random_sequences(150, 40), empty]
    together = score_sequences(predictor, sequences, EOS)
    assert len(together) == len(sequences)
    for ids, scores in zip(sequences, together, strict=True):
        np.testing.assert_allclose(scores, one_by_one(predictor, ids), rtol=0, atol=1e-9)


def test_no_batch_holds_more_than_its_share_unless_one_sequence_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_TOKENS", 100)
    lengths = [3, 0, 250, 17, 40, 90, 100, 5, 5, 5]
    batches = list(scoring._batches(lengths))
    assert sorted(i for batch in batches for i in batch) == [i for i, length in enumerate(lengths) if length]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100


def test_no_sequences_have_no_scores() -> None:
    assert score_sequences(random_predictor(), [], EOS) == []


def test_the_empty_sequence_has_no_scores() -> None:
    assert len(score_sequence(random_predictor(), np.empty(0, np.int64), EOS)) == 0


@pytest.mark.parametrize("length", [1001, 1600, 2999])
def test_a_long_sequence_cut_into_segments_stays_within_its_tolerance(
    lm: LanguageModel, corpus: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = lm.tokenizer.encode(corpus.read_text(encoding="utf-8"))[:length]
    assert len(ids) == length
    whole = score_sequence(lm.batch_predictor, ids, lm.tokenizer.eos_id)
    monkeypatch.setattr(scoring, "MAX_WHOLE_TOKENS", 1000)
    monkeypatch.setattr(scoring, "SEGMENTS", 16)
    cut = score_sequence(lm.batch_predictor, ids, lm.tokenizer.eos_id)
    assert len(cut) == length
    assert abs(cut.sum() - whole.sum()) / length < 1e-4
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-2)


@pytest.mark.parametrize("piece", [1, 300, 1700, 10_000])
def test_a_stream_is_scored_block_by_block_as_it_is_as_a_whole(
    lm: LanguageModel, corpus: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = lm.tokenizer.encode(corpus.read_text(encoding="utf-8"))[:5000]
    whole = score_sequence(lm.batch_predictor, ids, lm.tokenizer.eos_id)
    monkeypatch.setattr(scoring, "BLOCK", 1200)
    monkeypatch.setattr(scoring, "MAX_WHOLE_TOKENS", 1000)
    monkeypatch.setattr(scoring, "SEGMENTS", 3)
    pieces = [ids[start : start + piece] for start in range(0, len(ids), piece)]
    scored = list(scoring.score_stream(lm.batch_predictor, pieces, lm.tokenizer.eos_id))
    assert all(len(block) < 2 * 1200 for block, _ in scored)
    assert np.array_equal(np.concatenate([block for block, _ in scored]), ids)
    logprobs = np.concatenate([logprobs for _, logprobs in scored])
    assert abs(logprobs.sum() - whole.sum()) / len(ids) < 1e-4
    np.testing.assert_allclose(logprobs, whole, rtol=0, atol=1e-2)


def in_torch(architecture: Architecture, weights: dict[str, Any]) -> TorchPredictor:
    network = TorchNetwork(architecture)
    network.load_arrays(weights)
    return TorchPredictor(network)


@pytest.mark.parametrize("cell", list(CELLS))
def test_torch_scores_as_numpy_does(cell: str) -> None:
    architecture, weights = random_weights(cell, vocab_size=9)
    sequences = random_sequences(20, 60)
    found = score_sequences(in_torch(architecture, weights), sequences, EOS)
    expected = score_sequences(StepPredictor(architecture, weights), sequences, EOS)
    for logprobs, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(logprobs, others, rtol=0, atol=1e-5)


def test_a_softmax_in_pieces_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, sequences = in_torch(*random_weights("lstm", vocab_size=9)), random_sequences(5, 30)
    whole = score_sequences(predictor, sequences, EOS)
    monkeypatch.setattr("charlm.model.predictor.LOGITS_AT_ONCE", 9 * 7)
    for logprobs, expected in zip(score_sequences(predictor, sequences, EOS), whole, strict=True):
        np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-6)


@given(arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 3)))
def test_lines_are_cut_after_each_eos_and_nothing_is_lost(ids: Any) -> None:
    lines = split_items(ids, EOS)
    assert [id for line in lines for id in line.tolist()] == ids.tolist()
    assert all(line[-1] == EOS for line in lines[:-1])
    assert all(EOS not in line[:-1] for line in lines)
    assert all(len(line) for line in lines)


# Units and counts

tallies = st.builds(
    Tally,
    total_nats=st.floats(0, 1e4),
    tokens=st.integers(1, 1000),
    characters=st.integers(1, 1000),
    bytes=st.integers(1, 1000),
)


@given(tallies)
def test_each_figure_is_the_sum_over_its_own_count(tally: Tally) -> None:
    assert tally.logprob_nats == -tally.total_nats
    assert tally.logprob10 == pytest.approx(tally.logprob_nats / math.log(10))
    assert tally.nats_per_token == pytest.approx(tally.total_nats / tally.tokens)
    assert tally.nats_per_char == pytest.approx(tally.total_nats / tally.characters)
    assert tally.bits_per_token == pytest.approx(tally.total_nats / tally.tokens / math.log(2))
    assert tally.bits_per_char == pytest.approx(tally.total_nats / tally.characters / math.log(2))
    assert tally.bits_per_byte == pytest.approx(tally.total_nats / tally.bytes / math.log(2))
    assert math.log(tally.perplexity) == pytest.approx(min(tally.nats_per_token, math.inf)) or tally.perplexity > 1e300


@given(tallies, tallies)
def test_tallies_add_by_their_sums_and_counts(first: Tally, second: Tally) -> None:
    both = first + second
    assert both.total_nats == first.total_nats + second.total_nats
    assert (both.tokens, both.characters) == (first.tokens + second.tokens, first.characters + second.characters)
    assert (both.bytes, both.unknown) == (first.bytes + second.bytes, 0)
    assert first + Tally() == first


def test_perplexity_without_unknown_leaves_them_out_with_their_share() -> None:
    tally = Tally(total_nats=12.0, tokens=5, characters=20, bytes=21, unknown=2, unknown_nats=6.0)
    assert tally.perplexity == pytest.approx(math.exp(12 / 5))
    assert tally.perplexity_without_unknown == pytest.approx(math.exp(6 / 3))


def test_an_improbable_text_has_an_infinite_perplexity_not_a_crash() -> None:
    assert Tally(total_nats=1e6, tokens=1).perplexity == math.inf


def test_an_unknown_symbol_is_spelled_in_bytes_with_an_end_mark() -> None:
    assert [spelled_bytes(symbol) for symbol in ("a", "é", "日本", "")] == [2, 3, 7, 1]
    assert spelling_nats(3) == pytest.approx(3 * math.log(257))


def test_a_literal_unk_shares_the_sum_with_the_unknown_by_number() -> None:
    sums = Sums()
    for logprobs, ids in (([-1.0, -2.0], [5, 1]), ([-4.0, -8.0], [1, 1])):
        sums.add(np.array(logprobs), np.array(ids), unk_id=1)
    assert (sums.tokens, sums.logprob_nats) == (4, -15.0)
    assert sums.unknown_nats(0) == 0.0
    assert sums.unknown_nats(3) == pytest.approx(14.0)
    assert sums.unknown_nats(1) == pytest.approx(14.0 / 3)


# A model's scores


def assert_same_score(found: Score, expected: Score, tolerance: float = 1e-4) -> None:
    assert found.text == expected.text
    assert found.logprob_nats == pytest.approx(expected.logprob_nats, abs=tolerance)
    counts = [(s.tally.tokens, s.tally.characters, s.tally.bytes, s.tally.unknown) for s in (found, expected)]
    assert counts[0] == counts[1]
    assert found.tally.unknown_nats == pytest.approx(expected.tally.unknown_nats, abs=tolerance)


def test_a_text_is_scored_as_its_ids_one_by_one_to_its_eos(any_lm: LanguageModel) -> None:
    for text in LINES[:4]:
        ids = [*any_lm.tokenizer.encode(text).tolist(), any_lm.tokenizer.eos_id]
        state, previous, total = any_lm.predictor.initial_state(), any_lm.tokenizer.eos_id, 0.0
        for id in ids:
            logits, state = any_lm.predictor.step(np.array([previous]), state)
            total += float(log_softmax(logits[0])[id])
            previous = id
        score = any_lm.score(text)
        unknown = spelling_nats(sum(map(spelled_bytes, any_lm.unknown_in(text))))
        assert score.logprob_nats == pytest.approx(total - unknown, abs=1e-5)
        assert score.tally.tokens == len(ids)


def test_a_text_counts_its_characters_and_bytes_and_one_for_its_end(any_lm: LanguageModel) -> None:
    tally = any_lm.score("Crème, as always.").tally
    assert (tally.characters, tally.bytes) == (18, 19)
    empty = any_lm.score("").tally
    assert (empty.tokens, empty.characters, empty.bytes, empty.unknown) == (1, 1, 1, 0)
    assert empty.total_nats > 0


def test_a_context_counts_nothing(any_lm: LanguageModel) -> None:
    alone, after = any_lm.score("it sees her."), any_lm.score("it sees her.", context="The cat follows ")
    for count in ("characters", "bytes", "unknown"):
        assert getattr(alone.tally, count) == getattr(after.tally, count)
    if any_lm.tokenizer.unit != "subword":  # of which other ones begin a sentence
        assert alone.tally.tokens == after.tally.tokens
    assert alone.logprob_nats != after.logprob_nats


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_text_after_its_context_and_the_context_make_the_whole(
    models: Callable[[str], LanguageModel], unit: str
) -> None:
    lm, context, text = models(unit), "The café sees ", "two apples.\nShe"
    apart = lm.score(context, eos=False).logprob_nats + lm.score(text, context=context).logprob_nats
    assert apart == pytest.approx(lm.score(context + text).logprob_nats, abs=1e-6)


def test_without_eos_exactly_one_token_is_left_out(any_lm: LanguageModel) -> None:
    with_eos, without = (any_lm.score("The cat sees it", eos=eos, per_token=True) for eos in (True, False))
    assert without.tokens_scored == with_eos.tokens_scored[:-1]
    end = with_eos.tokens_scored[-1]
    assert end.id == any_lm.tokenizer.eos_id
    assert with_eos.logprob_nats == pytest.approx(without.logprob_nats + end.logprob_nats, abs=1e-6)
    for count in ("tokens", "characters", "bytes"):
        assert getattr(with_eos.tally, count) == getattr(without.tally, count) + 1


@pytest.mark.parametrize("per_token", [False, True])
def test_nothing_at_all_is_certain(lm: LanguageModel, per_token: bool) -> None:
    score = lm.score("", eos=False, per_token=per_token)
    assert (score.logprob_nats, score.tally.tokens, score.tally.characters) == (0.0, 0, 0)


def test_tokens_sum_to_the_total_and_their_ranks_are_those_of_the_next_tokens(any_lm: LanguageModel) -> None:
    text = "A dog likes"
    score = any_lm.score(text, context="She asks. ", per_token=True)
    assert math.fsum(token.logprob_nats for token in score.tokens_scored) == pytest.approx(score.logprob_nats, abs=1e-6)
    assert_same_score(score, any_lm.score(text, context="She asks. "), 1e-6)
    first = score.tokens_scored[0]
    ranked = any_lm.next_tokens("She asks. ", any_lm.tokenizer.vocab_size)
    (same,) = [token for token in ranked if token.id == first.id]
    assert first == same


@pytest.mark.parametrize("text", ["日本語", "\x00\r\u2028", "ﬀ zyx ☃☃", "�" * 50, "-", " "])
def test_symbols_never_seen_have_finite_scores_and_are_counted(any_lm: LanguageModel, text: str) -> None:
    score = any_lm.score(text)
    assert math.isfinite(score.logprob_nats)
    assert math.isfinite(score.tally.perplexity_without_unknown)
    assert score.tally.unknown == len(any_lm.unknown_in(text)) <= score.tally.tokens
    assert 0 <= score.tally.unknown_nats <= score.tally.total_nats


def test_an_unknown_symbol_costs_unk_and_its_spelling(lm: LanguageModel) -> None:
    score = lm.score("The 日 sees ☃.", per_token=True)
    unk = [token for token in score.tokens_scored if token.id == lm.tokenizer.unk_id]
    assert score.tally.unknown == len(unk) == 2
    nats = -math.fsum(token.logprob_nats for token in unk) + 2 * 4 * math.log(257)
    assert score.tally.unknown_nats == pytest.approx(nats, abs=1e-6)
    known = [token.logprob_nats for token in score.tokens_scored if token not in unk]
    assert score.tally.perplexity_without_unknown == pytest.approx(math.exp(-math.fsum(known) / len(known)), rel=1e-6)
    assert score.perplexity > score.tally.perplexity_without_unknown


def test_unk_has_a_trained_probability(lm: LanguageModel) -> None:
    """Neither what training never touched nor anything likely: rare types stood for it now and then."""
    scores = [lm.score(text + "☃", eos=False, per_token=True).tokens_scored[-1] for text in ("", "The ", "She sees")]
    assert all(-14 < token.logprob_nats < -2 for token in scores)


@pytest.mark.parametrize("context", ["", "She remembers "])
@pytest.mark.parametrize("eos", [True, False])
def test_many_lines_are_scored_as_each_alone(any_lm: LanguageModel, context: str, eos: bool) -> None:
    lines = LINES if eos else [line for line in LINES if line]
    together = list(any_lm.score_lines(lines, context=context, eos=eos))
    for line, score in zip(lines, together, strict=True):
        assert_same_score(score, any_lm.score(line, context=context, eos=eos))


def test_lines_are_scored_as_they_come(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.scoring.language_model.LINES_AT_ONCE", 2)
    read = []

    def lines() -> Iterator[str]:
        for line in LINES:
            read.append(line)
            yield line

    scores = lm.score_lines(lines())
    assert next(scores).text == LINES[0]
    assert len(read) == 2
    assert [score.text for score in scores] == LINES[1:]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_streamed_file_is_one_running_text(any_lm: LanguageModel, end: str, tmp_path: Path) -> None:
    text = "\n".join(LINES)
    (tmp_path / "text.txt").write_bytes((text + end).encode())
    streamed, whole = any_lm.score_stream(tmp_path / "text.txt"), any_lm.score(text, eos=bool(end))
    assert_same_score(Score(text, streamed), whole)


def test_a_carriage_return_ends_no_line(lm: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"It sees\r\nher\rand\xe2\x80\xa8it\r\n")
    tally = lm.score_stream(tmp_path / "text.txt")
    assert (tally.tokens, tally.characters, tally.bytes) == (21, 21, 23)
