"""The n-grams beside a classifier's network: how they are found, counted, and what they say."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import charlm
from charlm.corpus.labelled import LabelledCorpus
from charlm.engine.numpy_ops import NumpyOps
from charlm.lifecycle.classification import ClassificationResult
from charlm.model.operations import TorchOps
from charlm.network import ngrams
from charlm.network.classifier import Classifier
from charlm.network.ngrams import RATIOS, WEIGHTS
from charlm.runs.directory import BEST, RunDirectory
from charlm.training.naive_bayes import log_count_ratios
from tests.task_trainings import SMALL, measured, task_request

ORDER, ROWS, LABELS = 3, 64, 4
IDS, LENGTHS = np.array([[0, 5, 7, 5, 7, 0], [0, 3, 0, 9, 9, 9], [0, 0, 8, 8, 8, 8]]), np.array([6, 3, 2])
TEXTS = [("fruit", "an apple"), ("fruit", "two pears"), ("fish", "a trout"), ("fish", "two eels"), ("bird", "a heron")]


def own_rows(text: NDArray[np.int64], num_rows: int = ROWS) -> Iterator[int]:
    """The row of each n-gram of a text without padding, found one by one."""
    for n in range(1, ORDER + 1):
        for start in range(len(text) - n + 1):
            piece = text[start : start + n]
            *_, (rows, _) = ngrams.rows_of_ngrams(piece[:, None], np.array([n]), n, num_rows)
            yield int(rows[0, 0])


def test_an_ngram_has_the_same_row_wherever_it_stands_and_others_have_others() -> None:
    rows = [int(ngram) for piece in product(range(12), repeat=ORDER) for ngram in own_rows(np.array(piece), 2**18)]
    expected = 12 + 12**2 + 12**3
    assert expected - 20 < len(set(rows)) <= expected


def test_the_logits_are_what_each_ngram_says() -> None:
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(size=(ROWS, LABELS)) for name in (RATIOS, WEIGHTS)}
    found = ngrams.logits(IDS.T, LENGTHS, weights, ORDER, NumpyOps)
    for row, length in enumerate(LENGTHS):
        rows = list(own_rows(IDS[row, :length]))
        said = sum(weights[RATIOS][each] * weights[WEIGHTS][each] for each in rows)
        np.testing.assert_allclose(found[row], ngrams.SCALE * said / math.sqrt(len(rows)))
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    ids, lengths = torch.from_numpy(IDS.T), torch.from_numpy(LENGTHS)
    np.testing.assert_allclose(ngrams.logits(ids, lengths, tensors, ORDER, TorchOps).numpy(), found)


@pytest.mark.parametrize("is_multi", [False, True])
def test_ratios_are_counted_as_by_hand(tmp_path: Path, is_multi: bool) -> None:
    data = tmp_path / "data.tsv"
    data.write_text("".join(f"{label}\t{text}\n" for label, text in TEXTS * 3))
    request = task_request(data, tmp_path / "run", {**SMALL, "task": "classify", "steps": 3, "multi": is_multi})
    session, _ = measured(request, ClassificationResult)
    corpus, architecture = session.corpus, session.architecture
    assert isinstance(corpus, LabelledCorpus)
    assert isinstance(architecture, Classifier)
    texts = [[0, *(int(each) for each in row), 0] for row in corpus.train["text"]]
    labels = [int(row[0]) for row in corpus.train["labels"]]
    pieces = [
        {tuple(text[i : i + n]) for n in range(1, architecture.ngram_order + 1) for i in range(len(text) - n + 1)}
        for text in texts
    ]
    ratios = log_count_ratios(corpus.train, corpus.tokenizer.eos_id, architecture)
    for piece in set().union(*pieces):
        *_, (rows, _) = ngrams.rows_of_ngrams(
            np.array(piece)[:, None], np.array([len(piece)]), len(piece), architecture.ngram_rows
        )
        alike = [_has_row(own, int(rows[0, 0]), architecture) for own in pieces]  # with what shares its row
        wanted = np.array([_ratio(alike, labels, label) for label in range(len(corpus.labels))])
        if not is_multi:
            wanted -= wanted.mean()
        np.testing.assert_allclose(ratios[rows[0, 0]], wanted, atol=1e-6)
    weights = RunDirectory(tmp_path / "run").load(BEST).tensors
    np.testing.assert_array_equal(weights[RATIOS], ratios)  # training leaves them as they are
    assert weights[WEIGHTS].any()


def _has_row(pieces: set[tuple[int, ...]], row: int, architecture: Classifier) -> bool:
    for piece in pieces:
        ids, lengths = np.array(piece)[:, None], np.array([len(piece)])
        *_, (rows, _) = ngrams.rows_of_ngrams(ids, lengths, len(piece), architecture.ngram_rows)
        if int(rows[0, 0]) == row:
            return True
    return False


def _ratio(has: list[bool], labels: list[int], label: int) -> float:
    inside = [own for own, of in zip(has, labels, strict=True) if of == label]
    outside = [own for own, of in zip(has, labels, strict=True) if of != label]
    return math.log((sum(inside) + 1) / (len(inside) + 2)) - math.log((sum(outside) + 1) / (len(outside) + 2))


def test_they_learn_what_a_network_does_not_in_one_pass(tmp_path: Path) -> None:
    """Which of many words the text is decides: a network has to learn each, the counts know them at once."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(60)]
    rows = [(n % 2, words[n]) for n in rng.integers(0, 60, 600)]
    (tmp_path / "data.tsv").write_text("".join(f"{'yes' if is_even else 'no'}\t{word}\n" for is_even, word in rows))
    settings = {**SMALL, "task": "classify", "epochs": 3}
    _, result = measured(task_request(tmp_path / "data.tsv", tmp_path / "run", settings), ClassificationResult)
    assert result.valid
    assert result.valid.accuracy.value > 0.95


def test_a_probe_has_none_and_a_fine_tuned_model_has(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{text}\n" for _, text in TEXTS * 5))
    base = charlm.train(text, run=str(tmp_path / "base"), hidden_size=8, embedding_size=6, steps=2, device="cpu").run
    data = tmp_path / "data.tsv"
    data.write_text("".join(f"{label}\t{text}\n" for label, text in TEXTS * 5))
    settings = {**SMALL, "hidden_size": None, "embedding_size": None, "task": "classify", "steps": 3, "init_from": base}
    for freeze in (True, False):
        run = tmp_path / f"run-{freeze}"
        measured(task_request(data, run, {**settings, "freeze": freeze}), ClassificationResult)
        weights = RunDirectory(run).load(BEST).tensors
        assert (RATIOS in weights) is not freeze
        if not freeze:
            assert weights[RATIOS].any()
