"""Taggers: the network against NumPy, finite differences and itself without padding; their training, and their use."""

import dataclasses
import itertools
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import charlm
from charlm.api import load_tagger
from charlm.cells import CELLS
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.sentences import MAX_SPELLED, Sentences, Spelling, WordDropout, sentences_of
from charlm.engine.tagger import NumpyTaggerPredictor
from charlm.errors import TextError, UsageError
from charlm.lifecycle.session import Session
from charlm.lifecycle.tagging import TaggingResult
from charlm.lifecycle.verification import verify
from charlm.model.operations import TorchOps
from charlm.model.tagger import TorchTaggerPredictor, freeze_features, read_characters, to_tensors, total_nats
from charlm.network import crf
from charlm.network.architecture import Architecture, cell_sizes
from charlm.network.kinds import read_architecture
from charlm.network.tagger import FEATURES, Speller, Tagger
from charlm.runs.directory import BEST, RunDirectory
from charlm.system.interrupts import StopRequest
from charlm.tasks.tagging import TaggingModel
from charlm.text.tag_schemes import PLAIN, SCHEMES
from charlm.training.events import Evaluated
from charlm.training.gradients import rows_of
from charlm.training.objective import Check
from charlm.training.tagging import Measured, TaggingObjective
from tests.cases import slow_but
from tests.conftest import TINY as TINY_LM
from tests.networks import network_of
from tests.sessions import open_session
from tests.test_cli import Charlm, records
from tests.test_cli import charlm as charlm_command
from tests.test_resume import assert_same
from tests.test_training import Start, finish, interrupt_after, start, stop, stopped_by, tensors

__all__ = ["charlm_command", "start", "stop"]  # fixtures

WORDS, SYMBOLS, TAGS = 9, 7, 4
EOS, SPACE = 0, 5
LENGTHS = [5, 1, 7, 3]
PARTS = ("spelling", "features", "softmax", "plain", "deep")


def architecture(cell: str = "lstm", parts: str = "spelling", **changes: Any) -> Tagger:
    """A tagger with sizes that all differ; `parts` names what it has besides words."""
    shared: dict[str, Any] = {"tie_embeddings": False, "initial_state": "zero"}
    spelling = None
    if parts != "plain":
        sizes: dict[str, Any] = {"num_layers": 1, "hidden_size": 3, "embedding_size": 2, "vocab_size": SYMBOLS}
        spelling = Speller(cell=cell, direction="both", **sizes, **shared, **cell_sizes(cell, 3, {}))
    features = None
    if parts == "features":
        sizes = {"num_layers": 2, "hidden_size": 4, "embedding_size": 3, "vocab_size": SYMBOLS}
        features = Architecture(cell="gru", direction="both", **sizes, **shared)
    deep: dict[str, Any] = {"num_layers": 3, "residual": True, "head_layers": 1, "head_size": 8}
    given = {
        "cell": cell,
        "direction": "both",
        "num_layers": 1,
        "hidden_size": 6,
        "embedding_size": 5,
        "vocab_size": WORDS,
        "num_labels": TAGS,
        "decoder": "softmax" if parts == "softmax" else "crf",
        "spelling": spelling,
        "features": features,
        "feature_size": 7 if features else 0,
        **shared,
        **(deep if parts == "deep" else {}),
        **cell_sizes(cell, 6, {}),
        **changes,
    }
    if parts == "deep":
        given["initial_state"] = "learned"
    return Tagger(**given)


def sentences(shape: Tagger, rows: slice = slice(None), seed: int = 3) -> Sentences:
    """Random sentences; some words have no symbols, some very many."""
    rng, words, spelled, tags = np.random.default_rng(seed), [], [], []
    for length in LENGTHS:
        words.append(rng.integers(0, WORDS, length))
        sizes = rng.choice([0, 1, 2, 4, MAX_SPELLED + 3], length)
        spelled.append([rng.integers(0, SYMBOLS, size) for size in sizes])
        tags.append(rng.integers(0, TAGS, length))
    spelling = Spelling(EOS, SPACE if shape.features else None) if shape.spelling else None
    return sentences_of(words[rows], spelled[rows], spelling, tags[rows])


def exclusions(seed: int = 4) -> Any:
    """Some transitions between tags are not allowed."""
    return np.where(np.random.default_rng(seed).random((TAGS + 1, TAGS + 1)) < 0.2, crf.EXCLUDED, 0.0)


