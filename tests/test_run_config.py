"""A run's configuration: what charlm writes is read, older runs too; anything else is named and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import RunError
from charlm.network.architecture import Architecture
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.settings import TextSettings, TrainingSettings
from tests.mutations import reseal

MISSING = "<missing>"


@pytest.fixture
def change(trained: Callable[[str], Path], tmp_path: Path) -> Callable[[str, Any], RunDirectory]:
    """A run of which one value is another one, its checksum right."""
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    whole = (run / "config.json").read_bytes()

    def changed(name: str, value: Any) -> RunDirectory:
        config = json.loads(whole)
        *parts, last = name.split(".")
        inner = config
        for part in parts:
            inner = inner[part]
        inner[last] = value
        if value is MISSING:
            del inner[last]
        (run / "config.json").write_text(json.dumps(config) + "\n")
        reseal(run)
        return RunDirectory(run)

    return changed


def test_a_run_has_all_that_it_was_made_with(trained: Callable[[str], Path]) -> None:
    run = RunDirectory(trained("char"))
    config = read_config(run)
    assert config.run_id == run.config["run_id"]
    assert config.model == Architecture(**run.config["model"])
    assert config.training == TrainingSettings(**run.config["training"])
    assert config.text == TextSettings()
    assert (config.corpus.name, config.corpus.unit, config.reading.valid_fraction) == ("english.txt", "char", 0.1)
    assert config.versions.keys() == {"python", "torch", "numpy"}


@pytest.mark.parametrize(
    "name", ["corpus.seal", "corpus.sha256", "corpus.split", "command", "init_from", "training.device", "text.unit"]
)
def test_what_older_runs_lack_may_be_missing(name: str, change: Callable[[str, Any], RunDirectory]) -> None:
    value = {"init_from": {"run": "x"}, "training.device": "cpu", "text.unit": "char", "corpus.split": "none"}
    read_config(change(name, value.get(name, "x")))
    config = read_config(change(name, MISSING))
    assert config.corpus.split == "end"
    if name == "command":
        assert config.command is None


def test_a_run_may_say_nothing_of_its_length(change: Callable[[str, Any], RunDirectory]) -> None:
    training = read_config(change("training.steps", None)).training
    assert (training.steps, training.epochs, training.time) == (None, None, None)


def test_a_duration_is_one_that_can_be_given(change: Callable[[str, Any], RunDirectory]) -> None:
    config = json.loads((change("training.steps", None).path / "config.json").read_text())
    for time, fits in (("5m", True), ("soon", False), ("9" * 400, False), ("36526d", False)):
        run = change("training", {**config["training"], "time": time})
        if fits:
            assert read_config(run).training.time == time
            continue
        with pytest.raises(RunError, match="--time"):
            read_config(run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("run_id", 7), ("run_id", MISSING), ("created", None), ("charlm", MISSING), ("command", 7)),
        *(("corpus", MISSING), ("corpus", []), ("corpus.name", MISSING), ("corpus.unit", "letter")),
        *(("corpus.train_tokens", -1), ("corpus.train_tokens", True), ("corpus.train_tokens", 10**30)),
        *(("corpus.train_tokens", 5.0), ("corpus.seal", None), ("corpus.name", "x" * 5000)),
        *(("corpus.split", "middle"), ("corpus.split", None)),
        *(("text", 7), ("text.vocab_size", 2), ("text.lowercase", 1), ("text.valid_fraction", float("nan"))),
        *(("model", MISSING), ("model.cell", "tape"), ("model.hidden_size", 0), ("model.num_layers", 65)),
        *(("model.dropout", 0.96), ("model.dropout", float("nan")), ("model.initial_state", [])),
        *(("model.vocab_size", 2**24 + 1), ("model.embedding_size", 7.0), ("model.tie_embeddings", 0)),
        *(("model.residual", None), ("model.extra", 1), ("model.hidden_size", MISSING), ("model.head_layers", 2)),
        *(("training", "x"), ("training.batch_size", None), ("training.bptt", 65537), ("training.seed", -1)),
        *(("training.learning_rate", 1e9), ("training.optimizer", "sgdw"), ("training.patience", float("inf"))),
        *(("training.time", "soon"), ("training.time", "9" * 400), ("training.time", "5m"), ("training.epochs", 2.0)),
        *(("versions", ["torch"]), ("versions.torch", 2), ("init_from", "x")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_charlm_never_wrote_is_refused_by_name(
    name: str, value: Any, change: Callable[[str, Any], RunDirectory]
) -> None:
    with pytest.raises(RunError, match=r"config\.json") as caught:
        read_config(change(name, value))
    assert caught.value.exit_code == 4
    if not name.startswith("model."):
        assert name.split(".")[-1].replace("_", "") in str(caught.value).replace("_", "").replace("-", "")
