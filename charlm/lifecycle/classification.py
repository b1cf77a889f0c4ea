"""The result of a classifier's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.corpus.examples import Examples
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.classification import evaluate_classification, evaluate_label_sets
from charlm.lifecycle.measuring import PartsResult, measure_parts
from charlm.lifecycle.results import Outcome
from charlm.model.classifier import TorchClassifierPredictor
from charlm.training.classification import ClassificationObjective, nats_of, predictions, targets_of


@dataclass(frozen=True)
class LabelFigures:
    """How well labels were found."""

    accuracy: Figure
    """The share of texts whose label, or whole set of labels, is right."""
    macro_f1: Figure
    nats_per_text: float
    """-log p of the labels, without those that no training row has."""


@dataclass(frozen=True, kw_only=True)
class ClassificationResult(PartsResult[LabelFigures]):
    """How the training of a classifier went, and how good its best weights are."""

    examples = "texts"

    def figures_as_json(self, part: str, figures: LabelFigures | None) -> dict[str, object]:
        if figures is None:
            return {}
        accuracy, macro_f1 = figures.accuracy.as_json(f"{part}_accuracy"), figures.macro_f1.as_json(f"{part}_macro_f1")
        return {**accuracy, **macro_f1, f"{part}_nats_per_text": figures.nats_per_text}


def measure(outcome: Outcome, show: Callable[[float], None]) -> ClassificationResult:
    """Measure the best weights of a classifier; for the arguments see `measure_parts`."""
    return measure_parts(ClassificationResult, _figures, outcome, show)


def _figures(objective: ClassificationObjective, part: Examples, share: float) -> LabelFigures:
    """The figures of a part, in float32."""
    architecture, labels = objective.architecture, objective.corpus.labels
    names = (*labels, "")  # the last one stands for labels that no training row has
    truth, predicted, nats = list[list[str]](), list[list[str]](), list[float]()
    predictor = TorchClassifierPredictor(objective.network)
    for found, numbers in predictions(predictor, part, objective.corpus.tokenizer.eos_id, share):
        truth += [[names[label] for label in part["labels"][int(number)]] for number in numbers]
        if architecture.several_labels:
            predicted += [[names[label] for label in np.flatnonzero(row > 0)] for row in found]
        else:
            predicted += [[names[label]] for label in found.argmax(axis=1)]
        nats += nats_of(found, targets_of(part, numbers, architecture), architecture).tolist()
    if architecture.several_labels:
        report = evaluate_label_sets(truth, predicted, labels)
    else:
        report = evaluate_classification([own[0] for own in truth], [own[0] for own in predicted], labels)
    return LabelFigures(report.accuracy, report.macro_f1, sum(nats) / len(nats))
