"""Loss curves that were written down once: what changes a training changes them, and nobody can say it was not seen.

Floating-point sums differ with the processor. Over these curves plain, AVX2 and AVX-512 code, MKL's most compatible
mode and one or two threads differed by at most 4e-7 of a figure; the least change that is meant to be noticed, half a
per cent of the learning rate, makes 5e-3. `CLOSE` lies between, nearer to the first.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import conftest
from tests.golden import __main__ as golden

CLOSE = 2e-5  # relative
AGAIN = "if this was meant, make the curves again: python -m tests.golden"


@pytest.mark.parametrize("name", list(golden.CURVES))
def test_the_curves_are_those_of_old(name: str) -> None:
    assert golden.furthest(golden.compute(name), golden.read(name)) < CLOSE, AGAIN


@pytest.mark.parametrize(
    "changed", [{"seed": 4}, {"warmup_steps": 3}, {"bptt": 14}, {"dropout": 0.21}, {"learning_rate": 0.0201}]
)
def test_another_setting_is_noticed(changed: dict[str, Any]) -> None:
    assert golden.furthest(golden.compute("lstm-stream-char", **changed), golden.read("lstm-stream-char")) > 100 * CLOSE


def test_other_first_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.nn.init.normal_

    def wider(tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, **more: Any) -> torch.Tensor:
        return original(tensor, mean, 1.01 * std, **more)

    monkeypatch.setattr(torch.nn.init, "normal_", wider)
    curve = golden.compute("lstm-stream-char")
    assert golden.furthest(curve, golden.read("lstm-stream-char")) > CLOSE


def test_another_order_of_the_same_sentences_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = conftest.english(210).splitlines(keepends=True)
    lines[:20] = reversed(lines[:20])
    monkeypatch.setattr(golden, "english", lambda count: "".join(lines))
    curve = golden.compute("gru-sentence-word")
    assert golden.furthest(curve, golden.read("gru-sentence-word")) > 100 * CLOSE


def test_every_curve_is_expected_and_falls() -> None:
    assert {path.stem for path in Path(golden.HERE).glob("*.txt")} == set(golden.CURVES)
    for name in golden.CURVES:
        checks = [value for key, value in golden.read(name).items() if key.startswith("Evaluated")]
        assert checks[-1] < 0.95 * checks[0]
