"""Going on with a run: which one, what may be given anew, what has changed meanwhile, and its newest whole state."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import is_prepared, open_prepared, source_sha256
from charlm.errors import RunError, UsageError
from charlm.lifecycle.creation import about_micro_batches, remove_left_drafts
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.saved_state import GIVEN_ANEW, SavedState, read_state
from charlm.lifecycle.session import Instruments, Opening, Session, open_session
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import BEST, LAST, PREVIOUS, RunDirectory
from charlm.runs.finding import about_copies, find_run, list_runs
from charlm.settings import LENGTHS, TrainingSettings, flag
from charlm.system.folders import check_space
from charlm.system.machine import cores, find_machine
from charlm.text.tokenizer import load_tokenizer
from charlm.training.memory import disk_bytes, fitting_micro_batches
from charlm.version import __version__

MAX_THREADS_PER_CORE = 8  # what a run of a larger machine has beyond that is of no use


def resume(request: TrainRequest, instruments: Instruments) -> Session:
    """Go on with a run: its own text and settings; only its length, threads and device may be given anew.

    Raises UsageError for settings, texts or tokenizers that the run does not have, and RunError for a damaged run.
    """
    _refuse_new_beginnings(request)
    run = RunDirectory(_run_of(request))
    notes = [*about_copies(run.path)] if request.run is None else []
    config, newest = read_config(run), run.stamp(LAST)
    # The stamp comes first: what another training saves from now on is not to be overwritten.
    saved, notes_on_state = _newest_state(run, config)
    stored, given = saved.training if saved else config.training, request.settings.given
    _refuse_other_settings(run, config, stored, given)
    notes += [*_refuse_other_texts(run, config, request), *_changes(config), *notes_on_state]
    training, replan, is_patient = _given_anew(stored, given, has_ended=bool(saved and saved.scalars.ended))
    if (training.threads or 1) > MAX_THREADS_PER_CORE * cores() and "threads" not in given:
        notes.append(f"{training.threads:,} threads are too many here: {cores()}; what follows may differ a little")
        training = dataclasses.replace(training, threads=cores())
    remove_left_drafts(run.path)  # of a training that was to replace this run, and was killed
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


def _refuse_new_beginnings(request: TrainRequest) -> None:
    for option, is_given in {"--init-from": request.init_from is not None, "--force": request.force}.items():
        if is_given:
            what = f"--resume goes on with a run as it is, {option} begins anew"
            raise UsageError(what, to_do="give one of them")


def _run_of(request: TrainRequest) -> Path:
    """The run that is asked for; without a name that of the text, or the newest of all."""
    name = request.run
    if name is None and request.texts is not None:
        name = _newest_run_of(request)
    return find_run(name, saved=False)


def _newest_run_of(request: TrainRequest) -> str:
    """The run of this text that was saved last; damaged runs are passed over."""
    for path in list_runs(saved=False):
        with suppress(RunError):
            if read_config(RunDirectory(path)).corpus.name == request.readable_name:
                return str(path)
    return request.corpus_name


def _newest_state(run: RunDirectory, config: RunConfig) -> tuple[SavedState | None, list[str]]:
    """The newest whole state, and what is to be said of it. Raises RunError when it is lost."""
    if not (run.has(LAST) or run.has(PREVIOUS)):
        if run.has(BEST):  # which is never saved before a first state is
            raise run.damaged("last.safetensors", "is missing, and previous.safetensors too")
        return None, ["nothing was saved yet: starting from the beginning"]
    weights, note = run.load_newest(config.max_state_bytes)
    saved = read_state(weights, config.training, run.path / f"{PREVIOUS if note else LAST}.safetensors")
    from_here = f"going on from step {saved.step:,}" if saved.step else "nothing was trained yet: starting at step 0"
    if saved.step and not saved.has_todays_windows:
        from_here += ", at the start of a pass: this run is of an older charlm, which laid its windows otherwise"
    return saved, [*filter(None, [note]), *_about_log(run, saved), from_here]


def _about_log(run: RunDirectory, saved: SavedState) -> Iterator[str]:
    """What is to be said of the log. Raises RunError when it is not as it was when the state was saved."""
    if run.log.begins_as_saved(saved.weights.scalars):
        return
    if run.log.num_bytes:
        raise run.log.damaged("is not as it was written; without it, training goes on with a new log")
    yield "metrics.jsonl is missing: the log begins anew"


def _given_anew(
    stored: TrainingSettings, given: Mapping[str, Any], has_ended: bool
) -> tuple[TrainingSettings, bool, bool]:
    """The settings to go on with; whether the length is new; whether lack of improvement so far is forgotten."""
    anew = {name: value for name, value in given.items() if name in GIVEN_ANEW and getattr(stored, name) != value}
    if "time" in given and has_ended:
        anew["time"] = given["time"]  # as long again
    replan = bool(set(LENGTHS) & set(anew))
    cleared: dict[str, Any] = dict.fromkeys(LENGTHS) if replan else {}
    training = dataclasses.replace(stored, **(cleared | anew))
    return training, replan, replan or "patience" in anew


def _refuse_other_settings(
    run: RunDirectory, config: RunConfig, stored: TrainingSettings, given: Mapping[str, Any]
) -> None:
    own = {**dataclasses.asdict(config.text), **dataclasses.asdict(config.reading)}
    own |= {**dataclasses.asdict(config.architecture), "vocab_size": config.text.vocab_size}
    own |= {name: value for name, value in dataclasses.asdict(stored).items() if value is not None}
    for setting, value in given.items():
        if setting not in GIVEN_ANEW and own.get(setting) != value:
            has = f"no {flag(setting)}" if own.get(setting) is None else f"{flag(setting)} {own[setting]}"
            what = f"this run has {has}, not {value}"
            raise UsageError(what, str(run.path), f"leave {flag(setting)} out, or train anew without --resume")


def _refuse_other_texts(run: RunDirectory, config: RunConfig, request: TrainRequest) -> Iterator[str]:
    """A text or tokenizer that is given must be the one that the run began with, whose ids are in the run."""
    facts, texts = config.corpus, request.texts or Texts(())
    given = (
        (request.texts, facts.sha256),
        (texts.with_same_patterns(request.valid), facts.valid_sha256),
        (texts.with_same_patterns(request.test), facts.test_sha256),
    )
    for text, sha256 in given:
        if text is not None and not facts.sha256:  # a run of an older charlm
            yield f"whether {text} is the text that this run began with was not noted then: going on with its own copy"
        elif text is not None and _sha256(text, config) != sha256:
            what = "this is not the text that the run began with, or it has changed since"
            to_do = "leave it out to go on with the run's own copy, or begin anew from its weights: --init-from"
            raise UsageError(what, f"{text}, and {run.path}", f"{to_do} {run.path.name}")
    tokenizer = request.tokenizer
    if tokenizer is not None and load_tokenizer(tokenizer).sha256() != load_tokenizer(run.path).sha256():
        what = "--tokenizer is not the one that this run began with"
        raise UsageError(what, f"{tokenizer}, and {run.path}", "leave it out")


def _sha256(text: Texts, config: RunConfig) -> str:
    if is_prepared(folder := Path(str(text))):
        return open_prepared(folder).train.header.source_sha256
    return source_sha256(text, config.reading, raw=config.corpus.unit == "byte")


def _changes(config: RunConfig) -> Iterator[str]:
    """What is not as it was when the run began, and can make the steps to come differ in their last digits."""
    now = {"charlm": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    then = {"charlm": config.charlm, **config.versions}
    changed = [f"{name} {then.get(name)} (now {version})" for name, version in now.items() if then.get(name) != version]
    if changed:
        yield f"this run began with {', '.join(changed)}: what follows may differ in its last digits"
