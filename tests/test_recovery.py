"""When training diverges or memory is short: nothing wrong is applied or saved, and training continues where it can."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.corpus.prepare import PreparedCorpus, prepare
from charlm.errors import DivergedError, ResourceError
from charlm.lifecycle.session import Instruments, Session
from charlm.network.architecture import Architecture
from charlm.network.snapshot import CARRIED
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.lock import writing
from charlm.settings import CorpusSettings, TextSettings, TrainingSettings
from charlm.system.interrupts import StopRequest
from charlm.system.memory import free_memory, is_out_of_memory
from charlm.training.budget import StepBudget
from charlm.training.defaults import decide_training
from charlm.training.events import BatchSplit, Event, RolledBack, Sampled, Skipped, StepDone
from charlm.training.gradients import add_gradients, rows_of
from charlm.training.language_model import LanguageModelObjective
from charlm.training.memory import disk_bytes, fitting_micro_batches, fixed_bytes, window_bytes
from charlm.training.recovery import MAX_ROLLBACKS, MAX_SKIPPED
from charlm.training.trainer import Fault, Trainer
from tests.sessions import MemoryKeeper
from tests.test_training import MACHINE, TINY, Start, finish, network_now, start, stop, tensors

__all__ = ["start", "stop"]  # fixtures

CELLS = ("rnn_relu", "lstm", "gru", "minlstm")
SMALL = {"steps": 40, "bptt": 6, "batch_size": 4, "warmup_steps": 0, "precision": "float32", "dropout": 0.0}


@pytest.fixture
def letters(tmp_path: Path) -> PreparedCorpus:
    """500 random letters and line ends, all of them to train on."""
    text = "".join(np.random.default_rng(1).choice(list("abcdefg\n"), 500))
    (tmp_path / "letters.txt").write_text(text)
    reading = CorpusSettings(valid_fraction=0.0)
    return prepare(tmp_path / "letters.txt", tmp_path / "prepared", TextSettings(), reading)


def objective_on(letters: PreparedCorpus, architecture: dict[str, Any], **settings: Any) -> LanguageModelObjective:
    """The objective of a tiny network with fresh weights, without dropout."""
    sizes = {"num_layers": 1, "hidden_size": 7, "embedding_size": 5, "tie_embeddings": False, "initial_state": "zero"}
    network = Architecture(**{**sizes, **architecture}, vocab_size=letters.tokenizer.vocab_size)
    wanted = TrainingSettings(**{**SMALL, **settings})
    training, _ = decide_training(wanted, network, "char", letters.train.num_tokens, MACHINE)
    objective = LanguageModelObjective(network, letters, training)
    objective.network.initialise(torch.Generator().manual_seed(1))
    return objective


def tiny_trainer(letters: PreparedCorpus, fault: Fault = lambda name, number: number) -> Trainer:
    """A trainer of its own, without a run, which saves nothing."""
    objective = objective_on(letters, {"cell": "rnn_relu"})
    settings = TrainingSettings(**SMALL, learning_rate=0.006, clip_norm=1.0, save_every=1000)
    return Trainer(objective, settings, StepBudget(total_steps=40), MemoryKeeper(), fault=fault)


def weights_of(trainer: Trainer) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in trainer.objective.network.parameters()]


def spoiling(what: str, calls: set[int]) -> Fault:
    """Make the loss or the gradient's norm infinite in these calls, of which there is one a step that is tried."""
    numbers = itertools.count(1)
    return lambda name, number: math.inf if name == what and next(numbers) in calls else number


