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

from charlm.evaluation.bootstrap import SEED, Figure, check_examples, figure
from charlm.evaluation.matches import Matches, macro_f1, micro_f1, ratio

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each label was predicted for each: `matrix` (L, L), a row for each true label."""

    labels: tuple[str, ...]
    matrix: Counts

    @property
    def num_examples(self) -> int:
        return int(self.matrix.sum())

    @cached_property
    def matches(self) -> dict[str, Matches]:
        """For each label its counts, from which precision, recall and F1 follow."""
        counts = zip(self.matrix.diagonal(), self.matrix.sum(axis=0), self.matrix.sum(axis=1), strict=True)
        return {label: Matches(*map(int, numbers)) for label, numbers in zip(self.labels, counts, strict=True)}

    def accuracy(self, seed: int = SEED) -> Figure:
        """The share of examples whose predicted label is right; nan if there are none."""
        num_right = int(self.matrix.trace())
        return share(num_right, self.num_examples, seed)

    def macro_f1(self, seed: int = SEED) -> Figure:
        """The mean F1 of the labels that occur in the truth or in the predictions; nan if there are none."""
        true, predicted = np.nonzero(self.matrix)
        is_label = np.eye(len(self.labels), dtype=np.int64)
        is_right = is_label[true] * (true == predicted)[:, None]
        statistics = np.hstack([is_right, is_label[predicted], is_label[true]])
        return figure(statistics, macro_f1, self.num_examples, self.matrix[true, predicted], seed)

    def as_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "matrix": self.matrix.tolist()}


def confusion(truth: Iterable[str], predicted: Iterable[str], labels: Sequence[str] = ()) -> Confusion:
    """Count the pairs of true and predicted labels of N examples.

    The labels are those given, in their order, then any others that occur, sorted.
    """
    pairs = Counter(zip(truth, predicted, strict=True))
    others = {label for pair in pairs for label in pair} - set(labels)
    names = (*labels, *sorted(others))
    places = {label: place for place, label in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    for (true, guessed), count in pairs.items():
        matrix[places[true], places[guessed]] = count
    return Confusion(names, matrix)


def share(num_right: int, num_examples: int, seed: int = SEED) -> Figure:
    """The share of the examples for which something is so; nan if there are none."""
    statistics, counts = np.array([[1, 1], [0, 1]]), np.array([num_right, num_examples - num_right])
    return figure(statistics, share_of, num_examples, counts, seed)


def share_of(statistics: NDArray[Any]) -> NDArray[Any]:
    """The ratio of two sums (..., 2); nan where the second is 0."""
    return ratio(statistics[..., 0], statistics[..., 1], undefined=np.nan)


# One label for each example


@dataclass(frozen=True)
class ClassificationReport:
    """The figures of a classifier.

    Of one that gives each example one label: `accuracy` and `macro_f1` count the examples that it answered, and
    `coverage` is their share, if it may leave examples unanswered. Of one that gives each example a set of labels:
    `accuracy` is the share of sets that are exactly right, `micro_f1` is F1 of all labels together, and there is no
    confusion matrix.
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
        if self.micro_f1:
            fields |= self.micro_f1.as_json("micro_f1")
        if self.coverage:
            fields |= self.coverage.as_json("coverage")
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
    counted = confusion((true for true, _ in answered), (guessed for _, guessed in answered), labels)
    coverage = share(len(answered), len(truth), seed) if len(answered) < len(truth) else None
    return ClassificationReport(
        counted.accuracy(seed), counted.macro_f1(seed), counted.matches, counted, coverage=coverage
    )


# Several labels for each example


def evaluate_label_sets(
    truth: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    labels: Sequence[str] = (),
    seed: int = SEED,
) -> ClassificationReport:
    """The figures of N predicted sets of labels; a set can be empty. Raises TextError if there are no examples."""
    check_examples(len(truth))
    pairs = Counter(zip(map(frozenset, truth), map(frozenset, predicted), strict=True))
    names = (*labels, *sorted({label for pair in pairs for each in pair for label in each} - set(labels)))
    counts = np.array(list(pairs.values()))
    statistics = np.hstack(
        [
            _is_in([true & guessed for true, guessed in pairs], names),
            _is_in([guessed for _, guessed in pairs], names),
            _is_in([true for true, _ in pairs], names),
        ]
    )
    totals = (counts @ statistics).reshape(3, len(names)).T.tolist()
    num_right = sum(count for (true, guessed), count in pairs.items() if true == guessed)
    return ClassificationReport(
        share(num_right, len(truth), seed),
        figure(statistics, macro_f1, len(truth), counts, seed),
        {label: Matches(*numbers) for label, numbers in zip(names, totals, strict=True)},
        micro_f1=figure(statistics, micro_f1, len(truth), counts, seed),
    )


def _is_in(sets: Sequence[Collection[str]], names: Sequence[str]) -> NDArray[np.int64]:
    """Which labels are in which set, as 0 and 1 (number of sets, L)."""
    places = {label: place for place, label in enumerate(names)}
    found = np.zeros((len(sets), len(names)), np.int64)
    for row, each in enumerate(sets):
        found[row, [places[label] for label in each]] = 1
    return found
