"""Creating a run: check and decide everything, prepare the text, put the finished folder in place with one rename.

To follow a training from here, read on in `session.py`, then in `training/trainer.py`; the README lists all files.
"""

import dataclasses
import glob
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from charlm.corpus.corpora import Corpus
from charlm.errors import CharlmError, ResourceError
from charlm.lifecycle.initial import Base
from charlm.lifecycle.kinds import KINDS, kind_of
from charlm.lifecycle.replacement import Identity, Replacement, identity_of
from charlm.lifecycle.request import TrainRequest, check_request, readable
from charlm.lifecycle.session import Instruments, Opening, Session, open_session
from charlm.network.architecture import Architecture
from charlm.runs.config import CorpusFacts, RunConfig
from charlm.runs.destination import new_run_path
from charlm.runs.directory import CORPUS, INITIAL, LAST, RunDirectory
from charlm.runs.lock import HOLDER, writing
from charlm.settings import ModelSettings, TextSettings, TrainingSettings
from charlm.system.files import cannot_write
from charlm.system.folders import check_space, make_folder, move_into_place
from charlm.system.machine import find_machine
from charlm.training.memory import disk_bytes, fitting_micro_batches
from charlm.version import __version__

MAX_TRIES = 100  # times, to find a free folder name
MAX_UNLOCKED_SECONDS = 60  # that a new draft may take to be locked


def create(request: TrainRequest, instruments: Instruments) -> Session:
    """Create a new run, ready to be trained. Raises a CharlmError; nothing is left on disk then."""
    check_request(request)
    destination = new_run_path(request.run, request.corpus_name, request.force)
    missing = _missing_parents(destination)
    with _assembling(destination) as draft:
        opening = write_run(request, draft, instruments)
        made = identity_of(draft)
        replaced = _put_in_place(opening.run, destination, request)
    replacement = Replacement(opening.run.path, replaced) if replaced else None
    try:
        session = open_session(opening, instruments)
    except BaseException:  # nothing is trained yet: leave nothing, as if the error had come before the rename
        if replacement:
            replacement.withdraw()
        else:
            remove_untrained(opening.run, made)
            _remove_empty(missing)
        raise
    if replacement:
        session.keeper.replacement = replacement
        replacement.withdraw_with(session)
    return session


@contextmanager
def draft_session(request: TrainRequest, instruments: Instruments) -> Iterator[Session]:
    """A new run in a temporary folder, ready to be trained, which is deleted after the block."""
    check_request(request)
    with tempfile.TemporaryDirectory() as folder:
        yield open_session(write_run(request, Path(folder) / "draft", instruments), instruments)


def write_run(request: TrainRequest, folder: Path, instruments: Instruments) -> Opening:
    """Prepare the text, decide all settings and write the folder of a new run. Raises a CharlmError."""
    machine, base = find_machine(request.settings.training), _base(request)
    kind = kind_of(base.config, str(base.run.path)) if base and not request.task else KINDS[request.kind]
    corpus = kind.prepare(request, folder / CORPUS, base)
    decided = kind.decide(request, corpus, base, machine)
    architecture, training, notes = decided.architecture, decided.training, list(decided.notes)
    micro_batches = fitting_micro_batches(architecture, training, machine, instruments.free_memory)
    check_space(folder, disk_bytes(architecture, training))
    config = _config(request, corpus, architecture, training, base)
    run = RunDirectory.create(folder, config.as_json(), corpus.files())
    if base:
        for prefix, weights in kind.inherit(base, architecture, training, corpus).items():
            run.save(prefix + INITIAL, weights)
        notes.append(f"starts from the weights of {base.run.path}, step {base.step:,}{decided.about_base}")
    return Opening(
        run=run,
        config=config,
        training=training,
        machine=machine,
        micro_batches=micro_batches,
        began=request.began,
        notes=[*corpus.notes, *notes, *_notes(request, corpus, architecture), *about_micro_batches(micro_batches)],
    )


def _base(request: TrainRequest) -> Base | None:
    """The run that the new one starts from, if it was asked for."""
    if request.init_from is None:
        return None
    base = Base.opened(request.init_from, request.settings.given_of(ModelSettings, TextSettings), request.task)
    request.settings.refuse_idle_with(base.config.architecture.objective, request.task)
    return base


def _notes(request: TrainRequest, corpus: Corpus, architecture: Architecture) -> Iterator[str]:
    """Notes on parts of a request that may have another effect than the user expects."""
    if architecture.residual and all(sizes.input_size != architecture.output_size for sizes in architecture.layers()):
        yield "--residual does nothing here: no layer's input has the size of its output"
    if (request.tokenizer or request.prepared) and not corpus.tokenizer.lossless:
        yield "this tokenizer is not lossless: figures per character count the text that it leaves"
    texts = request.texts
    if texts and len(texts.paths) > 1 and request.run is None:
        source = "the folder that they are in" if texts.folder else "the first"
        yield f"{len(texts.paths)} texts are read as one; the run is named after {source}"


