"""One training from its first step, or from where it stopped: the loop with its saving, its log and its recovery."""

import dataclasses
import math
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.corpus.prepare import PreparedCorpus, open_prepared
from charlm.corpus.windows import LAYOUT, RareTypes, SentenceWindows, StreamWindows, Windows
from charlm.engine.compiled import fastest_stepper
from charlm.errors import CharlmError, DivergedError, ResourceError, RunError, UsageError
from charlm.lifecycle.creation import TrainRequest, check_request, create_run, remove_left_drafts, write_run
from charlm.lifecycle.initial import starting_weights
from charlm.lifecycle.replacement import Replacement, moved
from charlm.lifecycle.resuming import GIVEN_ANEW, Resumption, about_device, put_back, resume, stored_plan
from charlm.lifecycle.time_limit import TimeLimit, budget_of, limit_of
from charlm.model.network import LanguageModelNetwork
from charlm.model.predictor import Runner
from charlm.network.architecture import Shape, check_weights, most_weight_bytes
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import BEST, CORPUS, LAST, RunDirectory, Stamp, Weights
from charlm.runs.lock import writing
from charlm.sampling.generate import Ending, generate
from charlm.sampling.strategies import Strategy
from charlm.settings import TrainingSettings
from charlm.system.folders import check_space
from charlm.system.interrupts import catching_signals
from charlm.system.machine import Machine, find_machine
from charlm.system.memory import keep_freed_memory
from charlm.text.tokenizer import Tokenizer
from charlm.training.budget import StepBudget
from charlm.training.evaluation import CHECK_TOKENS, check_pieces, mean_nats
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
from charlm.training.memory import disk_bytes, fitting_micro_batches
from charlm.training.recovery import MAX_ROLLBACKS, diverged
from charlm.training.trainer import Trainer

