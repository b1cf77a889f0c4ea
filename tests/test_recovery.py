"""When training diverges or memory is short: nothing wrong is applied or saved, and training goes on where it can."""

import math
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.corpus.windows import RareTypes, SentenceWindows, StreamWindows, Window
from charlm.errors import DivergedError, ResourceError
from charlm.lifecycle.session import Session
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.lock import writing
from charlm.settings import TrainingSettings
from charlm.system.interrupts import StopRequest
from charlm.system.memory import free_memory, is_out_of_memory
from charlm.training import memory
from charlm.training import trainer as loop
from charlm.training.budget import StepBudget
from charlm.training.defaults import decide_training
from charlm.training.events import BatchSplit, Event, RolledBack, Sampled, Skipped, StepDone
from charlm.training.gradients import Gradients, rows_of
from charlm.training.optimizer import clip
from charlm.training.recovery import MAX_ROLLBACKS, MAX_SKIPPED
from charlm.training.trainer import Trainer
from tests.test_training import MACHINE, TINY, Start, finish, start, stop, tensors

__all__ = ["start", "stop"]  # fixtures

CELLS = ("rnn_relu", "lstm", "gru", "minlstm")


def tiny_trainer(check: Callable[[], float] | None = None, **settings: Any) -> Trainer:
    """A trainer of its own on random ids, without a run."""
    training, _ = decide_training(
        TrainingSettings(steps=40, bptt=6, batch_size=4, warmup_steps=0, precision="float32", **settings),
        "char",
        500,
        MACHINE,
    )
    shape = Architecture("rnn_relu", 1, 7, 5, tie_embeddings=False, dropout=0.0, initial_state="zero", vocab_size=9)
    network = TorchNetwork(shape)
    network.initialise(torch.Generator().manual_seed(1))
    ids = np.random.default_rng(1).integers(0, 9, 501)
    windows = StreamWindows(ids, 0, 4, 6, 1, RareTypes(ids, 9, 0, None, 1))
    return Trainer(network, windows, training, StepBudget(total_steps=40), MACHINE, check)


def weights_of(trainer: Trainer) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in trainer.network.parameters()]


def spoil(monkeypatch: pytest.MonkeyPatch, what: str, calls: set[int]) -> None:
    """Make the loss or the gradient's norm infinite in these calls, of which there is one a step that is tried."""
    numbers = iter(range(1, 10_000))
    of = Gradients.of

    def spoiled_clip(parameters: Any, settings: TrainingSettings) -> Any:
        norm = clip(parameters, settings)
        return norm * math.inf if next(numbers) in calls else norm

    def spoiled_of(self: Gradients, *arguments: Any) -> Any:
        nats, state = of(self, *arguments)
        return (math.nan if next(numbers) in calls else nats), state

    if what == "gradient":
        monkeypatch.setattr(loop, "clip", spoiled_clip)
    else:
        monkeypatch.setattr(Gradients, "of", spoiled_of)


