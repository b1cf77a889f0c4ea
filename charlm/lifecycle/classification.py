"""The result of a classifier's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.corpus.examples import Examples
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.classification import evaluate_classification, evaluate_label_sets
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.results import Outcome, Result, logged
from charlm.lifecycle.task_limit import share_within
from charlm.model.classifier import TorchClassifierPredictor
from charlm.runs.directory import CORPUS
from charlm.scoring.loading import load_best
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
class ClassificationResult(Result):
    """How the training of a classifier went, and how good its best weights are.

    `share_measured` is below 1 if time was too short to measure all texts; the figures are then estimates.
    """

    valid: LabelFigures | None
    test: LabelFigures | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the texts were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        figures: dict[str, object] = {"share_measured": self.share_measured}
        for name, part in {"valid": self.valid, "test": self.test}.items():
            if part:
                figures |= part.accuracy.as_json(f"{name}_accuracy") | part.macro_f1.as_json(f"{name}_macro_f1")
                figures[f"{name}_nats_per_text"] = part.nats_per_text
        return {**super().as_json(), **figures}


def measure(outcome: Outcome, show: Callable[[float], None]) -> ClassificationResult:
    """Measure the best weights of a classifier; `show` is called with the share that is done.

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    objective: ClassificationObjective = outcome.objectives[""]
    progress, architecture = outcome.progress[""], objective.network.architecture
    best = load_best(outcome.run, architecture)
    objective.network.load_arrays(best.tensors)
    corpus = moved(objective.corpus, outcome.run.path / CORPUS)
    share = share_within(objective, corpus, outcome.limit, outcome.clock)
    parts = {"valid": corpus.valid, "test": corpus.test}
    figures: dict[str, LabelFigures | None] = {}
    for number, (name, part) in enumerate(parts.items(), 1):
        figures[name] = _figures(objective, part, share) if part else None
        show(number / len(parts))
    result = ClassificationResult(
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
