"""The result of a training: its best weights, measured in float32 on the validation and test parts."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, TypeVar

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import ResourceError, UsageError
from charlm.lifecycle.counts import MIN_GAIN, Kept, Mixing, PredictorTallies, counted, keep, tallies_of
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.time_limit import Clock, TimeLimit, ToMeasure, Watched, train_tokens
from charlm.network.architecture import BACKWARD
from charlm.ngram.gate import Evidence
from charlm.runs.directory import CORPUS, RunDirectory
from charlm.runs.lock import writing
from charlm.runs.weights import Weights
from charlm.scoring.loading import load_best
from charlm.scoring.metrics import Tally
from charlm.scoring.mixture import Witness
from charlm.scoring.predictor import Predictor
from charlm.scoring.spelling import spelling_nats
from charlm.settings import Item, PredictorName, TrainingSettings
from charlm.training.evaluation import Scored, mean_nats, score_cold, score_pieces, score_streamed, spread_lines
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
    predictor: PredictorName = "network"
    """What these figures are of, and what is used by default: the network, or its mixture with an n-gram model."""
    alone: dict[PredictorName, PredictorTallies] = field(default_factory=dict)
    """Where n-grams were counted: the same figures of the others, such as the network and the n-gram model alone."""
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
            "predictor": self.predictor,
            **self._alone_as_json(),
            **(self.backward._as_backward() if self.backward else {}),
        }

    def _alone_as_json(self) -> dict[str, object]:
        """The figures of the network and of the n-gram model, where there are both."""
        fields: dict[str, object] = {}
        for name in ("network", "ngram") if self.alone else ():
            tallies = self.alone.get(name, self)
            main = tallies.valid_cold if self.mode == "sentence" else tallies.valid_streamed
            fields[f"valid_{name}_nats_per_token"] = main.nats_per_token if main else None
            fields[f"valid_{name}_nats_per_char"] = main.nats_per_char if main else None
            fields[f"valid_cold_{name}_nats_per_char"] = tallies.valid_cold and tallies.valid_cold.nats_per_char
            fields[f"test_{name}_nats_per_token"] = tallies.test and tallies.test.nats_per_token
        return fields

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
    """The result of one network: its best weights, measured alone and beside counts, where there are any."""
    objective, best = with_best_weights(outcome, prefix)
    corpus: PreparedCorpus = corpus_of(outcome, prefix)
    by_line, eos_id = outcome.training.mode == "sentence", corpus.tokenizer.eos_id
    num_left = len(outcome.objectives) - list(outcome.objectives).index(prefix)
    counts, to_measure, share = None, ToMeasure.from_corpus(corpus, by_line), 1.0
    if objective.network.architecture.direction == "forward":
        counts = counted(outcome.training, corpus, _seconds_left(outcome, num_left))
    if outcome.limit is not None:
        sample = (objective.predictor, corpus.train.ids[1:], eos_id)
        share = to_measure.share_within(_seconds_left(outcome, num_left), *sample, outcome.clock)
    network = Watched(objective.predictor, int(share * to_measure.num_tokens), show)
    predictor: Any = network if counts is None else Witness(network, counts)
    train_nats = _train_nats(network, corpus, share, by_line)
    scored = _scored(predictor, corpus, by_line, share)
    main = scored["valid_cold" if by_line else "valid_streamed"]
    judged = main or scored["valid_cold"]
    mixing = Mixing.fitted(Evidence(*judged.scores.T), counts.trie.order) if counts and judged else None
    tallies = tallies_of(scored, mixing, corpus.tokenizer.unk_id)
    helps = mixing is not None and (outcome.training.ngram != "auto" or mixing.gain > MIN_GAIN)
    trie, gate = (counts.trie, mixing.gate) if counts and mixing and helps else (None, None)
    kept = keep(outcome.run, outcome.training, trie, gate, best) if not prefix else Kept()
    own = tallies.pop("mixture" if kept.is_there else "network")
    about = about_training(outcome, best, prefix)
    return TrainResult(
        **{**about, "unsaved": about["unsaved"] or kept.unsaved},
        mode=outcome.training.mode,
        item=corpus.division.item,
        train_nats_per_token=train_nats,
        **vars(own),
        valid_tokens=corpus.valid.num_tokens if corpus.valid else 0,
        valid_tokens_measured=len(main.ids) if main else 0,
        predictor="mixture" if kept.is_there else "network",
        alone={name: each for name, each in tallies.items() if name != "mixture"},
    )


def _seconds_left(outcome: Outcome, num_networks: int) -> float:
    """The seconds that there are to measure one of so many networks."""
    return inf if outcome.limit is None else outcome.limit.for_measuring(outcome.clock()) / num_networks


def _scored(predictor: Predictor, corpus: PreparedCorpus, by_line: bool, share: float) -> dict[str, Scored | None]:
    """What a predictor gives to the parts that are measured."""
    eos_id, item, running = corpus.tokenizer.eos_id, corpus.division.item, corpus.division.is_running
    by_items = partial(score_cold, item=item)
    score = by_items if by_line else score_streamed
    return {
        "valid_streamed": score_streamed(predictor, corpus.valid, eos_id, share) if corpus.valid and running else None,
        "valid_cold": by_items(predictor, corpus.valid, eos_id, share) if corpus.valid else None,
        "test": score(predictor, corpus.test, eos_id, share) if corpus.test else None,
    }


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
