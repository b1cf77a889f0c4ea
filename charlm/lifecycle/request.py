"""What a training was asked to do: its texts, its settings, each parsed and checked once, and where the run goes."""

import dataclasses
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Self, get_args

from charlm.cells import CELLS
from charlm.corpus.gathering import Texts
from charlm.corpus.parts import mode_of
from charlm.corpus.prepare import is_prepared
from charlm.errors import UsageError
from charlm.network.architecture import KINDS
from charlm.settings import (
    CorpusSettings,
    DataSettings,
    Mode,
    ModelSettings,
    TaskName,
    TextSettings,
    TrainingSettings,
    fill,
    flag,
    ngram_order,
    seconds,
)

MAX_NAME_LENGTH = 60  # characters; file names have at most 255 bytes, and a draft's name is longer
ALL_TASKS = get_args(TaskName)
TASKS_OF_OPTIONS: dict[str, tuple[TaskName, ...]] = {
    "data_format": ALL_TASKS,
    "skip_bad": ALL_TASKS,
    "columns": ALL_TASKS,
    "item": ("classify", "generate"),
    "multi": ("classify",),
    "balance": ("classify",),
    "freeze": ("classify",),
    "tag_column": ("tag",),
    "decoder": ("tag",),
    "attention": ("translate",),
    "target": ("translate",),
    "valid_target": ("translate",),
    "test_target": ("translate",),
    "target_unit": ("translate",),
    "target_split": ("translate",),
}
"""The options of labelled data, each with the tasks that it belongs to."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_READS_ALL_WAYS = {"direction": "whose network reads in both directions, or in those of the run that it begins from"}
_HAS_NO_COUNTS = {"ngram": "which has no counts beside its network"}
_WRITES_NOTHING = {"sample_every": "whose network writes no text"}
_HAS_NO_SYMBOLS = {"tie_embeddings": "whose network decides on labels, which have no embeddings"}
IDLE: dict[str, dict[str, str]] = {
    "--objective cloze": {
        "direction": "whose network reads in both directions",
        "mode": "which reads each line on its own",
        **_WRITES_NOTHING,
        **_HAS_NO_COUNTS,
    },
    "--task classify": {**_READS_ALL_WAYS, **_WRITES_NOTHING, **_HAS_NO_SYMBOLS, **_HAS_NO_COUNTS},
    "--task tag": {**_READS_ALL_WAYS, **_WRITES_NOTHING, **_HAS_NO_SYMBOLS, **_HAS_NO_COUNTS},
    "--task translate": {**_READS_ALL_WAYS, **_HAS_NO_COUNTS},
    "--task generate": _HAS_NO_COUNTS,
}
"""By what is trained the settings that it does nothing with, and why, as the end of a sentence."""
_WHAT_IT_DOES_ANYWAY = {"mode": "sentence", "tie_embeddings": False, "ngram": "none"}


@dataclass(frozen=True)
class Settings:
    """The parsed settings of a training. `given` holds those that the user gave; all others have their defaults.

    `places` says where those of them were given that are no options: in a file, or in a variable.
    """

    text: TextSettings = TextSettings()
    reading: CorpusSettings = CorpusSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    given: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(
        cls, values: Mapping[str, Any], flags: Mapping[str, Any] | None = None, config: Path | None = None
    ) -> Self:
        """Parse what `charlm.given.gather` returned for these flags and this file.

        Without `flags`, all values count as given by them. Raises UsageError for a value that a setting cannot have.
        """
        parsed = cls(
            text=fill(TextSettings, values),
            reading=fill(CorpusSettings, values),
            data=fill(DataSettings, values),
            model=fill(ModelSettings, values),
            training=fill(TrainingSettings, values),
        )
        kinds = (parsed.text, parsed.reading, parsed.data, parsed.model, parsed.training)
        typed = {name: value for kind in kinds for name, value in dataclasses.asdict(kind).items() if name in values}
        if "time" in typed:
            seconds(typed["time"])
        ngram_order(parsed.training.ngram)
        others = [name for name in typed if (values if flags is None else flags).get(name) is None]
        places = {name: _place(name, values[name], config) for name in others}
        return dataclasses.replace(parsed, given=typed, places=places)

    def given_of(self, *kinds: type) -> dict[str, Any]:
        """The settings given by the user that belong to one of these dataclasses."""
        names = {setting.name for kind in kinds for setting in dataclasses.fields(kind)}
        return {name: value for name, value in self.given.items() if name in names}

    def refuse(self, name: str, reason: str, to_do: str = "leave it out") -> NoReturn:
        """Raise UsageError for a given setting that has no effect because of `reason`."""
        raise UsageError(f"{flag(name)} does nothing with {reason}", self.places.get(name, ""), to_do)

    def refuse_idle_with(self, objective: str, task: str | None) -> None:
        """Raise UsageError for a given setting that has no effect on a network of this objective, or for this task."""
        option = f"--task {task}" if task else f"--objective {objective}"
        for name, why in IDLE.get(option, {}).items():
            if self.given.get(name) not in (None, _WHAT_IT_DOES_ANYWAY.get(name)):
                self.refuse(name, f"{option}, {why}")


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """The arguments of `charlm train`."""

    texts: Texts | None = None
    """The text to train on, in one or several files, or the folder of a prepared text."""
    run: str | None = None
    valid: Path | None = None
    test: Path | None = None
    tokenizer: Path | None = None
    target: Path | None = None
    """The targets of pairs, line by line, where they are not in the same file; so the next two."""
    valid_target: Path | None = None
    test_target: Path | None = None
    init_from: str | None = None
    resume: bool = False
    force: bool = False
    command: str | None = None
    settings: Settings = Settings()
    began: float = field(default_factory=time.perf_counter)
    """When the command began, by `time.perf_counter`; `--time` counts from there."""

    @property
    def mode(self) -> Mode:
        """How the text is read in training. A cloze network reads each line on its own. Raises UsageError."""
        return "sentence" if self.is_cloze else mode_of(self.settings.given)

    @property
    def task(self) -> TaskName | None:
        """What to learn from labelled data; None for a plain text."""
        return self.settings.model.task

    @property
    def kind(self) -> str:
        """The kind of network that is trained."""
        return self.task or KINDS[self.settings.model.objective]

    @property
    def is_cloze(self) -> bool:
        return self.settings.model.objective == "cloze"

    @cached_property
    def prepared(self) -> Path | None:
        """The folder of a text prepared by `charlm tokenize -o`; None for other texts."""
        paths = self.texts.paths if self.texts else ()
        return Path(paths[0]) if len(paths) == 1 and is_prepared(Path(paths[0])) else None

    @cached_property
    def corpus_name(self) -> str:
        """The default name for a run of this text: that of the folder with its files, or of the first file."""
        texts = self.texts or Texts(("text",))
        if texts.folder:
            return texts.folder.lstrip(".")[:MAX_NAME_LENGTH] or "text"
        first = texts.paths[0]
        if first in ("-", "/dev/stdin"):
            return "stdin"
        try:
            path = Path(first).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, or a NUL; opening it gives the error message
            path = Path(first)
        name = path.stem if path.suffix in COMPRESSED else path.name
        return Path(name).stem.lstrip(".")[:MAX_NAME_LENGTH] or "text"

    @cached_property
    def readable_name(self) -> str:
        """The text's name in messages and config.json: its file or folder, or its first file and how many others."""
        texts = self.texts or Texts(("text",))
        num_others = len(texts.paths) - 1
        name = texts.folder or Path(texts.paths[0]).name + (f" and {num_others:,} more" if num_others else "")
        return readable(name)


