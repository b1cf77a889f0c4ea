"""A run's configuration: what charlm writes is read, older runs too; anything else is named and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.errors import RunError
from charlm.network.architecture import Architecture
from charlm.runs.config import read_config
from charlm.runs.directory import FORMAT, RunDirectory
from charlm.settings import TextSettings, TrainingSettings
from tests.conftest import TINY
from tests.fixtures.__main__ import HERE
from tests.mutations import reseal

MISSING = "<missing>"
Change = Callable[..., RunDirectory]
OLD_RUNS = sorted(HERE.glob("format-[1-4]/*/"))


@pytest.fixture
def change(trained: Callable[[str], Path], tmp_path: Path) -> Change:
    """A run of which one value is another one, or its format, too; its checksum is right."""
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    whole = (run / "config.json").read_bytes()

    def changed(name: str, value: Any, format: int = FORMAT) -> RunDirectory:
        config = {**json.loads(whole), "format": format}
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
    assert config.architecture == Architecture(**run.config["model"])
    assert config.training == TrainingSettings(**run.config["training"])
    assert config.text == TextSettings()
    assert (config.corpus.name, config.corpus.unit, config.reading.valid_fraction) == ("english.txt", "char", 0.1)
    assert config.versions.keys() == {"python", "torch", "numpy"}


def test_a_run_says_what_its_network_is_and_apart_from_it_how_it_was_trained(trained: Callable[[str], Path]) -> None:
    config = RunDirectory(trained("char")).config
    assert (config["format"], FORMAT) == (5, 5)
    assert (config["model"]["kind"], config["model"]["direction"]) == ("language-model", "forward")
    assert "dropout" not in config["model"]
    assert config["training"]["dropout"] == TINY["dropout"]


@pytest.mark.parametrize("run", OLD_RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_dropout_of_older_runs_is_read_where_they_have_it(run: Path) -> None:
    written = json.loads((run / "config.json").read_bytes())
    config = read_config(RunDirectory(run))
    assert config.training.dropout == written["model"]["dropout"] == 0.1
    assert (config.architecture.kind, config.architecture.direction) == ("language-model", "forward")


def test_a_dropout_that_an_older_run_cannot_have_is_refused(change: Change) -> None:
    model = dict(json.loads((change("command", None).path / "config.json").read_bytes())["model"])
    assert read_config(change("model", {**model, "dropout": 0.2}, format=4)).training.dropout == 0.2
    for wrong in (MISSING, None, 0.96, float("nan"), "0.1"):
        of_then = model if wrong is MISSING else {**model, "dropout": wrong}
        with pytest.raises(RunError, match=r"config\.json.*dropout"):
            read_config(change("model", of_then, format=4))


USES: dict[str, Callable[[str, Path, Path], object]] = {
    "load": lambda run, corpus, new: charlm.load(run),
    "resume": lambda run, corpus, new: charlm.train(run=run, resume=True, steps=70),
    "init-from": lambda run, corpus, new: charlm.train(corpus, run=str(new), init_from=run, steps=1),
}


@pytest.mark.parametrize("use", list(USES))
def test_a_kind_of_network_that_this_charlm_does_not_know_is_refused(
    use: str, change: Change, corpus: Path, tmp_path: Path
) -> None:
    run = change("model.kind", "tagger")
    with pytest.raises(RunError, match="tagger") as caught:
        USES[use](str(run.path), corpus, tmp_path / "new")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "name", ["corpus.seal", "corpus.sha256", "corpus.split", "command", "init_from", "training.device", "text.unit"]
)
def test_what_older_runs_lack_may_be_missing(name: str, change: Change) -> None:
    value = {"init_from": {"run": "x"}, "training.device": "cpu", "text.unit": "char", "corpus.split": "none"}
    read_config(change(name, value.get(name, "x")))
    config = read_config(change(name, MISSING))
    assert config.corpus.split == "end"
    if name == "command":
        assert config.command is None


def test_a_run_may_say_nothing_of_its_length(change: Change) -> None:
    training = read_config(change("training.steps", None)).training
    assert (training.steps, training.epochs, training.time) == (None, None, None)


def test_a_duration_is_one_that_can_be_given(change: Change) -> None:
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
        *(("model.dropout", 0.1), ("model.initial_state", []), ("model.kind", 7), ("model.direction", "sideways")),
        *(("model.vocab_size", 2**24 + 1), ("model.embedding_size", 7.0), ("model.tie_embeddings", 0)),
        *(("model.residual", None), ("model.extra", 1), ("model.hidden_size", MISSING), ("model.head_layers", 2)),
        *(("training", "x"), ("training.batch_size", None), ("training.bptt", 65537), ("training.seed", -1)),
        *(("training.dropout", 0.96), ("training.dropout", float("nan")), ("training.dropout", None)),
        *(("training.dropout", MISSING), ("training.dropout", "0.1")),
        *(("training.learning_rate", 1e9), ("training.optimizer", "sgdw"), ("training.patience", float("inf"))),
        *(("training.time", "soon"), ("training.time", "9" * 400), ("training.time", "5m"), ("training.epochs", 2.0)),
        *(("versions", ["torch"]), ("versions.torch", 2), ("init_from", "x")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_charlm_never_wrote_is_refused_by_name(name: str, value: Any, change: Change) -> None:
    with pytest.raises(RunError, match=r"config\.json") as caught:
        read_config(change(name, value))
    assert caught.value.exit_code == 4
    if not name.startswith("model."):
        assert name.split(".")[-1].replace("_", "") in str(caught.value).replace("_", "").replace("-", "")
