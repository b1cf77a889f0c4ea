"""The counts beside a network: the gate, the mixture, what is kept of them, and what a user sees."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.errors import ResourceError, RunError, UsageError
from charlm.lifecycle import counts
from charlm.lifecycle.verification import verify
from charlm.ngram.gate import MIN_WEIGHT, Evidence, Gate, fitted, fitted_by_halves, logprobs_by_halves
from charlm.ngram.storage import read_trie
from charlm.probability import log_softmax
from charlm.runs.config import read_config
from charlm.runs.directory import BEST, NGRAMS, RunDirectory
from charlm.runs.lock import writing
from charlm.scoring.loading import ENGINES, Trained
from charlm.scoring.mixture import Mixture
from charlm.settings import PredictorName, TrainingSettings
from tests.conftest import TINY, english
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_network import architecture_of, random_ids, random_network

__all__ = ["charlm_command"]  # a fixture

UNITS = ("char", "byte", "word", "subword")
ORDER = 5


# The gate


def evidence(num_places: int, seed: int = 1) -> Evidence:
    """The n-gram model is right where it knows long contexts, the network where its entropy is low."""
    rng = np.random.default_rng(seed)
    matched = rng.integers(0, ORDER, num_places).astype(float)
    network_entropies, ngram_entropies = rng.uniform(0, 3, num_places), rng.uniform(0, 3, num_places)
    network = -rng.exponential(0.5 + network_entropies)
    ngram = -rng.exponential(0.2 + 0.6 * (ORDER - matched))
    return Evidence(network, ngram, network_entropies, ngram_entropies, matched)


def test_a_fitted_gate_is_better_than_either_side_and_than_any_other_gate_near_it() -> None:
    found = evidence(3000)
    gate = fitted(found, ORDER)
    nats = -gate.logprobs(found).mean()
    assert nats < min(-found.network.mean(), -found.ngram.mean())
    for name, place in (*(("bias", n) for n in range(ORDER)), ("slopes", 0), ("slopes", 1)):
        for change in (-0.3, 0.3):
            numbers = list(getattr(gate, name))
            numbers[place] += change
            other = dataclasses.replace(gate, **{name: tuple(numbers)})
            assert -other.logprobs(found).mean() > nats - 1e-5


def test_longer_known_contexts_give_the_counts_more_weight() -> None:
    gate = fitted(evidence(3000), ORDER)
    weights = gate.weight(np.arange(ORDER), np.full(ORDER, 1.0), np.full(ORDER, 1.0))
    assert (np.diff(weights) > 0).all()


@pytest.mark.parametrize("num_places", [0, 1, 2, 3, 40])
def test_any_evidence_gives_a_gate(num_places: int) -> None:
    found = evidence(num_places)
    gates = fitted_by_halves(found, ORDER)
    assert len(logprobs_by_halves(gates, found)) == num_places
    extreme = Evidence(*(np.full(50, number) for number in (-900.0, -1e-9, 0.0, 9.0, ORDER - 1.0)))
    for gate in (*gates, fitted(extreme, ORDER)):
        weight = gate.weight(np.array([0, ORDER - 1]), np.array([0.0, 99.0]), np.array([99.0, 0.0]))
        assert ((weight >= MIN_WEIGHT) & (weight <= 1 - MIN_WEIGHT)).all()


def test_each_half_is_judged_by_the_gate_of_the_other_half() -> None:
    found = evidence(60)
    changed = found._replace(ngram=np.where(np.arange(60) < 30, found.ngram, -9.0))  # in the second half
    first, second = fitted_by_halves(found, ORDER)
    assert fitted_by_halves(changed, ORDER)[1] == second
    assert fitted_by_halves(changed, ORDER)[0] != first


@pytest.mark.parametrize(
    ("bias", "slopes"), [((), (0.0,) * 5), ((1.0,), (0.0,) * 4), ((math.nan,), (0.0,) * 5), ((1.0,), (math.inf,) * 5)]
)
def test_a_gate_has_its_numbers(bias: tuple[float, ...], slopes: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bias for each length"):
        Gate(bias, slopes)


# What networks and n-grams say


@pytest.mark.parametrize("engine", list(ENGINES))
def test_networks_know_their_entropies(engine: str) -> None:
    shape = architecture_of("lstm", num_layers=2)
    predictor: Any = ENGINES[engine](Trained(shape, random_network(shape).float().arrays(), device="cpu"))
    ids = random_ids(3, 8)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    measured, _ = predictor.measure(inputs, targets, predictor.initial_state(3))
    state = predictor.initial_state(3)
    for t in range(inputs.shape[1]):
        logits, state = predictor.step(inputs[:, t], state)
        logprobs = log_softmax(logits)
        np.testing.assert_allclose(measured.entropies[:, t], -(np.exp(logprobs) * logprobs).sum(axis=1), atol=1e-5)
        np.testing.assert_allclose(measured.logprobs[:, t], logprobs[np.arange(3), targets[:, t]], atol=1e-5)
    logprobs, _ = predictor.logprobs(inputs, targets, predictor.initial_state(3))
    np.testing.assert_allclose(measured.logprobs, logprobs, atol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
def test_a_mixture_is_between_its_parts_and_sums_to_1(unit: str, trained: Callable[[str], Path]) -> None:
    run = trained(unit)
    parts = {name: charlm.load(run, predictor=name).predictor for name in ("network", "ngram")}
    mixture = charlm.load(run).predictor
    assert isinstance(mixture, Mixture)
    ids = np.random.default_rng(3).integers(0, mixture.vocab_size, (2, 40))
    states = {name: each.initial_state(2) for name, each in parts.items()}
    state = mixture.initial_state(2)
    for t in range(ids.shape[1]):
        found, state = mixture.step(ids[:, t], state)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-9)
        alone = []
        for name, each in parts.items():
            logits, states[name] = each.step(ids[:, t], states[name])
            alone.append(log_softmax(logits))
        assert (found <= np.maximum(*alone) + 1e-9).all()
        assert (found >= np.minimum(*alone) - 1e-9).all()


# Training


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A training by its settings, and its result."""
    folder = tmp_path_factory.mktemp("counted")
    text = folder / "text.txt"
    text.write_text(english(150))

    def train(name: str, **settings: Any) -> Any:
        return charlm.train(text, run=str(folder / name), **{**TINY, "steps": 20, **settings})

    return train


