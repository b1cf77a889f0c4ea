"""One training of a run: the trainer, with the run's lock, signal handling and saving around it."""

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import torch

from charlm.corpus.corpora import Corpus, open_corpus
from charlm.errors import ResourceError, RunError, UsageError
from charlm.lifecycle.initial import inherited_weights
from charlm.lifecycle.keeping import NetworkKeeper, RunKeeper
from charlm.lifecycle.kinds import Kind, kind_of
from charlm.lifecycle.results import Outcome, Result
from charlm.lifecycle.saved_state import SavedState, refusing, with_generators_of
from charlm.lifecycle.time_limit import TimeLimit, budget_of
from charlm.network.architecture import Architecture
from charlm.network.weights import max_weight_bytes
from charlm.runs.config import RunConfig
from charlm.runs.directory import BEST, CONFIG, LAST, RunDirectory, Stamp
from charlm.runs.lock import writing
from charlm.settings import Direction, TrainingSettings
from charlm.system.interrupts import StopRequest, catching_signals
from charlm.system.machine import Machine
from charlm.system.memory import free_memory, keep_freed_memory
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.events import Event, Finished
from charlm.training.objective import Objective
from charlm.training.trainer import Fault, Trainer
from charlm.training.turns import Stopwatch, in_turns


@dataclass(frozen=True)
class Instruments:
    """The clock, the memory gauge and the signals that a training uses; tests pass their own.

    `clock` must be the clock of the request's `began`. `fault` lets tests disturb a training (see `Fault`).
    """

    clock: Callable[[], float] = time.perf_counter
    free_memory: Callable[[str], int | None] = free_memory
    fault: Fault = lambda name, number: number
    catching_signals: Callable[[], AbstractContextManager[StopRequest]] = catching_signals


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A run and how to train it, as decided when it was created or resumed."""

    run: RunDirectory
    config: RunConfig
    training: TrainingSettings
    """The run's settings, with those changed on resuming."""
    machine: Machine
    micro_batches: int
    """In how many parts each batch is computed, so that it fits into memory."""
    began: float
    notes: list[str]
    saved: SavedState | None = None
    """The state to continue from; None for a new run."""
    replan: bool = False
    """Whether a new length was given on resuming."""
    is_patient: bool = False
    """Whether to forget the evaluations without improvement so far, which may have ended training."""
    newest: Stamp | None = None
    """The stamp of `last` before it was read, to notice if another process trains the run."""


