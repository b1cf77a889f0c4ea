"""How often a classifier is right, as a whole and for each label. Shapes: N examples, L labels.

The figures are those that scikit-learn gives by default: macro F1 is the mean over all labels that occur in the truth
or in the predictions, and a precision or recall without any case is 0.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.bootstrap import SEED, Figure, check_examples, share
from charlm.evaluation.label_groups import LabelGroups, Members
from charlm.evaluation.matches import Matches, macro_f1, micro_f1


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each label was predicted for each: `matrix` (L, L), a row for each true label."""

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]

    @property
    def num_examples(self) -> int:
        return int(self.matrix.sum())

    @cached_property
    def matches(self) -> dict[str, Matches]:
        """For each label its counts, from which precision, recall and F1 follow."""
        return self._groups.matches()

    def accuracy(self, seed: int = SEED) -> Figure:
        """The share of examples whose predicted label is right; nan if there are none."""
        return share(int(self.matrix.trace()), self.num_examples, seed)

    def macro_f1(self, seed: int = SEED) -> Figure:
        """The mean F1 of the labels that occur in the truth or in the predictions; nan if there are none."""
        return self._groups.figure(macro_f1, seed)

    @cached_property
    def _groups(self) -> LabelGroups:
        """A group of examples for each cell that is not empty."""
        true, predicted = np.nonzero(self.matrix)
        every, right = np.arange(len(true)), np.flatnonzero(true == predicted)
        return LabelGroups(
            self.labels,
            self.matrix[true, predicted],
            right=Members(right, true[right]),
            predicted=Members(every, predicted),
            true=Members(every, true),
        )

    def as_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "matrix": self.matrix.tolist()}


def confusion(truth: Iterable[str], predicted: Iterable[str], labels: Sequence[str] = ()) -> Confusion:
    """Count the pairs of true and predicted labels of N examples.

    The labels are those given, in their order, then any others that occur, sorted.
    """
    pairs = Counter(zip(truth, predicted, strict=True))
    names = _all_labels(labels, (label for pair in pairs for label in pair))
    places = {label: place for place, label in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    for (true, guessed), count in pairs.items():
        matrix[places[true], places[guessed]] = count
    return Confusion(names, matrix)


def _all_labels(given: Sequence[str], occurring: Iterable[str]) -> tuple[str, ...]:
    return (*given, *sorted(set(occurring) - set(given)))


@dataclass(frozen=True)
class ClassificationReport:
    """The figures of a classifier.

    Of one that gives each example one label: `accuracy` and `macro_f1` count the examples that it answered, and
    `coverage` is their share, unless it answered all. Of one that gives each example a set of labels: `accuracy` is the
    share of sets that are exactly right, `micro_f1` is F1 of all labels together, and there is no confusion matrix.
    """

    accuracy: Figure
    macro_f1: Figure
    matches: dict[str, Matches]
    """Of each label."""
    confusion: Confusion | None = None
    micro_f1: Figure | None = None
    coverage: Figure | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields of a JSON object; see Figure.as_json."""
        fields = self.accuracy.as_json("accuracy") | self.macro_f1.as_json("macro_f1")
        for key, figure in (("micro_f1", self.micro_f1), ("coverage", self.coverage)):
            fields |= figure.as_json(key) if figure else {}
        if self.confusion:
            fields["confusion"] = self.confusion.as_json()
        return fields | {"labels": {label: matches.as_json() for label, matches in self.matches.items()}}


def evaluate_classification(
    truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str] = (), seed: int = SEED
) -> ClassificationReport:
    """The figures of N predictions; None stands for an example that was left unanswered.

    Raises TextError if there are no examples.
    """
    check_examples(len(truth))
    answered = [(true, guessed) for true, guessed in zip(truth, predicted, strict=True) if guessed is not None]
    names = _all_labels(labels, (*truth, *(guessed for _, guessed in answered)))
    counted = confusion((true for true, _ in answered), (guessed for _, guessed in answered), names)
    coverage = share(len(answered), len(truth), seed) if len(answered) < len(truth) else None
    return ClassificationReport(
        counted.accuracy(seed), counted.macro_f1(seed), counted.matches, counted, coverage=coverage
    )


def evaluate_label_sets(
    truth: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    labels: Sequence[str] = (),
    seed: int = SEED,
) -> ClassificationReport:
    """The figures of N predicted sets of labels; a set can be empty. Raises TextError if there are no examples."""
    check_examples(len(truth))
    counts = Counter(zip(map(frozenset, truth), map(frozenset, predicted), strict=True))
    pairs = sorted(counts, key=lambda pair: [sorted(each) for each in pair])
    names = _all_labels(labels, (label for pair in pairs for each in pair for label in each))
    place_of = {label: place for place, label in enumerate(names)}.__getitem__
    groups = LabelGroups(
        names,
        np.array([counts[pair] for pair in pairs]),
        right=Members.of_sets(map(place_of, true & guessed) for true, guessed in pairs),
        predicted=Members.of_sets(map(place_of, guessed) for _, guessed in pairs),
        true=Members.of_sets(map(place_of, true) for true, _ in pairs),
    )
    num_right = sum(counts[true, guessed] for true, guessed in pairs if true == guessed)
    return ClassificationReport(
        share(num_right, len(truth), seed),
        groups.figure(macro_f1, seed),
        groups.matches(),
        micro_f1=groups.figure(micro_f1, seed),
    )
