"""Modified Kneser-Ney: counted by sorting, looked up in arrays, and compared with the formulas written out."""

import itertools
import lzma
import math
import os
import pickle
import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.errors import RunError
from charlm.ngram import compiled, estimation
from charlm.ngram.counting import Text
from charlm.ngram.discounts import FALLBACK, discounts
from charlm.ngram.estimation import build
from charlm.ngram.gate import Gate
from charlm.ngram.predictor import NgramPredictor
from charlm.ngram.pruning import HEADER_BYTES
from charlm.ngram.storage import Origin, read_trie, write_trie
from charlm.ngram.trie import UNSEEN, Lookup, Trie, matched
from charlm.settings import Item, Mode
from charlm.text.items import EndOfItem
from tests.mutations import mutate_bytes

EOS, VOCAB = 2, 7
CORPORA = Path(__file__).parent.parent.parent / "shared" / "corpora"
MODES: tuple[Mode, ...] = ("stream", "sentence")

each_mode = pytest.mark.parametrize("mode", MODES)
with_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/corpora")
with_compiled = pytest.mark.skipif(not compiled.is_built(), reason="ngram.c was not compiled")


def random_text(
    size: int, seed: int = 1, vocab_size: int = VOCAB, order: int = 4, mode: Mode = "stream", item: Item = "line"
) -> Text:
    """A text in which some tokens are likelier than others, and the last type never occurs."""
    tokens = np.random.default_rng(seed).geometric(0.35, size) % (vocab_size - 1)
    return Text(np.append(EOS, tokens).astype(np.uint8), vocab_size, EOS, order, mode, item)


