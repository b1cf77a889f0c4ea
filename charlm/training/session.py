"""From a corpus to a run: opens or creates the run directory, trains and saves."""

import dataclasses
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm import __version__
from charlm.cells import Shape
from charlm.config import CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds
from charlm.corpus.prepare import PreparedCorpus, is_prepared, open_prepared, prepare
from charlm.corpus.windows import RareTypes, SentenceWindows, StreamWindows
from charlm.device import Machine, find_machine
from charlm.engine.stepper import Stepper
from charlm.errors import UsageError
from charlm.files import cannot_write
from charlm.interrupts import catching_signals
from charlm.lock import writing
from charlm.model.language_model import LanguageModelNetwork
from charlm.model.runner import Runner
from charlm.run_directory import BEST, CORPUS, LAST, RunDirectory, Weights, find_run, list_runs, new_run_path
from charlm.sampling.generate import Ending, generate
from charlm.sampling.strategies import Strategy
from charlm.text.tokenizer import Tokenizer, load_tokenizer
from charlm.training.budget import StepBudget
from charlm.training.defaults import DEFAULT_TIME, MOST_PASSES, decide_shape, decide_training
from charlm.training.evaluate import check_pieces, mean_nats
from charlm.training.events import Evaluated, Event, Finished, Planned, Sampled, Saved, StepDone
from charlm.training.loop import Progress, Trainer

LENGTH = ("steps", "epochs", "time", "patience", "threads")  # what --resume may be given anew
LOG_EVERY = 10  # steps
SAMPLE_TOKENS = {"char": 160, "byte": 160, "word": 32, "subword": 48}
RESERVED = 0.03  # share of --time kept for the last evaluation


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