def test_counts_are_kept_where_they_help_and_all_figures_are_told(counted: Callable[..., Any]) -> None:
    result = counted("auto")
    assert result.predictor == "mixture"
    told = result.as_json()
    assert told["predictor"] == "mixture"
    assert told["valid_nats_per_char"] < told["valid_network_nats_per_char"]
    assert {"valid_ngram_nats_per_char", "valid_cold_network_nats_per_char"} <= told.keys()
    without = counted("none", ngram="none")
    assert (without.predictor, without.alone) == ("network", {})
    assert without.as_json()["valid_nats_per_char"] == pytest.approx(told["valid_network_nats_per_char"], rel=1e-6)
    assert not (Path(without.run) / NGRAMS).exists()
    assert "valid_ngram_nats_per_char" not in without.as_json()


def test_counts_that_do_not_help_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = tmp_path / "text.txt"
    text.write_text("".join(rng.choice(list("abcdefgh"), 20_000)) + "\n")  # all that can be learned is one entropy
    own = {**TINY, "steps": 60}
    result = charlm.train(text, run=str(tmp_path / "auto"), **own)
    assert (result.predictor, (tmp_path / "auto" / NGRAMS).exists()) == ("network", False)
    told = result.as_json()
    assert told["valid_network_nats_per_char"] == told["valid_nats_per_char"] <= told["valid_ngram_nats_per_char"]  # type: ignore[operator]
    kept = charlm.train(text, run=str(tmp_path / "kept"), ngram="3", **own)
    assert (kept.predictor, (tmp_path / "kept" / NGRAMS).exists()) == ("mixture", True)


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_a_given_order_is_the_length_of_the_longest_ngrams(counted: Callable[..., Any], mode: str) -> None:
    run = RunDirectory(Path(counted(f"{mode}-3", ngram="3", mode=mode).run))
    trie, described = read_trie(run.path / NGRAMS, read_config(run).run_id, verify=True)
    assert (trie.order, described.origin.mode) == (3, mode)


