"""Generators: texts given their labels, by a network that for any one label is a plain language model."""

import itertools
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import charlm
from charlm.api import load_classifier, start_training
from charlm.cells import CELLS
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.predictor import StepPredictor
from charlm.errors import UsageError
from charlm.lifecycle.generation import GenerationResult
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.session import Session
from charlm.lifecycle.verification import verify
from charlm.model.generator import TorchGenerator
from charlm.model.predictor import TorchPredictor
from charlm.network import body, head
from charlm.network.architecture import cell_sizes
from charlm.network.generator import LABELS, Generator, language_model_of, untied
from charlm.scoring.score import score_sequences
from charlm.training.likelihoods import Likelihoods
from tests import networks
from tests.cases import few_cells, gradients_are_right, with_each_number
from tests.conftest import UNITS, Once
from tests.task_trainings import assert_goes_on, measured, task_request
from tests.test_classify import write_rows
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_training import finish

__all__ = ["charlm_command"]  # a fixture

SYMBOLS, EMBEDDING, HIDDEN, NUM_LABELS, EOS = 11, 5, 7, 3, 0
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied and projected": {"tie_embeddings": True, "head_layers": 1, "head_size": 6},
    "tied": {"tie_embeddings": True, "head_layers": 1, "head_size": EMBEDDING},
    "deep": {"num_layers": 2, "residual": True, "embedding_size": HIDDEN},
}

network_of = partial(networks.network_of, kind=TorchGenerator)


# The network


def architecture(cell: str = "lstm", **changes: Any) -> Generator:
    sizes: dict[str, Any] = {
        "cell": cell,
        "num_layers": 1,
        "hidden_size": HIDDEN,
        "embedding_size": EMBEDDING,
        "tie_embeddings": False,
        "initial_state": "learned",
        "vocab_size": SYMBOLS,
        "num_labels": NUM_LABELS,
        **cell_sizes(cell, HIDDEN, {}),
    }
    return Generator(**{**sizes, **changes})


def some_ids(rows: int = 4, length: int = 6) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, SYMBOLS, (rows, length))


def by_the_equation(
    shape: Generator, weights: dict[str, NDArray[Any]], ids: NDArray[np.int64], label: int
) -> NDArray[np.float64]:
    """The logits after each of the ids (B, T) -> (B, T, V): inputs e + g, from the initial state b + W g."""
    g = weights[LABELS][label]
    state = tuple(
        tuple(
            np.tile(
                weights[f"layers.{n}.initial_{part}"] + weights[f"layers.{n}.initial_{part}_by_label"] @ g,
                (len(ids), 1),
            )
            for part in shape.recurrent_cell.state_sizes(sizes)
        )
        for n, sizes in enumerate(shape.layers())
    )
    own, found = body.weights_by_layer(weights, shape.num_layers), []
    for now in ids.T:
        layers = [lambda x, old, w=w: body.step_layer(x, old, w, shape, NumpyOps) for w in own]  # type: ignore[misc]
        x, state = body.run_layers(weights["embedding.weight"][now] + g, state, layers, shape.residual)
        found.append(head.logits(x, weights, NumpyOps))
    return np.stack(found, axis=1)


@pytest.mark.parametrize("shape_name", list(SHAPES))
@pytest.mark.parametrize("cell", list(CELLS))
def test_for_one_label_it_is_a_plain_language_model(cell: str, shape_name: str) -> None:
    shape = architecture(cell, **SHAPES[shape_name])
    network, ids = network_of(shape), some_ids()
    weights = network.arrays()
    labels = torch.arange(len(ids)) % NUM_LABELS
    with torch.no_grad():
        hidden, _ = network.hidden(torch.from_numpy(ids).T, network.state_of(labels))
        in_torch = network.logits(hidden).transpose(0, 1).numpy()
    for label in range(NUM_LABELS):
        expected = by_the_equation(shape, weights, ids, label)
        own = language_model_of(untied(weights, shape), shape, label)
        assert own.keys() == shape.plain.weights().keys()
        plain = StepPredictor(shape.plain, own)
        state = plain.initial_state(len(ids))
        for t in range(ids.shape[1]):
            logits, state = plain.step(ids[:, t], state)
            np.testing.assert_allclose(logits, expected[:, t], atol=1e-10)
        np.testing.assert_allclose(in_torch[label::NUM_LABELS], expected[label::NUM_LABELS], atol=1e-10)


