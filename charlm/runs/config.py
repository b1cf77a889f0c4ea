"""A run's config.json, every value of it checked: what is built or shown rests on this, never on the raw JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charlm.errors import UsageError
from charlm.network.architecture import Architecture
from charlm.network.snapshot import max_state_bytes
from charlm.runs.directory import CONFIG, LAST, RunDirectory
from charlm.settings import LENGTHS, CorpusSettings, TextSettings, TrainingSettings, Unit, ValidSplit, check, seconds
from charlm.system.records import Count, ShortText, read_record

DECIDED = ("bptt", "batch_size", "learning_rate", "dropout")
"""Settings that are decided before they are written."""


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """What the run was trained on; the checksums are empty in runs of older versions."""

    name: ShortText
    unit: Unit
    train_tokens: Count
    train_characters: Count
    valid_tokens: Count
    test_tokens: Count
    sha256: ShortText = ""
    valid_sha256: ShortText = ""
    test_sha256: ShortText = ""
    seal: ShortText = ""
    """sha256 of corpus/MANIFEST.json."""
    split: ValidSplit = "end"
    """What was kept for validation."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """config.json. `command` is the command line, `init_from` where the weights began, where the run says so."""

    run_id: ShortText
    charlm: ShortText
    created: ShortText
    corpus: CorpusFacts
    text: TextSettings
    reading: CorpusSettings
    architecture: Architecture
    training: TrainingSettings
    versions: dict[ShortText, ShortText] = field(default_factory=dict)
    command: ShortText | None = None
    init_from: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """What config.json holds, but for its format."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _RENAMED}
        text = {**dataclasses.asdict(self.text), **dataclasses.asdict(self.reading)}
        return {**values, "text": text, "model": dataclasses.asdict(self.architecture)}

    @property
    def max_state_bytes(self) -> int:
        """The size that a saved state of its training cannot exceed; lines of one token are the most sequences."""
        max_sequences = (self.training.batch_size or 1) * (self.training.bptt or 1)
        return max_state_bytes(self.architecture, self.training.optimizer, max_sequences)


_RENAMED = ("architecture", "text", "reading")  # in config.json: model, and text, which holds how it was read, too


def read_config(run: RunDirectory) -> RunConfig:
    """The run's configuration. Raises RunError naming config.json for what is missing, or of a wrong type or range."""
    try:
        config = read_record(RunConfig, _in_todays_form(run.config))
        for settings in (config.text, config.reading, config.training):
            check(settings)
        _check_training(config.training)
    except (ValueError, UsageError) as error:
        raise run.damaged(CONFIG, f"has what charlm never wrote: {str(error)[:200]}") from error
    return config


def was_trained(run: RunDirectory, config: RunConfig) -> bool:
    """Whether a step has been saved: from then on there is a best, too. Raises RunError when the state is damaged."""
    return run.has(LAST) and run.load(LAST, config.max_state_bytes).step > 0


def _in_todays_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of any format with today's names. Raises ValueError for a part that is missing."""
    model, text, training = (_part(config, name) for name in ("model", "text", "training"))
    if config["format"] < 5:  # dropout was a part of the network then
        training["dropout"] = model.pop("dropout", None)
    text.setdefault("unit", _part(config, "corpus").get("unit"))
    text["line_ends"] = text.get("line_ends") or "keep"  # runs before format 4 kept them, without saying so
    return {**config, "architecture": model, "text": text, "reading": text, "training": training}


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"{name} is missing" if part is None else f"{name} is no object")
    return dict(part)


def _check_training(training: TrainingSettings) -> None:
    """Raise ValueError or UsageError for settings that cannot have been written together."""
    for name in DECIDED:
        if getattr(training, name) is None:
            raise ValueError(f"training.{name} is missing")
    if training.clip_norm is None and training.clip_value is None:
        raise ValueError("training.clip_norm is missing")
    given = [f"training.{name}" for name in LENGTHS if getattr(training, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other")
    if training.time is not None:
        seconds(training.time)
