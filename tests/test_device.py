"""The machine: how many processors there are, and what a GPU that is not there would be asked."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charlm.errors import RunError
from charlm.given import gather
from charlm.lifecycle.session import Session
from charlm.model.network import TorchNetwork
from charlm.model.predictor import TorchPredictor
from charlm.runs.directory import LAST
from charlm.runs.weights import Weights
from charlm.settings import TrainingSettings
from charlm.system import machine
from charlm.system.machine import cores, find_machine
from tests.test_training import Start, finish, network_now, start, tensors

__all__ = ["start"]  # a fixture


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight processors."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))


Files = dict[str, str]
OWN = "own"  # stands for /proc/self/cgroup


def old_quota(folder: str, quota: int) -> Files:
    """The limit as version 1 of control groups writes it."""
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": "100000"}


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 8),
        ({OWN: "0::/", "cpu.max": "200000 100000"}, 2),
        ({OWN: "0::/", "cpu.max": "max 100000"}, 8),
        ({OWN: "0::/", "cpu.max": "150000 100000"}, 2),
        ({OWN: "0::/", "cpu.max": "10000 100000"}, 1),
        ({OWN: "0::/", "cpu.max": "6400000 100000"}, 8),
        ({"cpu.max": "300000 100000"}, 3),
        ({OWN: "0::/a/b", "a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ({OWN: "0::/a/b", "a/b/cpu.max": "100000 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"}, 1),
        ({OWN: "0::/of/the/host", "cpu.max": "400000 100000"}, 4),
        ({OWN: "0::/a", "b/cpu.max": "100000 100000"}, 8),
        ({OWN: "4:cpu,cpuacct:/x", **old_quota("cpu,cpuacct/x", 250_000)}, 3),
        ({OWN: "4:cpu,cpuacct:/x", **old_quota("cpu", 50_000)}, 1),
        ({OWN: "4:cpu:/x", **old_quota("cpu/x", -1)}, 8),
        ({OWN: "4:memory:/x\n1:cpu:/\n0::/", "memory/x/cpu.max": "1 1", **old_quota("cpu", 200_000)}, 2),
        ({OWN: "0::/", "cpu.max": "nonsense"}, 8),
        ({OWN: "0::/", "cpu.max": "100000 0"}, 8),
        ({OWN: "nonsense"}, 8),
    ],
    ids=str,
)
def test_the_quota_of_a_container_is_its_number_of_processors(files: Files, wanted: int, tmp_path: Path) -> None:
    for name, text in files.items():
        path = tmp_path / (OWN if name == OWN else f"groups/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cores(tmp_path / "groups", tmp_path / OWN) == wanted


@pytest.mark.parametrize(("major", "wanted"), [(7, False), (8, True), (9, True)])
def test_a_gpu_multiplies_in_bfloat16_where_that_is_native(
    major: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(major=major))
    assert find_machine(TrainingSettings(device="cuda", threads=1)).bfloat16 == wanted


def test_probabilities_become_float64_where_every_device_has_that(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are converted on the processor, after moving there from the device."""
    calls: list[str] = []
    cpu, double = torch.Tensor.cpu, torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: calls.append("cpu") or cpu(self))
    monkeypatch.setattr(torch.Tensor, "double", lambda self: calls.append("double") or double(self))
    predictor = TorchPredictor(TorchNetwork(start().architecture))
    logprobs, _ = predictor.logprobs(np.array([[0, 1]]), np.array([[1, 2]]), predictor.initial_state())
    assert (logprobs.dtype, calls) == (np.float64, ["cpu", "double"])


# A run that continues on another device


def as_saved_elsewhere(training: Session, other_device: str | None, size: int = 16) -> None:
    """Its state as a device with other generators would have saved it; older charlms did not say which."""
    last = training.run.load(LAST)
    generators = {name: np.arange(size, dtype=np.uint8) for name in last.tensors if name.endswith("_generator")}
    scalars = {**last.scalars, "device": other_device}
    if other_device is None:
        del scalars["device"]
    training.run.save(LAST, Weights({**last.tensors, **generators}, last.step, scalars))


@pytest.mark.parametrize("other_device", ["cuda", "mps", None])
@pytest.mark.parametrize("initial_state", ["zero", "random"])
def test_a_state_of_another_device_goes_on_with_a_note(
    start: Start, other_device: str | None, initial_state: str
) -> None:
    training = finish(start(steps=7, initial_state=initial_state))
    before = tensors(training, LAST)
    as_saved_elsewhere(training, other_device)
    resumed = start(resume=True, steps=12)
    (note,) = [note for note in resumed.notes if "the random state is new" in note]
    assert f"on {other_device}" in note if other_device else "on another device" in note
    weights = {f"network.{name}": value for name, value in network_now(resumed).items()}
    assert weights.items() <= before.items()
    assert finish(resumed).run.load(LAST).step == 12
    assert not [note for note in start(resume=True).notes if "device" in note]


def test_a_state_of_this_device_is_not_taken_for_one_of_another(start: Start) -> None:
    training = finish(start(steps=3))
    assert training.run.load(LAST).scalars["device"] == "cpu"
    as_saved_elsewhere(training, "cpu")
    with pytest.raises(RunError, match=r"last\.safetensors"):
        start(resume=True, steps=5)


def test_a_device_may_be_given_anew_and_is_remembered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    training = finish(start(steps=3, device="auto"))
    as_saved_elsewhere(training, "cuda")
    resumed = finish(start(resume=True, steps=5, device="cpu"))
    assert resumed.training.device == "cpu"
    assert start(resume=True).training.device == "cpu"


def test_variables_do_not_contradict_a_run_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    for name, value in {"DEVICE": "cuda", "HIDDEN_SIZE": "99", "PRESET": "large", "STEPS": "7", "SEED": "3"}.items():
        monkeypatch.setenv(f"CHARLM_{name}", value)
    monkeypatch.setenv("CHARLM_THREADS", "2")
    for resume in (True, False):
        found.append(gather({"patience": 3}, resume=resume))
    assert found[0] == {"patience": 3, "steps": "7", "threads": "2"}
    assert found[1]["device"] == "cuda"
    assert gather({"device": "cpu"}, resume=True)["device"] == "cpu"
