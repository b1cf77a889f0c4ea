"""The functions of `charlm` in Python: what they take, and that they agree with the commands."""

import dataclasses
import tarfile
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.errors import RunError, UsageError
from charlm.runs.directory import RunDirectory
from tests.conftest import TINY, english
from tests.test_cli import Charlm, records
from tests.test_cli import charlm as charlm_command
from tests.test_training import Start, finish, start

__all__ = ["charlm_command", "start"]  # fixtures
SHORT: dict[str, Any] = {**TINY, "steps": 2}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with two texts and another file."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(english(40))
    (folder / "b.txt").write_text(english(40, seed=2))
    (folder / "c.md").write_text(english(40, seed=3))
    return folder


def test_a_run_can_be_a_path_or_a_name(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first"
    assert charlm.train(corpus, run=path, **SHORT).run == str(path)
    assert charlm.train(run=path, resume=True, steps=3).steps == 3
    assert charlm.train(corpus, run=tmp_path / "runs" / "second", init_from=path, steps=1, threads=1).steps == 1
    assert charlm.describe(path).best_step == charlm.describe(str(path)).best_step == 3
    assert charlm.load(path).score("the cat") == charlm.load(str(path)).score("the cat")


@pytest.mark.parametrize(
    ("include", "exclude", "sources"),
    [("*.txt", (), "ab"), (["*.txt"], "b.*", "a"), ((), ["*.md", "a*"], "b"), (("a*", "c*"), (), "ac")],
)
def test_one_pattern_needs_no_list(texts: Path, tmp_path: Path, include: Any, exclude: Any, sources: str) -> None:
    files = [path for path in sorted(texts.iterdir()) if path.stem in sources]
    expected = charlm.tokenize(files, tmp_path / "expected")
    assert charlm.tokenize(texts, include=include, exclude=exclude) == expected
    run = charlm.train(texts, run=tmp_path / "run", include=include, exclude=exclude, **SHORT).run
    assert charlm.describe(run).config.corpus.train_tokens == expected.tokens


def test_an_unknown_setting_is_refused(corpus: Path) -> None:
    for ask in (charlm.train, charlm.estimate, charlm.tokenize):
        with pytest.raises(UsageError, match="hiden_size"):
            ask(corpus, hiden_size=3)


def test_an_estimate_leaves_nothing(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = charlm.estimate(corpus, **{**TINY, "steps": 30})
    assert (expected.steps, expected.seconds > 0) == (30, True)
    assert list(tmp_path.iterdir()) == []


def test_a_text_is_tokenized_and_trained_on(corpus: Path, tmp_path: Path) -> None:
    summary = charlm.tokenize(corpus, tmp_path / "ids", unit="word", vocab_size=30)
    assert (summary.unit, summary.types) == ("word", 30)
    run = charlm.train(tmp_path / "ids", run=tmp_path / "run", **SHORT).run
    again = charlm.tokenize(corpus, tokenizer=run)
    assert again == summary
    with pytest.raises(UsageError, match="contradict"):
        charlm.tokenize(corpus, tokenizer=run, unit="char")
    with pytest.raises(UsageError, match="no text"):
        charlm.tokenize([])


def test_a_run_is_verified(start: Start) -> None:
    run = finish(start(steps=2)).run.path
    assert all(checked.ok for checked in charlm.verify(run))
    (run / "tokenizer.json").write_text("{}")
    assert not all(checked.ok for checked in charlm.verify(str(run)))
    with pytest.raises(RunError):
        charlm.verify(run.parent / "none")


def test_the_commands_and_the_functions_agree(charlm_command: Charlm) -> None:
    charlm_command("train", "corpus.txt", "--steps", "2", "--hidden-size", "9", "-q")
    (record,) = records(charlm_command("info", "corpus", "--json"))
    described = charlm.describe("corpus")
    assert record["best_step"] == described.best_step
    assert record["measured"] == described.measured
    (record,) = records(charlm_command("verify", "corpus", "--json"))
    assert record["files"] == [dataclasses.asdict(checked) for checked in charlm.verify("corpus")]
    (record,) = records(charlm_command("tokenize", "corpus.txt", "--json"))
    summary = dataclasses.asdict(charlm.tokenize("corpus.txt"))
    assert {name: value for name, value in record.items() if name in summary} == {
        **summary,
        "frequent": [list(pair) for pair in summary["frequent"]],
    }


def test_a_training_is_watched_and_measured(corpus: Path, tmp_path: Path) -> None:
    session = charlm.start_training(charlm.train_request(corpus, run=tmp_path / "run", **SHORT))
    steps = [event.step for event in session.events() if type(event).__name__ == "StepDone"]
    assert steps == [1, 2]
    assert session.measure().steps == 2
    assert RunDirectory(tmp_path / "run").log.num_bytes > 0


def test_everything_that_is_named_is_there() -> None:
    assert all(getattr(charlm, name) for name in charlm.__all__)
    with pytest.raises(AttributeError):
        charlm.nothing  # noqa: B018


def test_archives_take_a_pattern_too(texts: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "texts.tar", "w") as archive:
        archive.add(texts, "texts")
    assert charlm.tokenize(tmp_path / "texts.tar", include="a*").tokens == charlm.tokenize(texts / "a.txt").tokens
