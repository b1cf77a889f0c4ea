"""A new run: everything checked and decided, the text prepared, the folder put in place by one rename."""

import dataclasses
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm import __version__
from charlm.cells import CELLS
from charlm.config import CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds
from charlm.corpus.prepare import PreparedCorpus, is_prepared, open_prepared, prepare
from charlm.device import find_machine
from charlm.errors import UsageError
from charlm.files import cannot_write
from charlm.lock import writing
from charlm.run_directory import CORPUS, RunDirectory, new_run_path
from charlm.shape import Shape
from charlm.text.tokenizer import load_tokenizer
from charlm.training.defaults import decide_shape, decide_training

SETTINGS = (TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
LONGEST_NAME = 60  # characters; a file system takes 255 bytes, and a draft's name is longer than the run's


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `charlm train` was asked for. `settings` holds only what was given; the rest is chosen."""

    corpus: str | None = None
    run: str | None = None
    valid: Path | None = None
    test: Path | None = None
    tokenizer: Path | None = None
    resume: bool = False
    force: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def given(self, *kinds: type) -> dict[str, Any]:
        """The settings of these kinds that were given, converted to their types."""
        names = {one.name for kind in kinds for one in dataclasses.fields(kind)} & set(self.settings)
        return {name: getattr(fill(kind, self.settings), name) for kind in kinds for name in names if _has(kind, name)}


def create_run(request: TrainRequest) -> tuple[Path, list[str]]:
    """Make the run's folder; its path, and notes for the person. Raises a CharlmError, and then leaves nothing."""
    check_request(request)
    path = _destination(request)
    with _assembling(path) as draft:
        notes = write_run(request, draft)
        path = _destination(request)  # again: another training may have taken the place meanwhile
        if request.force and path.exists():
            with writing(path):
                shutil.rmtree(path)
        os.replace(draft, path)
    return path, notes


def check_request(request: TrainRequest) -> None:
    """Raise UsageError for options out of range, or that exclude each other."""
    if request.corpus is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt")
    for kind in SETTINGS:
        fill(kind, request.settings)
    if "time" in request.settings:
        seconds(str(request.settings["time"]))
    _check_model(fill(ModelSettings, request.settings), request.settings)
    prepared = is_prepared(Path(request.corpus))
    if not prepared and request.tokenizer is None:
        return
    reason = "a text that is tokenized already" if prepared else "--tokenizer"
    idle = [flag(name) for name in request.given(TextSettings, *((CorpusSettings,) if prepared else ()))]
    if prepared:
        others = {"--valid": request.valid, "--test": request.test, "--tokenizer": request.tokenizer}
        idle += [name for name, value in others.items() if value is not None]
    if idle:
        raise UsageError(f"{idle[0]} does nothing with {reason}", to_do="leave it out")


def _check_model(model: ModelSettings, given: Mapping[str, Any]) -> None:
    """Raise UsageError for a size that this network has no part for."""
    for name in sorted({name for cell in CELLS.values() for name in cell.settings} & set(given)):
        if name not in CELLS[model.cell].settings:
            cells = ", ".join(other for other, cell in CELLS.items() if name in cell.settings)
            raise UsageError(f"{flag(name)} does nothing with --cell {model.cell}", to_do=f"it belongs to {cells}")
    if model.head_size and not model.head_layers:
        raise UsageError("--head-size does nothing without --head-layers", to_do="give --head-layers 1")


def write_run(request: TrainRequest, folder: Path) -> list[str]:
    """Prepare the text, decide everything and write a new run's folder; notes for the person."""
    training = fill(TrainingSettings, request.settings)
    machine = find_machine(training)
    corpus = _prepare(request, folder / CORPUS)
    unit, num_tokens = corpus.tokenizer.unit, corpus.train.num_tokens
    model = fill(ModelSettings, request.settings)
    shape = decide_shape(model, training, unit, corpus.tokenizer.vocab_size, num_tokens, machine)
    training, notes = decide_training(training, unit, num_tokens, machine)
    if shape.residual and all(sizes.input_size != shape.output_size for sizes in shape.layers()):
        notes.append("--residual does nothing here: no layer's input is of its output's size")
    RunDirectory.create(folder, _config(request, corpus, shape, training), corpus.tokenizer.files())
    given = request.tokenizer is not None or is_prepared(Path(request.corpus or ""))
    if given and not corpus.tokenizer.lossless:
        notes.append("this tokenizer is not lossless: figures per character are of the text that it leaves")
    return [*corpus.notes, *notes]


def corpus_name(corpus: str) -> str:
    """What a run of this corpus is called."""
    if corpus in ("-", "/dev/stdin"):
        return "stdin"
    try:
        path = Path(corpus).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: what reads it will say so
        path = Path(corpus)
    name = path.stem if path.suffix in (".gz", ".bz2", ".xz", ".zst") else path.name
    return Path(name).stem.lstrip(".")[:LONGEST_NAME] or "text"


def readable_name(corpus: str) -> str:
    """The file's own name, its folder left out; bytes that are no text are escaped."""
    return Path(corpus).name.encode("utf-8", "backslashreplace").decode()


def _has(kind: type, name: str) -> bool:
    return any(one.name == name for one in dataclasses.fields(kind))


def _destination(request: TrainRequest) -> Path:
    return new_run_path(request.run, corpus_name(request.corpus or ""), request.force)


def _prepare(request: TrainRequest, folder: Path) -> PreparedCorpus:
    assert request.corpus is not None
    if is_prepared(Path(request.corpus)):
        open_prepared(Path(request.corpus))
        shutil.copytree(request.corpus, folder)
        return open_prepared(folder)
    tokenizer = load_tokenizer(request.tokenizer) if request.tokenizer else None
    text, settings = fill(TextSettings, request.settings), fill(CorpusSettings, request.settings)
    return prepare(request.corpus, folder, text, settings, request.valid, request.test, tokenizer)


@contextmanager
def _assembling(path: Path) -> Iterator[Path]:
    """A draft folder beside `path`; when something goes wrong it vanishes, with the parents made for it."""
    missing = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    draft = path.parent / f".{path.name}.{os.getpid()}"
    try:
        yield draft
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def _config(request: TrainRequest, corpus: PreparedCorpus, shape: Shape, training: TrainingSettings) -> dict[str, Any]:
    text = fill(TextSettings, request.settings)
    return {
        "charlm": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "corpus": {
            "name": readable_name(request.corpus or ""),
            "unit": corpus.tokenizer.unit,
            "train_tokens": corpus.train.num_tokens,
            "train_characters": corpus.train.header.num_characters,
            "valid_tokens": corpus.valid.num_tokens if corpus.valid else 0,
            "test_tokens": corpus.test.num_tokens if corpus.test else 0,
        },
        "text": {**dataclasses.asdict(text), "unit": corpus.tokenizer.unit}
        | dataclasses.asdict(fill(CorpusSettings, request.settings)),
        "model": dataclasses.asdict(shape),
        "training": dataclasses.asdict(training),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
