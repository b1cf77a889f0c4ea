"""Load a language model from a run's folder, and choose the predictor that runs its network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from numpy.typing import NDArray

from charlm.engine.compiled import CompiledPredictor, can_compile, has_bfloat16
from charlm.engine.predictor import StepPredictor
from charlm.errors import RunError, UsageError
from charlm.network.architecture import Architecture
from charlm.network.weights import check_weights, max_weight_bytes
from charlm.runs.config import RunConfig, read_config, was_trained
from charlm.runs.directory import BEST, RunDirectory
from charlm.runs.weights import Weights
from charlm.scoring.counts import Counts, load_counts
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.predictor import DeferredPredictor, MeasuringPredictor
from charlm.scoring.reading import Reading
from charlm.settings import Device, Direction, Precision, PredictorName
from charlm.system.machine import cores, find_device, may_have_gpu
from charlm.text.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from charlm.scoring.cloze import ClozeModel


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
    direction: Direction | None = None,
    predictor: PredictorName | None = None,
) -> LanguageModel:
    """The language model of a run, with its best weights. Raises RunError and UsageError.

    `direction` picks a network of a pair, the forward one by default. `predictor` is the network alone, the n-gram
    model beside it, or their mixture; by default the mixture, where the run has one. `device` is for scoring in
    batches; single sentences and samples always run on the CPU. `engine` is one of ENGINES, to run the network
    everywhere; without it each use gets the fastest one.
    """
    check_engine(device, precision, threads, engine)
    opened = open_model(run, direction, predictor)
    return language_model(opened, run.path, device, precision, threads, engine)


def check_engine(device: str, precision: str, threads: int | None, engine: str | None) -> None:
    """Raise UsageError for a device, precision, number of threads or engine that does not exist."""
    _check_choice("device", device, get_args(Device))
    _check_choice("precision", precision, get_args(Precision))
    if engine is not None:
        _check_choice("engine", engine, tuple(ENGINES))
    if threads is not None and threads < 1:
        raise UsageError(f"--threads {threads} is out of range", to_do="give a number of 1 or more")


def language_model(
    opened: "OpenedModel",
    path: Path,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
) -> LanguageModel:
    """The language model of the run at `path` that was opened, as `load_model` returns it."""
    trained = Trained(opened.architecture, opened.weights, path, device, precision, threads or cores())
    network = _deferred(ENGINES[engine] if engine else for_sentences, trained)
    has_no_gpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    is_best = engine is not None or (trained.can_compile and has_no_gpu)
    for_batches = network if is_best else _deferred(_for_batches, trained)
    reading = Reading(opened.config.reading, opened.tokenizer)
    one, many = (opened.counts.beside(each) if opened.counts else each for each in (network, for_batches))
    direction = opened.architecture.direction
    return LanguageModel(opened.tokenizer, one, many, reading, path, trained.threads, direction, opened.notes)


@dataclass(frozen=True)
class OpenedModel:
    """A language model of a run as its files have it: of a pair, one of the two."""

    config: RunConfig
    architecture: Architecture
    tokenizer: Tokenizer
    weights: Mapping[str, NDArray[Any]]
    counts: Counts | None = None
    notes: tuple[str, ...] = ()


def open_model(
    run: RunDirectory, direction: Direction | None = None, predictor: PredictorName | None = "network"
) -> OpenedModel:
    """The language model of a run that reads in this direction, the forward one of a pair by default.

    With it come the counts that the `predictor` needs. Raises RunError and UsageError.
    """
    config = read_config(run)
    config.check_kind("language-model", run.path)
    tokenizer = trained_tokenizer(run, config)
    prefix, architecture = _network(config.architecture, direction, run)
    best = load_best(run, architecture, prefix)
    counts, note = load_counts(run, config, architecture, predictor, best.step)
    return OpenedModel(config, architecture, tokenizer, best.tensors, counts, (note,) if note else ())


def load_cloze_model(run: RunDirectory) -> "ClozeModel":
    """The cloze network of a run, with its best weights; it runs without torch. Raises RunError."""
    from charlm.engine.cloze import NumpyClozePredictor
    from charlm.scoring.cloze import ClozeModel

    config = read_config(run)
    config.check_kind("cloze", run.path)
    tokenizer = trained_tokenizer(run, config)
    predictor = NumpyClozePredictor(config.architecture, load_best(run, config.architecture).tensors)
    return ClozeModel(tokenizer, predictor, Reading(config.reading, tokenizer), run.path)


def trained_tokenizer(run: RunDirectory, config: RunConfig) -> Tokenizer:
    """The tokenizer of a run that has been trained. Raises RunError if the run cannot be used."""
    tokenizer = load_tokenizer(run.path)
    if tokenizer.vocab_size != config.architecture.num_symbols:
        raise RunError("damaged run: tokenizer and network differ in size", str(run.path))
    refuse_untrained(run, config)
    return tokenizer


def _network(whole: Architecture, direction: Direction | None, run: RunDirectory) -> tuple[str, Architecture]:
    """The network of a run that reads in this direction, and its prefix. Raises RunError if there is none."""
    networks = whole.networks
    if direction is None:
        return next(iter(networks.items()))
    for prefix, network in networks.items():
        if network.direction == direction:
            return prefix, network
    own = next(iter(networks.values())).direction
    what = f"this run reads {own}, and has no {direction} model"
    raise RunError(what, str(run.path), f"train one: charlm train --direction {direction}, or both")


def load_best(run: RunDirectory, architecture: Architecture, prefix: str = "") -> Weights:
    """The best weights of a run's network, whose files begin with `prefix` (see `Architecture.networks`).

    Raises RunError when they are missing, damaged or of another architecture.
    """
    best = run.load(prefix + BEST, max_weight_bytes(architecture))
    check_weights(architecture, best.tensors, str(run.path / f"{prefix}{BEST}.safetensors"))
    if best.scalars.get("direction", architecture.direction) != architecture.direction:
        raise run.damaged(f"{prefix}{BEST}.safetensors", f"is not of the model that reads {architecture.direction}")
    return best


def for_sentences(trained: Trained) -> MeasuringPredictor:
    """A predictor for single sentences and samples, one token at a time. Raises UsageError."""
    if trained.can_compile:
        return ENGINES["compiled"](trained)
    if trained.precision == "bfloat16":
        what = "--precision bfloat16 needs an LSTM, charlm's compiled code and a processor with bfloat16"
        raise UsageError(what, str(trained.run), "leave --precision out, or score a --file")
    return ENGINES["numpy"](trained)


def _for_batches(trained: Trained) -> MeasuringPredictor:
    """A predictor for batches: in torch on a GPU, or if no compiled code can run the network. Raises UsageError."""
    if trained.can_compile and find_device(trained.device) == "cpu":
        return ENGINES["compiled"](trained)
    return ENGINES["torch"](trained)


def _deferred(build: Callable[[Trained], MeasuringPredictor], trained: Trained) -> MeasuringPredictor:
    return DeferredPredictor(trained.architecture.vocab_size, partial(build, trained))


def _compiled(trained: Trained) -> MeasuringPredictor:
    if not trained.can_compile:
        what = f"the engine compiled cannot run {trained.architecture.cell} in {trained.precision} here"
        raise UsageError(what, str(trained.run), "choose the engine numpy or torch")
    bfloat16 = trained.precision == "bfloat16"
    return CompiledPredictor(trained.architecture, trained.weights, bfloat16, trained.threads)


def _numpy(trained: Trained) -> MeasuringPredictor:
    if trained.precision == "bfloat16":
        raise UsageError("the engine numpy has no bfloat16", str(trained.run), "choose the engine compiled or torch")
    return StepPredictor(trained.architecture, trained.weights)


def _torch(trained: Trained) -> MeasuringPredictor:
    from charlm.model.network import load_network
    from charlm.model.predictor import TorchPredictor

    network = load_network(trained.architecture, trained.weights, trained.threads, trained.device)
    return TorchPredictor(network, bfloat16=trained.precision == "bfloat16")


ENGINES: dict[str, Callable[[Trained], MeasuringPredictor]] = {
    "compiled": _compiled,
    "numpy": _numpy,
    "torch": _torch,
}


def refuse_untrained(run: RunDirectory, config: RunConfig) -> None:
    """Raise RunError for a run without best weights: not trained yet, or damaged."""
    if run.has(BEST):
        return
    if was_trained(run, config):
        raise run.damaged(f"{BEST}.safetensors", "is missing")
    to_do = f"wait for it, or continue it: charlm train --resume --run {run.path}"
    raise RunError("this run has not saved anything yet", str(run.path), to_do)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} {value}: no such {name}", to_do=f"choose from {', '.join(choices)}")
