"""Runs that older charlms wrote: they are opened, used and continued as if they were made today."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.__main__ import FURTHER, HERE, SAMPLE_LENGTH, SAMPLE_SEED, SENTENCE, STEPS
from tests.test_cli import Charlm, charlm, records

__all__ = ["charlm"]  # a fixture
RUNS = sorted(path.parent for path in HERE.glob("format-*/*/config.json"))
CLOSE = 1e-4  # relative; floating-point numbers differ between machines


@pytest.fixture(params=RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def old(request: pytest.FixtureRequest, charlm: Charlm) -> Path:
    """A copy of an old run, as runs/old in the current folder."""
    source: Path = request.param
    shutil.copytree(source, "runs/old")
    return source


def expected(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.parent / "expected.json").read_text(encoding="utf-8"))[run.name]
    return found


def test_there_are_runs_of_every_format_up_to_now() -> None:
    from charlm.runs.directory import FORMAT

    formats = {json.loads((run / "config.json").read_text())["format"] for run in RUNS}
    assert formats == set(range(1, FORMAT + 1)), f"python -m tests.fixtures {FORMAT}"


def test_an_old_run_scores_what_it_did(old: Path, charlm: Charlm) -> None:
    (record,) = records(charlm("score", SENTENCE, "--run", "old", "--json"))
    assert record["logprob_nats"] == pytest.approx(expected(old)["logprob_nats"], rel=CLOSE)


def test_an_old_run_samples_what_it_did(old: Path, charlm: Charlm) -> None:
    how = ("--run", "old", "--json", "--seed", str(SAMPLE_SEED), "--length", str(SAMPLE_LENGTH))
    (record,) = records(charlm("sample", *how))
    assert record["text"] == expected(old)["sample"]


def test_an_old_run_goes_on_where_it_was(old: Path, charlm: Charlm) -> None:
    outcome = charlm("train", "--resume", "--run", "old", "--steps", str(STEPS + FURTHER), "--json")
    assert outcome.code == 0, outcome.err
    assert f"from step {STEPS}" in outcome.err
    last = records(outcome)[-1]
    for name, value in expected(old)["resumed"].items():
        assert last[name] == pytest.approx(value, rel=CLOSE), name


def test_an_old_run_is_described_and_found_sound(old: Path, charlm: Charlm) -> None:
    (record,) = records(charlm("info", "old", "--json"))
    assert record["best_step"] == STEPS
    outcome = charlm("verify", "old")
    assert outcome.code == 0, outcome.err
