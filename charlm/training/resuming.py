"""Going on with a run: what may be given anew, what has changed meanwhile, and the way back to the newest state."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import FiniteFloat, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from charlm import __version__
from charlm.config import CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag
from charlm.corpus.prepare import is_prepared, open_prepared, source_sha256
from charlm.errors import RunError, UsageError
from charlm.run_config import RunConfig, read_config
from charlm.run_directory import RunDirectory, Weights, find_run, list_runs
from charlm.text.tokenizer import load_tokenizer
from charlm.training.budget import StepBudget
from charlm.training.creation import TrainRequest, corpus_name, readable_name
from charlm.training.loop import Progress, Trainer

STEPS = {"steps", "epochs", "time"}
LENGTH = {*STEPS, "patience", "threads"}  # what --resume may be given anew


@dataclasses.dataclass(frozen=True)
class Resumption:
    """A run to go on with, and its settings with what was given anew."""

    run: RunDirectory
    training: TrainingSettings
    notes: list[str]
    replan: bool
    """Whether its length was given anew."""
    patient: bool
    """Whether it is to go on although it ended for lack of improvement."""


def resume(request: TrainRequest) -> Resumption:
    """What a request to resume comes to. Raises UsageError for settings, texts or tokens that the run does not have."""
    if request.init_from is not None:
        what = "--resume goes on with a run's own weights, --init-from begins anew with those of another"
        raise UsageError(what, to_do="give one of them")
    name = request.run
    if name is None and request.corpus is not None:
        name = _newest_run_of(request.corpus)
    run = RunDirectory(find_run(name))
    config = read_config(run)
    stored = {name: value for name, value in dataclasses.asdict(config.training).items() if value is not None}
    given = request.given(TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
    _refuse_other_settings(run, config, given, stored)
    notes = [*_refuse_other_texts(run, config, request), *_changes(config)]
    length = {name: value for name, value in given.items() if name in LENGTH}
    replan = bool(STEPS & set(length))
    kept = {name: value for name, value in stored.items() if not (replan and name in STEPS)}
    return Resumption(run, fill(TrainingSettings, {**kept, **length}), notes, replan, bool(length))


def put_back(trainer: Trainer, saved: Weights, where: str, replan: bool = False) -> int:
    """Put a training where a saved state was; how long the log was then. With `replan` its length is planned anew.

    Raises RunError when the state is not one of this training.
    """
    try:
        trainer.restore({name: torch.from_numpy(np.array(value)) for name, value in saved.tensors.items()})
        trainer.progress = _progress(saved)
        _plan(trainer.budget, saved.scalars, replan, trainer.progress.seconds)
        return TypeAdapter(NonNegativeInt).validate_python(saved.scalars["metrics_length"], strict=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"damaged run: {Path(where).name} {_reason(error)}"
        raise RunError(what, where, "train again, or restore it from a copy") from error


def _reason(error: Exception) -> str:
    if isinstance(error, (ValidationError, TypeError, AttributeError)):
        return "has a state of training that this charlm does not know"
    return f"lacks {error}" if isinstance(error, KeyError) else str(error)


def _progress(saved: Weights) -> Progress:
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
    return progress


def _plan(budget: StepBudget, scalars: Mapping[str, Any], replan: bool, seconds: float) -> None:
    if replan:
        if budget.seconds is not None:
            budget.seconds += seconds
        return
    plan = scalars.get("plan") or {name: scalars[name] for name in ("total_steps", "decisions")}  # charlm 0.1
    budget.total_steps = TypeAdapter(PositiveInt | None).validate_python(plan["total_steps"], strict=True)
    budget.decisions = TypeAdapter(NonNegativeInt).validate_python(plan["decisions"], strict=True)
    budget.marks = [
        (TypeAdapter(NonNegativeInt).validate_python(step), TypeAdapter(FiniteFloat).validate_python(time))
        for step, time in plan.get("marks", [])
    ]


def _refuse_other_settings(
    run: RunDirectory, config: RunConfig, given: Mapping[str, Any], stored: Mapping[str, Any]
) -> None:
    as_it_is = {**dataclasses.asdict(config.text), **dataclasses.asdict(config.reading)}
    as_it_is |= {**dataclasses.asdict(config.model), "vocab_size": config.text.vocab_size, **stored}
    for setting, value in given.items():
        if setting not in LENGTH and as_it_is.get(setting) != value:
            what = f"this run has {flag(setting)} {as_it_is.get(setting, 'of its own')}, not {value}"
            raise UsageError(what, str(run.path), f"leave {flag(setting)} out, or train anew without --resume")


def _refuse_other_texts(run: RunDirectory, config: RunConfig, request: TrainRequest) -> Iterator[str]:
    """A text or tokenizer that is given must be the one that the run began with, whose ids are in the run."""
    facts = config.corpus
    texts = ((request.corpus, facts.sha256), (request.valid, facts.valid_sha256), (request.test, facts.test_sha256))
    for path, sha256 in texts:
        if path is not None and not facts.sha256:  # a run of an older charlm
            yield f"whether {path} is the text that this run began with was not noted then: going on with its own copy"
        elif path is not None and _sha256(path, config.reading) != sha256:
            what = "this is not the text that the run began with, or it has changed since"
            to_do = "leave it out to go on with the run's own copy, or begin anew from its weights: --init-from"
            raise UsageError(what, f"{path}, and {run.path}", f"{to_do} {run.path.name}")
    if (
        request.tokenizer is not None
        and load_tokenizer(request.tokenizer).sha256() != load_tokenizer(run.path).sha256()
    ):
        what = "--tokenizer is not the one that this run began with"
        raise UsageError(what, f"{request.tokenizer}, and {run.path}", "leave it out")


def _sha256(path: Path | str, settings: CorpusSettings) -> str | None:
    if is_prepared(Path(path)):
        return open_prepared(Path(path)).train.header.source_sha256
    return source_sha256(path, settings)


def _changes(config: RunConfig) -> Iterator[str]:
    """What is not as it was when the run began, and can make the steps to come differ in their last digits."""
    now = {"charlm": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    then = {"charlm": config.charlm, **config.versions}
    changed = [f"{name} {then.get(name)} (now {version})" for name, version in now.items() if then.get(name) != version]
    if changed:
        yield f"this run began with {', '.join(changed)}: what follows may differ in its last digits"


def _newest_run_of(corpus: str) -> str:
    """The run of this corpus that was saved last; damaged runs are passed over."""
    for path in list_runs():
        with suppress(RunError):
            if read_config(RunDirectory(path)).corpus.name == readable_name(corpus):
                return str(path)
    return corpus_name(corpus)