def _put_in_place(run: RunDirectory, destination: Path, request: TrainRequest) -> Path | None:
    """Move a complete run to `destination`, in one step. If it is to replace a run there, return that path instead."""
    for _ in range(MAX_TRIES):
        if request.force and destination.exists() and any(destination.iterdir()):
            with writing(destination):
                pass  # raises UsageError if the old run is being trained
            return destination
        with suppress(FileExistsError):
            move_into_place(run.path, _without_link(destination))
            run.path = destination
            return None
        # Another training has taken this path in the meantime.
        destination = new_run_path(request.run, request.corpus_name, request.force)
    raise ResourceError("other trainings keep taking this path", str(destination), "name the run with --run")


@contextmanager
def _assembling(path: Path) -> Iterator[Path]:
    """A locked draft folder next to `path`. On an error it is deleted, with all parent folders made for it."""
    path = _without_link(path)
    missing = _missing_parents(path)
    draft = path.parent / f".{path.name}.{os.urandom(3).hex()}.draft"  # a name of its own: no other process's draft
    try:
        make_folder(draft)
        with writing(draft):
            remove_left_drafts(path)
            yield draft
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        _remove_empty(missing)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def _missing_parents(path: Path) -> list[Path]:
    """The parent folders of a path that do not exist yet, the innermost first."""
    return [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _without_link(path: Path) -> Path:
    """The folder that `path` is a link to, so that the folder is replaced and not the link; else `path`."""
    return path.resolve() if path.is_symlink() else path


def remove_left_drafts(path: Path) -> None:
    """Remove the drafts of the run at `path` whose processes were killed.

    A recent draft that was never locked is kept, since its process may be about to lock it.
    """
    path = _without_link(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
        with suppress(CharlmError, OSError):
            was_locked = (left / HOLDER).exists()
            if was_locked or time.time() - left.lstat().st_mtime > MAX_UNLOCKED_SECONDS:
                with writing(left):
                    shutil.rmtree(left, ignore_errors=True)


def remove_untrained(run: RunDirectory, made: Identity | None) -> None:
    """Remove the new run whose folder is `made`, unless another process trains or has trained it, or replaced it."""
    with suppress(CharlmError), writing(run.path):
        if identity_of(run.path) == made and not run.has(LAST):
            shutil.rmtree(run.path.resolve(), ignore_errors=True)


def about_micro_batches(micro_batches: int) -> list[str]:
    """A note when a batch does not fit into memory, as a list of one; else an empty list."""
    if micro_batches == 1:
        return []
    return [f"memory is short: each batch is computed in {micro_batches} parts; the updates stay the same"]


def _config(
    request: TrainRequest,
    corpus: Corpus,
    architecture: Architecture,
    training: TrainingSettings,
    base: Base | None,
) -> RunConfig:
    text = base.text_settings(request.settings.given_of(TextSettings)) if base else request.settings.text
    header, reading = corpus.train.header, request.settings.reading
    line_ends, normal_form, item = header.line_ends, header.normal_form, corpus.division.item
    return RunConfig(
        run_id=uuid.uuid4().hex,
        charlm=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=readable(request.command) if request.command else None,
        init_from=base.described() if base else None,
        corpus=_facts(request.readable_name, corpus, own_valid=request.valid is not None),
        text=dataclasses.replace(text, unit=corpus.unit),
        data=request.settings.data,
        reading=dataclasses.replace(reading, line_ends=line_ends, normal_form=normal_form, item=item),
        architecture=architecture,
        training=training,
        versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
    )


def _facts(name: str, corpus: Corpus, own_valid: bool) -> CorpusFacts:
    """Counts and checksums of a corpus. The checksum of a text that was not given is empty."""
    return CorpusFacts(
        name=name,
        unit=corpus.tokenizer.unit,
        train_tokens=corpus.train.num_tokens,
        train_characters=corpus.train.header.num_characters,
        valid_tokens=corpus.valid.num_tokens if corpus.valid else 0,
        test_tokens=corpus.test.num_tokens if corpus.test else 0,
        train_examples=corpus.train.num_examples,
        valid_examples=corpus.valid.num_examples if corpus.valid else 0,
        test_examples=corpus.test.num_examples if corpus.test else 0,
        sha256=corpus.train.header.source_sha256,
        valid_sha256=corpus.valid.header.source_sha256 if corpus.valid and own_valid else "",
        test_sha256=corpus.test.header.source_sha256 if corpus.test else "",
        seal=corpus.seal,
        split=corpus.division.split,
    )