class Slow:
    """The formulas of Chen & Goodman 1998, on tuples and dicts."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.occurrences: Counter[tuple[int, ...]] = Counter()
        self.before: defaultdict[tuple[int, ...], set[int | None]] = defaultdict(set)
        for sequence in self.sequences():
            for start, length in itertools.product(range(len(sequence)), range(1, text.order + 1)):
                ngram = tuple(sequence[start : start + length])
                if len(ngram) == length and (start, length) != (0, 1):
                    self.occurrences[ngram] += 1
                    self.before[ngram].add(sequence[start - 1] if start else None)
        self.counts = {ngram: self.count(ngram) for ngram in self.occurrences}
        self.following: defaultdict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        for ngram, count in self.counts.items():
            self.following[ngram[:-1]][ngram[-1]] = count

    def sequences(self) -> Iterator[list[int]]:
        """What n-grams are counted in: the whole text, or each item with the `<eos>` before it."""
        ids = self.text.ids.tolist()
        if self.text.mode == "stream":
            yield ids
            return
        sequence, end = ids[:1], EndOfItem(EOS, self.text.item)
        for id in ids[1:]:
            sequence.append(id)
            if end.is_at(id):
                yield sequence
                sequence = [EOS]
        yield sequence

    def count(self, ngram: tuple[int, ...]) -> int:
        begins_sentence = self.text.mode == "sentence" and len(ngram) > 1 and ngram[0] == EOS
        keeps = len(ngram) == self.text.order or begins_sentence
        return self.occurrences[ngram] if keeps else len(self.before[ngram])

    def discount(self, length: int, count: int) -> float:
        of_length = Counter(count for ngram, count in self.counts.items() if len(ngram) == length)
        taken = discounts(np.array([of_length[count] for count in range(5)]))
        return float(taken[min(count, 3)])

    def probability(self, context: Sequence[int], id: int) -> float:
        context = tuple(context)[-(self.text.order - 1) :] if self.text.order > 1 else ()
        shorter = self.probability(context[1:], id) if context else 1 / self.text.vocab_size
        following = self.following[context]
        total = sum(following.values())
        if not total:
            return shorter
        taken = {each: self.discount(len(context) + 1, count) for each, count in following.items()}
        share = following[id] - taken[id] if id in following else 0.0
        return (share + sum(taken.values()) * shorter) / total


def lookups(trie: Trie) -> list[Lookup]:
    """Each way to look n-grams up that there is."""
    return [trie] if not compiled.is_built() else [trie, compiled.CompiledLookup(trie)]


def predictors(trie: Trie) -> list[NgramPredictor]:
    return [NgramPredictor(trie, lookup) for lookup in lookups(trie)]


def contexts_of(trie: Trie, ids: Any) -> NDArray[np.int64]:
    """The contexts (T, n - 1) behind each of the ids (T,)."""
    return trie.contexts(np.array(ids)[None], np.full((1, trie.order - 1), UNSEEN))[0]


def read(predictor: NgramPredictor, ids: Any) -> NDArray[np.float64]:
    """log p of each of the ids (B, T) but the first ones, read from the initial state."""
    ids = np.array(ids)
    return predictor.logprobs(ids[:, :-1], ids[:, 1:], predictor.initial_state(len(ids)))[0]


# The model


@pytest.mark.parametrize(("mode", "item"), [("stream", "line"), ("sentence", "line"), ("sentence", "paragraph")])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 2, 9, 127, 400])
def test_the_probabilities_are_those_of_the_formulas(mode: Mode, item: Item, order: int, size: int) -> None:
    text = random_text(size, seed=order, order=order, mode=mode, item=item)
    slow, read_ids = Slow(text), np.append(text.ids[:60], random_text(60, seed=99).ids)
    expected = [math.log(slow.probability(read_ids[:t], int(read_ids[t]))) for t in range(1, len(read_ids))]
    for predictor in predictors(build(text)):
        np.testing.assert_allclose(read(predictor, read_ids[None])[0], expected, atol=1e-6)


@given(st.lists(st.integers(0, VOCAB - 1), max_size=60), st.integers(1, 5), st.sampled_from(MODES), st.booleans())
def test_all_types_together_have_probability_1(tokens: list[int], order: int, mode: Mode, is_pruned: bool) -> None:
    text = Text(np.array([EOS, *tokens]), VOCAB, EOS, order, mode)
    trie = build(text, max_bytes=5500 if is_pruned else None)
    contexts = contexts_of(trie, [*tokens, *range(VOCAB), *tokens[::-1]])
    for lookup in lookups(trie):
        distributions = lookup.distributions(contexts)
        assert (distributions > 0).all()
        np.testing.assert_allclose(distributions.sum(axis=1), 1, atol=1e-6)


def test_discounts_are_those_of_the_paper_where_they_are_defined() -> None:
    y = 100 / (100 + 2 * 40)
    expected = [0, 1 - 2 * y * 40 / 100, 2 - 3 * y * 20 / 40, 3 - 4 * y * 13 / 20]
    np.testing.assert_allclose(discounts(np.array([5, 100, 40, 20, 13])), expected)
    for undefined in ([0, 0, 0, 0, 0], [0, 3, 0, 1, 1], [0, 9, 1, 9, 1], [0, 9, 9, 1, 9]):
        np.testing.assert_array_equal(discounts(np.array(undefined)), FALLBACK)


@each_mode
@pytest.mark.parametrize("vocab_size", [7, 300, 70_000])
def test_the_model_does_not_depend_on_the_buckets(mode: Mode, vocab_size: int) -> None:
    ids = random_text(3000).ids.astype(np.int64)
    text = Text(ids * (vocab_size // VOCAB), vocab_size, EOS * (vocab_size // VOCAB), 5, mode)
    whole = build(text)
    for bucket_size in (1, 1000):
        assert_same(build(text, bucket_size=bucket_size), whole)


def assert_same(found: Trie, expected: Trie) -> None:
    for branches, others in zip(found.branches, expected.branches, strict=True):
        for array, other in zip(branches, others, strict=True):
            assert array.dtype == other.dtype
            np.testing.assert_array_equal(array, other)


def test_contexts_run_over_line_ends_only_in_stream_mode() -> None:
    ids = np.array([EOS, 0, 1, EOS, 3, 4, EOS] * 9)
    for mode in MODES:
        predictor = NgramPredictor(build(Text(ids, VOCAB, EOS, 4, mode)))
        (within,), (across,) = read(predictor, [[EOS, 3, 4]]), read(predictor, [[0, 1, EOS, 3, 4]])
        assert (across[-2] > within[0] + 0.1) == (mode == "stream")


# The predictor


@each_mode
def test_step_by_step_in_pieces_and_in_batches_it_gives_the_same(mode: Mode) -> None:
    trie = build(random_text(500, mode=mode))
    ids = np.stack([random_text(20, seed=seed).ids for seed in (3, 4, 5)])
    for predictor in predictors(trie):
        expected, state = predictor.logprobs(ids[:, :-1], ids[:, 1:], predictor.initial_state(3))
        stepped = predictor.initial_state(3)
        for t in range(20):
            logits, stepped = predictor.step(ids[:, t], stepped)
            assert logits.shape == (3, VOCAB)
            np.testing.assert_allclose(logits[np.arange(3), ids[:, t + 1]], expected[:, t], atol=1e-12)
        np.testing.assert_array_equal(stepped, state)
        first, middle = predictor.logprobs(ids[:, :8], ids[:, 1:9], predictor.initial_state(3))
        nothing, middle = predictor.logprobs(ids[:, :0], ids[:, :0], middle)
        rest, end = predictor.logprobs(ids[:, 8:-1], ids[:, 9:], middle)
        np.testing.assert_array_equal(np.concatenate([first, nothing, rest], axis=1), expected)
        np.testing.assert_array_equal(end, state)
        assert predictor.select(state, [2, 0, 2]).tolist() == state[[2, 0, 2]].tolist()
        assert predictor.join([state[:1], state[1:]]).tolist() == state.tolist()


@with_compiled
@pytest.mark.parametrize("order", [1, 2, 6])
@pytest.mark.parametrize("vocab_size", [7, 300, 70_000])
def test_compiled_code_gives_what_numpy_gives(order: int, vocab_size: int) -> None:
    ids = random_text(2000).ids.astype(np.int64) * (vocab_size // VOCAB)
    trie = build(Text(ids, vocab_size, EOS * (vocab_size // VOCAB), order))
    in_c = pickle.loads(pickle.dumps(compiled.CompiledLookup(trie)))
    inputs = np.random.default_rng(1).permuted(ids[: 5 * 30]).reshape(5, 30)
    inputs[2, 3:6] = -100, vocab_size, vocab_size - 1
    state = np.full((5, order - 1), UNSEEN)
    contexts = trie.contexts(inputs, state)
    np.testing.assert_array_equal(in_c.contexts(inputs, state), contexts)
    np.testing.assert_allclose(in_c.probabilities(contexts, inputs), trie.probabilities(contexts, inputs), rtol=1e-12)
    last = contexts[:, -1]
    np.testing.assert_allclose(in_c.distributions(last), trie.distributions(last), rtol=1e-12)


@each_mode
@pytest.mark.parametrize("order", [1, 2, 5])
def test_entropies_are_those_of_the_distributions(mode: Mode, order: int) -> None:
    trie = build(random_text(700, order=order, mode=mode), max_bytes=12_000)
    ids = np.stack([random_text(50, seed=seed).ids for seed in (3, 4)])
    for predictor, lookup in zip(predictors(trie), lookups(trie), strict=True):
        state = predictor.initial_state(2)
        for _ in range(2):  # the second time they are known
            found, _ = predictor.measure(ids[:, :-1], ids[:, 1:], state)
            p = lookup.distributions(lookup.contexts(ids[:, :-1], state).reshape(100, -1))
            np.testing.assert_allclose(found.entropies.ravel(), -(p * np.log(p)).sum(axis=1), atol=1e-5)
        np.testing.assert_array_equal(found.logprobs, predictor.logprobs(ids[:, :-1], ids[:, 1:], state)[0])


def test_arrays_on_disk_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    text = random_text(700, order=4)
    in_memory = build(text)
    monkeypatch.setattr(estimation, "MAX_ARRAY_IN_MEMORY", 100)
    monkeypatch.setattr(estimation, "ZEROS", bytes(7))
    assert_same(build(text), in_memory)


@pytest.mark.parametrize("order", [1, 3, 6])
def test_a_mixed_step_is_that_of_its_slow_twin(order: int) -> None:
    trie = build(random_text(500, order=order))
    rng = np.random.default_rng(order)
    gates = [Gate(tuple(rng.normal(-1, 2, trie.order)), tuple(rng.normal(0, scale, 5))) for scale in (0.3, 9.0)]
    ids, logits = random_text(4, seed=5).ids, rng.normal(0, 4, (5, VOCAB)).astype(np.float32)
    state = NgramPredictor(trie).initial_state(5)
    logits[1, 2] = -np.inf
    for gate in (*gates, gates[0]):
        slow, fast = (lookup.mixed_step(ids, state, logits, gate) for lookup in lookups(trie))
        np.testing.assert_allclose(fast[0], slow[0], atol=1e-9)
        np.testing.assert_allclose(np.exp(fast[0]).sum(axis=1), 1)
        np.testing.assert_array_equal(fast[1], slow[1])
        state = slow[1]


def test_it_says_how_long_the_known_context_is() -> None:
    ids = np.array([EOS, 0, 1, 3, 4, EOS, 3, 0, 5])
    predictor = NgramPredictor(build(Text(ids, VOCAB, EOS, 4)))
    inputs = np.array([[EOS, 0, 1, 3, 0, 1, 6, 3, 5]])
    _, contexts = predictor.measure(inputs, inputs, predictor.initial_state())
    assert matched(contexts).tolist() == [[1, 2, 3, 3, 2, 2, 0, 1, 0]]  # nothing followed 5, and 6 was not seen


# Its size


def markov_text(size: int, order: int) -> Text:
    """A text of 50 types, of which each is followed by few others most of the time."""
    rng = np.random.default_rng(1)
    choices, steps = rng.integers(0, 50, (50, 64)), rng.geometric(0.12, size) % 64
    ids = np.zeros(size + 1, np.uint8)
    for place in range(size):
        ids[place + 1] = choices[ids[place], steps[place]]
    return Text(ids, 50, 0, order)


@pytest.mark.parametrize("factor", [0.5, 1, 2, 8])
def test_a_file_is_as_small_as_asked_and_rare_long_ngrams_go_first(tmp_path: Path, factor: float) -> None:
    text = markov_text(60_000, 6)
    whole, max_bytes = build(text), int(factor * len(text.ids))
    pruned = build(text, max_bytes)
    write_trie(tmp_path / "ngrams", pruned, Origin("stream", "run"))
    assert max_bytes / 3 < (tmp_path / "ngrams").stat().st_size <= max_bytes
    kept = [len(few.ids) / len(all_.ids) for few, all_ in zip(pruned.branches, whole.branches, strict=False)]
    assert kept[:2] == [1, 1]
    assert kept == sorted(kept, reverse=True)


def test_an_ngram_that_is_left_out_leaves_its_probability_to_the_shorter_context() -> None:
    ids = np.array([EOS, *[0, 1, 3] * 5, 0, 1, 4, *[0, 1, 3] * 5])
    text = Text(ids, VOCAB, EOS, 3)
    whole = NgramPredictor(build(text))
    pruned = NgramPredictor(build(text, HEADER_BYTES * 4 + whole.trie.num_bytes - 1))
    assert 1 <= whole.trie.num_ngrams - pruned.trie.num_ngrams <= 4
    for id, changes in ((3, False), (4, True)):
        before, after = (float(read(predictor, [[0, 1, id]])[0, -1]) for predictor in (whole, pruned))
        assert (abs(before - after) > 0.1) == changes


@pytest.mark.parametrize("repetitions", [1, 20])
def test_memory_stays_below_40_bytes_an_ngram(repetitions: int) -> None:
    text = markov_text(600_000 // repetitions, 5)
    text = replace(text, ids=np.append(EOS, np.tile(text.ids[1:], repetitions)).astype(np.uint8))
    build(markov_text(10, 2))  # what is loaded once
    tracemalloc.start()
    trie = build(text, bucket_size=20_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40 * trie.num_ngrams


# On disk


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_trie(tmp_path / "ngrams", build(random_text(300, order=3)), Origin("sentence", "run"))
    return tmp_path / "ngrams"


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    for vocab_size in (VOCAB, 300, 70_000):
        trie = build(random_text(300, vocab_size=vocab_size))
        gate = Gate((0.5,) * trie.order, (0.1, -0.2, 0.0, 3.0, -1e-9))
        write_trie(tmp_path / "ngrams", trie, Origin("sentence", "run"), gate)
        for verify in (True, False):
            found, described = read_trie(tmp_path / "ngrams", "run", verify)
            assert_same(found, trie)
            assert described.gate == gate
            assert (described.origin.mode, described.vocab_size, found.vocab_size) == (
                "sentence",
                vocab_size,
                vocab_size,
            )
        for predictor in predictors(found):
            ids = random_text(30, seed=2).ids[None]
            np.testing.assert_array_equal(read(predictor, ids), read(predictors(trie)[0], ids))


def test_it_is_an_ordinary_safetensors_file(saved: Path) -> None:
    arrays = safetensors.numpy.load_file(saved)
    for length, branches in enumerate(read_trie(saved, "run")[0].branches):
        for name, array in branches._asdict().items():
            np.testing.assert_array_equal(arrays.pop(f"{name}.{length}"), array)
    assert not arrays


def test_a_model_of_another_run_and_a_missing_one_are_refused(saved: Path) -> None:
    with pytest.raises(RunError, match="another run"):
        read_trie(saved, "other")
    saved.unlink()
    with pytest.raises(RunError, match="cannot read the n-grams: No such file"):
        read_trie(saved, "run")
    saved.mkdir()
    with pytest.raises(RunError, match="cannot read the n-grams"):
        read_trie(saved, "run")


def test_any_damage_is_found(saved: Path) -> None:
    whole = saved.read_bytes()
    for seed in range(300):
        damaged = mutate_bytes(random.Random(seed), whole)
        saved.write_bytes(damaged)
        if damaged != whole:
            with pytest.raises(RunError):
                read_trie(saved, "run")


def test_a_file_that_was_changed_is_read_as_a_whole_before_it_is_used(saved: Path) -> None:
    whole, changed = bytearray(saved.read_bytes()), saved.stat().st_mtime_ns
    whole[-1] ^= 1
    with saved.open("r+b") as file:
        file.write(whole)
    os.utime(saved, ns=(changed, changed))
    read_trie(saved, "run")  # nothing tells that it is damaged, but ...
    for verify, moment in ((True, changed), (False, changed + 10**9)):
        os.utime(saved, ns=(moment, moment))
        with pytest.raises(RunError, match="damaged"):
            read_trie(saved, "run", verify)


def forged(trie: Trie, length: int, **arrays: Callable[[Any], Any]) -> Trie:
    """The trie with some arrays changed."""
    old = trie.branches[length]
    new = {
        name: change(old._asdict()[name].copy()).astype(old._asdict()[name].dtype) for name, change in arrays.items()
    }
    return Trie(trie.vocab_size, (*trie.branches[:length], old._replace(**new), *trie.branches[length + 1 :]))


FORGERIES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "not in order": {"first": lambda first: first[::-1]},
    "far away": {"first": lambda first: first + 2**31},
    "no such ids": {"ids": lambda ids: ids * 0 + 255},
    "ids not in order": {"ids": lambda ids: ids[::-1]},
    "not a number": {"gamma": lambda gamma: gamma * np.nan},
    "below 0": {"alpha": lambda alpha: -alpha},
    "a sum above 1": {"alpha": lambda alpha: np.sqrt(alpha)},
}


@pytest.mark.parametrize("what", FORGERIES)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_numbers_that_contradict_each_other_are_refused_and_harmless(tmp_path: Path, what: str, length: int) -> None:
    wrong = forged(build(random_text(300, order=3)), length, **FORGERIES[what])
    write_trie(tmp_path / "ngrams", wrong, Origin("stream", "run"))
    with pytest.raises(RunError, match="damaged n-grams: after contexts of"):
        read_trie(tmp_path / "ngrams", "run", verify=True)
    trie, _ = read_trie(tmp_path / "ngrams", "run")
    ids, state = random_text(200, seed=7).ids[None], np.full((1, trie.order - 1), UNSEEN)
    for lookup in lookups(trie):
        with suppress(IndexError):
            contexts = lookup.contexts(ids, state)
            lookup.probabilities(contexts, ids)
            lookup.distributions(contexts[0])


def test_arrays_that_do_not_fit_together_are_no_trie() -> None:
    trie = build(random_text(300, order=3))
    with pytest.raises(ValueError, match="do not fit"):
        forged(trie, 1, gamma=lambda gamma: gamma[1:])
    with pytest.raises(ValueError, match="do not fit"):
        Trie(trie.vocab_size, trie.branches[1:])
    with pytest.raises(ValueError, match="no n-grams"):
        Trie(trie.vocab_size, ())


# A second source: KenLM's models of two corpora


def arpa_ngrams(path: Path) -> Iterator[list[tuple[list[str], float]]]:
    """The n-grams of a model as text with log10 of their probabilities: those of length 1, of length 2, ..."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        sections = itertools.groupby(lines, key=lambda line: line.startswith("\\"))
        for is_title, section in sections:
            if not is_title:
                fields = [line.rstrip("\n").split("\t") for line in section if "\t" in line]
                if fields:
                    yield [(words.split(" "), float(logprob)) for logprob, words, *_ in fields]


