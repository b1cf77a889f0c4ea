"""`charlm inspect` as a person types it: what it prints, what it draws, and what it refuses."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import charlm as package
from charlm.errors import RunError
from tests.conftest import TINY, english
from tests.test_cli import Charlm, charlm, records
from tests.test_layers import loaded_by_each

__all__ = ["charlm"]

Trained = Callable[[str], Path]
TEXT = 'The café sees "my" old friend.\nThe cats that he sees are here, and (as always) they are old.\n'
PAIRS = "good\tbad\tdistance\nthe cat sees it.\tthe cat see it.\t0\nshe asks\tshe ask\t2\n"
EVERY_VIEW: dict[str, list[str]] = {
    "gradients": ["--gradients", TEXT],
    "clipping": ["--clipping"],
    "states": ["--states", TEXT, "--neuron", "3"],
    "a gate": ["--states", TEXT, "--gate", "f", "--layer", "1"],
    "find": ["--states", TEXT, "--find"],
    "agreement": ["--agreement", "pairs.tsv"],
    "embeddings": ["--embeddings"],
    "neighbours": ["--embeddings", "--symbol", "e", "--symbol", "t"],
}
every_view = pytest.mark.parametrize("view", list(EVERY_VIEW))


@pytest.fixture
def runs(trained: Trained, charlm: Charlm, tmp_path: Path) -> Path:
    """The run of an LSTM of characters, in a folder that has a table of pairs."""
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    return trained("char")


@pytest.fixture(scope="session")
def layered(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another cell, with two layers, trained line by line, and without clipping."""
    settings = {**TINY, "num_layers": 2, "hidden_size": 13, "cell": "gru", "mode": "sentence", "clip_norm": 1e6}
    folder = tmp_path_factory.mktemp("layered") / "gated"
    return Path(package.train(corpus, run=str(folder), steps=20, residual=True, **settings).run)


@every_view
def test_every_view_fits_into_80_columns(charlm: Charlm, runs: Path, view: str) -> None:
    outcome = charlm("inspect", str(runs), *EVERY_VIEW[view])
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip()
    assert max(map(len, outcome.out.splitlines())) <= 80


@every_view
@pytest.mark.parametrize("ending", ["svg", "html", "png"])
def test_every_view_can_be_drawn(charlm: Charlm, runs: Path, view: str, ending: str) -> None:
    outcome = charlm("inspect", str(runs), *EVERY_VIEW[view], "-o", f"it.{ending}")
    assert outcome.code == 0, outcome.err
    drawn = Path(f"it.{ending}").read_bytes()
    if ending == "svg":
        root = ElementTree.fromstring(drawn.decode())
        assert {"title", "desc"} <= {child.tag.rpartition("}")[2] for child in root}
    elif ending == "html":
        assert b"http-equiv" in drawn
        assert b"<script" not in drawn
    else:
        assert drawn.startswith(b"\x89PNG")


@every_view
def test_every_view_has_json(charlm: Charlm, runs: Path, view: str) -> None:
    outcome = charlm("inspect", str(runs), *EVERY_VIEW[view], "--json")
    assert outcome.code == 0, outcome.err
    for line in outcome.out.splitlines():
        record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert record["schema_version"] == 1


def test_only_gradients_loads_torch(runs: Path, layered: Path, tmp_path: Path) -> None:
    others = [view for view in EVERY_VIEW if view != "gradients"]
    commands = [
        *(["inspect", str(runs), *EVERY_VIEW[view]] for view in others),
        ["inspect", str(layered), *EVERY_VIEW["agreement"]],  # of a cell that is not compiled
        ["inspect", str(runs), *EVERY_VIEW["gradients"]],
    ]
    *found, (printed, loaded) = loaded_by_each(commands, cwd=tmp_path)
    assert len(found) == len(others) + 1
    for command, (text, without) in zip(commands, found, strict=False):
        assert text.strip(), command
        assert "torch" not in without, command
    assert printed.strip()
    assert "torch" in loaded


