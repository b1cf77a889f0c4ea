"""The result of a tagger's training: its best weights, measured on the validation and test parts."""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.tagging import evaluate_tagging
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.results import Outcome, Result, logged
from charlm.lifecycle.task_limit import share_within
from charlm.model.tagger import TorchTaggerPredictor
from charlm.runs.directory import CORPUS
from charlm.scoring.loading import load_best
from charlm.training.tagging import SentenceColumns, TaggingObjective, measured


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
class TaggingResult(Result):
    """How the training of a tagger went, and how good its best weights are.

    `share_measured` is below 1 if time was too short to measure all sentences; the figures are then estimates.
    """

    valid: TagFigures | None
    test: TagFigures | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the sentences were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        figures: dict[str, object] = {"share_measured": self.share_measured}
        for name, part in {"valid": self.valid, "test": self.test}.items():
            if part:
                figures |= part.accuracy.as_json(f"{name}_token_accuracy")
                figures |= part.entity_f1.as_json(f"{name}_entity_f1") if part.entity_f1 else {}
                figures[f"{name}_nats_per_token"] = part.nats_per_token
        return {**super().as_json(), **figures}


def measure(outcome: Outcome, show: Callable[[float], None]) -> TaggingResult:
    """Measure the best weights of a tagger; `show` is called with the share that is done.

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    objective: TaggingObjective = outcome.objectives[""]
    progress, architecture = outcome.progress[""], objective.network.architecture
    best = load_best(outcome.run, architecture)
    objective.network.load_arrays(best.tensors)
    corpus = moved(objective.corpus, outcome.run.path / CORPUS)
    share = share_within(objective, corpus, outcome.limit, outcome.clock)
    parts = {"valid": corpus.valid, "test": corpus.test}
    figures: dict[str, TagFigures | None] = {}
    for number, (name, part) in enumerate(parts.items(), 1):
        figures[name] = _figures(objective, SentenceColumns(part, objective.spelling), share) if part else None
        show(number / len(parts))
    result = TaggingResult(
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


def _figures(objective: TaggingObjective, columns: SentenceColumns, share: float) -> TagFigures:
    """The figures of a part, in float32."""
    vocabularies = objective.corpus.vocabularies
    found = measured(TorchTaggerPredictor(objective.network, objective.exclusions), columns, vocabularies, share)
    report = evaluate_tagging(found.truth, found.predicted, found.scheme, vocabularies.labels)
    return TagFigures(report.accuracy, report.entities.f1 if report.entities else None, found.nats_per_word)
