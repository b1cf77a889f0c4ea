"""How good the tags of sentences are: token by token, and by the entities that they mark, counted as conlleval does.

An entity is right if its first token, its last token and its type are. Precision, recall and F1 are those of all
entities together (micro averages).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.bootstrap import SEED, Figure, check_examples, figure, share_of
from charlm.evaluation.classification import Confusion, confusion
from charlm.evaluation.matches import Matches, f1, ratio
from charlm.text.tag_schemes import Scheme, Span, spans

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class EntityFigures:
    """Precision, recall and F1 of entities; each figure's count is that of its denominator, F1's that of recall."""

    precision: Figure
    recall: Figure
    f1: Figure
    matches: dict[str, Matches]
    """Of each type."""

    def as_json(self) -> dict[str, Any]:
        return {
            **self.f1.as_json("entity_f1"),
            **self.precision.as_json("entity_precision"),
            **self.recall.as_json("entity_recall"),
            "entities": {type_: matches.as_json() for type_, matches in self.matches.items()},
        }


@dataclass(frozen=True)
class TaggingReport:
    """The figures of a tagger: the share of tokens whose tag is right, and those of the entities, if there are any.

    `entities` is None for plain tags, such as parts of speech.
    """

    accuracy: Figure
    confusion: Confusion
    """Of the tags."""
    entities: EntityFigures | None

    def as_json(self) -> dict[str, Any]:
        """The fields of a JSON object; see Figure.as_json."""
        fields = self.accuracy.as_json("accuracy")
        if self.entities:
            fields |= self.entities.as_json()
        labels = {label: matches.as_json() for label, matches in self.confusion.matches.items()}
        return fields | {"confusion": self.confusion.as_json(), "labels": labels}


def evaluate_tagging(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme,
    labels: Sequence[str] = (),
    seed: int = SEED,
) -> TaggingReport:
    """The figures of the predicted tags of sentences; the intervals come from drawing whole sentences.

    `labels` gives the order of the tags in the confusion matrix. Raises TextError if there are no tokens.
    """
    check_examples(sum(map(len, truth)))
    pairs = list(zip(truth, predicted, strict=True))
    statistics = np.array([_tokens(true, guessed) for true, guessed in pairs])
    return TaggingReport(
        figure(statistics, share_of, int(statistics[:, 1].sum()), seed=seed),
        confusion(chain.from_iterable(truth), chain.from_iterable(predicted), labels),
        evaluate_entities(truth, predicted, scheme, seed) if scheme.has_spans else None,
    )


def evaluate_entities(
    truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], scheme: Scheme, seed: int = SEED
) -> EntityFigures:
    """Precision, recall and F1 of the entities in sentences."""
    by_sentence = [
        (spans(true, scheme), spans(guessed, scheme)) for true, guessed in zip(truth, predicted, strict=True)
    ]
    statistics = np.array([_counts(true, guessed) for true, guessed in by_sentence])
    _, num_predicted, num_true = map(int, statistics.sum(axis=0))
    return EntityFigures(
        figure(statistics, _precision, num_predicted, seed=seed),
        figure(statistics, _recall, num_true, seed=seed),
        figure(statistics, _f1, num_true, seed=seed),
        _by_type(by_sentence),
    )


def _tokens(true: Sequence[str], guessed: Sequence[str]) -> tuple[int, int]:
    """How many tags of a sentence are right, and how many there are."""
    return sum(tag == other for tag, other in zip(true, guessed, strict=True)), len(true)


def _counts(true: Iterable[Span], guessed: Iterable[Span]) -> tuple[int, int, int]:
    """How many entities of a sentence are right, predicted and true."""
    true, guessed = set(true), set(guessed)
    return len(true & guessed), len(guessed), len(true)


def _by_type(by_sentence: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> dict[str, Matches]:
    right, guessed_types, true_types = Counter[str](), Counter[str](), Counter[str]()
    for true, guessed in by_sentence:
        right.update(span.type for span in set(true) & set(guessed))
        guessed_types.update(span.type for span in guessed)
        true_types.update(span.type for span in true)
    types = sorted(guessed_types | true_types)
    return {type_: Matches(right[type_], guessed_types[type_], true_types[type_]) for type_ in types}


def _precision(statistics: NDArray[Any]) -> NDArray[Any]:
    return ratio(statistics[..., 0], statistics[..., 1])


def _recall(statistics: NDArray[Any]) -> NDArray[Any]:
    return ratio(statistics[..., 0], statistics[..., 2])


def _f1(statistics: NDArray[Any]) -> NDArray[Any]:
    return f1(statistics[..., 0], statistics[..., 1], statistics[..., 2])
