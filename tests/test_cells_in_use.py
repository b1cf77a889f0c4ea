"""Every cell from the command's settings to a run directory and back: what was trained is what is used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.cells import CELLS
from charlm.errors import UsageError
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.runs.config import read_config
from charlm.runs.directory import BEST, CONFIG, MANIFEST, RunDirectory
from charlm.settings import ModelSettings
from charlm.system.files import fingerprint
from charlm.system.machine import Machine
from charlm.training.defaults import decide_architecture, suitable_layers
from charlm.training.events import StepDone
from tests.conftest import TINY
from tests.sessions import open_session

every_cell = pytest.mark.parametrize("cell", list(CELLS))
OWN_SIZES = [(cell, name) for cell in CELLS for name in CELLS[cell].settings]
TEXT = "The café sees my old friend.\nNobody here likes it.\n"


def decided(**settings: Any) -> Architecture:
    model, machine = ModelSettings(hidden_size=40, **settings), Machine("cpu", 1, bfloat16=False)
    return decide_architecture(model, "char", 70, 10**5, machine)


def architecture_of(run: str) -> Architecture:
    return read_config(RunDirectory(Path(run))).architecture


@every_cell
def test_a_trained_cell_comes_back_from_its_run(cell: str, corpus: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **TINY,
        "num_layers": 2,
        "residual": True,
        "head_layers": 1,
        "steps": 4,
        "eval_every": 2,
        "ngram": "none",
    }
    result = charlm.train(corpus, run=str(tmp_path / "run"), cell=cell, initial_state="learned", **settings)
    run, saved = result.run, RunDirectory(Path(result.run)).load(BEST).tensors
    assert result.num_params == sum(value.size for value in saved.values())
    model, architecture = charlm.load(run), architecture_of(run)
    assert (architecture.cell, architecture.residual, architecture.head_layers) == (cell, True, 1)
    network = TorchNetwork(architecture)
    network.load_arrays(saved)
    ids = np.array([[model.tokenizer.eos_id, *model.tokenizer.encode(TEXT)]])
    with torch.no_grad():
        logprobs = network(torch.from_numpy(ids[:, :-1]).long(), network.initial_state(1))[0].log_softmax(-1)
    expected = logprobs.gather(2, torch.from_numpy(ids[:, 1:]).long().unsqueeze(2)).squeeze(2)
    others = [charlm.load(run, engine=engine).predictor for engine in ("numpy", "torch")]
    for predictor in (model.predictor, model.batch_predictor, *others):
        found, _ = predictor.logprobs(ids[:, :-1], ids[:, 1:], predictor.initial_state(1))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(model.sample(length=20, seed=1).text) > 0


@pytest.mark.parametrize(("cell", "name"), OWN_SIZES)
def test_a_size_of_one_cell_is_decided_for_it_alone_unless_it_is_given(cell: str, name: str) -> None:
    assert getattr(decided(cell=cell), name) > 0
    assert getattr(decided(cell=cell, **{name: 7}), name) == 7
    assert getattr(decided(cell="gru"), name) == 0


@every_cell
def test_a_cell_without_a_recurrent_matrix_is_deep_unless_told_otherwise(cell: str) -> None:
    alone = cell in ("indrnn", "mingru", "minlstm")
    assert suitable_layers(cell) == (3 if alone else 1)
    assert decided(cell=cell).num_layers == suitable_layers(cell)
    assert decided(cell=cell, num_layers=2).num_layers == 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"proj_size": 5}, "--proj-size does nothing with --cell lstm"),
        ({"cell": "gru", "mogrifier_rank": 5}, "--mogrifier-rank does nothing with --cell gru"),
        ({"cell": "lstm_projected", "mogrifier_rounds": 2}, "--mogrifier-rounds does nothing"),
        ({"head_size": 5}, "--head-size does nothing without --head-layers"),
    ],
    ids=str,
)
def test_a_size_without_its_part_is_refused(settings: dict[str, Any], named: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        charlm.train(corpus, run=str(tmp_path / "run"), **{**TINY, **settings})
    assert not list(tmp_path.iterdir())


def test_a_run_of_charlm_0_1_is_read_scored_and_gone_on_with(corpus: Path, tmp_path: Path) -> None:
    """Its config.json has format 1, dropout as a part of the network, and none of the parts that came later."""
    run = Path(charlm.train(corpus, run=str(tmp_path / "run"), cell="gru", **{**TINY, "steps": 4}).run)
    expected = charlm.load(run).score(TEXT).logprob_nats
    config = json.loads((run / CONFIG).read_text())
    later = {"residual", "head_layers", "head_size", "proj_size", "mogrifier_rounds", "mogrifier_rank"}
    for part in later | {"kind", "direction"}:
        del config["model"][part]
    config["model"]["dropout"] = config["training"].pop("dropout")
    (run / CONFIG).write_text(json.dumps({**config, "format": 1}) + "\n")
    manifest = json.loads((run / MANIFEST).read_text())
    manifest[CONFIG] = fingerprint((run / CONFIG).read_bytes())
    (run / MANIFEST).write_text(json.dumps(manifest) + "\n")
    assert charlm.load(run).score(TEXT).logprob_nats == expected
    resumed = open_session(settings={"steps": 6, "residual": False}, run=str(run), resume=True)
    assert resumed.training.dropout == TINY["dropout"]
    assert [event.step for event in resumed.events() if isinstance(event, StepDone)] == [5, 6]


def test_a_size_may_come_with_its_cell(corpus: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**TINY, "steps": 2, "cell": "lstm_projected", "proj_size": 5, "num_layers": 2}
    assert architecture_of(charlm.train(corpus, run=str(tmp_path / "run"), **settings).run).output_size == 5


@pytest.mark.parametrize("cell", ["gru", "rnn_tanh", "mingru", "lstm_peephole"])
def test_compiled_code_is_refused_for_a_cell_that_it_does_not_know(cell: str, corpus: Path, tmp_path: Path) -> None:
    run = charlm.train(corpus, run=str(tmp_path / "run"), cell=cell, **{**TINY, "steps": 2}).run
    with pytest.raises(UsageError, match=f"compiled.*{cell}"):
        charlm.load(run, engine="compiled").predictor.initial_state()


def test_bfloat16_is_refused_where_the_engine_has_none(corpus: Path, tmp_path: Path) -> None:
    run = charlm.train(corpus, run=str(tmp_path / "run"), **{**TINY, "steps": 2}).run
    with pytest.raises(UsageError, match="bfloat16"):
        charlm.load(run, precision="bfloat16", engine="numpy").predictor.initial_state()
