"""One training from its first step, or from where it stopped: the loop with its saving and its log."""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.config import CorpusSettings, ModelSettings, TextSettings, TrainingSettings, fill, flag, seconds
from charlm.corpus.prepare import PreparedCorpus, open_prepared
from charlm.corpus.windows import RareTypes, SentenceWindows, StreamWindows
from charlm.device import Machine, find_machine, keep_freed_memory
from charlm.engine.compiled import fastest_stepper
from charlm.errors import DivergedError, RunError, UsageError
from charlm.interrupts import catching_signals
from charlm.lock import writing
from charlm.model.language_model import LanguageModelNetwork
from charlm.model.runner import Runner
from charlm.run_directory import BEST, CORPUS, LAST, RunDirectory, Weights, find_run, list_runs
from charlm.sampling.generate import Ending, generate
from charlm.sampling.strategies import Strategy
from charlm.shape import Shape, shape_from
from charlm.text.tokenizer import Tokenizer
from charlm.training.budget import StepBudget
from charlm.training.creation import TrainRequest, check_request, corpus_name, create_run, readable_name, write_run
from charlm.training.defaults import DEFAULT_TIME, MOST_PASSES
from charlm.training.evaluate import check_pieces, mean_nats
from charlm.training.events import Evaluated, Event, Finished, Planned, Sampled, Saved, SaveDue, StepDone
from charlm.training.loop import Progress, Trainer

STEPS = {"steps", "epochs", "time"}
LENGTH = {*STEPS, "patience", "threads"}  # what --resume may be given anew
LOG_EVERY = 10  # steps
SAMPLE_TOKENS = {"char": 160, "byte": 160, "word": 32, "subword": 48}
RESERVED = 0.03  # share of --time kept for the last evaluation


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
                if isinstance(event, (SaveDue, Finished)):
                    yield self._save_last()
                    if self.corpus.valid is None or not self.run.has(BEST):
                        self._save_best()

    def load_best(self) -> None:
        """Put the best weights into the network."""
        tensors = {name: torch.from_numpy(value) for name, value in self.run.load(BEST).tensors.items()}
        self.network.load_state_dict(tensors)

    def _save_best(self) -> None:
        progress = self.trainer.progress
        scalars = {"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen}
        self.run.save(BEST, Weights(_sound(network_arrays(self.network)), progress.step, _finite(scalars)))

    def _save_last(self) -> Saved:
        trainer, budget = self.trainer, self.trainer.budget
        scalars = {
            "progress": _finite(dataclasses.asdict(trainer.progress)),
            "total_steps": budget.total_steps,
            "decisions": budget.decisions,
            "metrics_length": self.run.metrics_length(),
        }
        arrays = _sound({name: _array(tensor) for name, tensor in trainer.snapshot().items()})
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
    path, notes = create_run(request)
    session = _open(RunDirectory(path))
    session.notes += notes
    return session


@contextmanager
def draft_session(request: TrainRequest) -> Iterator[Session]:
    """The same session in a temporary place, for a look at it."""
    check_request(request)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "draft"
        notes = write_run(request, path)
        session = _open(RunDirectory(path))
        session.notes += notes
        yield session


def _resume(request: TrainRequest) -> Session:
    """Go on with a run: its own text and settings; only its length may be given anew."""
    for option, value in (("--valid", request.valid), ("--test", request.test), ("--tokenizer", request.tokenizer)):
        if value is not None:
            raise UsageError(f"--resume goes on with the run's own text, without {option}", to_do="leave it out")
    name = request.run
    if name is None and request.corpus is not None:
        name = _newest_run_of(request.corpus)
    run = RunDirectory(find_run(name))
    config, given = run.config, request.given(TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
    stored = {name: value for name, value in config["training"].items() if value is not None}
    shape = shape_from(config, str(run.path / "config.json"))
    as_it_is = {**dataclasses.asdict(shape), **config["text"], **stored}
    for setting, value in given.items():
        if setting not in LENGTH and as_it_is.get(setting) != value:
            what = f"--resume goes on with the run as it is, without {flag(setting)}"
            raise UsageError(what, str(run.path), "leave it out")
    length = {name: value for name, value in given.items() if name in LENGTH}
    replan = bool(STEPS & set(length))
    kept = {name: value for name, value in stored.items() if not (replan and name in STEPS)}
    session = _open(run, fill(TrainingSettings, {**kept, **length}))
    if run.has(LAST):
        _restore(session, replan)
    else:
        session.notes.append("nothing was saved yet: starting from the beginning")
    if length:
        session.trainer.progress.evaluations_without_improvement = 0
    return session


def _newest_run_of(corpus: str) -> str:
    """The run of this corpus that was saved last; damaged runs are passed over."""
    for path in list_runs():
        with suppress(RunError):
            if RunDirectory(path).config["corpus"]["name"] == readable_name(corpus):
                return str(path)
    return corpus_name(corpus)


def _restore(session: Session, replan: bool) -> None:
    """Put a session where the newest saved state was; the length planned then holds unless a new one was given."""
    saved, note = session.run.load_newest()
    session.notes += [note] if note else []
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
    if machine.device == "cpu":
        keep_freed_memory()
    shape = shape_from(run.config, str(run.path / "config.json"))
    corpus = open_prepared(run.path / CORPUS)
    for name, part in (("valid", corpus.valid), ("test", corpus.test)):
        if part is None and run.config["corpus"][f"{name}_tokens"]:
            raise RunError(f"damaged run: {name}.ids is missing", str(corpus.folder), "restore it from a copy")
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
        stepper = fastest_stepper(network.shape, network_arrays(network))
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


def _sound(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays, all of whose numbers are finite; others are never saved. Raises DivergedError."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DivergedError("training diverged: a weight is not finite", name, "give a smaller --learning-rate")
    return arrays


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
