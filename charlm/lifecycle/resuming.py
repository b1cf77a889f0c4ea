"""Resuming a run: find it, read its newest state, and check what was given and what has changed since."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.corpus.labelled import labelled_sha256
from charlm.corpus.labelled_data import DataFiles
from charlm.corpus.prepare import is_prepared, open_prepared, source_sha256
from charlm.errors import RunError, UsageError
from charlm.lifecycle.creation import about_micro_batches, remove_left_drafts
from charlm.lifecycle.kinds import kind_of
from charlm.lifecycle.preparing import data_files
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.saved_state import GIVEN_ANEW, SavedState, read_state
from charlm.lifecycle.session import Instruments, Opening, Session, open_session
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import BEST, LAST, PREVIOUS, RunDirectory
from charlm.runs.finding import about_copies, find_run, list_runs
from charlm.settings import LENGTHS, TrainingSettings, flag
from charlm.system.folders import check_space
from charlm.system.machine import cores, find_machine
from charlm.text.tokenizer import TOKENIZERS, load_tokenizer
from charlm.training.memory import disk_bytes, fitting_micro_batches
from charlm.version import __version__

MAX_THREADS_PER_CORE = 8  # with more, as in a run from a larger machine, training would crawl


def resume(request: TrainRequest, instruments: Instruments) -> Session:
    """Resume a run with its own text and settings; only its length, patience, threads and device may be changed.

    Raises UsageError for settings, texts or tokenizers that the run does not have, and RunError for a damaged run.
    """
    _refuse_options_of_new_runs(request)
    run = RunDirectory(_find_requested_run(request))
    notes = [*about_copies(run.path)] if request.run is None else []
    config, newest = read_config(run), run.stamp(LAST)  # before reading it, to notice if another process saves one
    saved, notes_on_state = _newest_state(run, config)
    stored, given = saved.training if saved else config.training, request.settings.given
    request.settings.refuse_idle_with(config.architecture.objective, config.architecture.task)
    _refuse_other_settings(run, config, stored, given)
    notes += [*_refuse_other_texts(run, config, request), *_changes(config), *notes_on_state]
    training, replan, is_patient = _given_anew(stored, given, has_ended=bool(saved and saved.scalars.ended))
    if (training.threads or 1) > MAX_THREADS_PER_CORE * cores() and "threads" not in given:
        notes.append(f"{training.threads:,} threads are too many here, using {cores()}: the result may differ a little")
        training = dataclasses.replace(training, threads=cores())
    remove_left_drafts(run.path)  # left by a killed training that would have replaced this run
    machine = find_machine(training)
    check_space(run.path, disk_bytes(config.architecture, training) - run.weights_bytes())
    micro_batches = fitting_micro_batches(config.architecture, training, machine, instruments.free_memory)
    opening = Opening(
        run=run,
        config=config,
        training=training,
        machine=machine,
        micro_batches=micro_batches,
        began=request.began,
        notes=[*notes, *about_micro_batches(micro_batches)],
        saved=saved,
        replan=replan,
        is_patient=is_patient,
        newest=newest,
    )
    return open_session(opening, instruments)


def _refuse_options_of_new_runs(request: TrainRequest) -> None:
    for option, is_given in {"--init-from": request.init_from is not None, "--force": request.force}.items():
        if is_given:
            what = f"--resume continues a run as it is, {option} starts a new one"
            raise UsageError(what, to_do="give one of them")


def _find_requested_run(request: TrainRequest) -> Path:
    """The run that was named; else the newest run of the given text; else the newest run. Raises RunError."""
    name = request.run
    if name is None and request.texts is not None:
        name = _newest_run_of_text(request)
    return find_run(name, saved=False)


def _newest_run_of_text(request: TrainRequest) -> str:
    """The run of the requested text that was saved last, damaged ones skipped; else the default name for this text."""
    for path in list_runs(saved=False):
        with suppress(RunError):
            if read_config(RunDirectory(path)).corpus.name == request.readable_name:
                return str(path)
    return request.corpus_name


def _newest_state(run: RunDirectory, config: RunConfig) -> tuple[SavedState | None, list[str]]:
    """The newest undamaged state, None if nothing was saved yet, and notes on it. Raises RunError if it is lost."""
    if not (run.has(LAST) or run.has(PREVIOUS)):
        if run.has(BEST):  # never saved before the first state
            raise run.damaged("last.safetensors", "is missing, and previous.safetensors too")
        return None, ["nothing was saved yet: starting from the beginning"]
    weights, note = run.load_newest(config.max_state_bytes)
    order, where = kind_of(config, str(run.path)).order, run.path / f"{PREVIOUS if note else LAST}.safetensors"
    saved = read_state(weights, config.training, order, where)
    from_here = f"continuing from step {saved.step:,}" if saved.step else "nothing was trained yet: starting at step 0"
    if saved.step and not saved.has_valid_position:
        from_here += ", at the start of a pass: an older charlm made this run, and went through the text in another way"
    return saved, [*([note] if note else []), *_about_log(run, saved), from_here]


def _about_log(run: RunDirectory, saved: SavedState) -> Iterator[str]:
    """A note if the log is missing. Raises RunError if it was changed since the state was saved."""
    if run.log.begins_as_saved(saved.weights.scalars):
        return
    if run.log.num_bytes:
        raise run.log.damaged("was changed after it was written; without it, training continues with a new log")
    yield "metrics.jsonl is missing: a new log is started"


def _given_anew(
    stored: TrainingSettings, given: Mapping[str, Any], has_ended: bool
) -> tuple[TrainingSettings, bool, bool]:
    """The settings to continue with; whether the length is new; whether to forget evaluations without improvement."""
    changed = {name: value for name, value in given.items() if name in GIVEN_ANEW and getattr(stored, name) != value}
    if "time" in given and has_ended:
        changed["time"] = given["time"]  # even if it is the same: train for that long again
    replan = bool(set(LENGTHS) & set(changed))
    cleared: dict[str, Any] = dict.fromkeys(LENGTHS) if replan else {}
    training = dataclasses.replace(stored, **(cleared | changed))
    return training, replan, replan or "patience" in changed


def _refuse_other_settings(
    run: RunDirectory, config: RunConfig, stored: TrainingSettings, given: Mapping[str, Any]
) -> None:
    """Raise UsageError for a setting that this run has with another value and that cannot be changed."""
    own = {**dataclasses.asdict(config.text), **dataclasses.asdict(config.reading)}
    own |= {**dataclasses.asdict(config.architecture), "vocab_size": config.text.vocab_size}
    own |= {"objective": config.architecture.objective, "task": config.architecture.task}
    own |= dataclasses.asdict(config.data)
    own |= {name: value for name, value in dataclasses.asdict(stored).items() if value is not None}
    for setting, value in given.items():
        if setting not in GIVEN_ANEW and own.get(setting) != value:
            has = f"no {flag(setting)}" if own.get(setting) is None else f"{flag(setting)} {own[setting]}"
            what = f"this run has {has}, not {value}"
            raise UsageError(
                what, str(run.path), f"leave {flag(setting)} out, or start a new training without --resume"
            )


def _refuse_other_texts(run: RunDirectory, config: RunConfig, request: TrainRequest) -> Iterator[str]:
    """Raise UsageError unless the given texts and tokenizer are those that the run was created from; yield notes."""
    facts = config.corpus
    own = {"train": facts.sha256, "valid": facts.valid_sha256, "test": facts.test_sha256}
    for part, files in data_files(request).items():
        if not facts.sha256:  # a run of an older charlm
            yield f"whether this run began with {files} was not recorded: continuing with its own copy"
        elif _sha256(files, config) != own[part]:
            what = "this is not the text that the run began with, or it has changed since"
            to_do = "leave it out to continue with the run's own copy, or start a new run from its weights: --init-from"
            raise UsageError(what, f"{files}, and {run.path}", f"{to_do} {run.path.name}")
    tokenizer = request.tokenizer
    if tokenizer is not None and load_tokenizer(tokenizer).sha256() != load_tokenizer(run.path).sha256():
        what = "--tokenizer is not the one that this run began with"
        raise UsageError(what, f"{tokenizer}, and {run.path}", "leave it out")


def _sha256(files: DataFiles, config: RunConfig) -> str:
    """The checksum that a run with this configuration would have stored for these files."""
    if task := config.architecture.task:
        return labelled_sha256(files, task, config.data, config.reading)
    if files.target is not None:
        raise UsageError("--target is for pairs, and this run has a text alone", str(files.target), "leave it out")
    if is_prepared(folder := Path(str(files.texts))):
        return open_prepared(folder).train.header.source_sha256
    return source_sha256(files.texts, config.reading, raw=TOKENIZERS[config.corpus.unit].takes_any_bytes)


def _changes(config: RunConfig) -> Iterator[str]:
    """A note on versions that have changed since the run was created, which can change the last digits of results."""
    now = {"charlm": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    then = {"charlm": config.charlm, **config.versions}
    changed = [f"{name} {then.get(name)} (now {version})" for name, version in now.items() if then.get(name) != version]
    if changed:
        yield f"this run began with {', '.join(changed)}: the result may differ in its last digits"