LOG_EVERY = 10  # steps
SAMPLE_TOKENS = {"char": 160, "byte": 160, "word": 32, "subword": 48}


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
    began: float  # when the command did, by time.perf_counter
    limit: TimeLimit | None  # of the command, where it has one
    check_tokens: int  # of a quick check, in all of a training the same
    log_length: int = 0  # bytes of the log that belong to the state it begins with; the rest is cut
    newest: Stamp | None = None  # of the state it begins with
    best_on_disk: float = math.inf  # nats per token of the best weights there
    replacement: Replacement | None = None  # of an old run, until the new one takes its place
    spared: Path | None = None  # the old run, where the new one ended before it replaced it and is one of its own
    finished: Finished = field(init=False)  # how it ended, once it has
    unsaved: ResourceError | None = None  # why its end could not be saved; the best weights are whole all the same

    @property
    def network(self) -> LanguageModelNetwork:
        return self.trainer.network

    def events(self) -> Generator[Event, None, None]:
        """Train, save and log; from the first saved step on the run directory holds a usable `best`.

        All that an event stands for is done before it is handed out. Who stops listening ends the training as a signal
        does, with its newest state saved; after the last event nothing is held any more. A run that replaces another
        is hidden until its first `best`: what fails before leaves the old run as it was, and what is ended before
        stays beside it, as a run of its own.
        Raises UsageError when another process trains this run or has done so meanwhile; nothing is changed then.
        """
        self._refuse_another_run()  # before the lock, which would be in the way of the one that replaced this run
        with self._locked(), catching_signals() as stop:
            self._refuse_another_run()
            self.run.cut_metrics(self.log_length)
            self._save_last()  # a state to go back to, with the length that was given anew, and room for the next
            events, last = self.trainer.events(stop), list[Event]()
            try:
                for event in events:
                    happened = [event, *self._follow(event)]
                    if isinstance(event, Finished):
                        last = happened
                    else:
                        yield from happened
            except GeneratorExit:
                stop.signal = stop.signal or signal.SIGINT
                for event in events:
                    self._follow(event)
                raise
        yield from last

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

    def _locked(self) -> AbstractContextManager[None]:
        return self.replacement.training() if self.replacement else writing(self.run.path)

    def _follow(self, event: Event) -> list[Event]:
        """Do what an event stands for; what else has happened then."""
        if isinstance(event, Diverged):
            return [self._roll_back(event.step)]
        if isinstance(event, SaveDue):
            return self._save_on_the_way()
        if isinstance(event, Finished):
            return self._end(event)
        with self._forgiving_at_the_end():
            self._log(event)
            if isinstance(event, Evaluated) and event.improved and event.nats_per_token <= self.best_on_disk:
                self._save_best()
        return []

    def _save_on_the_way(self) -> list[Event]:
        saved: list[Event] = []
        with self._forgiving_at_the_end():
            saved.append(self._save())
        return saved

    @contextmanager
    def _forgiving_at_the_end(self) -> Iterator[None]:
        """A full disk after the last step is noted, where there are best weights, which are a model all the same."""
        try:
            yield
        except ResourceError as error:
            is_done = self.trainer.progress.step >= self.trainer.budget.total_or_guess
            if not is_done or not self.run.has(BEST) or self.replacement:
                raise
            self.unsaved = error

    def _end(self, event: Finished) -> list[Event]:
        """Save the end. When that fails after all steps, the weights that were saved before are still a model."""
        self.finished = event
        if self.replacement and event.signal is not None:
            self.spared = self.replacement.path
            self._move(self.replacement.stay_beside())
        try:
            # Before its line in the log, which a run that goes on does not have.
            saved = self._save(ended="" if event.signal is not None else event.reason)
            self._log(event)
        except ResourceError as error:
            if event.signal is not None or not self.run.has(BEST) or self.replacement:
                raise
            self.unsaved = error
            return []
        return [saved]

    def _move(self, path: Path) -> None:
        """The run's folder has another name from now on."""
        self.run.path, self.replacement = path, None
        self.corpus = moved(self.corpus, path / CORPUS)

    def _roll_back(self, step: int) -> RolledBack:
        """Back to the newest saved state with half the learning rate; that is saved at once."""
        trainer, before = self.trainer, self.trainer.progress
        if before.rollbacks == MAX_ROLLBACKS:
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
        if self.replacement:
            self._move(self.replacement.take_place())

    def _save_last(self, ended: str = "") -> Saved:
        trainer, length = self.trainer, self.run.metrics_length()
        scalars = {
            "progress": _finite(dataclasses.asdict(trainer.progress)),
            "plan": trainer.budget.plan(),
            "length": {name: getattr(self.training, name) for name in sorted(GIVEN_ANEW)},
            "device": self.machine.device,
            "check_tokens": self.check_tokens,
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
    made = create_run(request)
    replacement = Replacement(made.path, made.replaces) if made.replaces else None
    try:
        session = _open(RunDirectory(made.path), request.began)
    except BaseException as error:  # before anything was trained
        if replacement:
            replacement.withdraw()
        elif not isinstance(error, Exception):  # a signal: as if it had come a moment earlier
            with suppress(CharlmError), writing(made.path):  # unless another process goes on with it already
                shutil.rmtree(made.path.resolve(), ignore_errors=True)
        raise
    session.replacement = replacement
    session.notes += made.notes
    return session


@contextmanager
def draft_session(request: TrainRequest) -> Iterator[Session]:
    """The same session in a temporary place, for a look at it."""
    check_request(request)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "draft"
        notes = write_run(request, path)
        session = _open(RunDirectory(path), request.began)
        session.notes += notes
        yield session


def _resumed(request: TrainRequest) -> Session:
    """Go on with a run: its own text and settings; only its length may be given anew."""
    resumption = resume(request)
    remove_left_drafts(resumption.run.path)  # of a training that was to replace this run, and was killed
    session = _open(resumption.run, request.began, resumption)
    session.notes += resumption.notes
    session.newest = resumption.stamp
    saved, where, trainer = resumption.saved, resumption.where, session.trainer
    if saved is None:
        return session
    session.log_length = put_back(trainer, saved, where)
    session.notes += about_device(trainer, saved)
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


def _open(run: RunDirectory, began: float, resumption: Resumption | None = None) -> Session:
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
    limit = limit_of(network, corpus, training, began)
    check_tokens = resumption.check_tokens if resumption else limit.check_tokens if limit else CHECK_TOKENS
    check = _check(network, corpus, training, check_tokens) if corpus.valid is not None else None
    sample = _sampler(network, corpus.tokenizer, training.seed)
    trainer = Trainer(network, windows, training, StepBudget(), machine, check, sample, micro_batches)
    trainer.budget = budget_of(training, windows.windows_per_pass, limit)  # at last, for all of this takes its time
    if limit and (resumption is None or resumption.saved is None or resumption.replan):
        notes += limit.about_reading(time.perf_counter())
    return Session(run, corpus, shape, training, machine, trainer, notes, began, limit, check_tokens)


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


def _check(
    network: LanguageModelNetwork, corpus: PreparedCorpus, training: TrainingSettings, tokens: int
) -> Callable[[], float]:
    assert corpus.valid is not None
    eos_id = corpus.tokenizer.eos_id
    pieces = check_pieces(corpus.valid.ids[1:], eos_id, training.mode == "sentence", tokens)
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