def test_padded_is_unpadded_and_the_labels_of_a_batch_do_not_mix() -> None:
    network = network_of(architecture("gru", num_layers=2))
    likelihoods, rng = Likelihoods(network, EOS), np.random.default_rng(4)
    texts = [np.append(rng.integers(1, SYMBOLS, length), EOS) for length in (5, 0, 9, 2, 5)]
    together = likelihoods.by_label(texts)
    assert together.shape == (len(texts), NUM_LABELS)
    for label in range(NUM_LABELS):
        own = language_model_of(untied(network.arrays(), network.architecture), network.architecture, label)
        scores = score_sequences(StepPredictor(network.architecture.plain, own), texts, EOS)
        np.testing.assert_allclose(together[:, label], [logprobs.sum() for logprobs in scores], atol=1e-9)


@with_each_number
def test_the_loss_is_that_of_the_tokens_and_its_gradient_that_of_finite_differences(each_number: bool) -> None:
    shape = architecture("gru", hidden_size=3, tie_embeddings=True)
    network, ids, labels = network_of(shape), torch.from_numpy(some_ids(3, 5)), torch.tensor([2, 0, 2])
    names, weights = zip(*network.named_parameters(), strict=True)

    def forward(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return network.total_nats(inputs, targets, network.state_of(labels))[0]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(network, named, (ids[:, :-1], ids[:, 1:]))

    network.forward = forward  # type: ignore[method-assign, assignment]
    assert gradients_are_right(loss, [weight.detach().requires_grad_() for weight in weights], each_number)
    with torch.no_grad():
        predictor = TorchPredictor(network)
        logprobs, _ = predictor.logprobs(ids[:, :-1].numpy(), ids[:, 1:].numpy(), network.state_of(labels))
    assert loss(*weights).item() == pytest.approx(-logprobs.sum())


def test_the_texts_of_each_label_have_a_probability_of_1_in_all() -> None:
    """All texts of less than 5 tokens, and all beginnings of 5 tokens."""
    likelihoods, size = Likelihoods(network_of(architecture(vocab_size=4)), EOS), 5
    texts = [list(text) for length in range(size + 1) for text in itertools.product(range(1, 4), repeat=length)]
    ended = [np.array(text if len(text) == size else [*text, EOS]) for text in texts]
    np.testing.assert_allclose(np.exp(likelihoods.by_label(ended)).sum(axis=0), 1, atol=1e-12)


# Training and use


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of three labels: each writes with two letters of its own and one that all have."""
    rng, rows = np.random.default_rng(5), []
    for number in range(240):
        label, letters = [("jig", "abx"), ("reel", "cdx"), ("slow waltz", "efx")][number % 3 if number % 4 else 0]
        rows.append((label, "".join(rng.choice(list(letters), rng.integers(2, 8)))))
    return write_rows(tmp_path_factory.mktemp("tunes") / "tunes.tsv", rows)


SMALL: dict[str, Any] = {
    "task": "generate",
    "hidden_size": 13,
    "embedding_size": 9,
    "batch_size": 4,
    "bptt": 24,
    "learning_rate": 0.02,
    "dropout": 0.1,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}


def request_for(data: Path, run: Path, **settings: Any) -> TrainRequest:
    return task_request(data, run, {**SMALL, **settings})


def trained(data: Path, run: Path, **settings: Any) -> tuple[Session, GenerationResult]:
    return measured(request_for(data, run, **settings), GenerationResult)


@pytest.fixture(scope="session")
def tuned(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GenerationResult]:
    """A run that has learned the tunes, and its result; not to be changed."""
    run = tmp_path_factory.mktemp("tuned") / "runs" / "tunes"
    return run, trained(tunes, run, epochs=30)[1]


def test_it_writes_what_suits_the_label_and_finds_the_label_of_a_text(tuned: tuple[Path, GenerationResult]) -> None:
    run, result = tuned
    assert result.valid is not None
    assert result.valid_accuracy is not None
    assert result.valid_accuracy.value > 0.9
    for label, letters in {"jig": "abx", "reel": "cdx", "slow waltz": "efx"}.items():
        lm = charlm.load(run, given=label)
        samples = [lm.sample(until_eos=True, seed=seed) for seed in range(5)]
        assert all(sample.stopped_by == "eos" for sample in samples)
        written = "".join(sample.text for sample in samples)
        assert sum(letter in letters for letter in written) > 0.9 * len(written)
    assert load_classifier(run).classify("cdxc").label == "reel"
    assert all(check.ok for check in verify(run))


def test_bayes_is_the_prior_times_the_probability_of_the_text(tuned: tuple[Path, GenerationResult]) -> None:
    run, _ = tuned
    texts, labels = ["abxa", "x", "", "cf x"], ("jig", "reel", "slow waltz")
    models = {label: charlm.load(run, given=label) for label in labels}
    counts = np.array([int(count) for count in load_classifier(run).vocabularies.counts])
    priors = {"data": dict(zip(load_classifier(run).labels, (counts + 1) / (counts + 1).sum(), strict=True))}
    priors["uniform"] = dict.fromkeys(labels, 1 / 3)
    assert counts.sum() == charlm.describe(run).config.corpus.train_examples
    for prior, chances in priors.items():
        for for_batches in (False, True):
            found = list(load_classifier(run, prior=prior, for_batches=for_batches).classify_all(texts))
            for text, classification in zip(texts, found, strict=True):
                joint = {label: chances[label] * math.exp(models[label].score(text).logprob_nats) for label in labels}
                for label, probability in classification.probabilities:
                    assert probability == pytest.approx(joint[label] / sum(joint.values()), rel=1e-4)
                assert sum(p for _, p in classification.probabilities) == pytest.approx(1)


@pytest.mark.parametrize("unit", list(UNITS))
def test_every_unit_has_figures_that_its_scores_add_up_to(tunes: Path, tmp_path: Path, unit: str) -> None:
    """The words are letters here, and one validation text has a letter that no training text has."""
    rows = [tuple(line.split("\t")) for line in tunes.read_text().splitlines()]
    spaced = [(label, " ".join(text)) for label, text in rows]
    valid = write_rows(tmp_path / "valid.tsv", [*spaced[:9], ("jig", "a z b"), ("polka", "a b")])
    small = {"vocab_size": 300} if unit == "subword" else {}
    session, result = trained(
        write_rows(tmp_path / "rows.tsv", spaced[9:]), tmp_path / "run", unit=unit, steps=5, valid=valid, **small
    )
    models = {label: charlm.load(result.run, given=label) for label in session.corpus.labels}  # type: ignore[union-attr]
    tallies = [models[label].score(text).tally for label, text in [*spaced[:9], ("jig", "a z b")]]
    assert result.valid is not None
    scored = -sum(tally.total_nats - tally.unknown_nats for tally in tallies) / sum(
        tally.tokens - tally.unknown for tally in tallies
    )
    assert -result.valid.nats_per_known_token == pytest.approx(scored, rel=1e-2)  # polka is left out
    assert result.valid_accuracy is not None
    assert result.valid_accuracy.count == 11


def test_texts_of_new_labels_alone_are_no_measure(tunes: Path, tmp_path: Path) -> None:
    valid = write_rows(tmp_path / "valid.tsv", [("polka", "ab"), ("march", "cd")])
    session, result = trained(tunes, tmp_path / "run", steps=3, valid=valid)
    assert not session.trainer.objective.has_check
    assert (result.valid, result.best_step) == (None, 3)
    assert result.valid_accuracy is not None
    assert result.valid_accuracy.value == 0


def test_texts_of_the_same_data_give_exactly_the_sum_of_their_scores(tunes: Path, tmp_path: Path) -> None:
    lines = [tuple(line.split("\t")) for line in tunes.read_text().splitlines()[:12]]
    valid = write_rows(tmp_path / "valid.tsv", lines)
    _, result = trained(tunes, tmp_path / "run", steps=5, valid=valid, test=valid)
    tallies = [charlm.load(result.run, given=label).score(text).tally for label, text in lines]
    assert result.valid == result.test
    assert result.valid is not None
    assert result.valid.tokens == sum(tally.tokens for tally in tallies)
    assert result.valid.characters == sum(tally.characters for tally in tallies)
    assert result.valid.total_nats == pytest.approx(sum(tally.total_nats for tally in tallies), rel=1e-5)


def test_a_time_limit_holds_for_classifying_too(tunes: Path, tmp_path: Path) -> None:
    session, result = trained(tunes, tmp_path / "run", time="2s")
    assert session.limit is not None
    assert result.valid is not None
    assert 0 < result.share_measured <= 1
    assert result.valid_accuracy is None or 0 < result.valid_accuracy.count <= 24


@pytest.mark.parametrize("unit", ["char", "word"])
def test_texts_of_several_lines_end_with_a_blank_line(tmp_path: Path, unit: str) -> None:
    rng, rows = np.random.default_rng(6), []
    for number in range(60):
        label, letters = [("jig", "ab"), ("reel", "cd")][number % 2]
        lines = [" ".join(rng.choice(list(letters), 3)) for _ in range(rng.integers(1, 4))]
        rows.append((label, ("\n\n" if number % 5 == 0 else "\n").join(lines) + "\n" * (number % 3)))
    data, valid = tmp_path / "rows.jsonl", tmp_path / "valid.jsonl"
    for path, part in ((data, rows), (valid, rows[:9])):
        path.write_text("".join(json.dumps({"label": label, "text": text}) + "\n" for label, text in part))
    session, result = trained(data, tmp_path / "run", valid=valid, unit=unit, epochs=30)
    assert any("a blank line ends each" in note for note in session.notes)
    corpus, eos = session.corpus, session.corpus.tokenizer.eos_id
    for number in range(len(rows)):
        ids = [eos, *corpus.train["text"][number].tolist(), eos]  # type: ignore[index]
        assert [ids[n : n + 2] == [eos, eos] for n in range(len(ids) - 1)] == [False] * (len(ids) - 2) + [True]
    joined = [(label, "\n".join(filter(None, text.split("\n")))) for label, text in rows[:9]]
    tallies = [charlm.load(result.run, given=label).score(text).tally for label, text in joined]
    assert result.valid is not None
    assert result.valid.tokens == sum(tally.tokens for tally in tallies)
    assert result.valid.total_nats == pytest.approx(sum(tally.total_nats for tally in tallies), rel=1e-5)
    samples = [charlm.load(result.run, given="jig").sample(until_eos=True, seed=seed) for seed in range(9)]
    assert all(sample.stopped_by == "eos" for sample in samples)
    assert {len(sample.text.strip("\n").split("\n")) for sample in samples} >= {1, 2}
    for for_batches in (False, True):
        model = load_classifier(result.run, for_batches=for_batches)
        found = [dict(each.probabilities) for each in model.classify_all(["a b a\n\nc d c\n", "a b a\nc d c"])]
        assert found[0] == found[1]
    assert model.classify("a b b\n\na a a").label == "jig"
    assert result.valid_accuracy is not None
    assert result.valid_accuracy.value == 1


@pytest.mark.parametrize("cell", few_cells())
def test_every_cell_deep_goes_on_byte_for_byte_and_line_for_line(tunes: Path, tmp_path: Path, cell: str) -> None:
    settings = {"steps": 13, "eval_every": 4, "cell": cell, "num_layers": 2, "residual": True}
    assert_goes_on(partial(request_for, tunes, **settings), tmp_path / "runs", 9)
    lm = charlm.load(tmp_path / "runs" / "straight", given="reel")
    texts = ["cd", "xdcdx", ""]
    alone, together = [lm.score(text).logprob_nats for text in texts], lm.score_lines(texts)
    assert alone == pytest.approx([score.logprob_nats for score in together], abs=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_it_starts_as_the_language_model_that_it_is_given(tunes: Path, tmp_path: Path, tied: bool) -> None:
    text = tmp_path / "texts.txt"
    text.write_text("".join(line.split("\t")[1] + "\n" for line in tunes.read_text().splitlines()))
    small = {"hidden_size": 8, "embedding_size": 6, "steps": 3, "device": "cpu", "threads": 1, "ngram": "none"}
    base = charlm.train(text, run=str(tmp_path / "base"), initial_state="learned", tie_embeddings=tied, **small).run
    own = {"hidden_size": None, "embedding_size": None}
    session = start_training(request_for(tunes, tmp_path / "run", init_from=base, epochs=1, **own))
    network, lm = session.trainer.objective.network, charlm.load(base)
    assert isinstance(network, TorchGenerator)
    found = Likelihoods(network, lm.tokenizer.eos_id).by_label([lm.tokenizer.encode("abx\n").astype(np.int64)])
    np.testing.assert_allclose(found, lm.score("abx").logprob_nats, rtol=1e-5)
    assert finish(session).measure().steps > 0
    with pytest.raises(UsageError, match="--head-layers"):
        start_training(request_for(tunes, tmp_path / "run2", init_from=base, epochs=1, head_layers=1, **own))
    back = charlm.train(text, run=str(tmp_path / "back"), direction="backward", **small).run
    with pytest.raises(UsageError, match="reads forward"):
        start_training(request_for(tunes, tmp_path / "run3", init_from=back, epochs=1, **own))


def test_the_end_of_a_text_that_is_cut_is_not_learned(tmp_path: Path) -> None:
    """Of a text that is too long only the beginning is read, and nothing says that it ends there."""
    rows = [("long", "a" * 5000), ("short", "ab")] * 2
    session = start_training(
        request_for(write_rows(tmp_path / "rows.tsv", rows), tmp_path / "run", valid_fraction=0, steps=1)
    )
    assert any("4,096" in note for note in session.notes)
    assert session.trainer.objective.next_batch().num_targets in (4096, 6)


# The command line

QUICK = ("--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "-q")


@pytest.fixture
def charlm_tunes(charlm_command: Charlm, once: Once) -> Charlm:
    """The command in a folder with tunes.tsv and two runs of it, and with a language model."""
    once("tunes", lambda: train_all(charlm_command))
    return charlm_command


def train_all(charlm_command: Charlm) -> None:
    rows = [
        (f"{label}", f"{letters * (1 + number % 3)}x")
        for number in range(10)
        for label, letters in (("jig", "ab"), ("reel", "cd"), ("waltz", "ef"))
    ]
    write_rows(Path("tunes.tsv"), rows)
    for task in ("generate", "classify"):
        succeed(charlm_command, "train", "tunes.tsv", "--task", task, "--run", task, "--steps", "30", *QUICK)
    succeed(charlm_command, "train", "corpus.txt", "--run", "plain", "--steps", "3", *QUICK)


def test_a_generator_on_the_command_line(charlm_tunes: Charlm) -> None:
    shown = charlm_tunes("train", "tunes.tsv", "--task", "generate", "--run", "again", "--steps", "8", *QUICK[:-1])
    for phrase in ("nats/char", "validation", "by Bayes", "charlm sample --run runs/again --until-eos --given LABEL"):
        assert phrase in shown.out + shown.err
    sampled = records(
        charlm_tunes("sample", "--run", "generate", "--given", "waltz", "--until-eos", "--seed", "1", "--json")
    )
    assert (sampled[0]["given"], sampled[0]["stopped_by"]) == ("waltz", "eos")
    several = charlm_tunes("sample", "--run", "generate", "--given", "jig", "--num-samples", "3", "--until-eos", "-q")
    assert len(several.out.splitlines()) == 3
    scored = records(charlm_tunes("score", "--run", "generate", "--given", "jig", "abx", "efx", "--json"))
    Path("texts.txt").write_text("abx\nefx\n")
    of_file = records(charlm_tunes("score", "--run", "generate", "--given", "jig", "--file", "texts.txt", "--json"))
    for alone, line in zip(scored, of_file[:2], strict=True):
        assert alone["logprob_nats"] == pytest.approx(line["logprob_nats"], abs=1e-4)
    (found,) = records(charlm_tunes("classify", "--run", "generate", "abx", "--top", "3", "--json"))
    assert sum(found["probabilities"].values()) == pytest.approx(1)  # type: ignore[attr-defined]
    assert charlm_tunes("classify", "--run", "generate", "--file", "texts.txt", "-q").code == 0
    assert records(charlm_tunes("evaluate", "generate", "tunes.tsv", "--json"))[0]["accuracy"] is not None
    for command in (
        ("info", "generate"),
        ("verify", "generate"),
        ("plot", "generate"),
        ("report", "generate", "-o", "r.html"),
    ):
        assert charlm_tunes(*command).code == 0
    resumed = records(charlm_tunes("train", "--resume", "--run", "generate", "--steps", "33", "--json", "-q"))[-1]
    assert {"valid_nats_per_token", "valid_nats_per_char", "valid_accuracy"} <= resumed.keys()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("sample", "--run", "generate"), 2, "jig, reel, waltz"),
        (("sample", "--run", "generate", "--given", "waltzes"), 2, "'waltz'"),
        (("sample", "--run", "plain", "--given", "waltz"), 2, "does nothing"),
        (("sample", "--run", "classify", "--given", "waltz"), 4, "charlm classify"),
        (("sample", "--run", "generate", "--given", "jig", "--direction", "backward"), 4, "reads forward"),
        (("score", "x", "--run", "generate"), 2, "--given LABEL"),
        (("score", "x", "--run", "generate", "--given", "polka"), 2, "jig, reel, waltz"),
        (("score", "x", "--run", "plain", "--run", "generate", "--given", "jig"), 2, "does nothing"),
        (("score", "x", "--pseudo", "--given", "jig"), 2, "--given does nothing"),
        (("classify", "x", "--run", "classify", "--prior", "uniform"), 2, "--prior uniform does nothing"),
        (("classify", "x", "--run", "plain"), 4, "language model"),
        (("fill", "an ___", "--run", "generate"), 4, "charlm sample --given LABEL"),
        (("inspect", "generate", "--states", "x"), 4, "no language model"),
        (("train", "tunes.tsv", "--task", "generate", "--mode", "stream"), 2, "--mode"),
        (("train", "tunes.tsv", "--task", "generate", "--direction", "both"), 2, "--direction"),
        (("train", "tunes.tsv", "--task", "generate", "--item", "paragraph"), 2, "--item"),
        (("train", "tunes.tsv", "--task", "generate", "--initial-state", "random"), 2, "--initial-state"),
        (("train", "tunes.tsv", "--task", "generate", "--multi"), 2, "--multi"),
        (("train", "corpus.txt", "--task", "generate"), 3, "--data-format"),
    ],
)
def test_what_a_generator_refuses(charlm_tunes: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_tunes(*arguments)
    assert outcome.code == code
    assert named in outcome.err


def test_one_text_is_written_scored_and_classified_without_torch(tuned: tuple[Path, GenerationResult]) -> None:
    code = f"""
import sys, charlm
from charlm.api import load_classifier
lm = charlm.load({str(tuned[0])!r}, given="reel")
assert lm.sample(until_eos=True, seed=1).text and lm.score("cd").logprob_nats < 0
assert load_classifier({str(tuned[0])!r}).classify("cd").label == "reel"
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
