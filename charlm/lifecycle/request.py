"""What a training was asked for: texts, settings and where it goes, every setting parsed and checked once."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from charlm.cells import CELLS
from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import is_prepared
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds

MAX_NAME_LENGTH = 60  # characters; a file system takes 255 bytes, and a draft's name is longer than the run's
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Settings:
    """The settings of a training, parsed. `given` holds those that were asked for; the others have their defaults."""

    text: TextSettings = TextSettings()
    reading: CorpusSettings = CorpusSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parsed(cls, values: Mapping[str, Any]) -> Self:
        """From what `charlm.settings.gather` found. Raises UsageError for a value that a setting cannot have."""
        parsed = cls(
            text=fill(TextSettings, values),
            reading=fill(CorpusSettings, values),
            model=fill(ModelSettings, values),
            training=fill(TrainingSettings, values),
        )
        kinds = (parsed.text, parsed.reading, parsed.model, parsed.training)
        typed = {name: value for kind in kinds for name, value in dataclasses.asdict(kind).items() if name in values}
        if "time" in typed:
            seconds(typed["time"])
        return dataclasses.replace(parsed, given=typed)

    def given_of(self, *kinds: type) -> dict[str, Any]:
        """Those of the given settings that belong to these dataclasses."""
        names = {setting.name for kind in kinds for setting in dataclasses.fields(kind)}
        return {name: value for name, value in self.given.items() if name in names}


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `charlm train` was asked for."""

    texts: Texts | None = None
    """The text to train on, in one file or several; or the folder of a prepared one."""
    run: str | None = None
    valid: Path | None = None
    test: Path | None = None
    tokenizer: Path | None = None
    init_from: str | None = None
    resume: bool = False
    force: bool = False
    command: str | None = None
    settings: Settings = Settings()
    kind: str = "language_model"
    """What is trained; `lifecycle/kinds.py` knows the kinds."""
    began: float = field(default_factory=time.perf_counter)
    """When the command began; its `--time` counts from there."""

    @cached_property
    def prepared(self) -> Path | None:
        """The folder, where the text is what `charlm tokenize -o` wrote."""
        paths = self.texts.paths if self.texts else ()
        return Path(paths[0]) if len(paths) == 1 and is_prepared(Path(paths[0])) else None

    @cached_property
    def corpus_name(self) -> str:
        """What a run of this text is called: after the folder that all its files are in, or after the first file."""
        texts = self.texts or Texts(("text",))
        if texts.folder:
            return texts.folder.lstrip(".")[:MAX_NAME_LENGTH] or "text"
        first = texts.paths[0]
        if first in ("-", "/dev/stdin"):
            return "stdin"
        try:
            path = Path(first).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: what reads it will say so
            path = Path(first)
        name = path.stem if path.suffix in COMPRESSED else path.name
        return Path(name).stem.lstrip(".")[:MAX_NAME_LENGTH] or "text"

    @cached_property
    def readable_name(self) -> str:
        """The file's own name without its folder; of several files the folder's, or the first's and their number."""
        texts = self.texts or Texts(("text",))
        num_others = len(texts.paths) - 1
        name = texts.folder or Path(texts.paths[0]).name + (f" and {num_others:,} more" if num_others else "")
        return readable(name)


def check_request(request: TrainRequest) -> None:
    """Raise UsageError for options of a new training that exclude each other, or do nothing."""
    if request.init_from is not None and request.tokenizer is not None:
        raise UsageError("--init-from brings its own tokenizer, without --tokenizer", to_do="leave it out")
    if request.texts is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt")
    if request.init_from is None:
        _check_model(request.settings)
    if request.prepared:
        _refuse_idle(request, "a text that is tokenized already", TextSettings, CorpusSettings)
    elif request.tokenizer is not None:
        _refuse_idle(request, "--tokenizer", TextSettings)


def _check_model(settings: Settings) -> None:
    """Raise UsageError for a size that this network has no part for."""
    model, given = settings.model, settings.given
    for name in sorted({name for cell in CELLS.values() for name in cell.settings} & set(given)):
        if name not in CELLS[model.cell].settings:
            cells = ", ".join(other for other, cell in CELLS.items() if name in cell.settings)
            raise UsageError(f"{flag(name)} does nothing with --cell {model.cell}", to_do=f"it belongs to {cells}")
    if model.head_size and not model.head_layers:
        raise UsageError("--head-size does nothing without --head-layers", to_do="give --head-layers 1")


def _refuse_idle(request: TrainRequest, reason: str, *kinds: type) -> None:
    """Raise UsageError naming the first option that does nothing for this reason."""
    idle = [flag(name) for name in request.settings.given_of(*kinds)]
    if request.prepared and request.texts:
        options: dict[str, object] = {"--valid": request.valid, "--test": request.test}
        options |= {"--tokenizer": request.tokenizer}
        options |= {"--include": request.texts.include or None, "--exclude": request.texts.exclude or None}
        idle += [name for name, value in options.items() if value is not None]
    if idle:
        raise UsageError(f"{idle[0]} does nothing with {reason}", to_do="leave it out")


def readable(text: str) -> str:
    """A text from the command line; bytes of it that are no text are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
