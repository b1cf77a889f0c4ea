"""A run's config.json, every value of it checked: what is built or shown rests on this, never on the raw JSON."""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from charlm.corpus.sources import TRAIN, is_prepared
from charlm.corpus.store import IdsFile
from charlm.errors import UsageError
from charlm.network.architecture import Shape, most_state_bytes, shape_from
from charlm.runs.directory import CONFIG, LAST, RunDirectory
from charlm.settings import LENGTHS, CorpusSettings, TextSettings, TrainingSettings, Unit, ValidSplit, check, seconds

Kind = TypeVar("Kind")

MAX_LENGTH = 4096  # characters of a text in it
MAX_NUMBER = (1 << 63) - 1  # of tokens, and a seed
DECIDED = ("bptt", "batch_size", "learning_rate")  # settings that training has decided before it writes them


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """What the run was trained on; the checksums are empty in runs of older versions."""

    name: str
    unit: Unit
    train_tokens: int
    train_characters: int
    valid_tokens: int
    test_tokens: int
    sha256: str = ""
    valid_sha256: str = ""
    test_sha256: str = ""
    seal: str = ""
    """sha256 of corpus/MANIFEST.json."""
    split: ValidSplit = "end"
    """What was kept for validation."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """config.json. `command` is the command line, `init_from` where the weights began, where the run says so."""

    run_id: str
    charlm: str
    created: str
    corpus: CorpusFacts
    text: TextSettings
    reading: CorpusSettings
    model: Shape
    training: TrainingSettings
    versions: dict[str, str] = field(default_factory=dict)
    command: str | None = None
    init_from: dict[str, Any] | None = None

    @property
    def most_state_bytes(self) -> int:
        """The size that a saved state of its training cannot exceed; lines of one token are the most sequences."""
        return most_state_bytes(self.model, (self.training.batch_size or 1) * (self.training.bptt or 1))


def was_trained(run: RunDirectory, config: RunConfig) -> bool:
    """Whether a step has been saved: from then on there is a best, too. Raises RunError when the state is damaged."""
    return run.has(LAST) and run.load(LAST, config.most_state_bytes).step > 0


def read_config(run: RunDirectory) -> RunConfig:
    """The run's configuration. Raises RunError naming config.json for what is missing, or of a wrong type or range."""
    config = run.config
    try:
        versions = _mapping(config, "versions", {})
        init_from = config.get("init_from")
        return RunConfig(
            run_id=_checked(str, config.get("run_id"), "run_id"),
            charlm=_checked(str, config.get("charlm"), "charlm"),
            created=_checked(str, config.get("created"), "created"),
            corpus=_filled(CorpusFacts, _mapping(config, "corpus"), "corpus"),
            text=_settings(TextSettings, _mapping(config, "text"), "text"),
            reading=_reading(_mapping(config, "text")),
            model=shape_from(config, str(run.path / CONFIG)),
            training=_training(_mapping(config, "training")),
            versions={name: _checked(str, value, f"versions.{name}") for name, value in versions.items()},
            command=_checked(str | None, config.get("command"), "command"),
            init_from=None if init_from is None else _mapping(config, "init_from"),
        )
    except (ValueError, UsageError) as error:
        why = error.what if isinstance(error, UsageError) else str(error)
        raise run.damaged(CONFIG, f"has what charlm never wrote: {why[:200]}") from error


def read_reading(run: RunDirectory) -> CorpusSettings:
    """How a run's text was read, and how another one is read to be compared with it. Raises RunError."""
    try:
        return _reading(_mapping(run.config, "text", {}))
    except (ValueError, UsageError) as error:
        raise run.damaged(CONFIG, f"has what charlm never wrote: {error}"[:200]) from error


def reading_with_tokenizer(path: Path) -> CorpusSettings:
    """How the text was read that a tokenizer is kept with: in a run's folder, or in a prepared one. Raises RunError."""
    if (path / CONFIG).is_file():
        return read_reading(RunDirectory(path))
    if is_prepared(path):
        header = IdsFile.open(path / TRAIN).header
        return CorpusSettings(line_ends=header.line_ends, normal_form=header.normal_form)
    return CorpusSettings()


def _reading(values: Mapping[str, Any]) -> CorpusSettings:
    """Older runs lack how line ends are read: they were kept."""
    settings = _settings(CorpusSettings, values, "text")
    return dataclasses.replace(settings, line_ends=settings.line_ends or "keep")


def _training(values: Mapping[str, Any]) -> TrainingSettings:
    settings = _settings(TrainingSettings, values, "training")
    for name in DECIDED:
        if getattr(settings, name) is None:
            raise ValueError(f"training.{name} is missing")
    if settings.clip_norm is None and settings.clip_value is None:
        raise ValueError("training.clip_norm is missing")
    given = [f"training.{name}" for name in LENGTHS if getattr(settings, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other")
    if settings.time is not None:
        seconds(settings.time)
    return settings


def _settings(kind: type[Kind], values: Mapping[str, Any], where: str) -> Kind:
    """Settings of one kind, which older versions may lack, in their ranges. Raises ValueError or UsageError."""
    settings = _filled(kind, values, where)
    check(settings)
    return settings


def _filled(kind: type[Kind], values: Mapping[str, Any], where: str) -> Kind:
    """A dataclass from those of its fields that are there; others are ignored. Raises ValueError."""
    given = {}
    for name, (type_, required) in _fields(kind).items():
        if name in values:
            given[name] = _checked(type_, values[name], f"{where}.{name}")
        elif required:
            raise ValueError(f"{where}.{name} is missing")
    return kind(**given)


def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Name, type, and whether there is no default."""
    hints = get_type_hints(kind)
    return {one.name: (hints[one.name], one.default is dataclasses.MISSING) for one in dataclasses.fields(kind)}


def _mapping(config: Mapping[str, Any], name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    value = config.get(name, default)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is no object")
    return value


def _checked(type_: Any, value: Any, name: str) -> Any:
    """The value, when it is of this type (a text, number, truth value, literal, or None where that is allowed)."""
    if not _fits(type_, value):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is of a wrong type, or out of range")
    return value


def _fits(type_: Any, value: Any) -> bool:
    if get_origin(type_) in (Union, types.UnionType):
        return any(_fits(one, value) for one in get_args(type_))
    if get_origin(type_) is Literal:
        return isinstance(value, str) and value in get_args(type_)
    if type_ is str:
        return isinstance(value, str) and len(value) <= MAX_LENGTH
    if type_ is bool or type_ is types.NoneType:
        return isinstance(value, type_)
    if type_ is int:
        return type(value) is int and 0 <= value <= MAX_NUMBER
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER  # False for nan