# The network


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("cell", list(CELLS))
def test_numpy_is_torch_and_padded_is_unpadded(cell: str, parts: str) -> None:
    shape = architecture(cell, parts)
    network, excluded = network_of(shape, torch.float32), exclusions()
    in_torch = TorchTaggerPredictor(network, excluded)
    in_numpy = NumpyTaggerPredictor(shape, network.arrays(), excluded)
    np.testing.assert_allclose(in_numpy.transitions, in_torch.transitions)
    together = in_torch.emissions(sentences(shape))
    assert together.shape == (max(LENGTHS), len(LENGTHS), TAGS)
    for row, length in enumerate(LENGTHS):
        alone = in_numpy.emissions(sentences(shape, slice(row, row + 1)))
        np.testing.assert_allclose(alone[:, 0], together[:length, row], atol=1e-5)


@pytest.mark.parametrize("parts", PARTS)
def test_some_rows_of_a_batch_are_those_sentences(parts: str) -> None:
    shape = architecture(parts=parts)
    predictor, whole = TorchTaggerPredictor(network_of(shape, torch.float32), exclusions()), sentences(shape)
    rows = whole.rows(slice(1, 3))
    assert (len(rows), rows.num_words) == (2, sum(LENGTHS[1:3]))
    np.testing.assert_allclose(predictor.emissions(rows), predictor.emissions(whole)[:, 1:3], atol=1e-6)
    assert rows.tags is not None
    assert whole.tags is not None
    np.testing.assert_array_equal(rows.tags, whole.tags[: max(LENGTHS[1:3]), 1:3])


@pytest.mark.parametrize("parts", PARTS)
def test_the_gradient_of_the_loss_is_that_of_finite_differences(parts: str) -> None:
    shape = architecture(parts=parts)
    network = network_of(shape, torch.float64)
    freeze_features(network)
    batch = to_tensors(sentences(shape), network.device)
    excluded = torch.zeros(TAGS + 1, TAGS + 1, dtype=torch.float64)
    named = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(named, values, strict=True)), ())

    network.forward = lambda: total_nats(network, batch, excluded)  # type: ignore[assignment]
    weights = tuple(weight.detach().requires_grad_() for weight in named.values())
    assert torch.autograd.gradcheck(loss, weights, nondet_tol=0.0, fast_mode=True)


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_the_loss_is_log_p_of_the_tags(decoder: str) -> None:
    shape = architecture(decoder=decoder)
    network, batch = network_of(shape, torch.float64), sentences(shape)
    predictor = TorchTaggerPredictor(network, np.zeros((TAGS + 1, TAGS + 1)))
    scores, tags = predictor.emissions(batch), batch.tags
    assert tags is not None
    chain = (batch.lengths, predictor.transitions)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        own = [torch.from_numpy(x) for x in (scores[:length, row : row + 1], tags[:length, row : row + 1])]
        size, weights = torch.from_numpy(chain[0][row : row + 1]), torch.from_numpy(chain[1])
        expected += float(crf.log_partition(own[0], size, weights, TorchOps))
        expected -= float(crf.path_scores(*own, size, weights, TorchOps))
    excluded = torch.zeros(TAGS + 1, TAGS + 1, dtype=torch.float64)
    found = total_nats(network, to_tensors(batch, network.device), excluded)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_character_models_are_read_up_to_each_end_of_a_word() -> None:
    """Akbik et al. 2018: what stands behind a word does not change its forward half, nor what is before it the rest."""
    shape = architecture(parts="features")
    network = network_of(shape, torch.float32)
    rng = np.random.default_rng(5)
    spelled = [[rng.integers(1, SYMBOLS, size) for size in (2, 4, 1)]]
    words = [np.zeros(3, np.int64)]

    def features(changed: int | None) -> Tensor:
        own = [[(symbols + 1) % SYMBOLS if place == changed else symbols for place, symbols in enumerate(spelled[0])]]
        batch = to_tensors(sentences_of(words, own, Spelling(EOS, SPACE)), network.device)
        return read_characters(network, batch)[:, 0]

    before, half = features(None), 4
    for changed in range(3):
        same_forward = (features(changed) == before)[:, :half].all(dim=1).tolist()
        same_backward = (features(changed) == before)[:, half:].all(dim=1).tolist()
        assert same_forward == [place < changed for place in range(3)]
        assert same_backward == [place > changed for place in range(3)]