@pytest.mark.parametrize("unit", ["byte", "word", "subword"])
def test_every_unit_can_be_looked_at(charlm: Charlm, trained: Trained, unit: str) -> None:
    run = str(trained(unit))
    for view in (["--gradients", TEXT], ["--states", TEXT, "--neuron", "1"], ["--states", 4 * TEXT, "--find"]):
        assert charlm("inspect", run, *view).code == 0
    (record,) = records(charlm("inspect", run, "--states", "Nobody ☃ sees it.", "--gate", "i", "--json"))
    assert "".join(map(str, record["pieces"])) == "Nobody ☃ sees it.\n"  # type: ignore[call-overload]
    assert charlm("inspect", run, "--embeddings").code == 0


def test_several_runs_are_compared(charlm: Charlm, runs: Path, layered: Path) -> None:
    outcome = charlm("inspect", str(runs), "--compare", str(layered), "--gradients", TEXT)
    assert "char" in outcome.out
    assert "gated, layer 2" in outcome.out
    found = records(charlm("inspect", str(runs), str(layered), "--gradients", TEXT, "--json"))
    assert [(record["run"], record["cell"], len(record["layers"])) for record in found] == [  # type: ignore[arg-type]
        ("char", "lstm", 1),
        ("gated", "gru", 2),
    ]
    outcome = charlm("inspect", str(layered), "--clipping", "--compare", str(runs))
    assert "gated: 0.0% of" in outcome.out
    assert "char" in charlm("inspect", str(layered), "--agreement", "pairs.tsv", "--compare", str(runs)).out


def test_gradients_say_the_half_life_and_how_far_back_they_look(charlm: Charlm, runs: Path) -> None:
    outcome = charlm("inspect", str(runs), "--gradients", TEXT, "--max-distance", "9")
    assert "half-life" in outcome.out
    assert "9 tokens" in outcome.out
    (record,) = records(charlm("inspect", str(runs), "--gradients", TEXT, "--max-distance", "9", "--json"))
    (layer,) = record["layers"]  # type: ignore[misc]
    assert len(layer["norms"]) == 10
    assert layer["half_life"] is None or layer["half_life"] > 0


def test_a_text_comes_from_standard_input(charlm: Charlm, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for view in (["--states", "-", "--neuron", "2"], ["--gradients", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"She sees it.\n")))
        typed = charlm("inspect", str(runs), *view)
        expected = charlm("inspect", str(runs), *(part if part != "-" else "She sees it." for part in view))
        assert (typed.code, typed.out) == (0, expected.out)


def test_find_with_a_picture_colours_the_text_by_the_best_unit(charlm: Charlm, runs: Path) -> None:
    outcome = charlm("inspect", str(runs), "--states", TEXT, "--find", "-o", "best.svg")
    best = outcome.out.splitlines()[1].split()
    unit = next(word for word in best if word.isdigit())
    assert f"output h, unit {unit}" in Path("best.svg").read_text(encoding="utf-8")