def test_without_a_validation_part_nothing_is_counted(counted: Callable[..., Any]) -> None:
    result = counted("whole", valid_fraction=0.0)
    assert (result.predictor, (Path(result.run) / NGRAMS).exists()) == ("network", False)


def test_resuming_counts_again_or_no_more(counted: Callable[..., Any]) -> None:
    run = Path(counted("resumed").run)
    first = (run / NGRAMS).read_bytes()
    shutil.copytree(run, run.with_name("copy"))
    longer = charlm.train(run=str(run), resume=True, steps=40)
    assert longer.predictor == "mixture"
    assert (run / NGRAMS).read_bytes() != first  # the gate is that of the newer network
    assert charlm.train(run=str(run.with_name("copy")), resume=True, steps=40).as_json()[
        "valid_nats_per_char"
    ] == pytest.approx(longer.as_json()["valid_nats_per_char"])  # type: ignore[arg-type]
    assert charlm.train(run=str(run), resume=True, steps=41, ngram="none").predictor == "network"
    assert not (run / NGRAMS).exists()


def test_a_pair_has_counts_beside_its_forward_model_alone(counted: Callable[..., Any]) -> None:
    result = counted("pair", direction="both")
    assert result.predictor == "mixture"
    assert result.backward.predictor == "network"
    assert isinstance(charlm.load(result.run).predictor, Mixture)
    assert not isinstance(charlm.load(result.run, direction="backward").predictor, Mixture)
    with pytest.raises(UsageError, match="backward"):
        charlm.load(result.run, direction="backward", predictor="ngram")


# In use


@pytest.fixture
def run(trained: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained("char"), tmp_path / "run"))


@pytest.mark.parametrize("predictor", [None, "mixture", "network", "ngram"])
def test_scores_are_the_same_one_by_one_together_and_streamed(run: Path, predictor: PredictorName | None) -> None:
    lm = charlm.load(run, predictor=predictor)
    texts = ["the cat sat on the mat", "a", "she sees the dog and the dog sees her", ""]
    alone = [lm.score(text).logprob_nats for text in texts]
    token_by_token = [math.fsum(t.logprob_nats for t in lm.score(text, per_token=True).tokens_scored) for text in texts]
    together = [score.logprob_nats for score in lm.score_lines(texts)]
    assert alone == pytest.approx(together, abs=1e-4)
    assert alone == pytest.approx(token_by_token, abs=1e-4)


def test_predictors_differ_and_the_mixture_is_the_default(run: Path) -> None:
    found = {name: charlm.load(run, predictor=name).score("the cat sat").logprob_nats for name in (None, *PREDICTORS)}
    assert found[None] == found["mixture"]
    assert len(set(found.values())) == 3


PREDICTORS: tuple[PredictorName, ...] = ("mixture", "network", "ngram")


def test_without_their_file_the_network_answers_and_that_is_said(charlm_command: Charlm) -> None:
    succeed(charlm_command, "train", "corpus.txt", "--run", "r", "--steps", "9", "--hidden-size", "9", "-q")
    network = records(charlm_command("score", "the cat", "--run", "r", "--predictor", "network", "--json"))
    assert charlm_command("score", "the cat", "--run", "r").err == ""
    Path("runs/r", NGRAMS).unlink()
    outcome = charlm_command("score", "the cat", "--run", "r", "--json")
    assert records(outcome) == network
    assert "ngram.safetensors is missing" in outcome.err
    assert "ngram.safetensors is missing" in charlm_command("sample", "--run", "r", "--length", "5").err
    missing = charlm_command("score", "the cat", "--run", "r", "--predictor", "ngram")
    assert (missing.code, "no n-grams" in missing.err) == (4, True)
    assert charlm_command("verify", "r").code == 0


