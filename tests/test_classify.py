"""Classifiers: the network, what it learns, how its data is read and divided, and the command line."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import charlm
from charlm.api import load_classifier, start_training
from charlm.cells import CELLS
from charlm.engine.classifier import NumpyClassifierPredictor
from charlm.errors import TextError, UsageError
from charlm.lifecycle.classification import ClassificationResult
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.session import Session
from charlm.lifecycle.verification import verify
from charlm.model.classifier import TorchClassifierPredictor, logits, total_nats
from charlm.model.means import Means
from charlm.network.architecture import cell_sizes
from charlm.network.classifier import Classifier
from charlm.runs.directory import BEST, RunDirectory
from tests.cases import gradients_are_right, with_each_number
from tests.conftest import Once
from tests.networks import network_of
from tests.task_trainings import FAST, SMALL, assert_goes_on, measured, task_request
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command

__all__ = ["charlm_command"]  # a fixture

SYMBOLS, EMBEDDING, HIDDEN, LABELS = 11, 5, 7, 4
LENGTHS = torch.tensor([6, 3, 9, 2, 4])
BODIES: dict[str, dict[str, Any]] = {
    "both": {"direction": "both"},
    "forward": {"direction": "forward"},
    "backward": {"direction": "backward"},
    "apart": {"direction": "both", "is_apart": True},
}
ROWS = [("fruit", "an apple"), ("fruit", "two pears"), ("fish", "a trout"), ("fish", "two eels"), ("bird", "a heron")]


# The network


def architecture(cell: str = "lstm", **changes: Any) -> Classifier:
    sizes: dict[str, Any] = {
        "cell": cell,
        "num_layers": 2,
        "hidden_size": HIDDEN,
        "embedding_size": EMBEDDING,
        "tie_embeddings": False,
        "initial_state": "learned",
        "vocab_size": SYMBOLS,
        "num_labels": LABELS,
        "ngram_order": 3,
        "ngram_rows": 32,
        **cell_sizes(cell, HIDDEN, {}),
    }
    return Classifier(**{**sizes, **changes})


def padded_ids() -> Tensor:
    """Ids (B, T) with anything at all in the padding."""
    drawn = np.random.default_rng(2).integers(0, SYMBOLS, (len(LENGTHS), int(LENGTHS.max())))
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("cell", list(CELLS))
def test_padded_is_unpadded_and_numpy_is_torch(cell: str, body: str) -> None:
    shape = architecture(cell, **BODIES[body], head_layers=1, head_size=6)
    network, ids, lengths = network_of(shape), padded_ids().numpy(), LENGTHS.numpy()
    in_torch, in_numpy = TorchClassifierPredictor(network), NumpyClassifierPredictor(shape, network.arrays())
    together = in_torch.logits(ids, lengths)
    assert together.shape == (len(LENGTHS), LABELS)
    np.testing.assert_allclose(in_numpy.logits(ids, lengths), together, atol=1e-10)
    for row, length in enumerate(lengths):
        alone = in_numpy.logits(ids[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-10)


@with_each_number
@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("several_labels", [False, True])
def test_the_gradient_is_that_of_finite_differences(body: str, several_labels: bool, each_number: bool) -> None:
    shape = architecture("gru", **BODIES[body], hidden_size=3, several_labels=several_labels)
    network, ids = network_of(shape), padded_ids()
    drawn = np.random.default_rng(3).integers(0, 2, (len(ids), LABELS))
    targets = torch.from_numpy(drawn.astype(np.float32)) if several_labels else torch.tensor([0, 3, 1, 1, 2])
    names, weights = zip(*network.named_parameters(), strict=True)
    label_weights = torch.tensor([1.0, 0.5, 2.0, 3.0])

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (ids, LENGTHS))

    def forward(ids: Tensor, lengths: Tensor) -> Tensor:
        found = logits(network, ids, lengths, Means.of(network))
        return total_nats(found, targets, several_labels, label_weights)

    network.forward = forward  # type: ignore[method-assign, assignment]
    assert gradients_are_right(loss, [weight.detach().requires_grad_() for weight in weights], each_number)


def test_the_weights_of_a_label_multiply_its_loss() -> None:
    found, targets = torch.randn(5, LABELS, generator=torch.Generator().manual_seed(4)), torch.tensor([0, 3, 1, 1, 2])
    plain = [float(total_nats(found[[n]], targets[[n]], False, torch.ones(LABELS))) for n in range(5)]
    factors = torch.tensor([1.0, 0.5, 2.0, 3.0])
    expected = sum(nats * float(factors[target]) for nats, target in zip(plain, targets, strict=True))
    assert float(total_nats(found, targets, False, factors)) == pytest.approx(expected, rel=1e-5)


# Its data


def write_rows(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{label}\t{text}\n" for label, text in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Rows of three labels, of which the last letters tell the label."""
    rng, rows = np.random.default_rng(5), []
    for number in range(300):
        label, ending = [("one", "ab"), ("two", "ba"), ("three", "cc")][number % 3 if number % 7 else 0]
        rows.append((label, "".join(rng.choice(list("abcd"), rng.integers(3, 12))) + ending))
    return write_rows(tmp_path / "rows.tsv", rows)


