"""A new run: everything checked and decided, the text prepared, the folder put in place by one rename."""

import dataclasses
import glob
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
from charlm.corpus.forms import taken_over
from charlm.corpus.gathering import Texts, texts_of
from charlm.corpus.prepare import PreparedCorpus, is_prepared, open_prepared, prepare
from charlm.errors import CharlmError, ResourceError, UsageError
from charlm.lifecycle.initial import Base
from charlm.network.architecture import Shape
from charlm.runs.config import reading_with_tokenizer
from charlm.runs.destination import new_run_path
from charlm.runs.directory import CORPUS, INITIAL, RunDirectory
from charlm.runs.lock import HOLDER, writing
from charlm.settings import CorpusSettings, Mode, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds
from charlm.system.files import cannot_write
from charlm.system.folders import check_space, copy_tree, make_folder, move_into_place
from charlm.system.machine import find_machine
from charlm.text.tokenizer import load_tokenizer
from charlm.training.defaults import decide_shape, decide_training
from charlm.training.memory import disk_bytes, fitting_micro_batches

SETTINGS = (TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
MAX_TRIES = 100  # to find a free place
DRAFT_SECONDS = 60  # that a draft may be without a lock: between its making and its locking
MAX_NAME_LENGTH = 60  # characters; a file system takes 255 bytes, and a draft's name is longer than the run's


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `charlm train` was asked for. `settings` holds only what was given; the rest is chosen."""

    corpus: str | None = None
    further: tuple[str, ...] = ()
    """Texts that follow it; all are read as one."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    run: str | None = None
    valid: Path | None = None
    test: Path | None = None
    tokenizer: Path | None = None
    init_from: str | None = None
    resume: bool = False
    force: bool = False
    command: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.perf_counter())
    """When the command began; its `--time` counts from there."""

    @property
    def texts(self) -> Texts:
        return Texts((self.corpus or "", *self.further), self.include, self.exclude)

    @property
    def is_prepared(self) -> bool:
        """Whether the corpus is what `charlm tokenize -o` wrote."""
        return not self.further and is_prepared(Path(self.corpus or ""))

    def given(self, *kinds: type) -> dict[str, Any]:
        """The settings of these kinds that were given, converted to their types."""
        given: dict[str, Any] = {}
        for kind in kinds:
            filled: Any = fill(kind, self.settings)
            names = [one.name for one in dataclasses.fields(kind) if one.name in self.settings]
            given |= {name: getattr(filled, name) for name in names}
        return given


@dataclass(frozen=True)
class NewRun:
    """A run's folder, whole, with notes for the person."""

    path: Path
    notes: list[str]
    replaces: Path | None = None
    """The run whose place it is to take; until then `path` is a hidden folder beside it."""


def create_run(request: TrainRequest) -> NewRun:
    """Make the run's folder. Raises a CharlmError, and then leaves nothing."""
    check_request(request)
    path = _destination(request)
    with _assembling(path) as draft:
        notes = write_run(request, draft)
        return _put_in_place(draft, request, notes)


def _put_in_place(draft: Path, request: TrainRequest, notes: list[str]) -> NewRun:
    """Put a whole run in its place in one step, unless there is one already that it is to replace later."""
    for _ in range(MAX_TRIES):
        path = _destination(request)  # again: another training may have taken the place meanwhile
        if request.force and path.exists() and any(path.iterdir()):
            with writing(path):
                pass  # it is not being trained
            return NewRun(draft, notes, replaces=path)
        with suppress(FileExistsError):
            move_into_place(draft, _without_link(path))
            return NewRun(path, notes)
    raise ResourceError("others keep taking this place", str(path), "name the run with --run")