@pytest.fixture(params=["loss", "gradient_norm"])
def what(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def steps_of(trainer: Trainer) -> Iterator[Event]:
    return (event for event in trainer.events(StopRequest()) if isinstance(event, (StepDone, Skipped)))


# Steps that are skipped


def carries_a_state(trainer: Trainer) -> bool:
    return any(name.startswith(CARRIED) for name in trainer.state().tensors)


def test_a_step_without_a_finite_loss_and_gradient_is_skipped(letters: PreparedCorpus, what: str) -> None:
    trainer = tiny_trainer(letters, spoiling(what, {2}))
    events = steps_of(trainer)
    next(events)
    after_first = weights_of(trainer)
    assert isinstance(next(events), Skipped)
    assert weights_of(trainer) == after_first
    assert not carries_a_state(trainer)
    assert isinstance(next(events), StepDone)
    assert weights_of(trainer) != after_first


def test_many_skipped_steps_in_a_row_are_the_end_where_nobody_knows_a_good_state(
    letters: PreparedCorpus, what: str
) -> None:
    trainer = tiny_trainer(letters, spoiling(what, set(range(5, 100))))
    with pytest.raises(DivergedError, match="learning-rate") as caught:
        list(trainer.events(StopRequest()))
    assert caught.value.exit_code == 5
    assert trainer.progress.step == 4 + MAX_SKIPPED


def test_now_and_then_a_skipped_step_is_not_the_end(letters: PreparedCorpus, what: str) -> None:
    trainer = tiny_trainer(letters, spoiling(what, set(range(0, 100, 2))))
    list(trainer.events(StopRequest()))
    assert trainer.progress.step == 40


def test_a_state_that_is_not_finite_is_not_carried_on(letters: PreparedCorpus) -> None:
    trainer = tiny_trainer(letters)
    events = steps_of(trainer)
    next(events)
    state = trainer.state()
    state.tensors[f"{CARRIED}0.0"][1, 2] = math.inf
    trainer.restore(state)
    kinds = [type(next(events)) for _ in range(4)]
    assert kinds == [Skipped, StepDone, StepDone, StepDone]


# Back to the last good state


def test_the_log_says_how_a_training_diverged_that_is_given_up(start: Start, what: str) -> None:
    training = start(instruments=Instruments(fault=spoiling(what, set(range(13, 100)))))
    with pytest.raises(DivergedError):
        finish(training)
    events = [record["event"] for record in training.run.log.records()]
    assert events.count("RolledBack") == MAX_ROLLBACKS
    assert events.count("Skipped") == MAX_SKIPPED  # those since the last time


def test_training_goes_back_to_the_last_good_state_with_half_the_learning_rate(start: Start, what: str) -> None:
    training = start(instruments=Instruments(fault=spoiling(what, set(range(13, 13 + MAX_SKIPPED)))))
    events, at_ten, after = [], {}, {}
    for event in training.events():
        events.append(event)
        if isinstance(event, StepDone) and event.step == 10:
            at_ten = network_now(training)
        if isinstance(event, RolledBack):
            after = network_now(training)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert back == RolledBack(step=10, diverged_at=17, learning_rate_scale=0.5)
    assert at_ten == after
    rates = [event.learning_rate for event in events if isinstance(event, StepDone) and event.step == 11]
    assert rates[1] == rates[0] / 2
    assert training.trainer.progress.step == training.run.load(LAST).step == 24
    steps = [line["step"] for line in training.run.log.records() if line["event"] in ("StepDone", "Evaluated")]
    assert steps == sorted(steps)
    assert [line["event"] for line in training.run.log.records()].count("RolledBack") == 1


def test_before_anything_is_saved_the_last_good_state_is_the_beginning(start: Start) -> None:
    fresh = network_now(start("fresh"))
    training = start(instruments=Instruments(fault=spoiling("loss", set(range(3, 3 + MAX_SKIPPED)))), save_every=100)
    for event in training.events():
        if isinstance(event, RolledBack):
            assert event.step == 0
            assert network_now(training) == fresh
    assert training.trainer.progress.step == 24


def test_a_run_that_keeps_diverging_ends_with_what_to_try_and_its_last_good_state(start: Start, what: str) -> None:
    training, events = start(instruments=Instruments(fault=spoiling(what, set(range(9, 1000))))), []
    with pytest.raises(DivergedError, match="learning-rate") as caught:
        events.extend(training.events())
    assert caught.value.exit_code == 5
    assert RunDirectory(training.run.path).load(BEST).step == 7
    with writing(training.run.path):  # nobody holds it any more
        last = training.run.load(LAST)
        assert (last.step, last.scalars["progress"]["rollbacks"]) == (5, MAX_ROLLBACKS)
        assert all(np.isfinite(value).all() for value in last.tensors.values())


def test_a_weight_that_is_not_finite_is_never_saved(start: Start) -> None:
    spoiled: list[int] = []

    def spoil_a_weight(name: str, number: float) -> float:
        step = training.trainer.progress.step + 1
        if name == "loss" and step in (15, 24) and step not in spoiled:
            spoiled.append(step)
            training.trainer.objective.network.get_parameter("embedding.weight").data[3, 2] = math.inf
        return number

    training, backs = start(instruments=Instruments(fault=spoil_a_weight)), []
    for event in training.events():
        for kind in filter(training.run.has, (BEST, LAST)):
            assert all(np.isfinite(value).all() for value in training.run.load(kind).tensors.values())
        if isinstance(event, RolledBack):
            backs.append((event.diverged_at, event.step))
    assert backs == [(15, 10), (24, 20)]
    assert training.run.load(LAST).step == 24


def test_a_sample_that_grows_without_bound_does_not_end_a_training(start: Start) -> None:
    """The state about doubles with each token: a line of the text is too short for it to become infinite."""
    training = start(cell="rnn_relu", mode="sentence", learning_rate=1e-6, sample_every=9)
    for name, value in {"weight_hh": 2.2 / 12, "bias_ih": 0.1}.items():
        training.trainer.objective.network.get_parameter(f"layers.0.{name}").data.fill_(value)
    events = list(training.events())
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 25))
    samples = [event.text for event in events if isinstance(event, Sampled)]
    assert len(samples) == 2
    assert all(0 < len(text) < 160 for text in samples)  # what came before it was infinite