def request_for(data: Path, run: Path, **settings: Any) -> TrainRequest:
    return task_request(data, run, {"task": "classify", **SMALL, **settings})


def trained(data: Path, run: Path, **settings: Any) -> tuple[Session, ClassificationResult]:
    return measured(request_for(data, run, **settings), ClassificationResult)


def test_it_learns_what_the_rows_say(data: Path, tmp_path: Path) -> None:
    _, result = trained(data, tmp_path / "run", epochs=25, **FAST)
    assert result.valid is not None
    assert result.valid.accuracy.value > 0.9
    model = load_classifier(result.run)
    assert model.labels == ("one", "three", "two")  # by how frequent they are
    for text, label in {"ddab": "one", "acdba": "two", "abacc": "three"}.items():
        found = model.classify(text)
        assert found.label == label
        assert sum(probability for _, probability in found.probabilities) == pytest.approx(1)
    assert all(check.ok for check in verify(Path(result.run)))


def test_rows_are_held_out_within_each_label_and_never_trained_on(data: Path, tmp_path: Path) -> None:
    session = start_training(request_for(data, tmp_path / "run", epochs=1))
    corpus = session.corpus
    counts = [np.bincount(part["labels"].values, minlength=3) for part in (corpus.train, corpus.valid)]  # type: ignore[index, union-attr]
    assert (np.abs(counts[1] / (counts[0] + counts[1]) - 0.1) < 0.03).all()
    assert sum(map(int, counts[0] + counts[1])) == 300
    assert any("validation: " in note for note in session.notes)
    again = start_training(request_for(data, tmp_path / "again", epochs=1)).corpus
    assert (again.valid["text"].values == corpus.valid["text"].values).all()  # type: ignore[index]


def test_rows_of_two_parts_are_counted_and_new_labels_said(data: Path, tmp_path: Path) -> None:
    lines = data.read_text().splitlines()
    valid = write_rows(tmp_path / "valid.tsv", [tuple(line.split("\t")) for line in lines[:7]] + [("four", "dddd")])  # type: ignore[misc]
    session, result = trained(data, tmp_path / "run", epochs=1, valid=valid)
    notes = "\n".join(session.notes)
    assert "valid: 7 of 8 rows are in the training part, too" in notes
    assert "'four'" in notes
    assert result.valid is not None
    assert result.valid.accuracy.count == 8
    assert result.valid.accuracy.value < 1