@dataclass
class Session:
    """One training: everything decided, nothing trained yet."""

    run: RunDirectory
    corpus: PreparedCorpus
    shape: Shape
    training: TrainingSettings
    machine: Machine
    trainer: Trainer
    notes: list[str]
    log_length: int = 0  # bytes of the log that belong to the state it begins with; the rest is cut
    finished: Finished = field(init=False)  # how it ended, once it has

    @property
    def network(self) -> LanguageModelNetwork:
        return self.trainer.network

    def events(self) -> Iterator[Event]:
        """Train, save and log; the run directory always holds a usable `best`."""
        with writing(self.run.path), catching_signals() as stop:
            self.run.cut_metrics(self.log_length)
            for event in self.trainer.events(stop):
                yield event
                self._log(event)
                if isinstance(event, Evaluated) and event.improved:
                    self._save_best()
                if isinstance(event, Finished):
                    self.finished = event
                if isinstance(event, Finished) or self._is_time_to_save(event):
                    yield self._save_last()
                    if self.corpus.valid is None or not self.run.has(BEST):
                        self._save_best()

    def _is_time_to_save(self, event: Event) -> bool:
        return isinstance(event, StepDone) and event.step % self.trainer.save_every() == 0

    def load_best(self) -> None:
        """Put the best weights into the network."""
        tensors = {name: torch.from_numpy(value) for name, value in self.run.load(BEST).tensors.items()}
        self.network.load_state_dict(tensors)

    def _save_best(self) -> None:
        progress = self.trainer.progress
        scalars = {"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen}
        self.run.save(BEST, Weights(network_arrays(self.network), progress.step, _finite(scalars)))

    def _save_last(self) -> Saved:
        trainer, budget = self.trainer, self.trainer.budget
        scalars = {
            "progress": _finite(dataclasses.asdict(trainer.progress)),
            "total_steps": budget.total_steps,
            "decisions": budget.decisions,
            "metrics_length": self.run.metrics_length(),
        }
        arrays = {name: _array(tensor) for name, tensor in trainer.snapshot().items()}
        self.run.save(LAST, Weights(arrays, trainer.progress.step, scalars))
        return Saved(trainer.progress.step)

    def _log(self, event: Event) -> None:
        regular = isinstance(event, StepDone) and (event.step % LOG_EVERY == 0 or event.step == 1)
        if regular or isinstance(event, (Evaluated, Sampled, Planned, Finished)):
            record = {"event": type(event).__name__, **_finite(dataclasses.asdict(event))}
            self.run.append_metrics({**record, "seconds": round(self.trainer.progress.seconds, 3)})


def open_session(request: TrainRequest) -> Session:
    """Check everything, prepare the text, create the run. Raises a CharlmError before anything is created."""
    if request.resume:
        return _resume(request)
    if request.corpus is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt")
    _check_settings(request)
    path = new_run_path(request.run, _corpus_name(request.corpus), request.force)
    with _assembling(path, request.force) as draft:
        notes = _create(request, draft).notes
    session = _open(RunDirectory(path))
    session.notes += notes
    return session


@contextmanager
def draft_session(request: TrainRequest) -> Iterator[Session]:
    """The same session in a temporary place, for a look at it."""
    if request.corpus is None:
        raise UsageError("no corpus given", to_do="charlm train corpus.txt --dry-run")
    _check_settings(request)
    with tempfile.TemporaryDirectory() as folder:
        yield _create(request, Path(folder) / "draft")


def _check_settings(request: TrainRequest) -> None:
    for kind in (TextSettings, CorpusSettings, ModelSettings, TrainingSettings):
        fill(kind, request.settings)
    if "time" in request.settings:
        seconds(request.settings["time"])


def _create(request: TrainRequest, folder: Path) -> Session:
    """Decide everything and write a new run's folder."""
    training = fill(TrainingSettings, request.settings)
    machine = find_machine(training)
    corpus = _prepare(request, folder / CORPUS)
    unit, num_tokens = corpus.tokenizer.unit, corpus.train.num_tokens
    model = fill(ModelSettings, request.settings)
    shape = decide_shape(model, training, unit, corpus.tokenizer.vocab_size, num_tokens, machine)
    training, notes = decide_training(training, unit, num_tokens, machine)
    run = RunDirectory.create(folder, _config(request, corpus, shape, training), corpus.tokenizer.files())
    session = _open(run)
    session.notes += [*corpus.notes, *notes]
    return session


def _resume(request: TrainRequest) -> Session:
    """Go on with a run: its own text and settings; only its length may be given anew."""
    name = request.run
    if name is None and request.corpus is not None:
        name = _newest_run_of(request.corpus)
    run = RunDirectory(find_run(name))
    config = run.config
    stored = {name: value for name, value in config["training"].items() if value is not None}
    as_it_is = {**config["text"], **config["model"], **stored}
    length = {name: value for name, value in request.settings.items() if name in LENGTH}
    for name, value in request.settings.items():
        if name not in LENGTH and str(as_it_is.get(name)) != str(value):
            raise UsageError(
                f"--resume goes on with the run as it is, without {flag(name)}", str(run.path), "leave it out"
            )
    if {"steps", "epochs", "time"} & set(length):
        stored = {name: value for name, value in stored.items() if name not in ("steps", "epochs", "time")}
    training = fill(TrainingSettings, {**stored, **length})
    session = _open(run, training)
    if run.has(LAST):
        _restore(session, replan=len(length) > 0)
    else:
        session.notes.append("nothing was saved yet: starting from the beginning")
    return session


def _newest_run_of(corpus: str) -> str:
    paths = [path for path in list_runs() if RunDirectory(path).config["corpus"]["name"] == Path(corpus).name]
    return str(paths[0]) if paths else _corpus_name(corpus)


def _restore(session: Session, replan: bool) -> None:
    """Put a session where the newest saved state was; the length planned then holds unless a new one was given."""
    saved = session.run.load_newest()
    trainer, budget = session.trainer, session.trainer.budget
    trainer.restore({name: torch.from_numpy(np.array(value)) for name, value in saved.tensors.items()})
    numbers: dict[str, Any] = {n: math.inf if v is None else v for n, v in saved.scalars["progress"].items()}
    trainer.progress = Progress(**numbers)
    if not replan:
        budget.total_steps, budget.decisions = saved.scalars["total_steps"], saved.scalars["decisions"]
    elif budget.seconds is not None:
        budget.seconds += trainer.progress.seconds
    session.log_length = saved.scalars["metrics_length"]
    session.notes.append(f"going on from step {saved.step:,}")


def _open(run: RunDirectory, training: TrainingSettings | None = None) -> Session:
    """A session at its first step, from what the run's folder says."""
    training = training or fill(TrainingSettings, run.config["training"])
    machine = find_machine(training)
    shape = Shape(**run.config["model"])
    corpus = open_prepared(run.path / CORPUS)
    network = LanguageModelNetwork(shape)
    network.initialise(torch.Generator().manual_seed(training.seed))
    network = network.to(machine.device)
    ids, tokenizer = corpus.train.ids, corpus.tokenizer
    assert training.batch_size is not None
    assert training.bptt is not None
    rare = RareTypes(ids, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id, training.seed)
    kind = SentenceWindows if training.mode == "sentence" else StreamWindows
    windows = kind(ids, tokenizer.eos_id, training.batch_size, training.bptt, training.seed, rare)
    budget = _budget(training, windows.windows_per_pass)
    check = _check(network, corpus, training) if corpus.valid is not None else None
    sample = _sampler(network, tokenizer, training.seed)
    trainer = Trainer(network, windows, training, budget, machine, check, sample)
    return Session(run, corpus, shape, training, machine, trainer, [])


def _budget(training: TrainingSettings, windows_per_pass: int) -> StepBudget:
    if training.steps is not None:
        return StepBudget(total_steps=training.steps)
    if training.epochs is not None:
        return StepBudget(total_steps=max(1, round(training.epochs * windows_per_pass)))
    wanted = seconds(training.time or DEFAULT_TIME)
    return StepBudget(seconds=wanted * (1 - RESERVED), ceiling=MOST_PASSES * windows_per_pass)


def _check(network: LanguageModelNetwork, corpus: PreparedCorpus, training: TrainingSettings) -> Callable[[], float]:
    assert corpus.valid is not None
    eos_id = corpus.tokenizer.eos_id
    pieces = check_pieces(corpus.valid.ids[1:], eos_id, line_by_line=training.mode == "sentence")
    return lambda: mean_nats(Runner(network, bfloat16=training.precision == "bfloat16"), pieces, eos_id)


def _sampler(network: LanguageModelNetwork, tokenizer: Tokenizer, seed: int) -> Callable[[], str]:
    def sample() -> str:
        stepper = Stepper(network.shape, network_arrays(network))
        tokens = generate(
            stepper,
            np.array([tokenizer.eos_id]),
            Strategy(temperature=0.8),
            Ending(length=SAMPLE_TOKENS[tokenizer.unit]),
            np.random.default_rng(seed),
            tokenizer.decoder(),
            eos_id=tokenizer.eos_id,
            forbidden=tokenizer.unk_id,
        )
        return "".join(token.text for token in tokens)

    return sample


def network_arrays(network: LanguageModelNetwork) -> dict[str, NDArray[Any]]:
    """The network's weights by name, as NumPy arrays."""
    return {name: _array(value) for name, value in network.state_dict().items()}


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _prepare(request: TrainRequest, folder: Path) -> PreparedCorpus:
    assert request.corpus is not None
    if is_prepared(Path(request.corpus)):
        shutil.copytree(request.corpus, folder)
        return open_prepared(folder)
    tokenizer = load_tokenizer(request.tokenizer) if request.tokenizer else None
    text, settings = fill(TextSettings, request.settings), fill(CorpusSettings, request.settings)
    return prepare(request.corpus, folder, text, settings, request.valid, request.test, tokenizer)


@contextmanager
def _assembling(path: Path, replace: bool) -> Iterator[Path]:
    """A draft folder beside `path` that becomes it in one rename, or vanishes when something goes wrong."""
    draft = path.parent / f".{path.name}.{os.getpid()}"
    try:
        yield draft
        if replace and path.exists():
            with writing(path):
                shutil.rmtree(path)
        os.replace(draft, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()  # only succeeds when nothing is in it


def _config(request: TrainRequest, corpus: PreparedCorpus, shape: Shape, training: TrainingSettings) -> dict[str, Any]:
    assert request.corpus is not None
    return {
        "charlm": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "corpus": {
            "name": Path(request.corpus).name,
            "unit": corpus.tokenizer.unit,
            "train_tokens": corpus.train.num_tokens,
            "train_characters": corpus.train.header.num_characters,
        },
        "text": {**dataclasses.asdict(fill(TextSettings, request.settings)), "unit": corpus.tokenizer.unit},
        "model": dataclasses.asdict(shape),
        "training": dataclasses.asdict(training),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def _corpus_name(corpus: str) -> str:
    return Path(corpus).resolve().stem.lstrip(".") or "text" if corpus != "-" else "stdin"


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
