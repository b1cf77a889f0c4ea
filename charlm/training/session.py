"""One training from its first step, or from where it stopped: the loop with its saving, its log and its recovery."""

import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.config import TrainingSettings, seconds
from charlm.corpus.prepare import PreparedCorpus, open_prepared
from charlm.corpus.windows import LAYOUT, RareTypes, SentenceWindows, StreamWindows, Windows
from charlm.device import Machine, find_machine, keep_freed_memory
from charlm.engine.compiled import fastest_stepper
from charlm.errors import CharlmError, DivergedError, RunError, UsageError
from charlm.files import check_space
from charlm.interrupts import catching_signals
from charlm.lock import writing
from charlm.model.language_model import LanguageModelNetwork
from charlm.model.runner import Runner
from charlm.run_config import RunConfig, read_config
from charlm.run_directory import BEST, LAST, RunDirectory, Weights
from charlm.sampling.generate import Ending, generate
from charlm.sampling.strategies import Strategy
from charlm.shape import Shape, check_weights, most_weight_bytes
from charlm.text.tokenizer import Tokenizer
from charlm.training.budget import StepBudget
from charlm.training.creation import TrainRequest, check_request, create_run, write_run
from charlm.training.defaults import DEFAULT_TIME, MOST_PASSES
from charlm.training.evaluate import check_pieces, mean_nats
from charlm.training.events import (
    Diverged,
    Evaluated,
    Event,
    Finished,
    RolledBack,
    Saved,
    SaveDue,
    StepDone,
)
from charlm.training.initial import starting_weights
from charlm.training.loop import Trainer
from charlm.training.memory import disk_bytes, fitting_micro_batches
from charlm.training.recovery import MOST_ROLLBACKS, diverged
from charlm.training.resuming import GIVEN_ANEW, Resumption, put_back, resume, stored_plan

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
    newest: int | None = None  # stamp of the state it begins with
    best_on_disk: float = math.inf  # nats per token of the best weights there
    finished: Finished = field(init=False)  # how it ended, once it has

    @property
    def network(self) -> LanguageModelNetwork:
        return self.trainer.network

    def events(self) -> Iterator[Event]:
        """Train, save and log; from the first saved step on the run directory holds a usable `best`.

        Raises UsageError when another process trains this run or has done so meanwhile; nothing is changed then.
        """
        self._refuse_another_run()  # before the lock, which would be in the way of the one that replaced this run
        with writing(self.run.path), catching_signals() as stop:
            self._refuse_another_run()
            self.run.cut_metrics(self.log_length)
            self._save_last()  # a state to go back to, with the length that was given anew, and room for the next
            for event in self.trainer.events(stop):
                yield event
                yield from self._follow(event)

    def load_best(self) -> int:
        """Put the best weights into the network; the step that they are of."""
        best = self.run.load(BEST, most_weight_bytes(self.shape))
        check_weights(self.shape, best.tensors, str(self.run.path / "best.safetensors"))
        self.network.load_state_dict({name: torch.from_numpy(value) for name, value in best.tensors.items()})
        return best.step

    def _refuse_another_run(self) -> None:
        """See that run and state are still those that were read."""
        is_same = RunDirectory(self.run.path).config["run_id"] == self.run.config["run_id"]
        if not is_same or self.run.stamp(LAST) != self.newest:
            what = "another process has trained this run meanwhile, or replaced it"
            go_on = f"charlm train --resume --run {self.run.path}"
            raise UsageError(what, str(self.run.path), go_on if is_same else "train again, with --run NAME")

    def _follow(self, event: Event) -> Iterator[Event]:
        """What an event asks for."""
        if isinstance(event, Diverged):
            yield self._roll_back(event.step)
        elif isinstance(event, SaveDue):
            yield self._save()
        elif isinstance(event, Finished):
            self.finished = event
            # Before its line in the log, which a run that goes on does not have.
            yield self._save(ended="" if event.signal is not None else event.reason)
            self._log(event)
        else:
            self._log(event)
            if isinstance(event, Evaluated) and event.improved and event.nats_per_token <= self.best_on_disk:
                self._save_best()

    def _roll_back(self, step: int) -> RolledBack:
        """Back to the newest saved state with half the learning rate; that is saved at once."""
        trainer, before = self.trainer, self.trainer.progress
        if before.rollbacks == MOST_ROLLBACKS:
            assert self.training.learning_rate is not None
            raise diverged(step, self.training.learning_rate, before.rollbacks)
        trainer.restart()
        self.run.cut_metrics(put_back(trainer, self.run.load(LAST), str(self.run.path / "last.safetensors")))
        progress = trainer.progress
        progress.rollbacks, progress.learning_rate_scale = before.rollbacks + 1, before.learning_rate_scale / 2
        progress.best_nats_per_token = before.best_nats_per_token  # of the best on disk
        progress.seconds = before.seconds
        trainer.budget.step_back(progress.step, progress.seconds)
        event = RolledBack(progress.step, step, progress.learning_rate_scale)
        self._log(event)
        self._save_last()
        return event

    def _save(self, ended: str = "") -> Saved:
        saved = self._save_last(ended)
        if self.corpus.valid is None or not self.run.has(BEST):
            self._save_best()
        return saved

    def _save_best(self) -> None:
        progress = self.trainer.progress
        scalars = {"nats_per_token": progress.best_nats_per_token, "tokens_seen": progress.tokens_seen}
        self.run.save(BEST, Weights(network_arrays(self.network), progress.step, _finite(scalars)))
        self.best_on_disk = progress.best_nats_per_token

    def _save_last(self, ended: str = "") -> Saved:
        trainer, length = self.trainer, self.run.metrics_length()
        scalars = {
            "progress": _finite(dataclasses.asdict(trainer.progress)),
            "plan": trainer.budget.plan(),
            "length": {name: getattr(self.training, name) for name in sorted(GIVEN_ANEW)},
            "ended": ended,
            "layout": LAYOUT,
            "metrics_length": length,
            "metrics_sha256": self.run.metrics_sha256(length),
        }
        arrays = {name: _array(tensor) for name, tensor in trainer.snapshot().items()}
        self.run.save(LAST, Weights(arrays, trainer.progress.step, scalars))
        return Saved(trainer.progress.step)

    def _log(self, event: Event) -> None:
        if isinstance(event, StepDone) and event.step % LOG_EVERY and event.step != 1:
            return
        record = {"event": type(event).__name__, **_finite(dataclasses.asdict(event))}
        self.run.append_metrics({**record, "seconds": round(self.trainer.progress.seconds, 3)})


