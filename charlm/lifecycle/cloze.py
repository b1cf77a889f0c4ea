"""The time limit and the result of a cloze network's training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.corpus.masking import LineMasks, MaskedLines
from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.store import IdsFile
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.results import Outcome, Result, logged
from charlm.lifecycle.time_limit import MAX_CHECKING, MAX_MEASURING, MIN_MEASURED, Clock, TimeLimit
from charlm.model.cloze import TorchClozePredictor
from charlm.runs.directory import CORPUS
from charlm.scoring.loading import load_best
from charlm.settings import TrainingSettings, seconds
from charlm.training.cloze import ClozeObjective, fixed_masks, score_batch, score_masked
from charlm.training.defaults import DEFAULT_TIME
from charlm.training.evaluation import CHECK_TOKENS


@dataclass(frozen=True)
class MaskedFigures:
    """How well masked tokens were found; `tokens` is how many were masked."""

    nats_per_masked_token: float
    accuracy: float
    """The share of them that were the likeliest symbol in their place."""
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ClozeResult(Result):
    """How the training of a cloze network went, and how good its best weights are.

    There are no figures per character: such a network gives no probability of a whole text. `share_measured` is below 1
    if time was too short to measure all lines; the figures are then estimates.
    """

    valid: MaskedFigures | None
    test: MaskedFigures | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the lines were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        figures: dict[str, object] = {"share_measured": self.share_measured}
        for name, part in {"valid": self.valid, "test": self.test}.items():
            figures[f"{name}_nats_per_masked_token"] = part.nats_per_masked_token if part else None
            figures[f"{name}_masked_accuracy"] = part.accuracy if part else None
            figures[f"{name}_masked_tokens"] = part.tokens if part else 0
        return {**super().as_json(), **figures}


def limit_of(
    objective: ClozeObjective,
    corpus: PreparedCorpus,
    training: TrainingSettings,
    began: float,
    num_networks: int,
    clock: Clock,
) -> TimeLimit | None:
    """The time limit of a command that began at `began`; None if `--steps` or `--epochs` decides its length."""
    if training.steps is not None or training.epochs is not None:
        return None
    wanted, pace = seconds(training.time or DEFAULT_TIME), _seconds_per_token(objective, clock)
    check_tokens = min(CHECK_TOKENS, max(MIN_MEASURED, int(MAX_CHECKING * wanted / pace)))
    measuring = pace * (_tokens(corpus.valid) + _tokens(corpus.test) + check_tokens)
    return TimeLimit(began, wanted, min(measuring, MAX_MEASURING * wanted), check_tokens)


def measure(outcome: Outcome, show: Callable[[float], None]) -> ClozeResult:
    """Measure the best weights of a cloze network on fixed masks; `show` is called with the share that is done.

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    objective: ClozeObjective = outcome.objectives[""]
    progress, architecture = outcome.progress[""], objective.network.architecture
    best = load_best(outcome.run, architecture)
    objective.network.load_arrays(best.tensors)
    corpus = moved(objective.corpus, outcome.run.path / CORPUS)
    share, parts = 1.0, {"valid": corpus.valid, "test": corpus.test}
    if outcome.limit is not None and any(parts.values()):
        available = outcome.limit.for_measuring(outcome.clock())
        share = min(1.0, available / (_seconds_per_token(objective, outcome.clock) * sum(map(_tokens, parts.values()))))
    figures: dict[str, MaskedFigures | None] = {}
    for number, (name, part) in enumerate(parts.items(), 1):
        lines = part and fixed_masks(part, corpus.tokenizer.eos_id, architecture.num_outputs)
        figures[name] = _figures(objective, lines, share) if lines else None
        show(number / len(parts))
    result = ClozeResult(
        run=str(outcome.run.path),
        steps=progress.step,
        tokens_seen=progress.tokens_seen,
        training_seconds=progress.seconds,
        num_params=architecture.num_params,
        ended=outcome.finished.reason,
        best_step=best.step,
        valid=figures["valid"],
        test=figures["test"],
        share_measured=share,
        unsaved=outcome.unsaved,
    )
    return logged(outcome, result)


def _figures(objective: ClozeObjective, lines: LineMasks, share: float) -> MaskedFigures:
    """The figures of some lines, in float32."""
    found = list(score_masked(TorchClozePredictor(objective.network), lines, share))
    logprobs, is_right = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return MaskedFigures(-float(logprobs.mean()), float(is_right.mean()), len(logprobs))


def _seconds_per_token(objective: ClozeObjective, clock: Clock) -> float:
    """The seconds that measuring takes per token, from one batch of the training part."""
    before = objective.position()
    batch = objective.next_batch().examples
    objective.restore_position(before)
    assert isinstance(batch, MaskedLines)
    began = clock()
    score_batch(TorchClozePredictor(objective.network), batch)
    return max(1e-9, clock() - began) / batch.num_tokens


def _tokens(part: IdsFile | None) -> int:
    return part.num_tokens if part else 0
