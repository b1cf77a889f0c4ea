"""`--time` limits the whole command: how much of it training gets, and how much can be measured at the end."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.prepare import PreparedCorpus
from charlm.lifecycle.counts import seconds_of
from charlm.probability import Measured
from charlm.scoring.predictor import MeasuringPredictor, Predictor
from charlm.scoring.score import MAX_WHOLE_TOKENS, SEGMENTS, score_sequences
from charlm.settings import TrainingSettings, seconds
from charlm.training.budget import StepBudget, half_over
from charlm.training.defaults import DEFAULT_TIME
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.language_model import LanguageModelObjective
from charlm.training.objective import Objective

MAX_MEASURING = 0.1  # share of the time, for measuring at the end
MAX_CHECKING = 0.02  # share of the time, for one quick check
MIN_TRAINING = 0.5  # share of the time, however long reading took
MIN_MEASURED = 2**11  # tokens of the largest part, however short the time is
TRIAL_TOKENS = 64  # tokens per sequence, to find out how fast scoring is
NUM_TRIALS = 2  # the faster one counts

Ids = NDArray[Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class TimeLimit:
    """The time of a command in seconds: when it began, how long it may take, and how much is kept for measuring.

    `began`, and `now` in all methods, are times of the same clock, usually `time.perf_counter`.
    """

    began: float
    seconds: float
    measuring: float
    check_tokens: int = CHECK_TOKENS
    """How many tokens a quick check may read, so that it takes only a small share of the time."""

    def left(self, now: float) -> float:
        """Seconds until the command's time is over; negative after that."""
        return self.began + self.seconds - now

    def for_training(self, now: float) -> float:
        """Seconds of training to plan for."""
        return round(max(self.left(now) - self.measuring, MIN_TRAINING * self.seconds), 3)

    def max_for_training(self, now: float) -> float:
        """Seconds after which training ends, even if its planned steps are not done."""
        return round(max(self.for_training(now), self.left(now) - self.measuring + half_over(self.seconds)), 3)

    def for_measuring(self, now: float) -> float:
        """Seconds for measuring the final figures."""
        half = half_over(self.seconds)
        return max(self.left(now) + half, min(self.measuring, half))

    def about_reading(self, now: float) -> list[str]:
        """A note when the preparations took too much of the time, as a list of one; else an empty list."""
        if self.left(now) >= MIN_TRAINING * self.seconds:
            return []
        training = f"training gets {MIN_TRAINING * self.seconds:.0f} s all the same, half of it"
        return [f"reading and getting ready took {now - self.began:.0f} s of --time {self.seconds:g}s: {training}"]


@dataclass(frozen=True)
class ToMeasure:
    """The parts that are measured at the end: the number of tokens of each stream, and of each part scored by line."""

    streams: tuple[int, ...]
    lines: tuple[int, ...]

    @classmethod
    def from_corpus(cls, corpus: PreparedCorpus, line_by_line: bool) -> "ToMeasure":
        """The parts to measure after a training, which was line by line or on a stream."""
        valid, test = (part.num_tokens if part else 0 for part in (corpus.valid, corpus.test))
        own = (train_tokens(corpus), test)  # measured as the training was; validation in both ways
        streams = (valid,) if corpus.division.is_running else ()
        return cls((*streams, *(() if line_by_line else own)), (valid, *(own if line_by_line else ())))

    @property
    def num_tokens(self) -> int:
        return sum(self.streams) + sum(self.lines)

    def seconds(self, predictor: Predictor, ids: Ids, eos_id: int, clock: Clock = time.perf_counter) -> float:
        """The seconds to measure everything. A stream that is not cut is scored alone, and takes longer per token."""
        can_be_cut = predictor.can_run_in_segments
        alone = sum(size for size in self.streams if size <= MAX_WHOLE_TOKENS or not can_be_cut)
        pace_alone, pace = (_seconds_per_token(predictor, ids, eos_id, rows, clock) for rows in (1, SEGMENTS))
        return alone * pace_alone + (self.num_tokens - alone) * pace

    def share_within(
        self, seconds: float, predictor: Predictor, ids: Ids, eos_id: int, clock: Clock = time.perf_counter
    ) -> float:
        """The share of every part (0 to 1) that can be measured in `seconds`."""
        whole = self.seconds(predictor, ids, eos_id, clock)
        if whole <= seconds:
            return 1.0
        if predictor.can_run_in_segments:  # pieces of each part, side by side
            whole = _seconds_per_token(predictor, ids, eos_id, SEGMENTS, clock) * self.num_tokens
        return min(1.0, max(seconds / max(whole, 1e-12), MIN_MEASURED / max([1, *self.lines])))