def check_request(request: TrainRequest) -> None:
    """Raise UsageError for options out of range, or that exclude each other."""
    if request.init_from is not None and request.tokenizer is not None:
        raise UsageError("--init-from brings its own tokenizer, without --tokenizer", to_do="leave it out")
    if request.corpus is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt")
    for kind in SETTINGS:
        fill(kind, request.settings)
    if "time" in request.settings:
        seconds(str(request.settings["time"]))
    if request.init_from is None:
        _check_model(fill(ModelSettings, request.settings), request.settings)
    prepared = request.is_prepared
    if not prepared and request.tokenizer is None:
        return
    reason = "a text that is tokenized already" if prepared else "--tokenizer"
    idle = [flag(name) for name in request.given(TextSettings, *((CorpusSettings,) if prepared else ()))]
    if prepared:
        others: dict[str, object] = {"--valid": request.valid, "--test": request.test, "--tokenizer": request.tokenizer}
        others |= {"--include": request.include or None, "--exclude": request.exclude or None}
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
    training, model = fill(TrainingSettings, request.settings), fill(ModelSettings, request.settings)
    machine, base = find_machine(training), _base(request)
    corpus = _prepare(request, folder / CORPUS, base, training.mode)
    training = dataclasses.replace(training, mode=corpus.division.mode or training.mode)
    unit, num_tokens, vocab_size = corpus.tokenizer.unit, corpus.train.num_tokens, corpus.tokenizer.vocab_size
    if base:
        shape = base.shape_for(model, vocab_size)
    else:
        shape = decide_shape(model, training, unit, vocab_size, num_tokens, machine)
    training, notes = decide_training(training, unit, num_tokens, machine)
    fitting_micro_batches(shape, training, machine)
    check_space(folder, disk_bytes(shape, training))
    run = RunDirectory.create(folder, _config(request, corpus, shape, training, base), corpus.tokenizer.files())
    if base:
        run.save(INITIAL, base.weights_for(vocab_size))
        notes.append(_about(base, vocab_size))
    if shape.residual and all(sizes.input_size != shape.output_size for sizes in shape.layers()):
        notes.append("--residual does nothing here: no layer's input is of its output's size")
    given = request.tokenizer is not None or request.is_prepared
    if given and not corpus.tokenizer.lossless:
        notes.append("this tokenizer is not lossless: figures per character are of the text that it leaves")
    if request.further and request.run is None:
        after = "the folder that they are in" if request.texts.folder else "the first"
        notes.append(f"{len(request.texts.paths)} texts are read as one; the run is called after {after}")
    return [*corpus.notes, *notes]


def _base(request: TrainRequest) -> Base | None:
    if request.init_from is None:
        return None
    return Base.open(request.init_from, request.given(ModelSettings), request.given(TextSettings))


def _about(base: Base, vocab_size: int) -> str:
    new = vocab_size - base.config.model.vocab_size
    return f"begins with the weights of {base.run.path}, step {base.best.step:,}; {new:,} new symbols"


def corpus_name(corpus: str | Texts) -> str:
    """What a run of this corpus is called: of several texts after the folder that all are in, or after the first."""
    texts = texts_of(corpus)
    if texts.folder:
        return texts.folder.lstrip(".")[:MAX_NAME_LENGTH] or "text"
    first = texts.paths[0]
    if first in ("-", "/dev/stdin"):
        return "stdin"
    try:
        path = Path(first).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: what reads it will say so
        path = Path(first)
    name = path.stem if path.suffix in (".gz", ".bz2", ".xz", ".zst") else path.name
    return Path(name).stem.lstrip(".")[:MAX_NAME_LENGTH] or "text"


def readable_name(corpus: str | Texts) -> str:
    """The file's own name, its folder left out; of several the folder's, or the first's and their number."""
    texts = texts_of(corpus)
    others = len(texts.paths) - 1
    name = texts.folder or Path(texts.paths[0]).name + (f" and {others:,} more" if others else "")
    return readable(name)


