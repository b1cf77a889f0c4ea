"""The result of a translator's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.corpus.examples import Examples
from charlm.corpus.pairs import PairColumns
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.translation import evaluate_translation
from charlm.lifecycle.measuring import PartsResult, measure_parts
from charlm.lifecycle.results import Outcome
from charlm.model.translator import TorchTranslatorPredictor
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
class TranslationResult(PartsResult[TranslationFigures]):
    """How the training of a translator went, and how good its best weights are."""

    examples = "pairs"

    def figures_as_json(self, part: str, figures: TranslationFigures | None) -> dict[str, object]:
        if figures is None:
            return {}
        accuracy = figures.accuracy.as_json(f"{part}_exact_match")
        error_rate = figures.symbol_error_rate.as_json(f"{part}_symbol_error_rate")
        return {**accuracy, **error_rate, f"{part}_nats_per_token": figures.nats_per_token}


def measure(outcome: Outcome, show: Callable[[float], None]) -> TranslationResult:
    """Measure the best weights of a translator; for the arguments see `measure_parts`."""
    return measure_parts(TranslationResult, _figures, outcome, show)


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
