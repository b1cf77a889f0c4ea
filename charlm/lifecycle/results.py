"""The result of a training: its best weights, measured in float32 on the validation and test parts."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import ResourceError, UsageError
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.time_limit import Clock, TimeLimit, ToMeasure, Watched, train_tokens
from charlm.network.architecture import BACKWARD
from charlm.runs.directory import CORPUS, RunDirectory
from charlm.runs.lock import writing
from charlm.runs.weights import Weights
from charlm.scoring.loading import load_best
from charlm.scoring.metrics import Tally
from charlm.scoring.predictor import Predictor
from charlm.scoring.spelling import spelling_nats
from charlm.settings import Item, TrainingSettings
from charlm.training.evaluation import mean_nats, score_pieces, spread_lines, tally_cold, tally_streamed
from charlm.training.events import Finished
from charlm.training.state import Progress


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a training went. Each kind of network has its own figures in addition.

    `seconds` is the time of the whole command up to these figures, `training_seconds` that of training alone, with
    earlier commands included when the run was resumed. `unsaved` says why the final state or these figures could not be
    saved; the model is intact nevertheless.
    """

    run: str
    steps: int
    tokens_seen: int
    seconds: float = 0.0
    training_seconds: float
    num_params: int
    ended: str
    """Why training ended, in words."""
    best_step: int
    """The step at which the best weights were saved."""
    unsaved: ResourceError | None = None

    @property
    def about_measuring(self) -> str:
        """How much was measured, in words, if time was too short to measure everything; else empty."""
        return ""

    def as_json(self) -> dict[str, object]:
        """What is known for every kind of network, for scripts (`--json`) and the log."""
        return {
            "run": self.run,
            "steps": self.steps,
            "tokens_seen": self.tokens_seen,
            "seconds": round(self.seconds, 3),
            "training_seconds": round(self.training_seconds, 3),
            "num_params": self.num_params,
            "ended": self.ended,
            "best_step": self.best_step,
        }


AnyResult = TypeVar("AnyResult", bound=Result)


@dataclass(frozen=True, kw_only=True)
class TrainResult(Result):
    """How the training of a language model went, and how good its best weights are.

    Streamed figures are for continuous text, with the state carried over from line to line; cold figures start each
    line, or each paragraph, from the initial state. There is no streamed figure where these were picked for validation
    from all over the text. `train_nats_per_token` is measured without dropout, streamed or cold as in training, on as
    many tokens of the training part as the validation part has; the cost of spelling unknown symbols is the training
    part's mean.

    If `valid_tokens_measured` is below `valid_tokens`, time was too short to measure everything: all figures are then
    estimates, from pieces or lines spread evenly over each part.
    """

    mode: str
    item: Item
    """What cold figures start from the initial state."""
    train_nats_per_token: float
    valid_streamed: Tally | None
    valid_cold: Tally | None
    test: Tally | None
    """Cold in sentence mode, else streamed."""
    valid_tokens: int
    valid_tokens_measured: int
    backward: "TrainResult | None" = None
    """The result of the backward network of a pair. All other figures are those of the forward one, but the times,
    `tokens_seen` and `num_params`, which are those of both."""

    @property
    def about_measuring(self) -> str:
        if self.valid_tokens_measured >= self.valid_tokens:
            return ""
        measured = f"{self.valid_tokens_measured:,} of {self.valid_tokens:,} validation tokens were measured"
        return f"{measured}, in pieces or lines spread evenly over the text"

    @property
    def valid(self) -> Tally | None:
        """The validation figures that match the mode of training: cold in sentence mode, else streamed."""
        return self.valid_cold if self.mode == "sentence" else self.valid_streamed

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log. `valid_` and `test_` are streamed; in sentence mode, cold."""
        return {
            **super().as_json(),
            "mode": self.mode,
            "train_nats_per_token": self.train_nats_per_token,
            "valid_nats_per_token": self.valid.nats_per_token if self.valid else None,
            "valid_nats_per_char": self.valid.nats_per_char if self.valid else None,
            "valid_cold_nats_per_char": self.valid_cold.nats_per_char if self.valid_cold else None,
            "test_nats_per_token": self.test.nats_per_token if self.test else None,
            "valid_tokens": self.valid_tokens,
            "valid_tokens_measured": self.valid_tokens_measured,
            **(self.backward._as_backward() if self.backward else {}),
        }

    def _as_backward(self) -> dict[str, object]:
        """The figures of the backward network of a pair."""
        named = ("train_", "valid_", "test_", "best_")
        own = {name: value for name, value in self.as_json().items() if name.startswith(named)}
        for name in ("valid_tokens", "valid_tokens_measured"):
            del own[name]
        return {name.replace("_", "_backward_", 1): value for name, value in own.items()}


@dataclass(frozen=True)
class Outcome:
    """A training that has ended, before its final figures are measured."""

    run: RunDirectory
    objectives: Mapping[str, Any]
    """The objective of each network, by the prefixes of `Architecture.networks`."""
    progress: Mapping[str, Progress]
    training: TrainingSettings
    finished: Finished
    limit: TimeLimit | None
    began: float
    """When the command began, by `clock`."""
    clock: Clock
    unsaved: ResourceError | None


def with_best_weights(outcome: Outcome, prefix: str = "") -> tuple[Any, Weights]:
    """The objective of a network, which now has its best weights, and these weights with the step they are from."""
    objective = outcome.objectives[prefix]
    best = load_best(outcome.run, objective.network.architecture, prefix)
    objective.network.load_arrays(best.tensors)
    return objective, best


def corpus_of(outcome: Outcome, prefix: str = "") -> Any:
    """The corpus of a network's objective, in the folder where the run is now."""
    return moved(outcome.objectives[prefix].corpus, outcome.run.path / CORPUS)


