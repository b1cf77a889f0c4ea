"""Going on with a run: what may be given anew, what has changed meanwhile, and the way back to the newest state."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeInt, TypeAdapter, ValidationError

from charlm import __version__
from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import is_prepared, open_prepared, source_sha256
from charlm.corpus.windows import LAYOUT
from charlm.errors import RunError, UsageError
from charlm.lifecycle.creation import TrainRequest, corpus_name, readable_name
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import (
    BEST,
    LAST,
    PREVIOUS,
    RunDirectory,
    Stamp,
    Weights,
    about_copies,
    find_run,
    list_runs,
    log_is_whole,
)
from charlm.settings import LENGTHS, CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds
from charlm.system.machine import cores
from charlm.text.tokenizer import load_tokenizer
from charlm.training.budget import StepBudget
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.snapshot import at_start_of_pass
from charlm.training.trainer import Progress, Trainer

MAX_THREADS = 8  # for each processor; what a run of a larger machine has beyond that is of no use
GIVEN_ANEW = {*LENGTHS, "patience", "threads", "device"}  # what --resume may be given anew; the newest state has it
GENERATORS = ("dropout_generator", "initial_state_generator")


@dataclasses.dataclass(frozen=True)
class Resumption:
    """A run to go on with, and its settings with what was given anew."""

    run: RunDirectory
    training: TrainingSettings
    saved: Weights | None
    """Its newest whole state; None where nothing was saved yet."""
    where: str
    """The file of that."""
    stamp: Stamp | None
    """Of the last state that was there before it was read."""
    notes: list[str]
    replan: bool
    """Whether its length was given anew."""
    patient: bool
    """Whether it is to go on although it ended for lack of improvement."""

    @property
    def check_tokens(self) -> int:
        """How many tokens its quick checks have; older states do not say. What cannot be is taken for the most."""
        tokens = self.saved.scalars.get("check_tokens") if self.saved else None
        return tokens if type(tokens) is int and 0 < tokens <= CHECK_TOKENS else CHECK_TOKENS


def resume(request: TrainRequest) -> Resumption:
    """What a request to resume comes to. Raises UsageError for settings, texts or tokens that the run does not have."""
    _refuse_new_beginnings(request)
    run = RunDirectory(_run_of(request))
    copies = about_copies(run.path) if request.run is None else ()
    config = read_config(run)
    stamp = run.stamp(LAST)  # before it is read: what another training saves from now on is not to be overwritten
    saved, where, notes = _newest_state(run, config)
    stored = _as_given({**dataclasses.asdict(config.training), **_length(run, saved)})
    given = request.given(TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
    _refuse_other_settings(run, config, given, stored)
    notes = [*copies, *_refuse_other_texts(run, config, request), *_changes(config), *notes]
    anew = {name: value for name, value in given.items() if name in GIVEN_ANEW and stored.get(name) != value}
    if "time" in given and saved is not None and saved.scalars.get("ended"):
        anew["time"] = given["time"]  # as long again
    replan = bool(set(LENGTHS) & set(anew))
    kept = {name: value for name, value in stored.items() if not (replan and name in LENGTHS)}
    training = fill(TrainingSettings, {**kept, **anew})
    if (training.threads or 1) > MAX_THREADS * cores() and "threads" not in anew:
        notes.append(f"{training.threads:,} threads are too many here: {cores()}; what follows may differ a little")
        training = dataclasses.replace(training, threads=cores())
    return Resumption(run, training, saved, where, stamp, notes, replan, replan or "patience" in anew)


def put_back(trainer: Trainer, saved: Weights, where: str) -> int:
    """Put a training where a saved state was; how long the log was then. Its plan stays as it is.

    A state whose windows were laid otherwise goes on at the start of the pass that it was in. One of another device has
    no random generators for this one: those of a new training are taken. Raises RunError when the state is not one of
    this training.
    """
    with _refusing(where):
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in saved.tensors.items()}
        if not has_these_windows(saved):
            tensors = at_start_of_pass(tensors)
        if _is_of_another_device(trainer, saved):
            own = trainer.snapshot()
            tensors |= {name: own[name] for name in GENERATORS if name in own and name in tensors}
        trainer.restore(tensors)
        trainer.progress = _progress(saved, trainer.progress.micro_batches)
        return TypeAdapter(NonNegativeInt).validate_python(saved.scalars["metrics_length"], strict=True)


def has_these_windows(saved: Weights) -> bool:
    """Whether a state's position means the same today: runs of formats up to 3 laid their windows otherwise."""
    return saved.scalars.get("layout") == LAYOUT


