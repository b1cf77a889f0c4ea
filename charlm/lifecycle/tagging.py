"""The result of a tagger's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.corpus.examples import Examples
from charlm.corpus.sentence_columns import SentenceColumns
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.tagging import evaluate_tagging
from charlm.lifecycle.measuring import PartsResult, measure_parts
from charlm.lifecycle.results import Outcome
from charlm.model.tagger import TorchTaggerPredictor
from charlm.training.tagging import TaggingObjective, measured


@dataclass(frozen=True)
class TagFigures:
    """How well the words of sentences were tagged."""

    accuracy: Figure
    """The share of words whose tag is right."""
    entity_f1: Figure | None
    """F1 of the spans that the tags mark, as conlleval counts; None for plain tags, which mark none."""
    nats_per_token: float
    """-log p of the tags, without sentences with tags that no training sentence has."""


@dataclass(frozen=True, kw_only=True)
class TaggingResult(PartsResult[TagFigures]):
    """How the training of a tagger went, and how good its best weights are."""

    examples = "sentences"

    def figures_as_json(self, part: str, figures: TagFigures | None) -> dict[str, object]:
        if figures is None:
            return {}
        accuracy = figures.accuracy.as_json(f"{part}_token_accuracy")
        entity_f1 = figures.entity_f1.as_json(f"{part}_entity_f1") if figures.entity_f1 else {}
        return {**accuracy, **entity_f1, f"{part}_nats_per_token": figures.nats_per_token}


def measure(outcome: Outcome, show: Callable[[float], None]) -> TaggingResult:
    """Measure the best weights of a tagger; for the arguments see `measure_parts`."""
    return measure_parts(TaggingResult, _figures, outcome, show)


def _figures(objective: TaggingObjective, part: Examples, share: float) -> TagFigures:
    """The figures of a part, in float32."""
    vocabularies, columns = objective.corpus.vocabularies, SentenceColumns(part, objective.spelling)
    found = measured(TorchTaggerPredictor(objective.network, objective.exclusions), columns, vocabularies, share)
    report = evaluate_tagging(found.truth, found.predicted, found.scheme, vocabularies.labels)
    return TagFigures(report.accuracy, report.entities.f1 if report.entities else None, found.nats_per_word)