def about_training(outcome: Outcome, best: Weights, prefix: str = "") -> dict[str, Any]:
    """The fields of a Result that every kind of network has, but for `seconds`, which are known last."""
    progress = outcome.progress[prefix]
    return {
        "run": str(outcome.run.path),
        "steps": progress.step,
        "tokens_seen": progress.tokens_seen,
        "training_seconds": progress.seconds,
        "num_params": outcome.objectives[prefix].network.architecture.num_params,
        "ended": outcome.finished.reason,
        "best_step": best.step,
        "unsaved": outcome.unsaved,
    }


def measure(outcome: Outcome, show: Callable[[float], None]) -> TrainResult:
    """Measure the best weights of a language model; `show` is called with the share that is done (0 to 1).

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    measured = {prefix: _measure_network(outcome, prefix, show) for prefix in outcome.objectives}
    result, progress = measured[""], outcome.progress.values()
    if backward := measured.get(BACKWARD):
        result = dataclasses.replace(
            result,
            backward=backward,
            num_params=result.num_params + backward.num_params,
            tokens_seen=sum(each.tokens_seen for each in progress),
            training_seconds=sum(each.seconds for each in progress),
            valid_tokens_measured=min(result.valid_tokens_measured, backward.valid_tokens_measured),
        )
    return logged(outcome, result)


def _measure_network(outcome: Outcome, prefix: str, show: Callable[[float], None]) -> TrainResult:
    """The result of one network: its best weights, measured."""
    objective, best = with_best_weights(outcome, prefix)
    predictor: Predictor = objective.predictor
    corpus: PreparedCorpus = corpus_of(outcome, prefix)
    by_line, eos_id, unk_id = outcome.training.mode == "sentence", corpus.tokenizer.eos_id, corpus.tokenizer.unk_id
    to_measure, share = ToMeasure.from_corpus(corpus, by_line), 1.0
    if outcome.limit is not None:
        left = list(outcome.objectives)[list(outcome.objectives).index(prefix) :]
        seconds = outcome.limit.for_measuring(outcome.clock()) / len(left)
        share = to_measure.share_within(seconds, predictor, corpus.train.ids[1:], eos_id, outcome.clock)
    watched = Watched(predictor, int(share * to_measure.num_tokens), show)
    train_nats = _train_nats(watched, corpus, share, by_line)
    running = corpus.valid if corpus.division.is_running else None
    streamed = tally_streamed(watched, running, eos_id, unk_id, share) if running else (None, 0)
    by_items = partial(tally_cold, item=corpus.division.item)
    cold = by_items(watched, corpus.valid, eos_id, unk_id, share) if corpus.valid else (None, 0)
    tally = by_items if by_line else tally_streamed
    return TrainResult(
        **about_training(outcome, best, prefix),
        mode=outcome.training.mode,
        item=corpus.division.item,
        train_nats_per_token=train_nats,
        valid_streamed=streamed[0],
        valid_cold=cold[0],
        test=tally(watched, corpus.test, eos_id, unk_id, share)[0] if corpus.test else None,
        valid_tokens=corpus.valid.num_tokens if corpus.valid else 0,
        valid_tokens_measured=cold[1] if by_line else streamed[1],
    )


def logged(outcome: Outcome, result: AnyResult) -> AnyResult:
    """The result with its `seconds`, after logging it. If the log cannot be written, `unsaved` says why."""
    result = dataclasses.replace(result, seconds=outcome.clock() - outcome.began)
    try:
        with suppress(UsageError), writing(outcome.run.path):
            outcome.run.log.append({"event": "Measured", **result.as_json()})
    except ResourceError as error:
        return dataclasses.replace(result, unsaved=result.unsaved or error)
    return result


def _train_nats(predictor: Predictor, corpus: PreparedCorpus, share: float, line_by_line: bool) -> float:
    ids, eos_id = corpus.train.ids[1 : 1 + train_tokens(corpus)], corpus.tokenizer.eos_id
    item = corpus.division.item
    if share < 1 and not line_by_line:
        scores = [logprobs for _, logprobs in score_pieces(predictor, ids, eos_id, share)]
        nats = -sum(float(logprobs.sum()) for logprobs in scores) / sum(map(len, scores))
    else:
        nats = mean_nats(predictor, spread_lines(ids, eos_id, share, item) if line_by_line else [ids], eos_id)
    return nats + spelling_nats(corpus.train.header.unknown_bytes) / corpus.train.num_tokens
