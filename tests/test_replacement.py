"""`--force`: the old run answers until the new one can, whatever ends the new one before."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.errors import DivergedError, ResourceError, UsageError
from charlm.lifecycle.session import Instruments, Session
from charlm.runs.directory import BEST, LAST, RunDirectory
from charlm.runs.lock import writing
from charlm.system.interrupts import StopRequest
from charlm.training.events import Evaluated, StepDone
from tests.cases import slow
from tests.conftest import TINY
from tests.test_training import Start, finish, interrupt_after, start, stop

__all__ = ["start", "stop"]  # fixtures
TEXT = "the cat sees the sea\n"


@pytest.fixture
def old(start: Start) -> Path:
    """A finished run, and its answer."""
    return finish(start(steps=3)).run.path


def answer(path: Path) -> float:
    return charlm.load(path).score(TEXT).logprob_nats


def beside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_the_old_run_answers_until_the_new_one_has_a_best(old: Path, start: Start) -> None:
    before, run_id, training = answer(old), RunDirectory(old).config["run_id"], start(force=True)
    for event in training.events():
        if isinstance(event, StepDone) and event.step < 5:
            assert answer(old) == before
        if isinstance(event, Evaluated):
            assert RunDirectory(old).config["run_id"] != run_id
            assert answer(old) != before
    assert training.run.path == old
    assert RunDirectory(old).load(LAST).step == 24
    assert beside(old) == ["run"]
    assert finish(start(resume=True, steps=26)).trainer.progress.step == 26


def test_what_is_measured_at_the_end_is_the_new_run(old: Path, corpus: Path) -> None:
    result = charlm.train(corpus, run=str(old), force=True, test=corpus, steps=4, hidden_size=5, threads=1)
    assert (result.run, result.steps) == (str(old), 4)
    assert result.test is not None
    assert [line["event"] for line in RunDirectory(old).log.records()][-1] == "Measured"


def fail(error: BaseException) -> Any:
    def fail(*arguments: Any) -> Any:
        raise error

    return fail


def failing_step(error: BaseException) -> Instruments:
    """The first step fails, after its gradients are computed."""
    raise_error = fail(error)
    return Instruments(fault=lambda name, number: raise_error() if name == "loss" else number)


@pytest.mark.parametrize("error", [DivergedError("x"), ResourceError("no space"), MemoryError(), KeyboardInterrupt()])
def test_what_goes_wrong_before_leaves_the_old_run_and_nothing_else(
    old: Path, start: Start, error: BaseException
) -> None:
    before = answer(old)
    with pytest.raises(type(error)):
        finish(start(force=True, instruments=failing_step(error)))
    assert (answer(old), beside(old)) == (before, ["run"])
    with writing(old):
        pass


def test_a_disk_that_is_full_at_the_first_save_leaves_the_old_run(
    old: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answer(old)
    training, save = start(force=True, eval_every=100, save_every=100), RunDirectory.save

    def full(run: RunDirectory, kind: str, *arguments: Any) -> None:
        if kind == BEST:
            raise ResourceError("no space left")
        save(run, kind, *arguments)

    monkeypatch.setattr(RunDirectory, "save", full)
    with pytest.raises(ResourceError):
        finish(training)
    assert (answer(old), beside(old)) == (before, ["run"])


def test_a_model_that_does_not_fit_into_memory_leaves_the_old_run(old: Path, start: Start) -> None:
    before = answer(old)
    with pytest.raises(ResourceError, match="not enough memory"):
        start(force=True, instruments=Instruments(free_memory=lambda device: 1000))
    assert (answer(old), beside(old)) == (before, ["run"])


def test_a_model_that_does_not_fit_on_the_disk_leaves_the_old_run(
    old: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answer(old)
    monkeypatch.setattr("charlm.lifecycle.creation.check_space", fail(ResourceError("no room")))
    with pytest.raises(ResourceError, match="no room"):
        start(force=True)
    assert (answer(old), beside(old)) == (before, ["run"])


def test_a_new_run_that_cannot_be_locked_leaves_nothing(
    old: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.lifecycle.replacement.writing", fail(ResourceError("no room for a lock")))
    with pytest.raises(ResourceError):
        start(force=True)
    assert beside(old) == ["run"]


def leave(training: Session, stop: StopRequest, how: str) -> None:
    if how == "signal":
        interrupt_after(training, stop, 4)
        return
    events = training.events()
    next(event for event in events if isinstance(event, StepDone) and event.step == 4)
    events.close()


@pytest.mark.parametrize("how", ["signal", "close"])
def test_what_is_ended_before_becomes_a_run_of_its_own_and_goes_on(
    old: Path, start: Start, stop: StopRequest, how: str
) -> None:
    before, training = answer(old), start(force=True)
    leave(training, stop, how)
    assert answer(old) == before
    assert (training.spared, training.run.path, beside(old)) == (old, old.with_name("run-2"), ["run", "run-2"])
    assert finish(start("run-2", resume=True)).trainer.progress.step == 24
    again = start(force=True)
    leave(again, stop, how)
    assert again.run.path == old.with_name("run-3")


def test_what_is_ended_after_has_replaced_the_old_run(old: Path, start: Start, stop: StopRequest) -> None:
    training = start(force=True)
    interrupt_after(training, stop, 9)
    assert (training.spared, beside(old)) == (None, ["run"])
    assert RunDirectory(old).load(LAST).step == 9


def test_two_do_not_replace_one_run_at_a_time(old: Path, start: Start) -> None:
    first, second = start(force=True), start(force=True)
    events = first.events()
    next(events)
    for other in (second, start):
        with pytest.raises(UsageError, match="being trained already"):
            finish(other) if isinstance(other, Session) else other(force=True)
    with pytest.raises(UsageError, match="being trained already"):
        finish(start(resume=True, steps=9))
    for _ in events:
        pass
    assert beside(old) == ["run"]


def test_what_comes_into_the_old_folder_meanwhile_is_not_lost(old: Path, start: Start) -> None:
    events = start(force=True).events()
    next(events)
    (old / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="more than a run"):
        list(events)
    assert (old / "notes.txt").read_text() == "mine"
    assert beside(old) == ["run"]


@pytest.mark.parametrize("instead", ["nothing", "another run"])
def test_an_old_run_that_is_gone_meanwhile(old: Path, start: Start, instead: str) -> None:
    training = start(force=True)
    events = training.events()
    next(events)
    old.rename(old.with_name("elsewhere"))
    if instead == "nothing":
        for _ in events:
            pass
        assert RunDirectory(old).load(LAST).step == 24
        return
    finish(start(steps=3))
    with pytest.raises(UsageError, match="another run was put at this path"):
        list(events)
    assert RunDirectory(old).load(LAST).step == 3


@pytest.mark.parametrize("following", [{"force": True}, slow({"resume": True})])
def test_what_a_killed_process_left_goes_with_the_next_training_of_that_name(
    old: Path, start: Start, following: dict[str, bool]
) -> None:
    before = answer(old)
    command = [sys.executable, "-c", KILLED, str(old)]
    subprocess.run(command, check=False, cwd=Path(__file__).parents[1])
    assert len(beside(old)) == 2
    assert answer(old) == before
    finish(start("run", **following))
    assert beside(old) == ["run"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.sessions import open_session
text = Path(sys.argv[1]).parent / "text.txt"
text.write_text("the pear and the pair\\n" * 40)
session = open_session(text, {"steps": 9, "hidden_size": 5, "threads": 1}, run=sys.argv[1], force=True)
text.unlink()
events = session.events()
next(events)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_training_that_is_never_begun_leaves_the_old_run_and_nothing_else(old: Path, start: Start) -> None:
    before, training = answer(old), start(force=True)
    assert len(beside(old)) == 2
    del training
    assert (answer(old), beside(old)) == (before, ["run"])
    with writing(old):
        pass


def test_a_training_that_is_begun_is_kept_after_its_session_is_gone(old: Path, start: Start) -> None:
    before = answer(old)
    finish(start(force=True))
    assert beside(old) == ["run"]
    assert answer(old) != before


def test_a_time_limit_and_force_may_save_before_the_first_check(corpus: Path, tmp_path: Path) -> None:
    """The plan is saved, so the new run takes the old one's place, while the validation part is still to be read."""
    settings = {**TINY, "time": "1s"}
    run = str(tmp_path / "run")
    charlm.train(corpus, run=run, steps=2, **TINY)
    result = charlm.train(corpus, run=run, force=True, **settings)
    assert result.valid is not None
    assert result.steps > 2