def readable(text: str) -> str:
    """A text from the command line; bytes that are no text are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _destination(request: TrainRequest) -> Path:
    return new_run_path(request.run, corpus_name(request.texts), request.force)


def _prepare(request: TrainRequest, folder: Path, base: Base | None, mode: Mode) -> PreparedCorpus:
    assert request.corpus is not None
    if request.is_prepared:
        prepared = open_prepared(Path(request.corpus))
        own = prepared.division.mode
        if own and "mode" in request.settings and own != mode:
            what = f"this text was prepared and divided for --mode {own}, not for --mode {mode}"
            raise UsageError(what, request.corpus, f"leave --mode out, or make it again: charlm tokenize --mode {mode}")
        if base and prepared.tokenizer.sha256() != base.tokenizer.sha256():
            what = "this text was prepared with another tokenizer than that of the run to begin from"
            raise UsageError(what, request.corpus, "give the text itself, or prepare it with charlm tokenize --run")
        copy_tree(Path(request.corpus), folder)
        return open_prepared(folder)
    others = (request.valid, request.test)
    if base:
        reading, text = _reading(request, base.config.reading), base.text_settings(request.given(TextSettings))
        return prepare(request.texts, folder, text, reading, *others, base.tokenizer, grow=True, mode=mode)
    tokenizer = load_tokenizer(request.tokenizer) if request.tokenizer else None
    reading = _reading(request, reading_with_tokenizer(request.tokenizer) if request.tokenizer else None)
    return prepare(request.texts, folder, fill(TextSettings, request.settings), reading, *others, tokenizer, mode=mode)


def _reading(request: TrainRequest, before: CorpusSettings | None) -> CorpusSettings:
    """How the text is read: as it was for the tokenizer that is taken over, where nothing else was asked for."""
    reading = fill(CorpusSettings, request.settings)
    return reading if before is None else taken_over(reading, before, request.settings)


@contextmanager
def _assembling(path: Path) -> Iterator[Path]:
    """A draft folder beside `path`, locked; when something goes wrong it vanishes, with the parents made for it."""
    path = _without_link(path)
    missing = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    draft = path.parent / f".{path.name}.{os.urandom(3).hex()}.draft"  # nobody else's, nor what a dead one left
    try:
        make_folder(draft)
        with writing(draft):
            remove_left_drafts(path)
            yield draft
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def _without_link(path: Path) -> Path:
    """The folder itself, where its place is a link to it; the link then stays one."""
    return path.resolve() if path.is_symlink() else path


def remove_left_drafts(path: Path) -> None:
    """Drafts that nobody works on any more: their makers were killed. A new one may be about to be locked."""
    path = _without_link(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
        with suppress(CharlmError, OSError):
            was_locked = (left / HOLDER).exists()
            if was_locked or time.time() - left.lstat().st_mtime > DRAFT_SECONDS:
                with writing(left):
                    shutil.rmtree(left, ignore_errors=True)


def _config(
    request: TrainRequest, corpus: PreparedCorpus, shape: Shape, training: TrainingSettings, base: Base | None
) -> dict[str, Any]:
    text = base.text_settings(request.given(TextSettings)) if base else fill(TextSettings, request.settings)
    return {
        "charlm": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": readable(request.command) if request.command else None,
        "init_from": base.described() if base else None,
        "corpus": {"name": readable_name(request.texts), **_facts(corpus, own_valid=request.valid is not None)},
        "text": {**dataclasses.asdict(text), "unit": corpus.tokenizer.unit}
        | dataclasses.asdict(fill(CorpusSettings, request.settings))
        | {"line_ends": corpus.train.header.line_ends, "normal_form": corpus.train.header.normal_form},
        "model": dataclasses.asdict(shape),
        "training": dataclasses.asdict(training),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def _facts(corpus: PreparedCorpus, own_valid: bool) -> dict[str, Any]:
    """What can be counted of a corpus, and its checksums; empty ones are of texts that were not given."""
    return {
        "unit": corpus.tokenizer.unit,
        "train_tokens": corpus.train.num_tokens,
        "train_characters": corpus.train.header.num_characters,
        "valid_tokens": corpus.valid.num_tokens if corpus.valid else 0,
        "test_tokens": corpus.test.num_tokens if corpus.test else 0,
        "sha256": corpus.train.header.source_sha256,
        "valid_sha256": corpus.valid.header.source_sha256 if corpus.valid and own_valid else "",
        "test_sha256": corpus.test.header.source_sha256 if corpus.test else "",
        "seal": corpus.seal,
        "split": corpus.division.split,
    }