def test_rows_of_the_test_part_that_validation_has_are_counted(data: Path, tmp_path: Path) -> None:
    valid = write_rows(tmp_path / "valid.tsv", [("one", "unseen"), ("two", "unseen")])
    test = write_rows(tmp_path / "test.tsv", [("one", "unseen"), ("one", "other"), ("one", "unseen")])
    notes = start_training(request_for(data, tmp_path / "run", valid=valid, test=test)).notes
    assert "test: 2 of 3 rows are in the validation part, too" in notes
    assert not any("in the training part" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a\tx\na\ty\n", "the same label"),
        ("a\tx\nb\n", "line 2"),
        ("a\tx\nb\t \n", "line 2"),
        ("", "empty"),
        ("only text here\nand here\n", "--data-format"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused_and_nothing_is_made(
    tmp_path: Path, content: str, named: str
) -> None:
    data = tmp_path / "rows.tsv"
    data.write_text(content)
    with pytest.raises(TextError) as found:
        start_training(request_for(data, tmp_path / "runs" / "run", epochs=1))
    error = found.value
    assert named in f"{error.what} {error.where} {error.to_do}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_wrong_with_the_data_as_a_whole_is_said_with_its_name(tmp_path: Path, is_folder: bool) -> None:
    data = tmp_path / "rows"
    if is_folder:
        data.mkdir()
        (data / "a.txt").write_text("x\ny\n")
    else:
        data.write_text("a\tx\na\ty\n")
    for unit in ("char", "subword"):
        with pytest.raises(TextError, match="the same label") as found:
            start_training(request_for(data, tmp_path / "runs" / "run", unit=unit))
        assert found.value.where.endswith("rows")


def test_a_folder_without_texts_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TextError, match="no texts") as found:
        start_training(request_for(folder, tmp_path / "runs" / "run"))
    assert found.value.where.endswith("folder")


def test_every_form_of_the_same_rows_gives_the_same_classifier(tmp_path: Path) -> None:
    rows = [(label, f"{text} {number}") for number in range(12) for label, text in ROWS]
    folder = tmp_path / "folder"
    folder.mkdir()
    for label in {label for label, _ in rows}:
        (folder / f"{label}.txt").write_text("".join(f"{text}\n" for own, text in rows if own == label))
    forms = {
        "rows.tsv": "".join(f"{label}\t{text}\n" for label, text in rows),
        "header.tsv": "label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows),
        "rows.csv": "".join(f'{label},"{text}"\n' for label, text in rows),
        "rows.jsonl": "".join(json.dumps({"label": label, "text": text}) + "\n" for label, text in rows),
        "rows.txt": "".join(f"{text} __label__{label}\n" for label, text in rows),
    }
    found = []
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        session, _ = trained(tmp_path / name, tmp_path / f"run-{name}", epochs=2)
        found.append(session.run.load(BEST).tensors)
    for other in found[1:]:
        assert all((other[name] == found[0][name]).all() for name in found[0])
    assert trained(folder, tmp_path / "run-folder", epochs=1)[1].valid is not None


def test_several_labels_have_probabilities_of_their_own(tmp_path: Path) -> None:
    rows = [("a", "xx"), ("b", "yy"), ("a,b", "xy"), ("b,a", "yx")] * 20
    _, result = trained(write_rows(tmp_path / "rows.tsv", rows), tmp_path / "run", epochs=60, multi=True, **FAST)
    model = load_classifier(result.run)
    assert model.labels == ("a", "b")
    assert set(model.classify("xy").labels()) == {"a", "b"}
    assert model.classify("xx").labels() == ("a",)
    assert model.classify("yy").labels(threshold=0.99999) in ((), ("b",))


def test_texts_without_any_label_are_learned_and_measured(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.tsv", [("a", "xx"), ("b", "yy"), ("a,b", "xy"), ("", "zz")] * 20)
    _, result = trained(rows, tmp_path / "run", epochs=60, multi=True, **FAST)
    assert load_classifier(result.run).classify("zz").labels() == ()
    found = charlm.api.evaluate_run(result.run, rows)
    assert found.report.as_json()["accuracy_count"] == 80
    assert found.report.accuracy.value > 0.9
    with pytest.raises(TextError, match="no row has a label"):
        start_training(request_for(write_rows(rows, [("", "xx")] * 9), tmp_path / "none", multi=True))


# Training


@pytest.mark.parametrize("changes", [{"cell": "indrnn", "initial_state": "random"}, {"balance": True, "unit": "word"}])
def test_its_training_goes_on_byte_for_byte_and_line_for_line(
    data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert_goes_on(partial(request_for, data, steps=23, eval_every=4, **changes), tmp_path / "runs", 1, 9, 22)


@pytest.fixture
def language_model(data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A language model of the texts, which reads in some direction."""
    text = tmp_path / "texts.txt"
    text.write_text("".join(line.split("\t")[1] + "\n" for line in data.read_text().splitlines()))

    def train(direction: str) -> Path:
        settings: dict[str, Any] = {"hidden_size": 8, "embedding_size": 6, "steps": 3, "device": "cpu", "threads": 1}
        return Path(charlm.train(text, run=str(tmp_path / direction), direction=direction, **settings).run)

    return train


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_it_starts_from_a_language_model_and_can_keep_it(
    language_model: Callable[[str], Path], data: Path, tmp_path: Path, direction: str
) -> None:
    base, run = language_model(direction), tmp_path / "run"
    own: dict[str, Any] = {"hidden_size": None, "embedding_size": None}
    session, result = trained(data, run, init_from=str(base), freeze=True, epochs=2, **own)
    architecture = session.architecture
    assert isinstance(architecture, Classifier)
    assert (architecture.direction, architecture.is_apart) == (direction, direction == "both")
    weights = RunDirectory(Path(result.run)).load(BEST).tensors
    prefixes = {"": "best", "backward_": "backward_best"} if direction == "both" else {"": "best"}
    for prefix, kind in prefixes.items():
        for name, value in RunDirectory(base).load(kind).tensors.items():
            if not name.startswith("head."):
                assert (weights[prefix + name] == value).all()
    assert 0 <= load_classifier(result.run).classify("abba").probability <= 1
    assert all(check.ok for check in verify(Path(result.run)))


def test_a_frozen_training_goes_on_byte_for_byte(
    language_model: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": 9, "eval_every": 4, "freeze": True, "init_from": str(language_model("both"))}
    settings |= {"hidden_size": None, "embedding_size": None}
    assert_goes_on(partial(request_for, data, **settings), tmp_path / "runs", 5)


def test_the_same_rows_give_the_same_weights_and_another_seed_others(data: Path, tmp_path: Path) -> None:
    runs = [trained(data, tmp_path / f"run{n}", steps=5, seed=seed)[0] for n, seed in enumerate((3, 3, 4))]
    weights = [session.run.load(BEST).tensors["head.weight"] for session in runs]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()


# The command line

QUICK = ("--steps", "6", "--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "-q")


@pytest.fixture
def charlm_classify(charlm_command: Charlm, once: Once) -> Charlm:
    write_rows(Path("rows.tsv"), [(label, f"{text} {number}") for number in range(12) for label, text in ROWS])
    arguments = ("train", "rows.tsv", "--task", "classify", "--run", "c", *QUICK)
    once("classifier", lambda: succeed(charlm_command, *arguments))
    return charlm_command


def test_a_classifier_on_the_command_line(charlm_classify: Charlm) -> None:
    found = records(charlm_classify("classify", "an apple", "a trout", "--json", "--top", "3"))
    assert [record["text"] for record in found] == ["an apple", "a trout"]
    for record in found:
        probabilities = dict(record["probabilities"])  # type: ignore[call-overload]
        assert sum(probabilities.values()) == pytest.approx(1)
        assert record["label"] == max(probabilities, key=probabilities.__getitem__)
    Path("texts.txt").write_text("an apple\n\na trout\n")
    lines = charlm_classify("classify", "--file", "texts.txt", "-q").out.splitlines()
    assert [line.split("\t")[-1] for line in lines] == ["an apple", "", "a trout"]
    assert charlm_classify("classify", "an apple", "--threshold", "0.999", "--json").out.count('"label": null') == 1
    assert charlm_classify("info", "c").code == charlm_classify("verify", "c").code == 0
    resumed = charlm_classify("train", "--resume", "--run", "c", "--steps", "8", "--json", "-q")
    assert "valid_accuracy" in records(resumed)[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("score", "an apple"), 4, "charlm classify"),
        (("sample",), 4, "charlm classify"),
        (("fill", "an ___"), 4, "charlm classify"),
        (("train", "rows.tsv", "--task", "classify", "--objective", "cloze"), 2, "--objective cloze"),
        (("train", "rows.tsv", "--multi"), 2, "without --task"),
        (("train", "rows.tsv", "--task", "classify", "--target-unit", "word"), 2, "translate"),
        (("train", "rows.tsv", "--task", "sort"), 2, "sort"),
        (("train", "rows.tsv", "--task", "classify", "--freeze"), 2, "--init-from"),
        (("train", "rows.tsv", "--task", "classify", "--columns", "1"), 2, "two columns are needed"),
        (("train", "rows.tsv", "--task", "classify", "--columns", ","), 2, "two columns are needed"),
        (("train", "rows.tsv", "--task", "classify", "--columns", "1,2,3"), 2, "two columns are needed"),
        (("train", "rows.tsv", "--task", "classify", "--columns", "1,1"), 2, "the same column twice"),
        (("train", "rows.tsv", "--task", "classify", "--columns", "0,1"), 2, "no column 0"),
        (("train", "rows.tsv", "--task", "translate", "--target", "runs"), 2, "not a folder"),
        (("train", "rows.tsv", "--task", "classify", "--data-format", "conll"), 2, "conll"),
        (("train", "missing.tsv", "--task", "classify"), 3, "missing.tsv"),
        (("train", "--resume", "--run", "c", "--task", "tag"), 2, "--task classify"),
        (("classify", "x", "--file", "rows.tsv"), 2, "--file"),
        (("classify",), 2, "--file"),
    ],
)
def test_what_is_refused(charlm_classify: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_classify(*arguments)
    assert (outcome.code, named in outcome.err) == (code, True), outcome.err


@pytest.mark.parametrize(
    ("content", "is_labelled"),
    [
        ("fruit\tan apple\nfish\ta trout\nbird\n\nbird\ta heron\t2\nfish\ttwo eels\n", True),  # ragged
        ("label\ttext\nfruit\tan apple\n", True),
        ('fruit,"an apple, red"\nfish,a trout\n', True),
        ("an apple __label__fruit\na trout __label__fish\n", True),
        ('{"label": "fruit", "text": "an apple"}\n', True),
        ("an apple\na trout\n", False),
        ("1\tan apple\n2\ta trout\n", False),
        ("fish, fresh from the sea\napples, pears\na heron\n", False),
        ("\n", False),
    ],
)
def test_labelled_data_that_is_classified_as_texts_is_noted(
    charlm_classify: Charlm, content: str, is_labelled: bool
) -> None:
    Path("given.txt").write_text(content)
    outcome = charlm_classify("classify", "--file", "given.txt")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == len(content.splitlines())
    assert ("given.txt: this is labelled data" in outcome.err) == is_labelled
    assert ("charlm evaluate" in outcome.err) == is_labelled


def test_classify_needs_a_classifier(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", *QUICK).code == 0
    outcome = charlm_command("classify", "the cat")
    assert outcome.code == 4
    assert "charlm score" in outcome.err


def test_evaluate_measures_what_classify_says(charlm_classify: Charlm) -> None:
    with Path("rows.tsv").open("a") as file:
        file.write("fish\ta pear\nbird\ta trout\n")  # which it cannot know
    (found,) = records(charlm_classify("evaluate", "c", "rows.tsv", "--json", "--errors", "3", "-o", "matrix.svg"))
    assert Path("matrix.svg").read_text().startswith("<svg")
    Path("texts.txt").write_text(
        "".join(line.split("\t")[1] + "\n" for line in Path("rows.tsv").read_text().splitlines())
    )
    given = [line.split("\t")[0] for line in charlm_classify("classify", "--file", "texts.txt").out.splitlines()]
    true = [line.split("\t")[0] for line in Path("rows.tsv").read_text().splitlines()]
    num_right = sum(label == own for label, own in zip(given, true, strict=True))
    assert found["examples"] == found["accuracy_count"] == len(true)
    assert found["accuracy"] == pytest.approx(num_right / len(true))
    errors: Any = found["errors"]
    assert len(errors) == min(3, len(true) - num_right)
    assert sorted((each["cost"] for each in errors), reverse=True) == [each["cost"] for each in errors]
    shown = charlm_classify("evaluate", "c", "rows.tsv", "--errors", "2")
    assert "accuracy" in shown.out
    assert "rows.tsv, line" in shown.out


def test_evaluate_leaves_out_what_is_not_sure(charlm_classify: Charlm) -> None:
    (found,) = records(charlm_classify("evaluate", "c", "rows.tsv", "--json", "--threshold", "0.9999"))
    assert (found["coverage"], found["accuracy"]) == (0.0, None)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("c", "missing.tsv"), 3, "missing.tsv"),
        (("nothing", "rows.tsv"), 4, "nothing"),
        (("c", "rows.tsv", "-o", "matrix.pdf"), 2, ".svg"),
        (("c", "corpus.txt"), 3, "--data-format"),
        (("c", "rows.tsv", "--target", "rows.tsv"), 2, "--target"),
    ],
)
def test_what_evaluate_refuses(charlm_classify: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_classify("evaluate", *arguments)
    assert (outcome.code, named in outcome.err) == (code, True), outcome.err


def test_evaluate_says_which_labels_are_new(charlm_classify: Charlm) -> None:
    Path("new.tsv").write_text("fish\ta trout\nstone\ta rock\n")
    assert (
        "new.tsv: 1 label that no training row has, such as 'stone'" in charlm_classify("evaluate", "c", "new.tsv").err
    )


def test_evaluate_of_a_language_model_names_score(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", "--run", "lm", *QUICK).code == 0
    outcome = charlm_command("evaluate", "lm", "corpus.txt")
    assert (outcome.code, "charlm score" in outcome.err) == (4, True)


def test_a_run_on_labelled_data_can_be_replaced(charlm_classify: Charlm) -> None:
    again = charlm_classify("train", "rows.tsv", "--task", "classify", "--run", "c", "--force", *QUICK)
    assert again.code == 0, again.err
    Path("runs/c/corpus/notes.txt").write_text("mine")
    assert charlm_classify("train", "rows.tsv", "--task", "classify", "--run", "c", "--force", *QUICK).code == 2


def test_a_few_rows_have_no_validation_part(tmp_path: Path) -> None:
    session, result = trained(write_rows(tmp_path / "rows.tsv", ROWS), tmp_path / "run", epochs=2)
    assert result.valid is None
    assert any("too few rows" in note for note in session.notes)
    assert all(check.ok for check in verify(Path(result.run)))


def test_paragraphs_of_a_folder_are_texts(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\n\n\nthree\n" * 6)
    (folder / "b.txt").write_text("\nfour\n\nfive\nsix\n\n" * 6)
    session, _ = trained(folder, tmp_path / "run", epochs=1, item="paragraph")
    parts = [part for part in (session.corpus.train, session.corpus.valid) if part]
    tokenizer = session.corpus.tokenizer
    found = [tokenizer.decode(part["text"][n]) for part in parts for n in range(part.num_examples)]  # type: ignore[index]
    # The last line of each repetition of a.txt and the first one of the next stand together.
    assert sorted(set(found)) == ["five\nsix", "four", "one\ntwo", "three", "three\none\ntwo"]
    assert start_training(request_for(folder, tmp_path / "lines", epochs=1)).corpus.train.num_examples > 20


def test_paragraphs_need_a_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        start_training(request_for(data, tmp_path / "run", epochs=1, item="paragraph"))
