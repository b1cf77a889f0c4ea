"""Translators: the network, what it learns, that its training goes on exactly, and the command line."""

import json
import math
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charlm.api import evaluate_run, load_translator, start_training
from charlm.cells import CELLS
from charlm.corpus.windows import IGNORED
from charlm.engine.translator import NumpyTranslatorPredictor
from charlm.errors import RunError, UsageError
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.session import Session
from charlm.lifecycle.translation import TranslationResult
from charlm.lifecycle.verification import verify
from charlm.model.network import TorchNetwork
from charlm.model.translator import TorchTranslatorPredictor, total_nats
from charlm.network.architecture import cell_sizes
from charlm.network.kinds import read_architecture
from charlm.network.translator import Translator, Writing
from charlm.probability import log_softmax
from charlm.runs.directory import BEST, RunDirectory
from charlm.settings import Attention
from charlm.tasks.translation import Search
from tests.cases import gradients_are_right, with_each_number
from tests.conftest import Once
from tests.networks import network_of
from tests.task_trainings import FAST, SMALL, assert_goes_on, measured, task_request
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command

__all__ = ["charlm_command"]  # a fixture

SOURCES, TARGETS, EMBEDDING, HIDDEN = 11, 6, 5, 7
LENGTHS = np.array([6, 3, 9, 2])
WRITTEN = np.array([5, 7, 1, 4])  # lengths of the targets, with one end
ATTENTIONS: tuple[Attention, ...] = ("additive", "dot", "none")
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"num_layers": 1},
    "deep": {"num_layers": 2, "tie_embeddings": True, "initial_state": "learned"},
    "with a head": {"num_layers": 2, "residual": True, "head_layers": 1, "head_size": 6},
}


# The network


def architecture(cell: str = "lstm", **changes: Any) -> Translator:
    sizes: dict[str, Any] = {
        "cell": cell,
        "num_layers": 1,
        "hidden_size": HIDDEN,
        "embedding_size": EMBEDDING,
        "tie_embeddings": False,
        "initial_state": "zero",
        "vocab_size": SOURCES,
        "target_vocab_size": TARGETS,
        **cell_sizes(cell, HIDDEN, {}),
    }
    return Translator(**{**sizes, **changes})


def padded_pairs() -> tuple[Any, Any, Any]:
    """Sources (B, S), inputs and targets (B, T), with anything at all in the padding of the first two."""
    rng = np.random.default_rng(2)
    sources = rng.integers(0, SOURCES, (len(LENGTHS), LENGTHS.max()))
    inputs, targets = rng.integers(0, TARGETS, (2, len(WRITTEN), WRITTEN.max()))
    targets[np.arange(WRITTEN.max()) >= WRITTEN[:, None]] = IGNORED
    return sources, inputs, targets


def step_by_step(predictor: NumpyTranslatorPredictor, sources: Any, lengths: Any, inputs: Any, targets: Any) -> Any:
    """log p of each target, one step after the other: (B, T)."""
    state, found = predictor.begin(sources, lengths), []
    for step in range(inputs.shape[1]):
        logits, state = predictor.step(inputs[:, step], state)
        found.append(log_softmax(logits)[np.arange(len(inputs)), targets[:, step].clip(min=0)])
    return np.stack(found, axis=1)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("cell", list(CELLS))
