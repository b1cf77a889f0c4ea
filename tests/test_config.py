"""Settings: where each comes from, what it may be, and that names stand for what is there."""

import dataclasses
import math
import os
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm import settings as config
from charlm.cells import CELLS, cell
from charlm.errors import UsageError
from charlm.given import gather, unknown_variables
from charlm.model.initialisation import STARTS
from charlm.settings import (
    PRESETS,
    SETTINGS,
    CorpusSettings,
    ModelSettings,
    TextSettings,
    TrainingSettings,
    fill,
    flag,
    seconds,
)
from charlm.text.splitting import SPELL
from charlm.text.tokenizer import TOKENIZERS

FIELDS = [(kind, field) for kind in SETTINGS for field in dataclasses.fields(kind)]
BOUNDED = [
    (kind, field.name, field.metadata[end], end)
    for kind, field in FIELDS
    for end in ("low", "high")
    if field.metadata[end] is not None
]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, field in FIELDS:
        monkeypatch.delenv("CHARLM_" + field.name.upper(), raising=False)
    monkeypatch.delenv("CHARLM_PRESET", raising=False)


def toml(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return folder / "run.toml"


# Which one holds


@pytest.mark.parametrize("sources", list(product([None, "size", "preset", "both"], repeat=3)), ids=str)
def test_flags_beat_variables_beat_the_file_beats_the_default_and_a_preset_stands_where_it_is_given(
    sources: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, expected = [], None
    for source, size, preset in zip(sources, (11, 22, 33), ("tiny", "small", "large"), strict=True):
        given = {"hidden_size": size, "preset": preset}
        if source in ("size", "preset"):
            del given["preset" if source == "size" else "hidden_size"]
        layers.append(given if source else {})
        if source and expected is None:
            expected = PRESETS[preset].hidden_size if source == "preset" else size  # type: ignore[index]
    flags, variables, in_file = layers
    for name, value in variables.items():
        monkeypatch.setenv("CHARLM_" + name.upper(), str(value))
    file = toml(tmp_path, "".join(f"{name} = {value!r}\n" for name, value in in_file.items()))
    assert fill(ModelSettings, gather(flags, file)).hidden_size == expected


def test_a_length_given_higher_up_takes_away_another_kind_of_length_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, "steps = 100\nclip_norm = 2.0\n")
    monkeypatch.setenv("CHARLM_EPOCHS", "3")
    assert gather({}, file) == {"epochs": "3", "clip_norm": 2.0}
    assert gather({"time": "5m", "clip_value": 0.1}, file) == {"time": "5m", "clip_value": 0.1}


@pytest.mark.parametrize(
    "both", [{"steps": 5, "time": "5m"}, {"epochs": 1, "steps": 5}, {"clip_norm": 1, "clip_value": 1}]
)
def test_settings_that_exclude_each_other_are_refused_in_one_place(both: dict[str, Any]) -> None:
    error = refused(lambda: gather(both))
    assert all(flag(name) in error.what for name in both)


def test_the_preset_itself_can_come_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(tmp_path, 'preset = "large"\n')
    assert gather({}, file) == dataclasses.asdict(PRESETS["large"])
    monkeypatch.setenv("CHARLM_PRESET", "small")
    assert gather({}, file) == dataclasses.asdict(PRESETS["small"])
    monkeypatch.setenv("CHARLM_DROPOUT", "0.7")
    assert gather({}, file)["dropout"] == "0.7"
    assert gather({"preset": "tiny", "dropout": 0.0}, file) == {**dataclasses.asdict(PRESETS["tiny"]), "dropout": 0.0}


def test_what_is_not_given_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_CELL", "")
    assert gather({"cell": None, "steps": 5}) == {"steps": 5}


def test_falsy_values_are_given_too() -> None:
    assert gather({"dropout": 0.0, "lowercase": False}) == {"dropout": 0.0, "lowercase": False}


@pytest.mark.parametrize(
    ("text", "kind", "name", "value"),
    [
        ("24", ModelSettings, "hidden_size", 24),
        ("0.25", TrainingSettings, "dropout", 0.25),
        ("true", TextSettings, "lowercase", True),
        ("gru", ModelSettings, "cell", "gru"),
        ("1e-3", TrainingSettings, "learning_rate", 0.001),
    ],
)
def test_variables_are_text_of_the_settings_type(
    text: str, kind: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLM_" + name.upper(), text)
    assert getattr(fill(kind, gather({})), name) == value


def test_variables_that_nothing_reads_are_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHARLM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHARLM_DEBUG", "")
    monkeypatch.setenv("CHARLM_PRESET", "tiny")
    monkeypatch.setenv("CHARLM_STEPS", "")
    assert unknown_variables() == []
    for name in ("CHARLM_HIDEN_SIZE", "CHARLM_ZZZ", "OTHER_HIDEN_SIZE"):
        monkeypatch.setenv(name, "3")
    notes = unknown_variables()
    assert ["CHARLM_HIDEN_SIZE" in notes[0], "CHARLM_HIDDEN_SIZE" in notes[0]] == [True, True]
    assert ["CHARLM_ZZZ" in notes[1], len(notes)] == [True, 2]
    assert "hiden_size" not in gather({})


@pytest.mark.parametrize(
    ("name", "value"),
    [("HIDDEN_SIZE", "big"), ("HIDDEN_SIZE", "0"), ("UNIT", "letters"), ("TIME", "soon"), ("PRESET", "huge")],
)
def test_a_variable_with_a_wrong_value_is_named_unless_it_is_overridden(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CHARLM_{name}", value)
    error = refused(lambda: gather({}))
    assert ("environment" in error.where, name == "PRESET" or f"CHARLM_{name}" in error.where) == (True, True)
    if name != "PRESET":
        good = {"HIDDEN_SIZE": 7, "UNIT": "word", "TIME": "5m"}[name]
        assert gather({name.lower(): good})[name.lower()] == good


# What is refused


def refused(run: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        run()
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(("key", "nearest"), [("hiden_size", "hidden_size"), ("learningrate", "learning_rate")])
def test_an_unknown_key_names_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    error = refused(lambda: gather({}, toml(tmp_path, f"{key} = 3\n")))
    assert key in error.what
    assert nearest in error.to_do
    assert "run.toml" in error.where


def test_an_unknown_setting_given_in_python_names_the_nearest() -> None:
    error = refused(lambda: gather({"hiden_size": 3}))
    assert "hiden_size" in str(error)
    assert "hidden_size" in error.to_do


@pytest.mark.parametrize("content", ["hidden_size = ", "= 3", "hidden_size 3", "[model]\nhidden_size = 3"])
def test_a_file_that_is_no_flat_toml_is_refused(tmp_path: Path, content: str) -> None:
    assert "run.toml" in refused(lambda: gather({}, toml(tmp_path, content))).where


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "nothing.toml" in refused(lambda: gather({}, tmp_path / "nothing.toml")).where
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    assert "run.toml" in refused(lambda: gather({}, tmp_path / "run.toml")).where
    refused(lambda: gather({}, tmp_path))


def test_an_unknown_preset_names_those_there_are() -> None:
    error = refused(lambda: gather({"preset": "huge"}))
    assert all(name in error.to_do for name in PRESETS)


@pytest.mark.parametrize(("kind", "name", "bound", "end"), BOUNDED, ids=lambda value: str(value)[:24])
def test_what_is_just_outside_a_range_is_refused_and_its_bound_is_not(
    kind: Any, name: str, bound: float, end: str
) -> None:
    outside = bound - 1 if end == "low" else bound + 1
    assert flag(name) in refused(lambda: fill(kind, {name: outside})).what
    assert getattr(fill(kind, {name: bound}), name) == bound


NUMBERS = [(kind, field.name) for kind, field in FIELDS if "float" in str(field.type) and "clip" not in field.name]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_setting_is_infinite_or_not_a_number(kind: Any, name: str, value: float) -> None:
    assert flag(name) in refused(lambda: fill(kind, {name: value})).what


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ModelSettings, "hidden_size", "many"),
        (ModelSettings, "hidden_size", 24.5),
        (ModelSettings, "hidden_size", [24]),
        (ModelSettings, "cell", "transformer"),
        (ModelSettings, "tie_embeddings", "perhaps"),
        (TextSettings, "unit", "sentence"),
        (TextSettings, "unit", 3),
        (CorpusSettings, "encoding_errors", "hope"),
        (TrainingSettings, "time", 300),
        (TrainingSettings, "optimizer", None),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_naming_its_option(kind: Any, name: str, value: Any) -> None:
    assert flag(name) in refused(lambda: fill(kind, {name: value})).what


@pytest.mark.parametrize("duration", ["", "0", "0s", "-5m", "5 minutes", "m", "1h30m", "nan", "inf", "1e3", "9" * 400])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    assert "--time" in refused(lambda: seconds(duration)).what


@pytest.mark.parametrize("duration", ["36526d", "3155760001", "9" * 400, "9" * 400 + ".5d"])
def test_a_duration_of_more_than_a_hundred_years_is_refused_in_few_words(duration: str) -> None:
    assert seconds("36525d") == seconds("3155760000s")
    what = refused(lambda: seconds(duration)).what
    assert "out of range" in what
    assert len(what) < 80


@given(st.integers(1, 36_000), st.sampled_from(["", "s", "m", "h", "d"]))
def test_a_duration_is_a_number_and_its_unit(number: int, unit: str) -> None:
    times = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert seconds(f"{number}{unit}") == seconds(f" {number} {unit} ") == number * times
    assert seconds(f"{number}.5{unit}") == (number + 0.5) * times


# Names stand for what is there


@pytest.mark.parametrize(
    ("literal", "names"),
    [
        (config.Cell, CELLS),
        (cell.Start, STARTS),
        (config.Unit, TOKENIZERS),
        (config.PresetName, PRESETS),
    ],
    ids=["cells", "starts", "tokenizers", "presets"],
)
def test_a_literal_lists_the_keys_of_the_dict_that_implements_it(literal: Any, names: dict[str, Any]) -> None:
    assert set(get_args(literal)) == set(names)


def test_every_way_to_split_words_is_implemented() -> None:
    assert set(SPELL) == set(product(get_args(config.Split), get_args(config.Punctuation)))


def test_each_tokenizer_has_its_units_name() -> None:
    assert all(kind.unit == unit for unit, kind in TOKENIZERS.items())


def test_each_setting_has_one_name_and_says_what_it_is() -> None:
    names = [field.name for _, field in FIELDS]
    assert len(names) == len(set(names))
    assert all(field.metadata["doc"].endswith(".") or field.metadata["doc"].endswith(")") for _, field in FIELDS)


def test_a_preset_sets_only_the_models_sizes_and_dropout_and_within_their_range() -> None:
    for preset in PRESETS.values():
        given = dataclasses.asdict(preset)
        allowed = dataclasses.asdict(fill(ModelSettings, given)) | {"dropout": fill(TrainingSettings, given).dropout}
        assert given.items() <= allowed.items()


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_the_defaults_are_within_their_own_ranges(kind: Any) -> None:
    assert fill(kind, {}) == kind()