@dataclass
class Session:
    """One training, ready to start. `events` runs it, `measure` gives the final figures."""

    run: RunDirectory
    corpus: Corpus
    config: RunConfig
    training: TrainingSettings
    machine: Machine
    trainers: dict[str, Trainer]
    """The trainer of each network, by the prefixes of `Architecture.networks`: one, or two for a pair."""
    watches: dict[str, Stopwatch]
    """The clocks of trainers that take turns."""
    keeper: RunKeeper
    limit: TimeLimit | None
    began: float
    notes: list[str]
    log_bytes: int
    """Length of the log, in bytes, at the state it starts from; the rest is cut off."""
    newest: Stamp | None
    instruments: Instruments
    turn: str = ""
    """The network that is being trained now."""
    finished: Finished | None = None
    """How training ended, once that was saved and the loop over `events` was left; None before."""

    @property
    def trainer(self) -> Trainer:
        """The trainer of the network whose turn it is."""
        return self.trainers[self.turn]

    @property
    def direction(self) -> Direction:
        """The reading direction of the network whose turn it is."""
        return self.architecture.networks[self.turn].direction

    @property
    def architecture(self) -> Architecture:
        return self.config.architecture

    @property
    def unsaved(self) -> ResourceError | None:
        """Why the final state could not be saved; None if it was."""
        return self.keeper.unsaved

    @property
    def spared(self) -> Path | None:
        """The path of the old run, if training was interrupted before the new run could replace it."""
        return self.keeper.spared

    @property
    def is_hidden(self) -> bool:
        """Whether the run is still in a hidden folder because it has not replaced the old run yet."""
        return self.keeper.replacement is not None

    def events(self) -> Generator[Event, None, None]:
        """Train, save and log, holding the run's lock. Once a step is saved, the run has a usable `best`.

        A caller that stops iterating ends the training as a signal does: its newest state is saved. The lock is
        released before the last event, Finished. A run that replaces another is hidden until its first `best`: an
        error before that leaves the old run unchanged, and an interrupted training becomes a separate run next to it.
        Raises UsageError when another process trains this run, or has trained it since it was read; nothing is changed.
        """
        self._refuse_another_run()  # before locking, so as not to block a process whose run replaced this one
        with self._locked(), self.instruments.catching_signals() as stop:
            self._refuse_another_run()
            self.keeper.begin(self.log_bytes)
            try:
                with closing(in_turns(self.trainers, self.watches, stop)) as events:
                    for self.turn, event in events:
                        if not isinstance(event, Finished):
                            yield event
            finally:
                self.keeper.end()
                self.finished = self.keeper.finished
        assert self.finished is not None
        yield self.finished

    def measure(self, show: Callable[[float], None] = lambda share: None) -> Result:
        """Measure the final figures after training; `show` is called with the share that is done (0 to 1).

        Raises UsageError while the training has not ended.
        """
        if self.finished is None:
            what = "this training has not ended, so there is nothing to measure yet"
            raise UsageError(what, str(self.run.path), "iterate over its events() first")
        outcome = Outcome(
            run=self.run,
            objectives={prefix: trainer.objective for prefix, trainer in self.trainers.items()},
            progress={prefix: trainer.progress for prefix, trainer in self.trainers.items()},
            training=self.training,
            finished=self.finished,
            limit=self.limit,
            began=self.began,
            clock=self.instruments.clock,
            unsaved=self.unsaved,
        )
        return kind_of(self.config, str(self.run.path)).measure(outcome, show)

    def _refuse_another_run(self) -> None:
        """Raise UsageError unless the run and its newest state are still those that were read."""
        is_same = RunDirectory(self.run.path).config["run_id"] == self.run.config["run_id"]
        if not is_same or self.run.stamp(LAST) != self.newest:
            what = "another process has trained or replaced this run since it was read"
            go_on = f"charlm train --resume --run {self.run.path}"
            raise UsageError(what, str(self.run.path), go_on if is_same else "train again, with --run NAME")

    def _locked(self) -> AbstractContextManager[None]:
        replacement = self.keeper.replacement
        return replacement.training() if replacement else writing(self.run.path)


def open_session(opening: Opening, instruments: Instruments) -> Session:
    """A training at its first step or at its saved state. Raises RunError for a damaged run."""
    run, config, machine = opening.run, opening.config, opening.machine
    training, saved, networks = opening.training, opening.saved, config.architecture.networks
    if machine.device == "cpu":
        keep_freed_memory()
    kind = kind_of(config, str(run.path))
    corpus = _corpus(run, config, kind)
    objectives = {
        prefix: kind.objective(network, corpus, config.training, machine.device) for prefix, network in networks.items()
    }
    if saved is None:
        _set_initial_weights(objectives, opening)
    first, *_ = objectives.values()
    limit = kind.limit(first, corpus, training, opening.began, len(objectives), instruments.clock)
    check_tokens = saved.scalars.check_tokens if saved else limit.check_tokens if limit else CHECK_TOKENS
    keeper = RunKeeper(run, training, kind.order, machine.device, check_tokens, first.has_check)
    clocks = {prefix: Stopwatch(instruments.clock) for prefix in objectives} if len(objectives) > 1 else {}
    notes = list(opening.notes)
    now = instruments.clock()  # only now: everything above takes time
    for prefix, objective in objectives.items():
        objective.check_tokens = check_tokens
        keeper.trainers[prefix] = Trainer(
            objective,
            training,
            budget_of(training, objective, limit, now, len(objectives)),
            NetworkKeeper(keeper, prefix),
            opening.micro_batches,
            clocks.get(prefix, instruments.clock),
            instruments.fault,
        )
    if limit and (saved is None or opening.replan):
        notes += limit.about_reading(now)
    session = Session(
        run=run,
        corpus=corpus,
        config=config,
        training=training,
        machine=machine,
        trainers=keeper.trainers,
        watches=clocks,
        keeper=keeper,
        limit=limit,
        began=opening.began,
        notes=notes,
        log_bytes=0,
        newest=opening.newest,
        instruments=instruments,
    )
    if saved is not None:
        _go_on(session, saved, opening)
    return session


