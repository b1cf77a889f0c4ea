"""The result of a translator's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.corpus.examples import Examples
from charlm.corpus.pairs import PairColumns
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.translation import evaluate_translation
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.results import Outcome, Result, logged
from charlm.lifecycle.task_limit import share_within
from charlm.model.translator import TorchTranslatorPredictor
from charlm.runs.directory import CORPUS
from charlm.scoring.loading import load_best
from charlm.text.words import is_split_at_white_space
from charlm.training.translation import MEASURED_TOKENS, TranslationObjective, nats_of


@dataclass(frozen=True)
class TranslationFigures:
    """How well targets were written, symbol by symbol with the likeliest one (arg max)."""

    accuracy: Figure
    """The share of targets that are exactly right."""
    symbol_error_rate: Figure
    """The edit distances over the symbols of the references; symbols are as in `evaluation/translation.py`."""
    nats_per_token: float
    """-log p of the references, per token of them, their ends included."""


@dataclass(frozen=True, kw_only=True)
class TranslationResult(Result):
    """How the training of a translator went, and how good its best weights are.

    `share_measured` is below 1 if time was too short to measure all pairs; the figures are then estimates.
    """

    valid: TranslationFigures | None
    test: TranslationFigures | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the pairs were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        figures: dict[str, object] = {"share_measured": self.share_measured}
        for name, part in {"valid": self.valid, "test": self.test}.items():
            if part:
                figures |= part.accuracy.as_json(f"{name}_exact_match")
                figures |= part.symbol_error_rate.as_json(f"{name}_symbol_error_rate")
                figures[f"{name}_nats_per_token"] = part.nats_per_token
        return {**super().as_json(), **figures}


def measure(outcome: Outcome, show: Callable[[float], None]) -> TranslationResult:
    """Measure the best weights of a translator; `show` is called with the share that is done.

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    objective: TranslationObjective = outcome.objectives[""]
    progress, architecture = outcome.progress[""], objective.network.architecture
    best = load_best(outcome.run, architecture)
    objective.network.load_arrays(best.tensors)
    corpus = moved(objective.corpus, outcome.run.path / CORPUS)
    share = share_within(objective, corpus, outcome.limit, outcome.clock)
    parts = {"valid": corpus.valid, "test": corpus.test}
    figures: dict[str, TranslationFigures | None] = {}
    for number, (name, part) in enumerate(parts.items(), 1):
        figures[name] = _figures(objective, part, share) if part else None
        show(number / len(parts))
    result = TranslationResult(
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


def _figures(objective: TranslationObjective, part: Examples, share: float) -> TranslationFigures:
    """The figures of a part, in float32."""
    predictor, second = TorchTranslatorPredictor(objective.network), objective.corpus.second
    references, outputs, nats = list[str](), list[str](), list[float]()
    for numbers, pairs in PairColumns.of(part, objective.corpus).spread(share, MEASURED_TOKENS):
        references += [second.decode(part["target"][number]) for number in numbers.tolist()]
        outputs += [second.decode(found.without_end) for found in objective.translations(predictor, pairs)]
        nats += nats_of(predictor, pairs).tolist()
    report = evaluate_translation(references, outputs, is_split_at_white_space(second), with_bleu=False)
    return TranslationFigures(report.accuracy, report.symbol_error_rate, sum(nats) / len(nats))
