"""A model goes through pickle, copy and other processes, before and after it was used."""

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import charlm
from charlm.api import LanguageModel
from charlm.errors import RunError
from tests.conftest import TINY

TEXT = "The cat sees it."


def score(lm: LanguageModel) -> float:
    return lm.score(TEXT).logprob_nats


@pytest.fixture(params=["new", "used"])
def carried(request: pytest.FixtureRequest, trained: Callable[[str], Path]) -> LanguageModel:
    lm = charlm.load(trained("word"), threads=1)
    if request.param == "used":
        score(lm)
        assert len(list(lm.score_lines([TEXT]))) == 1
    return lm


@pytest.mark.parametrize(
    "carry", [copy.copy, copy.deepcopy, lambda lm: pickle.loads(pickle.dumps(lm))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_scores_and_samples_the_same(
    carried: LanguageModel, carry: Callable[[LanguageModel], LanguageModel]
) -> None:
    other = carry(carried)
    assert other is not carried
    assert score(other) == score(carried)
    assert other.sample(seed=1, length=9) == carried.sample(seed=1, length=9)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_model_goes_to_other_processes(carried: LanguageModel, method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(score, [carried, carried]) == [score(carried)] * 2


def test_a_cell_in_torch_goes_to_other_processes(corpus: Path, tmp_path: Path) -> None:
    settings = {**TINY, "cell": "gru", "steps": 2}
    lm = charlm.load(charlm.train(corpus, run=str(tmp_path / "gru"), **settings).run, threads=1)
    assert len(list(lm.score_lines([TEXT]))) == 1
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(score, [lm]) == [score(lm)]


def test_a_pickle_finds_its_run_from_another_folder(
    trained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained("char"), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    lm = charlm.load("run")
    pickled = pickle.dumps(lm)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert score(pickle.loads(pickled)) == score(charlm.load(trained("char")))


def test_a_pickle_whose_run_is_gone_or_another_one_says_so(
    trained: Callable[[str], Path], tmp_path: Path, corpus: Path
) -> None:
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    pickled = pickle.dumps(charlm.load(run))
    shutil.rmtree(run)
    with pytest.raises(RunError, match="no run"):
        pickle.loads(pickled)
    charlm.train(corpus, run=str(run), **TINY, steps=2)
    with pytest.raises(RunError, match="replaced"):
        pickle.loads(pickled)


def test_a_used_model_s_pickle_is_not_used_with_weights_that_were_trained_further(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    lm = charlm.load(run)
    score(lm)
    charlm.train(run=str(run), resume=True, steps=120)
    with pytest.raises(RunError, match="trained further"):
        score(pickle.loads(pickle.dumps(lm)))
