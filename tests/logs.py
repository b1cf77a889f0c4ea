"""Runs that have a log and nothing else, for tests of what is drawn from it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.runs.directory import RunDirectory

Record = Mapping[str, Any]


def step(number: int, nats: Any = 2.0, seconds: Any = None, **others: Any) -> Record:
    """The record of a step; without `seconds`, each step takes half a second."""
    figures = {"gradient_norm": 0.5, "learning_rate": 0.01, "tokens": 40, **others}
    seconds = number / 2 if seconds is None else seconds
    return {"event": "StepDone", "step": number, "nats_per_token": nats, **figures, "seconds": seconds}


def check(number: int, nats: Any, **others: Any) -> Record:
    """The record of a check."""
    return {"event": "Evaluated", "step": number, "nats_per_token": nats, "seconds": number / 2, **others}


FINISHED: Record = {"event": "Finished", "step": 9, "seconds": 4.5, "reason": "all steps done", "signal": None}


def a_run(path: Path, records: Iterable[Record] = (), unit: str = "char") -> Path:
    """A folder that is found as a run, with this log."""
    RunDirectory.create(path, {"run_id": "0" * 32, "corpus": {"unit": unit}}, {})
    write_log(path, records)
    return path


def write_log(path: Path, records: Iterable[Record]) -> None:
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


FALLING: Sequence[Record] = [
    *(step(n, 4 / n, gradient_norm=1 / n) for n in range(1, 9)),
    check(4, 1.25),
    check(8, 0.75),
    FINISHED,
]
"""A loss of 4 / step in training, with two checks."""
AWKWARD_NAMES = ("two words", "<script>alert(1)</script>", 'quote" & amp;', "日本語 ünï", "$x^2$", "_hidden")