def check_request(request: TrainRequest) -> None:
    """Raise UsageError for options of a new training that exclude each other or have no effect."""
    if request.init_from is not None and request.tokenizer is not None:
        raise UsageError("--init-from brings its own tokenizer, without --tokenizer", to_do="leave it out")
    if request.texts is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt")
    mode_of(request.settings.given)
    _check_task(request)
    if request.init_from is None:
        _check_model(request.settings)
    if request.prepared:
        _refuse_idle(request, "a text that is tokenized already", TextSettings, CorpusSettings)
    elif request.tokenizer is not None:
        _refuse_idle(request, "--tokenizer", TextSettings)


def _check_task(request: TrainRequest) -> None:
    """Raise UsageError for options of labelled data that this task, or a plain text, does not have."""
    task, given = request.task, request.settings.given
    if task and request.is_cloze:
        raise UsageError("--task and --objective cloze exclude each other", to_do="give one of them")
    files = {"target": request.target, "valid_target": request.valid_target, "test_target": request.test_target}
    for name, tasks in TASKS_OF_OPTIONS.items():
        is_given = name in given or files.get(name) is not None
        if is_given and task not in tasks and not (name == "item" and task is None):  # plain texts have items, too
            with_what = f"with --task {task}" if task else "without --task"
            raise UsageError(f"{flag(name)} does nothing {with_what}", to_do=f"it is for --task {', '.join(tasks)}")
    if task is None:
        return
    decided = ("mode", *(("direction", "initial_state") if task == "generate" else ()))
    idle = [flag(name) for name in decided if name in given]
    if request.texts and (request.texts.include or request.texts.exclude):
        idle.append("--include" if request.texts.include else "--exclude")
    if idle:
        raise UsageError(f"{idle[0]} does nothing with --task {task}", to_do="leave it out")
    if request.prepared:
        what = "a text prepared by charlm tokenize has no labels"
        raise UsageError(what, str(request.prepared), "give the labelled data")
    if given.get("balance") and given.get("multi"):
        what = "--balance weighs the labels of texts that have one each; with --multi each label is decided on its own"
        raise UsageError(what, to_do="leave one of them out")
    if task == "translate" and request.init_from is not None:
        raise UsageError("--init-from does nothing with --task translate", to_do="leave it out")
    if given.get("freeze") and request.init_from is None:
        raise UsageError("--freeze keeps the weights of --init-from, which is missing", to_do="give --init-from RUN")