@pytest.mark.parametrize("parts", PARTS)
def test_an_architecture_survives_json(parts: str) -> None:
    shape = architecture(parts=parts)
    assert read_architecture(dataclasses.asdict(shape)) == shape


@pytest.mark.parametrize(
    "changes", [{"num_labels": 1}, {"direction": "forward"}, {"tie_embeddings": True}, {"feature_size": 3}]
)
def test_impossible_architectures_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tag|features"):
        architecture(**changes)


def test_rare_words_become_unknown_more_often() -> None:
    words = np.repeat([2, 3, 4], [1, 10, 1000])
    dropout = WordDropout(words, 5, 1, seed=1)
    batch = np.repeat([[2], [3], [4]], 4000, axis=1)
    shares = (dropout.replace(batch, 0, 7) == 1).mean(axis=1)
    assert shares == pytest.approx([0.2, 0.25 / 10.25, 0.25 / 1000.25], abs=0.02)
    assert (dropout.replace(batch, 0, 7) == dropout.replace(batch, 0, 7)).all()
    assert (dropout.replace(batch, 0, 7) != dropout.replace(batch, 1, 7)).any()
    assert (dropout.replace(batch, 0, 7) != dropout.replace(batch, 0, 8)).any()


# Training

UNITS = ("char", "byte", "subword", "word")
QUICK_TAGGERS = (("char", "crf"), ("byte", "softmax"), ("word", "crf"), ("subword", "softmax"))
NAMES = ("Anna", "Bo", "Mary Ann", "O'Hara")
PLACES = ("Rome", "New York", "Xi'an")
VERBS = ("sees", "likes", "visits")
TINY: dict[str, Any] = {"task": "tag", "steps": 23, "eval_every": 4, "warmup_steps": 3, "sample_every": None}


def tagged_lines(count: int, seed: int = 1) -> str:
    """Sentences such as "Mary Ann visits New York", in columns."""
    rng, blocks = random.Random(seed), []
    for _ in range(count):
        rows = []
        for choice, kind in ((NAMES, "person"), (VERBS, ""), (PLACES, "place")):
            for number, word in enumerate(rng.choice(choice).split()):
                rows.append(f"{word}\t{'BI'[number > 0]}-{kind}" if kind else f"{word}\tO")
        blocks.append("\n".join([*rows, ".\tO"]) + "\n\n")
    return "".join(blocks)


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tags") / "tags.conll"
    path.write_text(tagged_lines(150))
    return path