def test_all_steps_at_once_are_step_by_step_and_padded_is_unpadded(cell: str, shape: str, attention: Attention) -> None:
    network = network_of(architecture(cell, attention=attention, **SHAPES[shape]))
    assert isinstance(network.architecture, Translator)
    sources, inputs, targets = padded_pairs()
    in_numpy = NumpyTranslatorPredictor(network.architecture, network.arrays())
    together = TorchTranslatorPredictor(network).logprobs(sources, LENGTHS, inputs, targets)
    for row, (length, written) in enumerate(zip(LENGTHS, WRITTEN, strict=True)):
        own = (array[row : row + 1, :written] for array in (inputs, targets))
        alone = step_by_step(in_numpy, sources[row : row + 1, :length], LENGTHS[row : row + 1], *own)
        np.testing.assert_allclose(alone[0], together[row, :written], atol=1e-9)
    by_step = step_by_step(in_numpy, sources, LENGTHS, inputs, targets)
    np.testing.assert_allclose(by_step[targets >= 0], together[targets >= 0], atol=1e-9)
    tensors = (torch.from_numpy(array) for array in (sources, LENGTHS, inputs, targets))
    total = total_nats(network, *tensors)  # type: ignore[arg-type]
    assert float(total.detach()) == pytest.approx(-float(together[targets >= 0].sum()), rel=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_torch_writes_step_by_step_as_numpy_does(attention: Attention) -> None:
    network = network_of(architecture(attention=attention, num_layers=2))
    assert isinstance(network.architecture, Translator)
    predictors = TorchTranslatorPredictor(network), NumpyTranslatorPredictor(network.architecture, network.arrays())
    sources, inputs, _ = padded_pairs()
    states: list[Writing] = [predictor.begin(sources, LENGTHS) for predictor in predictors]
    rows = [2, 0, 0, 3, 1]
    for step in range(3):
        (own, states[0]), (other, states[1]) = (
            predictor.step(inputs[rows[: len(inputs)], step], state)
            for predictor, state in zip(predictors, states, strict=True)
        )
        np.testing.assert_allclose(own, other, atol=1e-5)
        states = [predictor.select(state, [3, 1, 0, 0]) for predictor, state in zip(predictors, states, strict=True)]
    shares = [predictor.attention(sources[0], inputs[0]) for predictor in predictors]
    if attention == "none":
        assert shares == [None, None]
    else:
        assert shares[0] is not None
        assert shares[0].shape == (inputs.shape[1], sources.shape[1])
        np.testing.assert_allclose(shares[0].sum(axis=1), 1)
        np.testing.assert_allclose(shares[0], shares[1], atol=1e-9)


class Reference(nn.Module):
    """A translator with one layer and additive attention, from torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(EMBEDDING, HIDDEN, bidirectional=True, batch_first=True)
        self.decoder = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)

    def forward(self, network: TorchNetwork, source: Tensor, inputs: Tensor) -> Tensor:
        """The logits (T, V) for one source (S,) and the inputs (T,) of its target."""
        own = network.weights
        found, (ends, _) = self.encoder(own["encoder.embedding.weight"][source][None])
        at_ends = ends.transpose(0, 1).flatten()
        first = [
            torch.tanh(own[f"bridge.0.{part}.weight"] @ at_ends + own[f"bridge.0.{part}.bias"]) for part in ("h", "c")
        ]
        state = (first[0][None, None], first[1][None, None])
        hidden, _ = self.decoder(own["decoder.embedding.weight"][inputs][None], state)
        queries = hidden[0] @ own["attention.query.weight"].T
        keys = found[0] @ own["attention.key.weight"].T + own["attention.key.bias"]
        scores = torch.tanh(queries[:, None] + keys[None]) @ own["attention.score.weight"][0]
        both = torch.cat([scores.softmax(-1) @ found[0], hidden[0]], dim=-1)
        combined = torch.tanh(both @ own["attention.combine.weight"].T)
        return combined @ own["decoder.head.weight"].T + own["decoder.head.bias"]


def test_it_is_what_torch_s_layers_give() -> None:
    network, reference = network_of(architecture()), Reference().double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for name in names:
            for recurrence, suffix in {"from_start": "", "from_end": "_reverse"}.items():
                own = network.get_parameter(f"encoder.layers.0.{recurrence}.{name}")
                reference.encoder.get_parameter(f"{name}_l0{suffix}").copy_(own)
            reference.decoder.get_parameter(f"{name}_l0").copy_(network.get_parameter(f"decoder.layers.0.{name}"))
    sources, inputs, targets = padded_pairs()
    found = TorchTranslatorPredictor(network).logprobs(sources, LENGTHS, inputs, targets)
    for row, (length, written) in enumerate(zip(LENGTHS, WRITTEN, strict=True)):
        logits = reference(network, torch.from_numpy(sources[row, :length]), torch.from_numpy(inputs[row, :written]))
        expected = logits.log_softmax(-1)[torch.arange(int(written)), torch.from_numpy(targets[row, :written])]
        np.testing.assert_allclose(found[row, :written], expected.detach().numpy(), atol=1e-9)


@with_each_number
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm_projected", "mingru"])
def test_the_gradient_is_that_of_finite_differences(cell: str, attention: Attention, each_number: bool) -> None:
    sizes = {"hidden_size": 3, "embedding_size": 2, "num_layers": 1 + (cell == "gru"), **cell_sizes(cell, 3, {})}
    sizes |= {"vocab_size": 4, "target_vocab_size": 3}
    network = network_of(architecture(cell, attention=attention, tie_embeddings=True, **sizes))
    sources, inputs, targets = (torch.from_numpy(array[:3, :4].copy()) for array in padded_pairs())
    sources, inputs, targets = sources % 4, inputs % 3, torch.where(targets == IGNORED, IGNORED, targets % 3)
    lengths = torch.tensor([4, 3, 2])
    names, weights = zip(*network.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), ())

    network.forward = lambda: total_nats(network, sources, lengths, inputs, targets)  # type: ignore[assignment, method-assign, misc]
    assert gradients_are_right(loss, [weight.detach().requires_grad_() for weight in weights], each_number)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_probabilities_of_all_targets_sum_to_1(attention: Attention) -> None:
    """Of those up to three tokens, with what has not ended by then."""
    shape = architecture(attention=attention)
    predictor, eos_id = NumpyTranslatorPredictor(shape, network_of(shape).arrays()), 2
    ended, written, totals = 0.0, 0, np.zeros(1)
    ids, state = np.array([eos_id]), predictor.begin(np.array([[3, 1, 4, 1]]), np.array([4]))
    for _ in range(3):
        logits, state = predictor.step(ids, state)
        logprobs = totals[:, None] + log_softmax(logits)
        ended += float(np.exp(logprobs[:, eos_id]).sum())
        others = [id for id in range(TARGETS) if id != eos_id]
        rows = np.repeat(np.arange(len(ids)), len(others))
        totals, ids = logprobs[:, others].flatten(), np.tile(others, len(ids))
        written += len(ids)
        state = predictor.select(state, rows.tolist())
    assert written == 5 + 25 + 125
    assert ended + float(np.exp(totals).sum()) == pytest.approx(1, abs=1e-9)


def test_an_architecture_is_read_as_it_was_written_and_a_wrong_one_is_refused() -> None:
    shape = architecture(attention="dot", length_ratio=1.75)
    written = json.loads(json.dumps(vars(shape)))
    assert read_architecture(written) == shape
    wrong: list[dict[str, Any]] = [
        {"attention": "all"},
        {"direction": "forward"},
        {"target_vocab_size": 0},
        {"length_ratio": math.nan},
        {"length_ratio": 0.0},
    ]
    for changes in wrong:
        with pytest.raises(ValueError, match=next(iter(changes)).replace("direction", "both directions")):
            read_architecture({**written, **changes})


# What it learns


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words, and their letters from the end to the start, with a few doubled: a b c -> c c b a."""
    rng, path = np.random.default_rng(5), tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    words = ["".join(rng.choice(list("abcdé"), rng.integers(1, 7))) for _ in range(400)]
    path.write_text("".join(f"{word}\t{' '.join(reversed(word))}\n" for word in words), encoding="utf-8")
    return path


def request_for(data: Path, run: Path, **settings: Any) -> TrainRequest:
    own = {"task": "translate", "target_unit": "word", "target_split": "whitespace"}
    return task_request(data, run, {**own, **SMALL, **settings})


def trained(data: Path, run: Path, **settings: Any) -> tuple[Session, TranslationResult]:
    return measured(request_for(data, run, **settings), TranslationResult)


@pytest.fixture(scope="session")
def reversing(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a translator that has learned to reverse words; not to be changed."""
    run = tmp_path_factory.mktemp("reversing") / "runs" / "reversing"
    _, result = trained(data, run, hidden_size=32, embedding_size=16, epochs=25, batch_size=16, test=data, **FAST)
    assert result.valid is not None
    assert result.test is not None
    assert result.valid.accuracy.value > 0.85
    assert result.valid.symbol_error_rate.value < 0.1
    assert 0 < result.valid.nats_per_token < 0.2
    assert result.test.accuracy.count == 400
    return run


def test_it_learns_to_write_what_the_pairs_say(reversing: Path) -> None:
    assert all(check.ok for check in verify(reversing))
    model = load_translator(reversing)
    (found,) = model.translate("abcd")
    assert found.text == "d c b a"
    assert found.tokens == ("d", "c", "b", "a", "<eos>")
    assert found.is_complete
    assert found.logprob_nats < found.score < 0
    several = model.translate("abcd", beam=4, n_best=4)
    assert several[0].text == found.text
    assert len({each.text for each in several}) == 4
    assert [each.score for each in several] == sorted((each.score for each in several), reverse=True)


def test_its_probability_of_what_it_writes_is_that_of_the_network(reversing: Path) -> None:
    in_numpy, in_torch = load_translator(reversing), load_translator(reversing, for_batches=True, threads=1)
    texts = ["abcd", "", "e", "ddd", "édbca", "a"]
    for search in (Search(), Search(beam=1), Search(beam=3, n_best=3)):
        for text, own, other in zip(
            texts, in_numpy.translate_all(texts, search), in_torch.translate_all(texts, search), strict=True
        ):
            assert [each.ids for each in own] == [each.ids for each in other]
            np.testing.assert_allclose(
                [each.logprob_nats for each in own], [each.logprob_nats for each in other], atol=1e-4
            )
            alone = in_numpy.translate(text, beam=search.beam, n_best=search.n_best)
            assert [each.ids for each in alone] == [each.ids for each in own]
    source = np.array([[0, *in_numpy.source.encode("abcd"), 0]])
    (found,) = in_numpy.translate("abcd")
    predictor = in_torch.predictor
    assert isinstance(predictor, TorchTranslatorPredictor)
    written = np.array([found.ids])
    inputs = np.array([[in_numpy.target.eos_id, *found.ids[:-1]]])
    logprobs = predictor.logprobs(source, np.array([source.shape[1]]), inputs, written)
    assert logprobs.sum() == pytest.approx(found.logprob_nats, abs=1e-4)


def test_it_looks_at_the_letter_that_it_writes(reversing: Path) -> None:
    model = load_translator(reversing)
    (found,) = model.translate("abcd")
    attention = model.attention("abcd", found)
    assert attention.source == ("<eos>", "a", "b", "c", "d", "<eos>")
    assert attention.target == found.tokens
    np.testing.assert_allclose(attention.shares.sum(axis=1), 1, rtol=1e-5)
    places = attention.shares[:4].argmax(axis=1).tolist()
    assert places == sorted(places, reverse=True)


def test_drawn_translations_follow_from_the_seed_alone(reversing: Path) -> None:
    model = load_translator(reversing)
    drawn = model.translate("abcde", temperature=2.0, n_best=5, seed=3)
    assert len({each.text for each in drawn}) > 1
    assert drawn == model.translate("abcde", temperature=2.0, n_best=5, seed=3)
    assert drawn != model.translate("abcde", temperature=2.0, n_best=5, seed=4)
    (coldest,), (best,) = model.translate("abcde", temperature=0.0), model.translate("abcde", beam=1)
    assert coldest == best


def test_unknown_symbols_are_read_as_such_and_never_written(reversing: Path) -> None:
    model = load_translator(reversing)
    assert model.unknown("ab☃d☃") == ("☃",)
    for found in model.translate("a☃d", beam=8, n_best=8):
        assert "<unk>" not in found.text
    assert model.unknown("aö") == ("o", "\u0308")


def test_characters_are_read_in_parts_in_whatever_form_they_come(reversing: Path, tmp_path: Path) -> None:
    model = load_translator(reversing)
    for word in ("é", "abéc", "dééa"):
        composed, apart = (model.translate(unicodedata.normalize(form, word)) for form in ("NFC", "NFD"))
        assert composed == apart
    syllables = ["".join(map(chr, part)) for part in np.arange(0xAC00, 0xAC00 + 60).reshape(30, 2)]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{word}\t{word}\n" for word in syllables), encoding="utf-8")
    session, result = trained(pairs, tmp_path / "run", steps=3, target_unit="char", target_split=None)
    model = load_translator(result.run)
    assert model.source.vocab_size < 45 < model.target.vocab_size
    assert model.unknown("가힣") == ("\u1112", "\u1175")  # of the second syllable only the last part was there
    assert evaluate_run(result.run, str(pairs)).num_examples == 30
    assert all(check.ok for check in verify(session.run.path))


def test_what_becomes_too_long_is_cut(data: Path, tmp_path: Path) -> None:
    """A network that has hardly begun to learn writes on and on."""
    _, result = trained(data, tmp_path / "run", steps=1)
    model = load_translator(result.run)
    rng = np.random.default_rng(1)
    for text in ("ab", "abcde" * 9):
        longest = model.architecture.max_lengths(np.array([len(text) + 2]))[0]
        for found in model.translate(text, beam=1) + model.translate(text, temperature=1.0, seed=int(rng.integers(9))):
            assert len(found.ids) <= longest
            assert found.is_complete == (found.tokens[-1] == "<eos>") or len(found.ids) == longest


@pytest.mark.parametrize(("unit", "target_unit"), [("byte", "char"), ("word", "subword"), ("subword", "byte")])
def test_every_unit_can_be_translated(data: Path, tmp_path: Path, unit: str, target_unit: str) -> None:
    text = tmp_path / "pairs.tsv"
    rows = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()[:150]]
    text.write_text("".join(f"{target}\t{source}\n" for source, target in rows), encoding="utf-8")
    sizes = {"vocab_size": 300} if unit == "subword" else {}
    own = {"target_split": None, "unit": unit, "target_unit": target_unit, **sizes}
    _, result = trained(text, tmp_path / "run", steps=12, **own)
    model = load_translator(result.run)
    assert (model.source.unit, model.target.unit) == (unit, target_unit)
    assert model.architecture.tie_embeddings == (target_unit == "subword")
    assert len(model.translate("a b c", n_best=2)) == 2
    assert all(check.ok for check in verify(Path(result.run)))
    assert evaluate_run(result.run, str(text)).num_examples == 150


def test_the_longest_targets_of_the_training_data_are_allowed(data: Path, tmp_path: Path) -> None:
    session = start_training(request_for(data, tmp_path / "run", steps=1))
    architecture, corpus = session.architecture, session.corpus
    assert isinstance(architecture, Translator)
    sources, targets = (corpus.train[name].lengths for name in ("source", "target"))  # type: ignore[index]
    assert (targets + 1 <= architecture.max_lengths(sources + 2)).all()
    assert architecture.length_ratio == pytest.approx((targets + 1).sum() / (sources + 1).sum())


# Training


@pytest.mark.parametrize(
    "changes", [{"cell": "indrnn", "initial_state": "random"}, {"attention": "dot", "dropout": 0.2}]
)
def test_its_training_goes_on_byte_for_byte_and_line_for_line(
    data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = {"steps": 23, "eval_every": 4, "sample_every": 10, **changes}
    assert_goes_on(partial(request_for, data, **settings), tmp_path / "runs", 1, 9, 22)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(data: Path, tmp_path: Path) -> None:
    objective: Any = start_training(request_for(data, tmp_path / "run", steps=1)).trainer.objective
    network, generators = objective.network, {"dropout": torch.Generator()}
    network.dropout = 0.0
    batch = objective.next_batch()
    assert len(batch.examples) > 5
    gradients = []
    for parts in ([slice(None)], [slice(0, 2), slice(2, 5), slice(5, None)]):
        network.zero_grad()
        found = [objective.loss(batch.examples.rows(part), None, generators) for part in parts]
        assert sum(number for _, number, _ in found) == batch.num_targets
        sum(nats for nats, _, _ in found).backward()  # type: ignore[union-attr]
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for whole, in_parts in zip(*gradients, strict=True):
        torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-4)


def test_the_same_pairs_give_the_same_weights_and_another_seed_others(data: Path, tmp_path: Path) -> None:
    runs = [trained(data, tmp_path / f"run{n}", steps=5, seed=seed)[0] for n, seed in enumerate((3, 3, 4))]
    weights = [session.run.load(BEST).tensors["attention.key.weight"] for session in runs]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()


def test_a_translator_of_another_size_than_its_vocabularies_is_a_damaged_run(data: Path, tmp_path: Path) -> None:
    run = RunDirectory(Path(trained(data, tmp_path / "run", steps=1)[1].run))
    config = json.loads((run.path / "config.json").read_text())
    config["model"]["target_vocab_size"] += 1
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="damaged"):
        load_translator(run.path)


# The command line

QUICK = ("--steps", "6", "--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "-q")
PAIRS = ("--task", "translate", "--target-unit", "word", "--target-split", "whitespace")


@pytest.fixture
def charlm_translate(charlm_command: Charlm, data: Path, once: Once) -> Charlm:
    Path("pairs.tsv").write_bytes(data.read_bytes())
    once("translator", lambda: succeed(charlm_command, "train", "pairs.tsv", "--run", "t", *PAIRS, *QUICK))
    return charlm_command


@pytest.fixture
def charlm_reversing(charlm_command: Charlm, reversing: Path) -> Callable[..., Any]:
    return lambda *arguments: charlm_command("translate", "--run", str(reversing), *arguments)


def test_a_translator_on_the_command_line(charlm_translate: Charlm) -> None:
    assert charlm_translate("info", "t").code == charlm_translate("verify", "t").code == 0
    resumed = records(charlm_translate("train", "--resume", "--run", "t", "--steps", "8", "--json", "-q"))[-1]
    assert {"valid_exact_match", "valid_symbol_error_rate", "valid_nats_per_token"} <= resumed.keys()
    shown = charlm_translate("train", "pairs.tsv", *PAIRS, *QUICK)
    assert "exactly right" in shown.out
    assert "translate --run" in charlm_translate("train", "pairs.tsv", *PAIRS, *QUICK[:-1]).err


def test_translations_are_printed_alone_ranked_and_as_json(charlm_reversing: Callable[..., Any]) -> None:
    assert charlm_reversing("abcd").out == "d c b a\n"
    assert charlm_reversing("abcd", "ca").out == "d c b a\na c\n"
    table = charlm_reversing("abcd", "--n-best", "3").out.splitlines()
    assert len(table) == 4
    assert table[1].split()[0] == "1."
    found = records(charlm_reversing("abcd", "ca", "--n-best", "2", "--json"))
    assert [(record["number"], record["rank"]) for record in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (found[0]["source"], found[0]["translation"]) == ("abcd", "d c b a")
    assert found[0]["tokens"] == ["d", "c", "b", "a", "<eos>"]


def test_a_file_is_translated_line_by_line(charlm_reversing: Callable[..., Any], data: Path) -> None:
    lines = [line.split("\t")[0] for line in data.read_text(encoding="utf-8").splitlines()][:50]
    Path("words.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    written = charlm_reversing("--file", "words.txt").out.splitlines()
    assert len(written) == 50
    assert sum(own == " ".join(reversed(line)) for own, line in zip(written, lines, strict=True)) > 45
    assert written[7] == charlm_reversing(lines[7]).out.rstrip("\n")
    several = charlm_reversing("--file", "words.txt", "--n-best", "2").out.splitlines()
    assert [line.split("\t")[0] for line in several[:4]] == ["1", "1", "2", "2"]


def test_unknown_symbols_are_noted_once(charlm_reversing: Callable[..., Any]) -> None:
    Path("words.txt").write_text("ab☃\n☃☃\ncd\n", encoding="utf-8")
    outcome = charlm_reversing("--file", "words.txt")
    assert len(outcome.out.splitlines()) == 3
    assert outcome.err.count("read as <unk>: ☃") == 1
    assert charlm_reversing("ab☃", "-q").err == ""


def test_the_attention_is_drawn(charlm_reversing: Callable[..., Any]) -> None:
    assert "written: map.svg" in charlm_reversing("abcd", "--attention-map", "map.svg").err
    ElementTree.parse("map.svg")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("score", "ab"), 4, "charlm translate"),
        (("sample",), 4, "charlm translate"),
        (("classify", "ab"), 4, "charlm translate"),
        (("train", "pairs.tsv", *PAIRS, "--init-from", "t"), 2, "--init-from"),
        (("train", "pairs.tsv", *PAIRS, "--multi"), 2, "classify"),
        (("train", "pairs.tsv", "--attention", "dot"), 2, "--task translate"),
        (("train", "pairs.tsv", *PAIRS, "--attention", "all"), 2, "--attention"),
        (("train", "--resume", "--run", "t", "--attention", "dot"), 2, "--attention"),
        (("translate",), 2, "--file"),
        (("translate", "ab", "--file", "pairs.tsv"), 2, "--file"),
        (("translate", "ab", "--beam", "0"), 2, "--beam"),
        (("translate", "ab", "--beam", "2", "--n-best", "3"), 2, "--n-best 3"),
        (("translate", "ab", "--temp", "-1"), 2, "--temp"),
        (("translate", "ab", "--temp", "1", "--beam", "3"), 2, "--beam"),
        (("translate", "ab", "--seed", "1"), 2, "--seed"),
        (("translate", "ab", "cd", "--attention-map", "map.svg"), 2, "one text"),
        (("translate", "ab", "--attention-map", "map.pdf"), 2, ".svg"),
        (("translate", "--file", "missing.txt"), 3, "missing.txt"),
    ],
)
def test_what_is_refused(charlm_translate: Charlm, arguments: tuple[str, ...], code: int, named: str) -> None:
    outcome = charlm_translate(*arguments)
    assert (outcome.code, named in outcome.err) == (code, True), outcome.err


def test_without_attention_there_is_no_map_of_it(data: Path, tmp_path: Path) -> None:
    model = load_translator(trained(data, tmp_path / "run", steps=1, attention="none")[1].run)
    with pytest.raises(UsageError, match="no attention"):
        model.attention("ab", model.translate("ab")[0])


def test_translate_needs_a_translator(charlm_command: Charlm) -> None:
    assert charlm_command("train", "corpus.txt", *QUICK).code == 0
    outcome = charlm_command("translate", "the cat")
    assert (outcome.code, "charlm score" in outcome.err) == (4, True)


def test_evaluate_measures_what_translate_writes(charlm_command: Charlm, reversing: Path, data: Path) -> None:
    rows = data.read_text(encoding="utf-8").splitlines()[:60]
    Path("some.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (found,) = records(charlm_command("evaluate", str(reversing), "some.tsv", "--json", "--errors", "3"))
    texts = [row.split("\t") for row in rows]
    outputs = [best.text for (best,) in load_translator(reversing).translate_all(source for source, _ in texts)]
    num_right = sum(output == target for output, (_, target) in zip(outputs, texts, strict=True))
    assert found["accuracy"] == pytest.approx(num_right / 60)
    assert found["word_error_rate"] == pytest.approx(1 - num_right / 60)
    assert found["examples"] == 60