def _set_initial_weights(objectives: Mapping[str, Objective], opening: Opening) -> None:
    """Draw the weights that training starts from, or take those of the run that it starts from."""
    for prefix, objective in objectives.items():
        if opening.config.init_from is None:
            objective.initialise(torch.Generator().manual_seed(opening.training.seed))
        else:
            objective.network.load_state_dict(inherited_weights(opening.run, opening.config, prefix))


def _go_on(session: Session, saved: SavedState, opening: Opening) -> None:
    """Put a session at its saved state. Raises RunError when that state does not belong to this training."""
    device, states = session.machine.device, saved.states(opening.micro_batches)
    if states.keys() != session.trainers.keys():
        raise session.run.damaged(Path(saved.where).name, "does not have a state for each network")
    is_of_another_device = saved.is_of_another_device(device, session.trainer.state())
    if is_of_another_device:
        there = f"on {saved.scalars.device[:20]}" if saved.scalars.device else "on another device"
        what_follows = "the random state is new, so the result will differ"
        session.notes.append(f"this run was saved {there} and continues on {device}: {what_follows}")
    for prefix, trainer in session.trainers.items():
        fresh, fresh_budget = trainer.state(), trainer.budget
        with refusing(saved.where):
            trainer.restore(with_generators_of(states[prefix], fresh) if is_of_another_device else states[prefix])
        if opening.replan:
            trainer.budget = fresh_budget
            trainer.budget.begin_at(trainer.progress.step, trainer.progress.seconds)
        elif trainer.budget.seconds is None:  # plans of older versions had no time and no ceiling
            trainer.budget.seconds, trainer.budget.ceiling = fresh_budget.seconds, fresh_budget.ceiling
        if opening.is_patient:
            trainer.progress.evaluations_without_improvement = 0
        _read_best(session, prefix)
    session.log_bytes = saved.scalars.metrics_length


def _read_best(session: Session, prefix: str) -> None:
    """Note how good a network's best weights on disk are. Raises RunError now, not at the end, if they are damaged.

    After a crash they can be from a later step than the state. Since training may not reach their quality again, the
    keeper must not replace them by worse ones.
    """
    if not session.run.has(prefix + BEST):
        progress = session.trainers[prefix].progress
        progress.best_nats_per_token = progress.best_cost = math.inf
        return
    best = session.run.load(prefix + BEST, max_weight_bytes(session.architecture))
    if type(found := best.scalars.get("cost", best.scalars.get("nats_per_token"))) is float:
        session.keeper.best[prefix] = found


def _corpus(run: RunDirectory, config: RunConfig, kind: Kind) -> Corpus:
    """The corpus in the run's folder. Raises RunError when it is damaged, incomplete or that of another run."""
    corpus, facts = open_corpus(run.corpus, config.architecture.task, config.corpus.seal), config.corpus
    num_tokens = {"train": facts.train_tokens, "valid": facts.valid_tokens, "test": facts.test_tokens}
    for name, part in {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}.items():
        if (part.num_tokens if part else 0) != num_tokens[name]:
            what = f"damaged run: {name}.ids is {'not its own' if part else 'missing'}"
            raise RunError(what, str(run.corpus), "restore it from a copy")
    if not kind.suits(config.training, facts.train_tokens):
        raise run.damaged(CONFIG, "has training settings that do not suit the size of its text")
    if corpus.tokenizer.vocab_size != config.architecture.num_symbols:
        raise RunError("damaged run: tokenizer and network differ in size", str(run.corpus), "restore it from a copy")
    return corpus