@pytest.fixture(params=["loss", "gradient"])
def what(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def steps_of(trainer: Trainer) -> Iterator[Event]:
    return (event for event in trainer.events(StopRequest()) if isinstance(event, (StepDone, Skipped)))


# Steps that are skipped


def test_a_step_without_a_finite_loss_and_gradient_is_skipped(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    spoil(monkeypatch, what, {2})
    trainer = tiny_trainer()
    events = steps_of(trainer)
    next(events)
    after_first = weights_of(trainer)
    assert isinstance(next(events), Skipped)
    assert weights_of(trainer) == after_first
    assert trainer.state is None
    assert isinstance(next(events), StepDone)
    assert weights_of(trainer) != after_first


def test_many_skipped_steps_in_a_row_are_the_end_where_nobody_knows_a_good_state(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spoil(monkeypatch, what, set(range(5, 100)))
    trainer = tiny_trainer()
    with pytest.raises(DivergedError, match="learning-rate") as caught:
        list(trainer.events(StopRequest()))
    assert caught.value.exit_code == 5
    assert trainer.progress.step == 4 + MAX_SKIPPED


def test_now_and_then_a_skipped_step_is_not_the_end(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    spoil(monkeypatch, what, set(range(0, 100, 2)))
    trainer = tiny_trainer()
    list(trainer.events(StopRequest()))
    assert trainer.progress.step == 40


def test_a_state_that_is_not_finite_is_not_carried_on() -> None:
    trainer = tiny_trainer()
    events = steps_of(trainer)
    next(events)
    assert trainer.state is not None
    trainer.state[0][0][1, 2] = math.inf
    kinds = [type(next(events)) for _ in range(4)]
    assert kinds == [Skipped, StepDone, StepDone, StepDone]


# Back to the last good state


def test_training_goes_back_to_the_last_good_state_with_half_the_learning_rate(
    start: Start, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spoil(monkeypatch, what, set(range(13, 13 + MAX_SKIPPED)))
    training = start()
    events, at_ten, after = [], {}, {}
    for event in training.events():
        events.append(event)
        if isinstance(event, StepDone) and event.step == 10:
            at_ten = tensors_now(training)
        if isinstance(event, RolledBack):
            after = tensors_now(training)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert back == RolledBack(step=10, diverged_at=17, learning_rate_scale=0.5)
    assert at_ten == after
    rates = [event.learning_rate for event in events if isinstance(event, StepDone) and event.step == 11]
    assert rates[1] == rates[0] / 2
    assert training.trainer.progress.step == training.run.load(LAST).step == 24
    steps = [line["step"] for line in training.run.log.records() if line["event"] in ("StepDone", "Evaluated")]
    assert steps == sorted(steps)
    assert [line["event"] for line in training.run.log.records()].count("RolledBack") == 1


def tensors_now(training: Session) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in training.network.state_dict().items()}


def test_before_anything_is_saved_the_last_good_state_is_the_beginning(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tensors_now(start("fresh"))
    spoil(monkeypatch, "loss", set(range(3, 3 + MAX_SKIPPED)))
    training = start(save_every=100)
    for event in training.events():
        if isinstance(event, RolledBack):
            assert event.step == 0
            assert tensors_now(training) == fresh
    assert training.trainer.progress.step == 24


def test_a_run_that_keeps_diverging_ends_with_what_to_try_and_its_last_good_state(
    start: Start, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spoil(monkeypatch, what, set(range(9, 1000)))
    training, events = start(), []
    with pytest.raises(DivergedError, match="learning-rate") as caught:
        events.extend(training.events())
    assert caught.value.exit_code == 5
    assert RunDirectory(training.run.path).load(BEST).step == 7
    with writing(training.run.path):  # nobody holds it any more
        last = training.run.load(LAST)
        assert (last.step, last.scalars["progress"]["rollbacks"]) == (5, MAX_ROLLBACKS)
        assert all(np.isfinite(value).all() for value in last.tensors.values())


def test_a_weight_that_is_not_finite_is_never_saved(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start()
    update, spoiled = Trainer._update, []

    def wrong(self: Trainer, learning_rate: float) -> None:
        update(self, learning_rate)
        if self.progress.step in (15, 24) and self.progress.step not in spoiled:
            spoiled.append(self.progress.step)
            self.network.embedding.weight.data[3, 2] = math.inf

    monkeypatch.setattr(Trainer, "_update", wrong)
    save = RunDirectory.save

    def checked(self: RunDirectory, kind: str, weights: Any) -> None:
        assert all(np.isfinite(value).all() for value in weights.tensors.values())
        save(self, kind, weights)

    monkeypatch.setattr(RunDirectory, "save", checked)
    backs = [event for event in training.events() if isinstance(event, RolledBack)]
    assert [(back.diverged_at, back.step) for back in backs] == [(15, 10), (24, 20)]
    assert training.run.load(LAST).step == 24


def test_a_sample_that_grows_without_bound_does_not_end_a_training(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield types.SimpleNamespace(text="so far")
        raise DivergedError("not finite")

    monkeypatch.setattr("charlm.lifecycle.session.generate", generate)
    samples = [event.text for event in start(sample_every=9).events() if isinstance(event, Sampled)]
    assert samples == ["so far", "so far"]


def test_the_counts_of_what_went_wrong_outlive_a_stop(
    start: Start, stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "loss", set(range(9, 9 + MAX_SKIPPED)))
    for event in start().events():
        if isinstance(event, Skipped) and event.step == 11:
            stop.signal = 15
    stop.signal = None
    resumed = start(resume=True)
    assert resumed.trainer.progress.skipped_in_a_row == 3
    back = next(event for event in resumed.events() if isinstance(event, RolledBack))
    assert back.diverged_at == 8 + MAX_SKIPPED


# Memory


def window(mode: str, seed: int = 1) -> Window:
    ids = np.concatenate([[0], np.random.default_rng(seed).integers(0, 9, 300)])
    rare = RareTypes(ids, 9, 0, None, 1)
    windows = (SentenceWindows if mode == "sentence" else StreamWindows)(ids, 0, 7, 6, 1, rare)
    windows.next()
    return windows.next()


@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("mode", ["stream", "sentence"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradients_of_the_parts_add_up_to_that_of_the_whole(cell: str, mode: str, initial_state: str) -> None:
    """In float64, without dropout."""
    shape = Architecture(cell, 2, 6, 5, tie_embeddings=False, dropout=0.0, initial_state=initial_state, vocab_size=9)
    batch, found = window(mode), []
    for micro_batches in (1, 2, 3, 4, len(batch.inputs)):
        network = TorchNetwork(shape)
        network.initialise(torch.Generator().manual_seed(1))
        network.double()
        state = network.initial_state(len(batch.inputs))
        state = tuple(tuple(part.detach() + 0.3 for part in parts) for parts in state)
        nats, new = Gradients(network, bfloat16=False, seed=1, tokens_per_window=40.0).of(batch, state, micro_batches)
        found.append((nats, [one.grad for one in network.parameters()], new))
    for nats, grads, new in found[1:]:
        assert nats == pytest.approx(found[0][0], rel=1e-12)
        torch.testing.assert_close(grads, found[0][1], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(new, found[0][2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 32])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 64])
def test_the_parts_of_a_batch_are_all_of_it(batch_size: int, micro_batches: int) -> None:
    covered = [row for rows in rows_of(batch_size, micro_batches) for row in range(batch_size)[rows]]
    assert covered == list(range(batch_size))


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most_rows: int, error: Exception) -> None:
    total_nats = TorchNetwork.total_nats

    def limited(self: TorchNetwork, inputs: Any, *others: Any) -> Any:
        if len(inputs) > most_rows:
            raise error
        return total_nats(self, inputs, *others)

    monkeypatch.setattr(TorchNetwork, "total_nats", limited)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_splits_the_batch_for_the_same_updates(
    start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = finish(start("whole", dropout=0.0))
    short_of_memory(monkeypatch, 2, error)
    training = start("short", dropout=0.0)
    splits = [event for event in training.events() if isinstance(event, BatchSplit)]
    assert splits == [BatchSplit(0, 2), BatchSplit(0, 4)]
    for name, value in training.run.load(BEST).tensors.items():
        np.testing.assert_allclose(value, whole.run.load(BEST).tensors[name], rtol=2e-3, atol=2e-4)
    assert training.run.load(LAST).scalars["progress"]["micro_batches"] == 4
    assert finish(start("short", resume=True, steps=26)).trainer.progress.step == 26


def test_a_split_batch_draws_from_where_the_whole_one_would_have(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that failed leaves no trace: found out or known from the start, a split batch is the same."""
    short_of_memory(monkeypatch, 2, ERRORS[0])
    found_out = finish(start("found"))
    monkeypatch.setattr("charlm.lifecycle.session.fitting_micro_batches", lambda *arguments: 4)
    assert tensors(finish(start("known"))) == tensors(found_out)


def test_a_sequence_that_does_not_fit_is_the_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 0, ERRORS[0])
    with pytest.raises(ResourceError, match="not even one sequence") as caught:
        finish(start())
    assert caught.value.exit_code == 6


def test_another_error_is_not_taken_for_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 0, RuntimeError("shapes do not agree"))
    with pytest.raises(RuntimeError, match="shapes"):
        finish(start())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_model_that_is_too_large_is_refused_before_it_is_built(corpus: Path, tmp_path: Path) -> None:
    large = {**TINY, "hidden_size": 65536, "num_layers": 64}
    with pytest.raises(ResourceError, match=r"[\d,]+ parameters takes about [\d,.]+ GB") as caught:
        charlm.train(corpus, run=str(tmp_path / "runs" / "large"), **large)
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_where_memory_is_short_the_batch_is_split_from_the_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start("measure", batch_size=8)
    needed = [
        memory.fixed_bytes(training.shape, training.training) + memory.window_bytes(training.shape, MACHINE, rows * 13)
        for rows in (8, 4, 2, 1)
    ]
    for free, parts in zip(needed, (1, 2, 4, 8), strict=True):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert memory.fitting_micro_batches(training.shape, training.training, MACHINE) == parts
    monkeypatch.setattr(memory, "free_memory", lambda device: needed[-1] - 1)
    with pytest.raises(ResourceError):
        memory.fitting_micro_batches(training.shape, training.training, MACHINE)
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert memory.fitting_micro_batches(training.shape, training.training, MACHINE) == 1
    monkeypatch.setattr(memory, "free_memory", lambda device: needed[1])
    split = start("split", batch_size=8)
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
    monkeypatch.setattr("charlm.lifecycle.session.disk_bytes", lambda *arguments: taken + 10**18)
    with pytest.raises(ResourceError, match=r"1,000,000,000,000,000,000 bytes are needed"):
        start(resume=True, steps=5)
    monkeypatch.setattr("charlm.lifecycle.session.disk_bytes", lambda *arguments: taken)
    assert finish(start(resume=True, steps=5)).trainer.progress.step == 5


def test_what_a_training_takes_on_disk_is_what_was_counted(start: Start) -> None:
    training = finish(start())
    state = training.run.path / "last.safetensors"
    counted = memory.disk_bytes(training.shape, training.training)
    assert 0.5 * counted < training.run.weights_bytes() + state.stat().st_size < 2 * counted + 50_000


def test_a_rollback_keeps_to_a_length_that_was_given_anew(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(start(steps=10))
    spoil(monkeypatch, "loss", set(range(1, 1 + MAX_SKIPPED)))
    resumed = start(resume=True, steps=30)
    events = list(resumed.events())
    assert any(isinstance(event, RolledBack) and event.step == 10 for event in events)
    assert resumed.trainer.progress.step == 30


def test_out_of_memory_in_a_check_loses_no_step(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> float:
        raise ERRORS[0]

    with monkeypatch.context() as patch:
        patch.setattr("charlm.lifecycle.session._check", lambda *arguments: fail)
        with pytest.raises(torch.OutOfMemoryError):
            finish(start(save_every=100))
    resumed = start(resume=True)
    assert (resumed.trainer.progress.step, resumed.trainer.progress.evaluated_at) == (7, 0)
    assert tensors(finish(resumed)) == tensors(finish(start("straight")))