REFUSED: dict[str, tuple[int, list[str], str]] = {
    "no view": (2, [], "there is no view"),
    "two views": (2, ["--clipping", "--embeddings"], "--clipping and --embeddings are different views"),
    "compare": (2, ["--embeddings", "--compare", "x"], "it is for --gradients, --clipping, --agreement"),
    "several runs": (2, ["x", "--states", TEXT, "--neuron", "1"], "--compare does nothing with --states"),
    "max-distance": (2, ["--clipping", "--max-distance", "3"], "it is for --gradients"),
    "layer": (2, ["--gradients", TEXT, "--layer", "1"], "it is for --states"),
    "neuron": (2, ["--clipping", "--neuron", "1"], "it is for --states"),
    "gate": (2, ["--clipping", "--gate", "f"], "it is for --states"),
    "find": (2, ["--clipping", "--find"], "it is for --states"),
    "symbol": (2, ["--clipping", "--symbol", "a"], "it is for --embeddings"),
    "find and neuron": (2, ["--states", TEXT, "--find", "--neuron", "1"], "contradict each other"),
    "no unit": (2, ["--states", TEXT], "give --neuron N or --gate NAME, or --find"),
    "no such gate": (2, ["--states", TEXT, "--gate", "z"], "a layer of lstm has h, c, f, g, i, o"),
    "no such neuron": (2, ["--states", TEXT, "--neuron", "99"], "its units are 1 to 24"),
    "no such symbol": (2, ["--embeddings", "--symbol", "☃"], "is not in the vocabulary"),
    "another ending": (2, ["--clipping", "-o", "it.pdf"], "it.pdf"),
    "empty text": (3, ["--states", "", "--neuron", "1"], "the text is empty"),
    "short text": (3, ["--gradients", "The cat", "--max-distance", "8"], "too short to look back 8 tokens"),
    "nothing to follow": (3, ["--states", "a", "--find"], "a feature needs 20 tokens"),
    "no table": (3, ["--agreement", "missing.tsv"], "missing.tsv"),
    "a wrong table": (3, ["--agreement", "corpus.txt"], "no column 'good'"),
    "no other run": (4, ["--clipping", "--compare", "nowhere"], "no run 'nowhere'"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_makes_no_sense_is_refused(charlm: Charlm, runs: Path, case: str) -> None:
    code, arguments, words = REFUSED[case]
    outcome = charlm("inspect", str(runs), *arguments)
    assert outcome.code == code, outcome.err
    assert words in " ".join(outcome.err.split())
    assert not list(Path().glob("it.*"))


def test_a_cell_without_gates_says_what_it_has(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", "--cell", "rnn_tanh", "--steps", "2", "--hidden-size", "5", "-q").code == 0
    outcome = charlm("inspect", "corpus", "--states", TEXT, "--gate", "f")
    assert outcome.code == 2
    assert "a layer of rnn_tanh has h" in outcome.err


def test_no_run_a_damaged_one_and_one_of_another_kind(
    charlm: Charlm, monkeypatch: pytest.MonkeyPatch, runs: Path, tmp_path: Path
) -> None:
    assert charlm("inspect", "nowhere", "--clipping").code == 4
    assert charlm("train", "corpus.txt", "--steps", "2", "--hidden-size", "5", "-q").code == 0
    best = Path("runs/corpus/best.safetensors")
    best.write_bytes(best.read_bytes()[:-9])
    assert charlm("inspect", "corpus", "--embeddings").code == 4
    monkeypatch.setattr("charlm.runs.config.RunConfig.check_kind", _wrong_kind)
    for view in ("gradients", "states", "agreement"):
        assert charlm("inspect", str(runs), *EVERY_VIEW[view]).code == 4
    assert charlm("inspect", str(runs), "--clipping").code == 0


def _wrong_kind(config: Any, kind: str, run: Path) -> None:
    raise RunError("this run is a classifier, not a language model", str(run))


def test_the_text_is_escaped_wherever_it_goes(charlm: Charlm, trained: Trained) -> None:
    text = "<b>\x1b[2J[red]$x$"
    for unit in ("byte", "char"):
        outcome = charlm("inspect", str(trained(unit)), "--states", text, "--neuron", "1")
        assert outcome.code == 0
        assert "\x1b[2J" not in outcome.out
        assert "[red]" in outcome.out
        for ending in ("svg", "html", "png"):
            assert (
                charlm("inspect", str(trained(unit)), "--states", text, "--neuron", "1", "-o", f"x.{ending}").code == 0
            )
        for name in ("x.svg", "x.html"):
            drawn = Path(name).read_text(encoding="utf-8")
            assert "<b>" not in drawn
            assert "\x1b" not in drawn


def test_the_functions_are_reachable_from_python(runs: Path, pairs_table: Path) -> None:
    from charlm import api

    assert api.inspect_gradients([runs], english(3))[0].cell == "lstm"
    assert api.inspect_clipping([runs])[0].run == "char"
    assert len(api.inspect_states(runs, TEXT, gate="f").values) == len(TEXT)
    assert api.find_units(runs, TEXT, count=2)
    assert api.inspect_agreement([runs], pairs_table)[0].num_pairs == {0: 1, 2: 1}
    neighbours, vocabulary = api.inspect_embeddings(runs, ["e"])
    assert neighbours[0].symbol == "e"
    assert len(vocabulary.symbols) == vocabulary.num_types


@pytest.fixture
def pairs_table(tmp_path: Path) -> Path:
    return tmp_path / "pairs.tsv"
