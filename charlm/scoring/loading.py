"""Load a language model from a run's folder, and choose the predictor that runs its network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from numpy.typing import NDArray

from charlm.engine.compiled import CompiledPredictor, can_compile, has_bfloat16
from charlm.engine.predictor import StepPredictor
from charlm.errors import RunError, UsageError
from charlm.network.architecture import Architecture
from charlm.network.weights import check_weights, max_weight_bytes
from charlm.runs.config import RunConfig, read_config, was_trained
from charlm.runs.directory import BEST, RunDirectory
from charlm.runs.weights import Weights
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.predictor import DeferredPredictor, Predictor
from charlm.scoring.reading import Reading
from charlm.settings import Device, Precision
from charlm.system.machine import cores, find_device, may_have_gpu
from charlm.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Trained:
    """A trained network and how to run it: everything that a predictor is built from."""

    architecture: Architecture
    weights: Mapping[str, NDArray[Any]]
    run: Path = Path()
    device: Device = "auto"
    precision: Precision = "float32"
    threads: int = 1

    @property
    def can_compile(self) -> bool:
        """Whether the compiled code can run this network, in this precision, on this CPU."""
        return can_compile(self.architecture) and (self.precision == "float32" or has_bfloat16())


def load_model(
    run: RunDirectory,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
) -> LanguageModel:
    """The language model of a run, with its best weights. Raises RunError and UsageError.

    `device` is for scoring in batches; single sentences and samples always run on the CPU. `engine` is one of ENGINES,
    to use it for everything; without it each use gets the fastest one.
    """
    _check_choice("device", device, get_args(Device))
    _check_choice("precision", precision, get_args(Precision))
    if engine is not None:
        _check_choice("engine", engine, tuple(ENGINES))
    if threads is not None and threads < 1:
        raise UsageError(f"--threads {threads} is out of range", to_do="give a number of 1 or more")
    config, tokenizer, weights = open_model(run)
    trained = Trained(config.architecture, weights, run.path, device, precision, threads or cores())
    predictor = _deferred(ENGINES[engine] if engine else for_sentences, trained)
    has_no_gpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    is_best = engine is not None or (trained.can_compile and has_no_gpu)
    batch_predictor = predictor if is_best else _deferred(_for_batches, trained)
    reading = Reading(config.reading, tokenizer)
    return LanguageModel(tokenizer, predictor, batch_predictor, reading, run.path, trained.threads)


def open_model(run: RunDirectory) -> tuple[RunConfig, Tokenizer, Mapping[str, NDArray[Any]]]:
    """The configuration, the tokenizer and the best weights of a language model. Raises RunError."""
    config = read_config(run)
    config.check_kind("language_model", run.path)
    tokenizer = load_tokenizer(run.path)
    if tokenizer.vocab_size != config.architecture.vocab_size:
        raise RunError("damaged run: tokenizer and network differ in size", str(run.path))
    if not run.has(BEST):
        raise _nothing_saved(run, config)
    return config, tokenizer, load_best(run, config.architecture).tensors


def load_best(run: RunDirectory, architecture: Architecture) -> Weights:
    """The best weights of a run. Raises RunError when they are missing, damaged or of another architecture."""
    best = run.load(BEST, max_weight_bytes(architecture))
    check_weights(architecture, best.tensors, str(run.path / f"{BEST}.safetensors"))
    return best


def for_sentences(trained: Trained) -> Predictor:
    """A predictor for single sentences and samples, one token at a time. Raises UsageError."""
    if trained.can_compile:
        return ENGINES["compiled"](trained)
    if trained.precision == "bfloat16":
        what = "--precision bfloat16 needs an LSTM, charlm's compiled code and a processor with bfloat16"
        raise UsageError(what, str(trained.run), "leave --precision out, or score a --file")
    return ENGINES["numpy"](trained)


def _for_batches(trained: Trained) -> Predictor:
    """A predictor for batches: in torch on a GPU, or if no compiled code can run the network. Raises UsageError."""
    if trained.can_compile and find_device(trained.device) == "cpu":
        return ENGINES["compiled"](trained)
    return ENGINES["torch"](trained)


def _deferred(build: Callable[[Trained], Predictor], trained: Trained) -> Predictor:
    return DeferredPredictor(trained.architecture.vocab_size, partial(build, trained))


def _compiled(trained: Trained) -> Predictor:
    if not trained.can_compile:
        what = f"the engine compiled cannot run {trained.architecture.cell} in {trained.precision} here"
        raise UsageError(what, str(trained.run), "choose the engine numpy or torch")
    bfloat16 = trained.precision == "bfloat16"
    return CompiledPredictor(trained.architecture, trained.weights, bfloat16, trained.threads)


def _numpy(trained: Trained) -> Predictor:
    if trained.precision == "bfloat16":
        raise UsageError("the engine numpy has no bfloat16", str(trained.run), "choose the engine compiled or torch")
    return StepPredictor(trained.architecture, trained.weights)


def _torch(trained: Trained) -> Predictor:
    from charlm.model.predictor import load_predictor

    device, bfloat16 = find_device(trained.device), trained.precision == "bfloat16"
    return load_predictor(trained.architecture, trained.weights, device, bfloat16, trained.threads)


ENGINES: dict[str, Callable[[Trained], Predictor]] = {
    "compiled": _compiled,
    "numpy": _numpy,
    "torch": _torch,
}


def _nothing_saved(run: RunDirectory, config: RunConfig) -> RunError:
    """The error for a run without best weights: not trained yet, or damaged."""
    if was_trained(run, config):
        return run.damaged(f"{BEST}.safetensors", "is missing")
    to_do = f"wait for it, or go on with it: charlm train --resume --run {run.path}"
    return RunError("this run has not saved anything yet", str(run.path), to_do)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} {value}: no such {name}", to_do=f"choose from {', '.join(choices)}")
