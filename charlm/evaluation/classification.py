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

MAX_LABELS_OF_MATRIX = 200  # of the matrix in JSON


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each label was predicted for each. Only the C cells that are not empty are held."""

    labels: tuple[str, ...]
    true: NDArray[np.int64]
    """The number of the true label of each cell (C,); so the next two."""
    predicted: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def num_examples(self) -> int:
        return int(self.counts.sum())

    @property
    def num_right(self) -> int:
        return int(self.counts[self.true == self.predicted].sum())

    @property
    def errors(self) -> "Confusion":
        """What was predicted wrongly."""
        wrong = self.true != self.predicted
        return Confusion(self.labels, self.true[wrong], self.predicted[wrong], self.counts[wrong])

    def occurrences(self) -> NDArray[np.int64]:
        """How often each label is true or predicted, both counted (L,)."""
        occurrences = np.zeros(len(self.labels), np.int64)
        np.add.at(occurrences, self.true, self.counts)
        np.add.at(occurrences, self.predicted, self.counts)
        return occurrences

    def matrix(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """All counts, a row for each true label (L, L). `rows` (L,) gives for each label another row, from 0."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        num_rows = int(rows.max(initial=-1)) + 1
        matrix = np.zeros((num_rows, num_rows), np.int64)
        np.add.at(matrix, (rows[self.true], rows[self.predicted]), self.counts)
        return matrix

    @cached_property
    def matches(self) -> dict[str, Matches]:
        """For each label its counts, from which precision, recall and F1 follow."""
        return self._groups.matches()

    def accuracy(self, seed: int = SEED) -> Figure:
        """The share of examples whose predicted label is right; nan if there are none."""
        return share(self.num_right, self.num_examples, seed)

    def macro_f1(self, seed: int = SEED) -> Figure:
        """The mean F1 of the labels that occur in the truth or in the predictions; nan if there are none."""
        return self._groups.figure(macro_f1, seed)

    @cached_property
    def _groups(self) -> LabelGroups:
        """A group of examples for each cell that is not empty."""
        every, right = np.arange(len(self.true)), np.flatnonzero(self.true == self.predicted)
        return LabelGroups(
            self.labels,
            self.counts,
            right=Members(right, self.true[right]),
            predicted=Members(every, self.predicted),
            true=Members(every, self.true),
        )

    def as_json(self) -> dict[str, Any]:
        """The labels and the matrix; of many labels, for which that is large, the cells that are not empty.

        A cell has the number of its true label, from 0, that of the predicted one, and its count.
        """
        labels = {"labels": list(self.labels)}
        if len(self.labels) <= MAX_LABELS_OF_MATRIX:
            return {**labels, "matrix": self.matrix().tolist()}
        return {**labels, "cells": np.column_stack([self.true, self.predicted, self.counts]).tolist()}


def confusion(truth: Iterable[str], predicted: Iterable[str], labels: Sequence[str] = ()) -> Confusion:
    """Count the pairs of true and predicted labels of N examples.

    The labels are those given, in their order, then any others that occur, sorted.
    """
    pairs = Counter(zip(truth, predicted, strict=True))
    names = _all_labels(labels, (label for pair in pairs for label in pair))
    places = {label: place for place, label in enumerate(names)}
    cells = sorted((places[true], places[guessed], count) for (true, guessed), count in pairs.items())
    return Confusion(names, *np.array(cells, np.int64).reshape(-1, 3).T)


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