def open_session(request: TrainRequest) -> Session:
    """Check everything, prepare the text, create the run. Raises a CharlmError before anything is created."""
    if request.resume:
        return _resumed(request)
    path, notes = create_run(request)
    try:
        session = _open(RunDirectory(path))
    except (KeyboardInterrupt, SystemExit):  # before anything was trained: as if it had come a moment earlier
        with suppress(CharlmError), writing(path):  # unless another process goes on with it already
            shutil.rmtree(path.resolve(), ignore_errors=True)
        raise
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


def _resumed(request: TrainRequest) -> Session:
    """Go on with a run: its own text and settings; only its length may be given anew."""
    resumption = resume(request)
    session = _open(resumption.run, resumption)
    session.notes += resumption.notes
    session.newest = session.run.stamp(LAST)
    saved, where, trainer = resumption.saved, resumption.where, session.trainer
    if saved is None:
        return session
    session.log_length = put_back(trainer, saved, where)
    if resumption.replan:
        trainer.budget.begin_at(saved.step, trainer.progress.seconds)
    else:
        trainer.budget = _kept(stored_plan(saved, where), trainer.budget)
    if resumption.patient:
        trainer.progress.evaluations_without_improvement = 0
    _look_at_best(session)
    return session


def _kept(stored: StepBudget, fresh: StepBudget) -> StepBudget:
    """The stored plan; one of an older charlm says neither for how long nor how many steps at most."""
    if stored.seconds is None:
        stored.seconds, stored.ceiling = fresh.seconds, fresh.ceiling
    return stored