def _check_model(settings: Settings) -> None:
    """Raise UsageError for a size of a part that this network does not have."""
    model, given = settings.model, settings.given
    settings.refuse_idle_with(model.objective, model.task)
    for name in sorted({name for cell in CELLS.values() for name in cell.settings} & set(given)):
        if name not in CELLS[model.cell].settings:
            cells = ", ".join(other for other, cell in CELLS.items() if name in cell.settings)
            settings.refuse(name, f"--cell {model.cell}", f"it belongs to {cells}")
    if model.head_size and not model.head_layers:
        raise UsageError("--head-size does nothing without --head-layers", to_do="give --head-layers 1")


def _refuse_idle(request: TrainRequest, reason: str, *kinds: type) -> None:
    """Raise UsageError for the first given option, of these dataclasses, that has no effect because of `reason`."""
    for name in request.settings.given_of(*kinds):
        request.settings.refuse(name, reason)
    if request.prepared and request.texts:
        options: dict[str, object] = {"--valid": request.valid, "--test": request.test}
        options |= {"--tokenizer": request.tokenizer}
        options |= {"--include": request.texts.include or None, "--exclude": request.texts.exclude or None}
        if idle := [name for name, value in options.items() if value is not None]:
            raise UsageError(f"{idle[0]} does nothing with {reason}", to_do="leave it out")


def _place(name: str, value: Any, config: Path | None) -> str:
    """Where a setting was given that is no option: in a variable, else in the file, if there is one."""
    variable = f"CHARLM_{name.upper()}"
    return f"{variable} in the environment" if os.environ.get(variable) == value else str(config or "")


def readable(text: str) -> str:
    """A string from the command line, with bytes that are not valid text escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