def check_against_arpa(text: Text, path: Path, ids: dict[str, int]) -> None:
    """Each n-gram of a model as text has the same probability in our model of the same text."""
    predictor = NgramPredictor(build(text))
    for ngrams in arpa_ngrams(path):
        # `<s>` and `</s>` are both `<eos>`; `<s>` alone is no token.
        known = [(words, logprob) for words, logprob in ngrams if words != ["<s>"]]
        read_ids = np.array([[ids[word] for word in words] for words, _ in known])
        before = np.full((len(known), 1), -1)  # a context that nobody knows
        found = read(predictor, np.concatenate([before, read_ids], axis=1))[:, -1] / math.log(10)
        np.testing.assert_allclose(found, [logprob for _, logprob in known], rtol=0, atol=1e-3)


def nats_per_token(text: Text, tokens: NDArray[np.int64]) -> float:
    """What other tokens, which begin with a sentence, cost in the model of a text."""
    return -float(read(NgramPredictor(build(text)), np.append(text.eos_id, tokens)[None]).mean())


def characters() -> tuple[Text, NDArray[np.int64], dict[str, int]]:
    """The text that KenLM's model of characters was built from, the rest, and the ids of the model's names."""
    text = (CORPORA / "tinyshakespeare.txt").read_bytes()
    types = sorted(set(text))
    ids = {chr(byte): number for number, byte in enumerate(types)}
    eos_id, tokens = ids["\n"], np.searchsorted(types, np.frombuffer(text, np.uint8))
    train, rest = np.split(tokens, [int(0.9 * len(text))])
    names = ids | {"<sp>": ids[" "], "<s>": eos_id, "</s>": eos_id, "<unk>": len(types)}
    # The last line of `train` is unfinished, and KenLM finishes it.
    return Text(np.concatenate([[eos_id], train, [eos_id]]), len(types) + 1, eos_id, 7, "sentence"), rest, names