@pytest.mark.parametrize("place", [-1, 100, 2000])
def test_damage_is_found(run: Path, place: int) -> None:
    data = bytearray((run / NGRAMS).read_bytes())
    data[place] ^= 1
    (run / NGRAMS).write_bytes(data)
    assert [check.file for check in verify(run) if not check.ok] == [NGRAMS]
    with pytest.raises(RunError, match="n-grams"):
        charlm.load(run)
    assert charlm.load(run, predictor="network").score("the cat").logprob_nats < 0


def test_counts_of_another_run_are_refused(run: Path, trained: Callable[[str], Path]) -> None:
    shutil.copyfile(trained("word") / NGRAMS, run / NGRAMS)
    with pytest.raises(RunError, match="another run"):
        charlm.load(run)


def test_a_gate_of_older_weights_is_not_used(charlm_command: Charlm) -> None:
    succeed(charlm_command, "train", "corpus.txt", "--run", "r", "--steps", "9", "--hidden-size", "9", "-q")
    older = Path("runs/r", NGRAMS).read_bytes()
    succeed(charlm_command, "train", "--resume", "--run", "r", "--steps", "30", "-q")
    Path("runs/r", NGRAMS).write_bytes(older)  # as after an interrupt, before anything was measured
    network = records(charlm_command("score", "the cat", "--run", "r", "--predictor", "network", "--json"))
    outcome = charlm_command("score", "the cat", "--run", "r", "--json")
    assert records(outcome) == network
    assert "older weights" in outcome.err
    asked = charlm_command("score", "the cat", "--run", "r", "--predictor", "mixture")
    assert (asked.code, "--resume" in asked.err) == (4, True)
    assert charlm_command("score", "the cat", "--run", "r", "--predictor", "ngram").code == 0


def test_where_counts_cannot_be_made_or_kept_the_network_has_its_figures(
    counted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise ResourceError("no space left on the device")

    expected = counted("plain", ngram="none").as_json()["valid_nats_per_char"]
    for name in ("build", "write_trie"):
        with monkeypatch.context() as patched:
            patched.setattr(counts, name, full)
            result = counted(f"full-{name}")
        assert (result.predictor, (Path(result.run) / NGRAMS).exists()) == ("network", False)
        assert result.as_json()["valid_nats_per_char"] == pytest.approx(expected, rel=1e-6)
        assert (result.unsaved is None) == (name == "build")


def test_counts_of_a_run_that_another_process_trains_are_left_as_they_are(counted: Callable[..., Any]) -> None:
    result = counted("held")
    run, before = RunDirectory(Path(result.run)), (Path(result.run) / NGRAMS).read_bytes()
    best = run.load(BEST)
    with writing(run.path):
        assert not counts.keep(run, TrainingSettings(), None, None, best).is_there
    assert not counts.keep(run, TrainingSettings(), None, None, dataclasses.replace(best, step=3)).is_there
    assert (run.path / NGRAMS).read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [("--objective", "cloze"), ("--task", "classify"), ("--task", "generate"), ("--task", "translate")]
)
def test_networks_without_counts_refuse_to_count(charlm_command: Charlm, arguments: tuple[str, ...]) -> None:
    outcome = charlm_command("train", "corpus.txt", *arguments, "--ngram", "5", "--steps", "1")
    assert (outcome.code, "--ngram" in outcome.err) == (2, True)


@pytest.mark.parametrize("ngram", ["0", "33", "-1", "many", "3.5", ""])
def test_what_is_no_length_is_refused(charlm_command: Charlm, ngram: str) -> None:
    outcome = charlm_command("train", "corpus.txt", f"--ngram={ngram}", "--steps", "1")
    assert (outcome.code, "--ngram" in outcome.err) == (2, True)


def test_the_last_table_and_info_show_each_alone(charlm_command: Charlm) -> None:
    outcome = charlm_command("train", "corpus.txt", "--run", "r", "--steps", "9", "--hidden-size", "9", "-q")
    for shown in ("network alone", "n-grams alone", "A mixture of the network and the n-grams"):
        assert shown in outcome.out
    assert " n-grams" in charlm_command("info", "r").out
    (told,) = records(charlm_command("info", "r", "--json"))
    assert json.dumps(told["measured"]["predictor"]) == '"mixture"'  # type: ignore[index]