def about_device(trainer: Trainer, saved: Weights) -> list[str]:
    """What is to be said of a training that goes on somewhere else."""
    if not _is_of_another_device(trainer, saved):
        return []
    there = f"on {str(saved.scalars['device'])[:20]}" if "device" in saved.scalars else "on another device"
    what_follows = "random numbers are drawn anew, so what follows is not what it would have been there"
    return [f"this run was saved {there} and goes on on {trainer.machine.device}: {what_follows}"]


def _is_of_another_device(trainer: Trainer, saved: Weights) -> bool:
    """Whether a state was saved on another kind of device; older ones do not say, but their generators are as long."""
    own, name = trainer.machine.device, GENERATORS[0]
    if (device := saved.scalars.get("device")) is not None:
        return bool(device != own)
    state = saved.tensors.get(name)
    if state is None or state.ndim != 1 or state.dtype != np.uint8:
        return False  # nor of any device
    return len(state) != len(trainer.snapshot()[name])


def stored_plan(saved: Weights, where: str) -> StepBudget:
    """The plan that a state was saved with. Raises RunError."""
    with _refusing(where):
        plan = saved.scalars.get("plan") or {name: saved.scalars[name] for name in ("total_steps", "decisions")}  # 0.1
        return TypeAdapter(StepBudget).validate_json(json.dumps(plan))


def check_log(run: RunDirectory, saved: Weights) -> Iterator[str]:
    """What is to be said of metrics.jsonl. Raises RunError when it is not as it was when the state was saved."""
    if log_is_whole(run, saved):
        return
    if run.metrics_length():
        raise run.damaged("metrics.jsonl", "is not as it was written; without it, training goes on with a new log")
    yield "metrics.jsonl is missing: the log begins anew"


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """A state that cannot be is a RunError naming its file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"damaged run: {Path(where).name} {_reason(error)}"
        raise RunError(what, where, "train again, or restore it from a copy") from error


def _refuse_new_beginnings(request: TrainRequest) -> None:
    others = {"--init-from": request.init_from is not None, "--force": request.force}
    for option, given in others.items():
        if given:
            what = f"--resume goes on with a run as it is, {option} begins anew"
            raise UsageError(what, to_do="give one of them")


def _run_of(request: TrainRequest) -> Path:
    """The run that is asked for; without a name that of the text, or the newest of all."""
    name = request.run
    if name is None and request.corpus is not None:
        name = _newest_run_of(request.texts)
    return find_run(name, saved=False)


def _newest_state(run: RunDirectory, config: RunConfig) -> tuple[Weights | None, str, list[str]]:
    """The newest whole state, its file, and what is to be said of it. Raises RunError when it is lost."""
    if not (run.has(LAST) or run.has(PREVIOUS)):
        if run.has(BEST):  # which is never saved before a first state is
            raise run.damaged("last.safetensors", "is missing, and previous.safetensors too")
        return None, "", ["nothing was saved yet: starting from the beginning"]
    saved, note = run.load_newest(config.most_state_bytes)
    from_here = f"going on from step {saved.step:,}" if saved.step else "nothing was trained yet: starting at step 0"
    if saved.step and not has_these_windows(saved):
        from_here += ", at the start of a pass: this run is of an older charlm, which laid its windows otherwise"
    where = run.path / f"{PREVIOUS if note else LAST}.safetensors"
    return saved, str(where), [*filter(None, [note]), *check_log(run, saved), from_here]


def _as_given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _length(run: RunDirectory, saved: Weights | None) -> dict[str, Any]:
    """The length that the newest state was to reach, where it was not the run's own. Raises RunError."""
    length = saved.scalars.get("length", {}) if saved else {}
    try:
        if not isinstance(length, dict) or not length.keys() <= GIVEN_ANEW:
            raise UsageError("no such length")
        settings = fill(TrainingSettings, length)
        if settings.time is not None:
            seconds(settings.time)
    except UsageError as error:
        raise run.damaged("last.safetensors", f"has a length that cannot be: {error.what[:100]}") from error
    return {name: getattr(settings, name) for name in length}


