"""`--time` is the whole command's: what of it is left for training, and how much can be measured at the end."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.prepare import PreparedCorpus
from charlm.scoring.predictor import Predictor
from charlm.scoring.score import MAX_WHOLE_TOKENS, SEGMENTS, score_sequences
from charlm.settings import TrainingSettings, seconds
from charlm.training.budget import StepBudget
from charlm.training.defaults import DEFAULT_TIME, MAX_PASSES
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.language_model import LanguageModelObjective

MAX_MEASURING = 0.1  # share of the time that is kept for measuring, at most
MAX_CHECKING = 0.02  # share of it that one quick check takes, at most
MIN_TRAINING = 0.5  # share of it that training gets, however long reading took
OVER, OVER_SECONDS = 0.05, 5.0  # by how much a command may exceed it: that share of it, or so many seconds if more
MIN_MEASURED = 2**11  # tokens of the largest part, however short the time is
TRIAL = 64  # tokens a row, to see how fast scoring is
TRIALS = 2  # of which the faster one counts

Ids = NDArray[Any]


@dataclass(frozen=True)
class TimeLimit:
    """The seconds that a command has, when it began (`time.perf_counter`), and how many are kept for measuring."""

    began: float
    seconds: float
    measuring: float
    check_tokens: int = CHECK_TOKENS
    """How many tokens a quick check may have, so that one takes no great part of the time."""

    @property
    def half_over(self) -> float:
        """Half of what the command may take beyond its time: one is for training, the other for measuring."""
        return max_over(self.seconds) / 2

    def left(self, now: float) -> float:
        return self.began + self.seconds - now

    def for_training(self, now: float) -> float:
        return round(max(self.left(now) - self.measuring, MIN_TRAINING * self.seconds), 3)

    def max_for_training(self, now: float) -> float:
        """Where it ends at the latest, its steps done or not."""
        return round(max(self.for_training(now), self.left(now) - self.measuring + self.half_over), 3)

    def for_measuring(self, now: float) -> float:
        return max(self.left(now) + self.half_over, min(self.measuring, self.half_over))

    def about_reading(self, now: float) -> list[str]:
        """What is to be said when getting ready took too much of the time."""
        if self.left(now) >= MIN_TRAINING * self.seconds:
            return []
        training = f"training gets {MIN_TRAINING * self.seconds:.0f} s all the same, half of it"
        return [f"reading and getting ready took {now - self.began:.0f} s of --time {self.seconds:g}s: {training}"]


def max_over(seconds: float) -> float:
    """By how much a command of so many seconds may exceed them."""
    return max(OVER * seconds, OVER_SECONDS)


@dataclass(frozen=True)
class ToMeasure:
    """How many tokens each part has that is measured at the end, as a stream or line by line."""

    streams: tuple[int, ...]
    lines: tuple[int, ...]

    @classmethod
    def of(cls, corpus: PreparedCorpus, line_by_line: bool) -> "ToMeasure":
        valid, test = (part.num_tokens if part else 0 for part in (corpus.valid, corpus.test))
        own = (train_tokens(corpus), test)  # measured in the manner of the training
        streams = () if corpus.division.split == "lines" else (valid,)
        return cls((*streams, *(() if line_by_line else own)), (valid, *(own if line_by_line else ())))

    @property
    def num_tokens(self) -> int:
        return sum(self.streams) + sum(self.lines)

    def seconds(self, predictor: Predictor, ids: Ids, eos_id: int) -> float:
        """How long all of it will take; short streams are one row, whose tokens take longer than those of many."""
        alone = sum(size for size in self.streams if size <= MAX_WHOLE_TOKENS)
        return alone * _pace(predictor, ids, eos_id, 1) + (self.num_tokens - alone) * _pace(
            predictor, ids, eos_id, SEGMENTS
        )

    def share_within(self, seconds: float, predictor: Predictor, ids: Ids, eos_id: int) -> float:
        """The share of every part that can be measured within this time; 1 for all."""
        if self.seconds(predictor, ids, eos_id) <= seconds:
            return 1.0
        affordable = seconds / (_pace(predictor, ids, eos_id, SEGMENTS) * max(1, self.num_tokens))
        return min(1.0, max(affordable, MIN_MEASURED / max(1, *self.lines)))


def limit_of(
    objective: LanguageModelObjective, corpus: PreparedCorpus, training: TrainingSettings, began: float
) -> TimeLimit | None:
    """The command's time, where that is what ends it: of that, what measuring will take is kept for it."""
    if training.steps is not None or training.epochs is not None:
        return None
    wanted, to_measure = seconds(training.time or DEFAULT_TIME), ToMeasure.of(corpus, training.mode == "sentence")
    found = (objective.predictor, corpus.train.ids[1:], corpus.tokenizer.eos_id)
    pace = _pace(*found, SEGMENTS)
    check_tokens = min(CHECK_TOKENS, max(MIN_MEASURED, int(MAX_CHECKING * wanted / max(pace, 1e-12))))
    measuring = to_measure.seconds(*found) + check_tokens * pace  # the last check comes after the last step
    return TimeLimit(began, wanted, min(measuring, MAX_MEASURING * wanted), check_tokens)


def budget_of(training: TrainingSettings, batches_per_pass: int, limit: TimeLimit | None, now: float) -> StepBudget:
    """How many steps a training takes: as many as were asked for, or as its share of the time allows."""
    if limit is not None:
        ceiling = MAX_PASSES * batches_per_pass
        return StepBudget(None, limit.for_training(now), ceiling, limit.max_for_training(now))
    if training.steps is not None:
        return StepBudget(total_steps=training.steps)
    assert training.epochs is not None
    return StepBudget(total_steps=max(1, round(training.epochs * batches_per_pass)))


def train_tokens(corpus: PreparedCorpus) -> int:
    """Tokens of the training part that are measured: as many as are validated on."""
    return corpus.valid.num_tokens if corpus.valid else -(-corpus.train.num_tokens // 10)


def _pace(predictor: Predictor, ids: Ids, eos_id: int, rows: int) -> float:
    """Seconds a token, when so many sequences are scored side by side."""
    sequences, took = [ids[:TRIAL].astype(np.int64)] * rows, math.inf
    for _ in range(TRIALS):
        began = time.perf_counter()
        score_sequences(predictor, sequences, eos_id)
        took = min(took, time.perf_counter() - began)
    return took / max(1, rows * len(sequences[0]))


class Watched:
    """A predictor that says how much it has scored: the share of so many tokens."""

    def __init__(self, predictor: Predictor, num_tokens: int, show: Callable[[float], None]) -> None:
        self.vocab_size, self.can_run_in_segments = predictor.vocab_size, predictor.can_run_in_segments
        self.initial_state, self.step = predictor.initial_state, predictor.step
        self.select, self.join = predictor.select, predictor.join
        self._predictor, self._num_tokens, self._show, self._done = predictor, max(1, num_tokens), show, 0

    def logprobs(self, inputs: Ids, targets: Ids, state: Any) -> tuple[NDArray[np.float64], Any]:
        found = self._predictor.logprobs(inputs, targets, state)
        self._done += int((targets >= 0).sum())
        self._show(min(1.0, self._done / self._num_tokens))
        return found