@pytest.fixture(scope="session")
def tagger_run(tags: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tagger that has learned these sentences, by unit and decoder."""
    folder = tmp_path_factory.mktemp("taggers")
    runs: dict[str, Path] = {}

    def run(unit: str = "char", decoder: str = "crf") -> Path:
        name = unit + decoder
        if name not in runs:
            settings = {"unit": unit, "decoder": decoder, "steps": 60, "threads": 1, "device": "cpu"}
            settings["vocab_size"] = 11  # words; the others are unknown
            runs[name] = Path(
                charlm.train(tags, run=str(folder / name), task="tag", learning_rate=0.02, **settings).run
            )
        return runs[name]

    return run


@pytest.fixture
def model(tagger_run: Callable[..., Path]) -> TaggingModel:
    return load_tagger(tagger_run())


@pytest.fixture(scope="session")
def pair(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a pair of tiny character models."""
    folder = tmp_path_factory.mktemp("pair")
    return Path(charlm.train(corpus, run=str(folder / "pair"), direction="both", steps=12, **TINY_LM).run)


@pytest.mark.parametrize(("unit", "decoder"), slow_but(QUICK_TAGGERS, itertools.product(UNITS, ("crf", "softmax"))))
def test_every_unit_and_decoder_learns_to_tag(tagger_run: Callable[..., Path], unit: str, decoder: str) -> None:
    run = tagger_run(unit, decoder)
    assert all(check.ok for check in verify(run))
    found = load_tagger(run).tag("Mary Ann visits New York.")
    assert [(span.text, span.label) for span in found.spans] == [("Mary Ann", "person"), ("New York", "place")]
    assert found.tags == ("B-person", "I-person", "O", "B-place", "I-place", "O")


def test_its_figures_are_those_of_words_and_entities(start: Start, tags: Path) -> None:
    result = finish(start("figures", corpus=tags, **TINY)).measure()
    assert isinstance(result, TaggingResult)
    found = result.as_json()
    assert result.valid is not None
    assert result.valid.entity_f1 is not None
    assert found["valid_entity_f1"] == result.valid.entity_f1.value
    assert found["valid_token_accuracy"] == result.valid.accuracy.value
    assert found["valid_nats_per_token"] == result.valid.nats_per_token > 0
    assert not any(name.startswith("test_") for name in found)


@pytest.mark.parametrize("cell", ["lstm", "indrnn"])
def test_its_training_goes_on_byte_for_byte(start: Start, stop: StopRequest, tags: Path, cell: str) -> None:
    settings = {**TINY, "corpus": tags, "cell": cell, "initial_state": "random"}
    straight = finish(start("straight", **settings))
    interrupt_after(start("stopped", **settings), stop, 1)
    for step in (9, 22):
        interrupt_after(start("stopped", resume=True), stop, step)
    assert_same(straight, finish(start("stopped", resume=True)))


def test_what_begins_from_a_pair_goes_on_byte_for_byte_and_leaves_the_pair_as_it_was(
    stop: StopRequest, tags: Path, pair: Path, tmp_path: Path
) -> None:
    def opened(name: str, resume: bool = False) -> Session:
        settings = {} if resume else {**TINY_LM, **TINY}
        options: dict[str, Any] = {"run": str(tmp_path / name), "resume": resume}
        return open_session(
            None if resume else tags, settings, stopped_by(stop), **options, init_from=None if resume else str(pair)
        )

    straight = finish(opened("straight"))
    interrupt_after(opened("stopped"), stop, 9)
    assert_same(straight, finish(opened("stopped", resume=True)))
    own, base = tensors(straight), RunDirectory(pair)
    for prefix in ("", "backward_"):
        weights = {name: value.tobytes() for name, value in base.load(f"{prefix}best").tensors.items()}
        body = {FEATURES + prefix + name: value for name, value in weights.items() if not name.startswith("head.")}
        assert body.items() <= own.items()
    assert all(check.ok for check in verify(straight.run.path))
    models = [load_tagger(straight.run.path, for_batches=for_batches) for for_batches in (False, True)]
    found = [model.tag("Anna likes ☃.").probabilities for model in models]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_features_that_are_kept_are_those_that_are_computed_each_time(
    tags: Path, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the weights of the first step, not with those of a network that was measured before it was restored."""
    settings = {**TINY_LM, **TINY, "dropout": 0.0}
    training = open_session(tags, settings, run=str(tmp_path / "run"), init_from=str(pair))
    generators, losses = {"dropout": torch.Generator()}, []
    for max_kept in (2**28, 0):
        monkeypatch.setattr("charlm.training.kept_features.MAX_KEPT", max_kept)
        assert isinstance(training.architecture, Tagger)
        assert isinstance(training.corpus, LabelledCorpus)
        objective = TaggingObjective(training.architecture, training.corpus, training.training)
        assert objective.try_measuring() > 0
        objective.initialise(torch.Generator().manual_seed(1))
        batches = [objective.next_batch().examples for _ in range(3)]
        assert all((batch.features is not None) == (max_kept > 0) for batch in batches)
        losses.append([objective.loss(batch, None, generators)[0].item() for batch in batches])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_tagger_begins_from_a_pair_of_character_models_only(
    tags: Path, tmp_path: Path, trained: Callable[[str], Path]
) -> None:
    with pytest.raises(UsageError, match="pair"):
        charlm.train(tags, run=str(tmp_path / "run"), task="tag", init_from=str(trained("char")), steps=1)


def test_a_batch_in_parts_has_the_same_loss(start: Start, tags: Path) -> None:
    objective = start("parts", corpus=tags, **{**TINY_LM, **TINY, "dropout": 0.0}).trainer.objective
    objective.initialise(torch.Generator().manual_seed(1))
    batch, generators = objective.next_batch().examples, {"dropout": torch.Generator()}
    whole, num_words, _ = objective.loss(batch, None, generators)
    parts = [objective.loss(batch.rows(rows), None, generators) for rows in rows_of(len(batch), 3)]
    assert sum(nats.item() for nats, _, _ in parts) == pytest.approx(whole.item(), rel=1e-5)
    assert sum(count for _, count, _ in parts) == num_words


def test_the_weights_with_the_best_entities_are_kept_and_not_those_with_the_least_loss(
    start: Start, tags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = iter(
        [Check(0.5, 0.9), Check(0.4, 0.95), Check(0.7, 0.6), Check(0.3, 0.6), Check(0.9, 0.5), Check(0.1, 0.7)]
    )
    monkeypatch.setattr(TaggingObjective, "check", lambda objective: next(checks))
    training = start("chosen", corpus=tags, **{**TINY, "steps": 21})
    steps = [event.step for event in training.events() if isinstance(event, Evaluated) and event.improved]
    assert steps == [4, 12, 20]
    best = training.run.load(BEST)
    assert (best.step, best.scalars["cost"], best.scalars["nats_per_token"]) == (20, 0.5, 0.9)
    assert training.trainer.progress.best == 0.5


def test_a_resumed_training_remembers_how_good_its_best_weights_are(
    start: Start, stop: StopRequest, tags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaggingObjective, "check", lambda objective: Check(0.5, 0.2))
    interrupt_after(start("stopped", corpus=tags, **TINY), stop, 9)
    monkeypatch.setattr(TaggingObjective, "check", lambda objective: Check(0.1, 0.3))
    resumed = start("stopped", resume=True)
    assert not any(event.improved for event in resumed.events() if isinstance(event, Evaluated))
    assert resumed.run.load(BEST).step == 4


def test_errors_are_counted_by_entities_or_by_plain_tags() -> None:
    truth, guess = [["B-x", "I-x", "O", "B-y"], ["O", "B-x"]], [["B-x", "I-x", "O", "B-x"], ["O", "B-x"]]
    assert Measured(SCHEMES["BIO"], truth, guess).error == pytest.approx(1 / 3)
    assert Measured(PLAIN, truth, guess).error == pytest.approx(1 / 6)


def test_tags_that_break_their_scheme_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.conll"
    path.write_text("Anna\tB-person\nsees\tO\n\nRome\tI-place\n.\tO\n\nBo\tB-person\nand\tB-person\nAnn\tI-person\n")
    with pytest.raises(TextError, match=r"I-place.*BIO") as raised:
        charlm.train(path, run=str(tmp_path / "run"), task="tag", steps=1)
    assert "line 4" in raised.value.where


def test_tags_that_are_all_the_same_are_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "same.conll"
    path.write_text("Anna\tO\nsees\tO\n")
    with pytest.raises(TextError, match="the same tag") as raised:
        charlm.train(path, run=str(tmp_path / "run"), task="tag", steps=1)
    assert raised.value.where.endswith("same.conll")


# In use


def test_spans_and_places_are_those_of_the_text(model: TaggingModel) -> None:
    text = "  Mary Ann\tvisits  “Rome”!\nBo"
    found = model.tag(text)
    assert tuple(text[start:stop] for start, stop in found.places) == found.tokens
    assert found.tokens == ("Mary", "Ann", "visits", "“", "Rome", "”", "!", "Bo")
    assert all(0 < probability <= 1 for probability in found.probabilities)
    for span in found.spans:
        assert text[span.start : span.stop] == span.text
        assert 0 < span.probability <= 1
    assert len(found.tags) == len(found.tokens)


@pytest.mark.parametrize("text", ["", " \n", "☃", "\udce9", "a" * 3000, "Zyx likes 東京"])
def test_any_text_is_tagged(model: TaggingModel, text: str) -> None:
    found = model.tag(text)
    assert len(found.tags) == len(found.tokens)
    assert found.text == text


def test_many_are_tagged_as_each_one_in_numpy_and_in_torch(tagger_run: Callable[..., Path]) -> None:
    texts = ["Anna likes Rome.", "", "Bo", "Mary Ann visits New York, and Bo sees Xi'an."]
    alone = [load_tagger(tagger_run()).tag(text) for text in texts]
    for for_batches in (False, True):
        together = list(load_tagger(tagger_run(), for_batches=for_batches).tag_all(texts))
        for one, other in zip(alone, together, strict=True):
            assert (one.tags, one.text) == (other.tags, other.text)
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_one_sentence_is_tagged_without_torch(tagger_run: Callable[..., Path]) -> None:
    code = (
        "import sys; from charlm.cli.app import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'pandas', 'scipy'} & sys.modules.keys(), 'heavy'"
    )
    run = str(tagger_run())
    command = [sys.executable, "-c", code, "tag", "Bo likes Rome.", "--run", run]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "[Bo|person] likes [Rome|place].\n"), found.stderr


def test_words_can_be_given(model: TaggingModel) -> None:
    found = model.tag_tokens(["Mary", "Ann", "visits", "New", "York"])
    assert found.text == "Mary Ann visits New York"
    assert [(span.text, span.label) for span in found.spans] == [("Mary Ann", "person"), ("New York", "place")]


def test_no_illegal_tags_come_out_of_any_network(tagger_run: Callable[..., Path]) -> None:
    for decoder in ("crf", "softmax"):
        model = load_tagger(tagger_run("char", decoder))
        rng = np.random.default_rng(1)
        predictor = dataclasses.replace(model, predictor=_Noise(model.predictor.transitions, len(model.labels), rng))
        for found in predictor.tag_all(["a b c d e f g h"] * 20):
            pairs = zip((None, *found.tags), (*found.tags, None), strict=True)
            assert all(model.scheme.may_follow(before, after) for before, after in pairs)


@dataclasses.dataclass
class _Noise:
    """Scores by chance."""

    transitions: Any
    num_tags: int
    rng: np.random.Generator

    def emissions(self, sentences: Sentences) -> Any:
        return 100 * self.rng.standard_normal((*sentences.words.shape, self.num_tags))


# The command line


@pytest.fixture
def charlm_tag(charlm_command: Charlm, tagger_run: Callable[..., Path]) -> Charlm:
    shutil.copytree(tagger_run(), Path("runs/t"))
    return charlm_command


def test_training_ends_with_a_table_of_entities_and_tokens(charlm_command: Charlm, tags: Path) -> None:
    outcome = charlm_command("train", str(tags), "--task", "tag", "--steps", "3", "--threads", "1", "-q")
    assert outcome.code == 0
    for heading in ("entity F1", "token accuracy", "nats/token", "validation"):
        assert heading in outcome.out


def test_a_tagger_on_the_command_line(charlm_tag: Charlm) -> None:
    shown = charlm_tag("tag", "Mary Ann visits New York.")
    assert (shown.code, shown.out) == (0, "[Mary Ann|person] visits [New York|place].\n")
    (found,) = records(charlm_tag("tag", "Bo likes Rome.", "--json"))
    assert [(span["text"], span["label"], span["start"]) for span in found["spans"]] == [  # type: ignore[attr-defined]
        ("Bo", "person", 0),
        ("Rome", "place", 9),
    ]
    assert charlm_tag("tag", "Bo likes Rome.", "--conll").out == "Bo\tB-person\nlikes\tO\nRome\tB-place\n.\tO\n\n"
    Path("lines.txt").write_text("Bo likes Rome.\n\nAnna sees Xi'an.\n")
    lines = charlm_tag("tag", "--file", "lines.txt").out
    assert lines == "[Bo|person] likes [Rome|place].\n\n[Anna|person] sees [Xi'an|place].\n"
    assert charlm_tag("info", "t").code == charlm_tag("verify", "t").code == 0


def test_columns_keep_their_words_and_get_one_more(charlm_tag: Charlm) -> None:
    Path("in.conll").write_text("# a comment = 1\nBo\tx\nlikes\ty\nNew-Town\tz\n\nAnna\tx\n")
    found = charlm_tag("tag", "--file", "in.conll", "--conll", "-q").out.splitlines()
    assert found[0] == "# a comment = 1"
    assert [line.rsplit("\t", 1)[0] for line in found[1:]] == ["Bo\tx", "likes\ty", "New-Town\tz", "", "Anna\tx"]
    assert found[1].endswith("\tB-person")
    assert found[5].endswith("\tB-person")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("tag",), 2, "--file"),
        (("tag", "x", "--file", "corpus.txt"), 2, "--file"),
        (("tag", "x", "--json", "--conll"), 2, "--conll"),
        (("score", "x"), 4, "charlm tag"),
        (("tag", "x", "--run", "missing"), 4, "missing"),
        (("train", "corpus.txt", "--task", "tag"), 3, "columns"),
    ],
)
def test_what_a_tagger_refuses(charlm_tag: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_tag(*arguments)
    assert outcome.code == code
    assert named in outcome.err


def test_a_language_model_does_not_tag(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", "--steps", "2", "--hidden-size", "9", "-q").code == 0
    outcome = charlm_command("tag", "the cat")
    assert outcome.code == 4
    assert "charlm score --run" in outcome.err