def _reason(error: Exception) -> str:
    if isinstance(error, (ValidationError, TypeError, AttributeError)):
        return "has a state of training that this charlm does not know"
    return f"lacks {error}" if isinstance(error, KeyError) else str(error)


def _progress(saved: Weights, micro_batches: int) -> Progress:
    """The numbers of a state; of parts of a batch there are at least `micro_batches`, where memory is short now."""
    numbers = {n: math.inf if v is None else v for n, v in saved.scalars["progress"].items()}
    if "evaluated_at" not in numbers:  # of format 2 or 1: no state was saved with an evaluation left to do
        numbers["evaluated_at"] = saved.step
        numbers.pop("best_step", None)
    types = {one.name: one.type for one in dataclasses.fields(Progress)}
    for name, value in numbers.items():
        if type(value) is not int and type(value) is not types.get(name):
            raise ValueError(f"counts {name[:40]!r} in a way that this charlm does not know")
    progress = Progress(**numbers)  # type: ignore[arg-type]  # just checked
    if progress.step != saved.step or min(progress.step, progress.tokens_seen, progress.seconds) < 0:
        raise ValueError("has a state of training that contradicts itself")
    if not (1 <= progress.micro_batches <= 2**16 and 0 < progress.learning_rate_scale <= 1):
        raise ValueError("has a state of training that cannot be")
    progress.micro_batches = max(progress.micro_batches, micro_batches)
    return progress


def _refuse_other_settings(
    run: RunDirectory, config: RunConfig, given: Mapping[str, Any], stored: Mapping[str, Any]
) -> None:
    as_it_is = {**dataclasses.asdict(config.text), **dataclasses.asdict(config.reading)}
    as_it_is |= {**dataclasses.asdict(config.model), "vocab_size": config.text.vocab_size, **stored}
    for setting, value in given.items():
        if setting not in GIVEN_ANEW and as_it_is.get(setting) != value:
            own = as_it_is.get(setting)
            has = f"no {flag(setting)}" if own is None else f"{flag(setting)} {own}"
            what = f"this run has {has}, not {value}"
            raise UsageError(what, str(run.path), f"leave {flag(setting)} out, or train anew without --resume")


def _refuse_other_texts(run: RunDirectory, config: RunConfig, request: TrainRequest) -> Iterator[str]:
    """A text or tokenizer that is given must be the one that the run began with, whose ids are in the run."""
    facts = config.corpus
    corpus = request.texts if request.corpus is not None else None
    valid, test = (request.texts.with_same_patterns(path) for path in (request.valid, request.test))
    texts = ((corpus, facts.sha256), (valid, facts.valid_sha256), (test, facts.test_sha256))
    for path, sha256 in texts:
        if path is not None and not facts.sha256:  # a run of an older charlm
            yield f"whether {path} is the text that this run began with was not noted then: going on with its own copy"
        elif path is not None and _sha256(path, config) != sha256:
            what = "this is not the text that the run began with, or it has changed since"
            to_do = "leave it out to go on with the run's own copy, or begin anew from its weights: --init-from"
            raise UsageError(what, f"{path}, and {run.path}", f"{to_do} {run.path.name}")
    if (
        request.tokenizer is not None
        and load_tokenizer(request.tokenizer).sha256() != load_tokenizer(run.path).sha256()
    ):
        what = "--tokenizer is not the one that this run began with"
        raise UsageError(what, f"{request.tokenizer}, and {run.path}", "leave it out")


def _sha256(path: Texts, config: RunConfig) -> str:
    if is_prepared(folder := Path(str(path))):
        return open_prepared(folder).train.header.source_sha256
    return source_sha256(path, config.reading, raw=config.corpus.unit == "byte")


def _changes(config: RunConfig) -> Iterator[str]:
    """What is not as it was when the run began, and can make the steps to come differ in their last digits."""
    now = {"charlm": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    then = {"charlm": config.charlm, **config.versions}
    changed = [f"{name} {then.get(name)} (now {version})" for name, version in now.items() if then.get(name) != version]
    if changed:
        yield f"this run began with {', '.join(changed)}: what follows may differ in its last digits"


def _newest_run_of(corpus: Texts) -> str:
    """The run of this corpus that was saved last; damaged runs are passed over."""
    for path in list_runs(saved=False):
        with suppress(RunError):
            if read_config(RunDirectory(path)).corpus.name == readable_name(corpus):
                return str(path)
    return corpus_name(corpus)