def words() -> tuple[Text, NDArray[np.int64], dict[str, int]]:
    """The same for words."""
    files = [CORPORA / f"ptb.{part}.txt" for part in ("train", "test")]
    train, test = (file.read_text().replace("\n", " </s> ").split() for file in files)
    types = sorted(set(train))
    ids = {word: number for number, word in enumerate(types)}
    names = ids | {"UNK": ids["<unk>"], "<s>": ids["</s>"], "<unk>": len(types)}
    counted = np.array([ids[word] for word in ["</s>", *train]])
    return Text(counted, len(types) + 1, ids["</s>"], 5, "sentence"), np.array([ids[word] for word in test]), names


@with_corpora
def test_texts_cost_what_kenlm_says() -> None:
    text, rest, _ = characters()
    assert nats_per_token(text, rest) == pytest.approx(1.534, abs=1e-3)
    text, rest, _ = words()
    assert math.exp(nats_per_token(text, rest)) == pytest.approx(141.19, abs=1e-2)


@with_corpora
@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "name"), [(characters, "tinyshakespeare.kn7-characters.arpa.xz"), (words, "ptb.kn5.arpa.xz")]
)
def test_each_ngram_is_as_likely_as_kenlm_says(
    corpus: Callable[[], tuple[Text, Any, dict[str, int]]], name: str
) -> None:
    text, _, names = corpus()
    check_against_arpa(text, CORPORA / name, names)