def _look_at_best(session: Session) -> None:
    """Find out early whether the best weights are whole. They can be of a later step than the state, before a crash.

    Training may come to them again, or never: only what is as good may replace them.
    """
    if not session.run.has(BEST):
        session.trainer.progress.best_nats_per_token = math.inf
        return
    nats = session.run.load(BEST, most_weight_bytes(session.shape)).scalars.get("nats_per_token")
    if type(nats) is float:
        session.best_on_disk = nats


def _open(run: RunDirectory, resumption: Resumption | None = None) -> Session:
    """A session at its first step, from what the run's folder says; with its weights, unless a state brings them."""
    config = read_config(run)
    training = resumption.training if resumption else config.training
    machine = find_machine(training)
    if machine.device == "cpu":
        keep_freed_memory()
    shape, corpus = config.model, _corpus(run, config)
    check_space(run.path, disk_bytes(shape, training) - run.weights_bytes())
    notes, micro_batches = [], fitting_micro_batches(shape, training, machine)
    if micro_batches > 1:
        notes.append(f"memory is short: each batch is worked on in {micro_batches} parts, for the same updates")
    network = LanguageModelNetwork(shape)
    if resumption is None or resumption.saved is None:
        network.load_state_dict(starting_weights(run, config))
    network = network.to(machine.device)
    windows = _windows(corpus, training)
    budget = _budget(training, windows.windows_per_pass)
    check = _check(network, corpus, training) if corpus.valid is not None else None
    sample = _sampler(network, corpus.tokenizer, training.seed)
    trainer = Trainer(network, windows, training, budget, machine, check, sample, micro_batches)
    return Session(run, corpus, shape, training, machine, trainer, notes)


def _corpus(run: RunDirectory, config: RunConfig) -> PreparedCorpus:
    """The run's own corpus. Raises RunError when it is damaged, incomplete or another one."""
    corpus, facts = open_prepared(run.corpus, config.corpus.seal), config.corpus
    sizes = {"train": facts.train_tokens, "valid": facts.valid_tokens, "test": facts.test_tokens}
    for name, part in {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}.items():
        if (part.num_tokens if part else 0) != sizes[name]:
            what = f"damaged run: {name}.ids is {'not its own' if part else 'missing'}"
            raise RunError(what, str(run.corpus), "restore it from a copy")
    training = config.training
    if (training.batch_size or 1) * (training.bptt or 1) > max(facts.train_tokens, 1):
        raise run.damaged("config.json", "has windows that are larger than its text")
    if corpus.tokenizer.vocab_size != config.model.vocab_size:
        raise RunError("damaged run: tokenizer and network differ in size", str(run.corpus), "restore it from a copy")
    return corpus


def _windows(corpus: PreparedCorpus, training: TrainingSettings) -> Windows:
    ids, tokenizer = corpus.train.ids, corpus.tokenizer
    assert training.batch_size is not None
    assert training.bptt is not None
    rare = RareTypes(ids, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id, training.seed)
    kind = SentenceWindows if training.mode == "sentence" else StreamWindows
    return kind(ids, tokenizer.eos_id, training.batch_size, training.bptt, training.seed, rare)


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
        texts: list[str] = []
        with suppress(DivergedError):  # the state grew without bound, which it may not have in training's windows
            texts.extend(token.text for token in tokens)
        return "".join(texts)

    return sample


def network_arrays(network: LanguageModelNetwork) -> dict[str, NDArray[Any]]:
    """The network's weights by name, as NumPy arrays."""
    return {name: _array(value) for name, value in network.state_dict().items()}


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu().numpy(), order="C")


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