def limit_of(
    objective: LanguageModelObjective,
    corpus: PreparedCorpus,
    training: TrainingSettings,
    began: float,
    num_networks: int = 1,
    clock: Clock = time.perf_counter,
) -> TimeLimit | None:
    """The time limit of a command that began at `began`; None if `--steps` or `--epochs` decides its length.

    The time that the final figures of all networks will take is kept free.
    """
    if training.steps is not None or training.epochs is not None:
        return None
    wanted = seconds(training.time or DEFAULT_TIME)
    to_measure = ToMeasure.from_corpus(corpus, line_by_line=training.mode == "sentence")
    sample = (objective.predictor, corpus.train.ids[1:], corpus.tokenizer.eos_id)
    pace = _seconds_per_token(*sample, SEGMENTS, clock)
    check_tokens = min(CHECK_TOKENS, max(MIN_MEASURED, int(MAX_CHECKING * wanted / max(pace, 1e-12))))
    measuring = to_measure.seconds(*sample, clock) + check_tokens * pace  # the last check comes after the last step
    if objective.network.architecture.direction == "forward":
        measuring += seconds_of(training, corpus) / num_networks
    return TimeLimit(began, wanted, min(num_networks * measuring, MAX_MEASURING * wanted), check_tokens)


def budget_of(
    training: TrainingSettings, objective: Objective, limit: TimeLimit | None, now: float, num_networks: int = 1
) -> StepBudget:
    """The steps of a training: as many as `--steps` or `--epochs` says, or as fit into its share of the time.

    Networks that take turns have equal shares.
    """
    if limit is not None:
        ceiling = objective.max_passes * objective.batches_per_pass
        share = 1 / num_networks
        return StepBudget(None, share * limit.for_training(now), ceiling, share * limit.max_for_training(now))
    if training.steps is not None:
        return StepBudget(total_steps=training.steps)
    assert training.epochs is not None
    return StepBudget(total_steps=max(1, round(training.epochs * objective.batches_per_pass)))


def train_tokens(corpus: PreparedCorpus) -> int:
    """How many tokens of the training part are measured: as many as validation has, or a tenth without validation."""
    return corpus.valid.num_tokens if corpus.valid else -(-corpus.train.num_tokens // 10)


def _seconds_per_token(predictor: Predictor, ids: Ids, eos_id: int, rows: int, clock: Clock) -> float:
    """The seconds that scoring takes per token, measured with `rows` sequences side by side."""
    sequences, seconds = [ids[:TRIAL_TOKENS].astype(np.int64)] * rows, math.inf
    for _ in range(NUM_TRIALS):
        began = clock()
        score_sequences(predictor, sequences, eos_id)
        seconds = min(seconds, clock() - began)
    return seconds / max(1, rows * len(sequences[0]))


class Watched:
    """A predictor that reports its progress: it calls `show` with the share of `num_tokens` that it has scored."""

    def __init__(self, predictor: MeasuringPredictor, num_tokens: int, show: Callable[[float], None]) -> None:
        self.vocab_size, self.can_run_in_segments = predictor.vocab_size, predictor.can_run_in_segments
        self.initial_state, self.step = predictor.initial_state, predictor.step
        self.select, self.join = predictor.select, predictor.join
        self._predictor, self._num_tokens, self._show, self._done = predictor, max(1, num_tokens), show, 0

    def measure(self, inputs: Ids, targets: Ids, state: Any) -> tuple[Measured, Any]:
        result = self._predictor.measure(inputs, targets, state)
        self._note(targets)
        return result

    def logprobs(self, inputs: Ids, targets: Ids, state: Any) -> tuple[NDArray[np.float64], Any]:
        result = self._predictor.logprobs(inputs, targets, state)
        self._note(targets)
        return result

    def _note(self, targets: Ids) -> None:
        self._done += int((targets >= 0).sum())
        self._show(min(1.0, self._done / self._num_tokens))