def test_the_counts_of_what_went_wrong_outlive_a_stop(start: Start, stop: StopRequest) -> None:
    instruments = Instruments(fault=spoiling("loss", set(range(9, 9 + MAX_SKIPPED))))
    for event in start(instruments=instruments).events():
        if isinstance(event, Skipped) and event.step == 11:
            stop.signal = 15
    resumed = start(instruments=instruments, resume=True)
    assert resumed.trainer.progress.skipped_in_a_row == 3
    back = next(event for event in resumed.events() if isinstance(event, RolledBack))
    assert back.diverged_at == 8 + MAX_SKIPPED


# Memory


@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("mode", ["stream", "sentence"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradients_of_the_parts_add_up_to_that_of_the_whole(
    letters: PreparedCorpus, cell: str, mode: str, initial_state: str
) -> None:
    """In float64, without dropout."""
    found, architecture = [], {"cell": cell, "num_layers": 2, "hidden_size": 6, "initial_state": initial_state}
    for micro_batches in (1, 2, 3, 4, 7):
        objective = objective_on(letters, architecture, mode=mode, batch_size=7)
        network = objective.network.double()
        objective.next_batch()
        batch = objective.next_batch()
        carried = network.initial_state(len(batch.examples))
        carried = tuple(tuple(part.detach() + 0.3 for part in parts) for parts in carried)
        generators = {name: torch.Generator() for name in objective.generators}
        nats, new = add_gradients(
            objective, batch, carried, generators, "float32", micro_batches, fault=lambda name, number: number
        )
        found.append((nats, [parameter.grad for parameter in network.parameters()], new))
    for nats, grads, new in found[1:]:
        assert nats == pytest.approx(found[0][0], rel=1e-12)
        torch.testing.assert_close(grads, found[0][1], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(new, found[0][2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 32])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 64])
def test_the_parts_of_a_batch_are_all_of_it(batch_size: int, micro_batches: int) -> None:
    covered = [row for rows in rows_of(batch_size, micro_batches) for row in range(batch_size)[rows]]
    assert covered == list(range(batch_size))


def short_of_memory(max_rows: int, error: Exception) -> Instruments:
    """Instruments with which there is memory for so many sequences at a time."""

    def fault(name: str, number: float) -> float:
        if name == "rows" and number > max_rows:
            raise error
        return number

    return Instruments(fault=fault)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_splits_the_batch_for_the_same_updates(start: Start, error: Exception) -> None:
    whole, instruments = finish(start("whole", dropout=0.0)), short_of_memory(2, error)
    training = start("short", instruments=instruments, dropout=0.0)
    splits = [event for event in training.events() if isinstance(event, BatchSplit)]
    assert splits == [BatchSplit(0, 2), BatchSplit(0, 4)]
    for name, value in training.run.load(BEST).tensors.items():
        np.testing.assert_allclose(value, whole.run.load(BEST).tensors[name], rtol=2e-3, atol=2e-4)
    assert training.run.load(LAST).scalars["progress"]["micro_batches"] == 4
    resumed = start("short", instruments=instruments, resume=True, steps=26)
    assert finish(resumed).trainer.progress.step == 26


def free_for(training: Session, num_rows: int) -> Instruments:
    """Instruments with which memory is free for so many sequences at a time, and no more."""
    window = window_bytes(training.architecture, MACHINE, num_rows * 13)
    return Instruments(free_memory=lambda device: fixed_bytes(training.architecture, training.training) + window)


def test_a_split_batch_draws_from_where_the_whole_one_would_have(start: Start) -> None:
    """A try that failed leaves no trace: found out or known from the start, a split batch is the same."""
    parts = itertools.count(1)

    def fault(name: str, number: float) -> float:
        if name == "rows" and next(parts) in (1, 3):  # the whole batch, and the second half of it
            raise ERRORS[0]
        return number

    found_out = finish(start("found", instruments=Instruments(fault=fault)))
    assert found_out.trainer.progress.micro_batches == 4
    known = start("known", instruments=free_for(found_out, 2))
    assert known.trainer.progress.micro_batches == 4
    assert tensors(finish(known)) == tensors(found_out)


def test_a_sequence_that_does_not_fit_is_the_end(start: Start) -> None:
    with pytest.raises(ResourceError, match="not even one sequence") as caught:
        finish(start(instruments=short_of_memory(0, ERRORS[0])))
    assert caught.value.exit_code == 6


def test_another_error_is_not_taken_for_memory(start: Start) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        finish(start(instruments=short_of_memory(0, RuntimeError("shapes do not agree"))))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_model_that_is_too_large_is_refused_before_it_is_built(corpus: Path, tmp_path: Path) -> None:
    large = {**TINY, "hidden_size": 65536, "num_layers": 64}
    with pytest.raises(ResourceError, match=r"[\d,]+ parameters takes about [\d,.]+ GB") as caught:
        charlm.train(corpus, run=str(tmp_path / "runs" / "large"), **large)
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_where_memory_is_short_the_batch_is_split_from_the_start(start: Start) -> None:
    training = start("measure", batch_size=8)
    decided = (training.architecture, training.training, MACHINE)
    for rows, parts in zip((8, 4, 2, 1), (1, 2, 4, 8), strict=True):
        assert fitting_micro_batches(*decided, free_for(training, rows).free_memory) == parts
    too_little = free_for(training, 1).free_memory("cpu") - 1
    with pytest.raises(ResourceError):
        fitting_micro_batches(*decided, lambda device: too_little)
    assert fitting_micro_batches(*decided, lambda device: None) == 1
    split = start("split", instruments=free_for(training, 4), batch_size=8)
    assert any("memory is short" in note for note in split.notes)
    assert finish(split).trainer.progress.micro_batches == 2


def test_free_memory_is_some_gigabytes_at_most() -> None:
    free = free_memory("cpu")
    assert free is None or 2**24 < free < 2**50


def test_room_on_the_disk_is_looked_at_before_training(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.lifecycle.creation.disk_bytes", lambda *arguments: 10**18)
    with pytest.raises(ResourceError, match=r"1,000,000,000,000,000,000 bytes are needed") as caught:
        charlm.train(corpus, run=str(tmp_path / "runs" / "x"), **TINY)
    assert str(tmp_path) in caught.value.where
    assert list(tmp_path.iterdir()) == []


def test_room_on_the_disk_is_looked_at_before_a_run_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = finish(start(steps=3))
    taken = training.run.weights_bytes()
    monkeypatch.setattr("charlm.lifecycle.resuming.disk_bytes", lambda *arguments: taken + 10**18)
    with pytest.raises(ResourceError, match=r"1,000,000,000,000,000,000 bytes are needed"):
        start(resume=True, steps=5)
    monkeypatch.setattr("charlm.lifecycle.resuming.disk_bytes", lambda *arguments: taken)
    assert finish(start(resume=True, steps=5)).trainer.progress.step == 5


def test_what_a_training_takes_on_disk_is_what_was_counted(start: Start) -> None:
    training = finish(start())
    state = training.run.path / "last.safetensors"
    counted = disk_bytes(training.architecture, training.training)
    assert 0.5 * counted < training.run.weights_bytes() + state.stat().st_size < 2 * counted + 50_000


def test_a_rollback_keeps_to_a_length_that_was_given_anew(start: Start) -> None:
    finish(start(steps=10))
    instruments = Instruments(fault=spoiling("loss", set(range(1, 1 + MAX_SKIPPED))))
    resumed = start(instruments=instruments, resume=True, steps=30)
    events = list(resumed.events())
    assert any(isinstance(event, RolledBack) and event.step == 10 for event in events)
    assert resumed.trainer.progress.step == 30


def test_out_of_memory_in_a_check_loses_no_step(start: Start) -> None:
    def fault(name: str, number: float) -> float:
        if name == "check":
            raise ERRORS[0]
        return number

    with pytest.raises(torch.OutOfMemoryError):
        finish(start(instruments=Instruments(fault=fault), save_every=100))
    resumed = start(resume=True)
    assert (resumed.trainer.progress.step, resumed.trainer.progress.evaluated_at) == (7, 0)
    assert tensors(finish(resumed)) == tensors(finish(start("straight")))
