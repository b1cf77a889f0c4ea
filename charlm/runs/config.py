"""A run's config.json with every value checked. Whatever is built or shown uses this, never the raw JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from charlm.errors import RunError, UsageError
from charlm.network.architecture import Architecture
from charlm.network.kinds import read_architecture
from charlm.network.snapshot import max_state_bytes
from charlm.runs.directory import CONFIG, LAST, RunDirectory
from charlm.settings import (
    LENGTHS,
    CorpusSettings,
    DataSettings,
    TextSettings,
    TrainingSettings,
    Unit,
    ValidSplit,
    check,
    seconds,
)
from charlm.system.records import Count, ShortText, read_record

MAX_PARAMS = 1 << 32
DECIDED = ("bptt", "batch_size", "learning_rate", "dropout")
"""Settings that a user may leave open, but that always have a value in config.json."""


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """Sizes and checksums of the text that a run was trained on. In runs of older versions the checksums are empty."""

    name: ShortText
    unit: Unit
    train_tokens: Count
    train_characters: Count
    valid_tokens: Count
    test_tokens: Count
    train_examples: Count = 0
    """Labelled examples; 0 of a plain text."""
    valid_examples: Count = 0
    test_examples: Count = 0
    sha256: ShortText = ""
    valid_sha256: ShortText = ""
    test_sha256: ShortText = ""
    seal: ShortText = ""
    """sha256 of corpus/MANIFEST.json."""
    split: ValidSplit = "end"
    """Which part of the text was kept for validation."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The content of config.json.

    `command` is the command line of the training, and `init_from` the run whose weights it started from; both are None
    where config.json does not have them.
    """

    run_id: ShortText
    charlm: ShortText
    created: ShortText
    corpus: CorpusFacts
    text: TextSettings
    reading: CorpusSettings
    architecture: Annotated[Architecture, PlainValidator(read_architecture)]
    training: TrainingSettings
    data: DataSettings = DataSettings()
    versions: dict[ShortText, ShortText] = field(default_factory=dict)
    command: ShortText | None = None
    init_from: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of config.json, without its format number."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _RENAMED}
        text = {**dataclasses.asdict(self.text), **dataclasses.asdict(self.reading)}
        return {**values, "text": text, "model": dataclasses.asdict(self.architecture)}

    @property
    def max_state_bytes(self) -> int:
        """The largest size of a saved training state. A batch has the most sequences when each line is one token."""
        max_sequences = (self.training.batch_size or 1) * (self.training.bptt or 1)
        return max_state_bytes(self.architecture, self.training.optimizer, max_sequences)

    def check_kind(self, kind: str | tuple[str, ...], run: Path) -> None:
        """Raise RunError, naming the run and the commands for it, unless its network is of this, or such a, kind."""
        own_kind = self.architecture.kind
        if own_kind in ((kind,) if isinstance(kind, str) else kind):
            return
        what, commands = _KINDS.get(own_kind, (f"is a {own_kind[:40]}, which this charlm does not know", ()))
        to_do = ", or ".join(f"charlm {command}".replace("RUN", run.name) for command in commands)
        raise RunError(f"this run {what}", str(run), to_do or "choose another run, or use a newer charlm")


_KINDS = {
    "language-model": ("is a language model", ("score --run RUN", "sample --run RUN")),
    "cloze": (
        "is a cloze network: it needs the whole sentence, so it gives no P(sentence) and writes no text",
        ("fill --run RUN", "score --pseudo --run RUN"),
    ),
    "classify": ("is a classifier: it gives the label of a text", ("classify --run RUN",)),
    "tag": ("is a tagger: it gives a tag to each word of a sentence", ("tag --run RUN",)),
    "translate": ("is a translator: it turns one text into another", ("translate --run RUN",)),
    "generate": (
        "is a generator: it writes and scores texts of a given label",
        ("sample --given LABEL --run RUN", "score --given LABEL --run RUN", "classify --run RUN"),
    ),
}
"""What each kind of network is, as the end of a sentence, and the commands that use it."""
# config.json calls the architecture "model", and has the settings of text and reading together in "text".
_RENAMED = ("architecture", "text", "reading")


def read_config(run: RunDirectory) -> RunConfig:
    """The run's configuration. Raises RunError for a value that is missing, out of range or of the wrong type."""
    try:
        config = read_record(RunConfig, _with_current_names(run.config))
        for settings in (config.text, config.reading, config.data, config.training):
            check(settings)
        _check_training(config.training)
        if config.architecture.num_params > MAX_PARAMS:
            raise ValueError(f"model has more than {MAX_PARAMS:,} parameters")
    except (ValueError, UsageError) as error:
        raise run.damaged(CONFIG, f"has a value that charlm never writes: {str(error)[:200]}") from error
    return config


def was_trained(run: RunDirectory, config: RunConfig) -> bool:
    """Whether a training step was saved; such a run also has `best`. Raises RunError when the state is damaged."""
    return run.has(LAST) and run.load(LAST, config.max_state_bytes).step > 0


def _with_current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config.json of any format, under their current names. Raises ValueError for a missing part."""
    model, text, training = (_part(config, name) for name in ("model", "text", "training"))
    if config["format"] < 5:  # there, dropout belonged to the model
        training["dropout"] = model.pop("dropout", None)
    training.setdefault("ngram", "none")  # older runs have no counts
    text.setdefault("unit", _part(config, "corpus").get("unit"))
    text["line_ends"] = text.get("line_ends") or "keep"  # before format 4 they were always kept
    return {**config, "architecture": model, "text": text, "reading": text, "training": training}


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"{name} is missing" if part is None else f"{name} is not an object")
    return dict(part)


def _check_training(training: TrainingSettings) -> None:
    """Raise ValueError or UsageError for settings that charlm never writes together."""
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
