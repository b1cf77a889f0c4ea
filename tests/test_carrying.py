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


def test_a_model_is_whole_without_its_run(trained: Callable[[str], Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    lm = charlm.load(run)
    pickled, expected = pickle.dumps(lm), score(charlm.load(trained("char")))
    shutil.rmtree(run)
    assert score(lm) == score(pickle.loads(pickled)) == expected
    assert pickle.loads(pickled).sample(seed=1, length=9) == lm.sample(seed=1, length=9)


def test_a_model_keeps_its_weights_while_its_run_is_trained_further(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    lm, expected = charlm.load(run), score(charlm.load(run))
    charlm.train(run=str(run), resume=True, steps=120)
    assert score(charlm.load(run)) != expected
    assert score(lm) == score(pickle.loads(pickle.dumps(lm))) == expected


def test_a_pickle_is_about_as_large_as_the_weights(trained: Callable[[str], Path]) -> None:
    lm = charlm.load(trained("char"))
    score(lm)
    weights = (trained("char") / "best.safetensors").stat().st_size
    assert len(pickle.dumps(lm)) < 2 * weights + 20_000
