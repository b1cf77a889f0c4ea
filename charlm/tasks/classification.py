"""Classify texts: the labels, and what gives their probabilities. One text is classified without torch."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import in_groups
from charlm.corpus.texts import batches_of_texts
from charlm.corpus.vocabularies import Vocabularies
from charlm.engine.classifier import NumpyClassifierPredictor
from charlm.errors import UsageError
from charlm.network.classifier import Classifier
from charlm.probability import log_softmax
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.generators import open_generator
from charlm.scoring.opened import Opened
from charlm.scoring.reading import Reading
from charlm.settings import Prior
from charlm.tasks.bayes import BayesScorer
from charlm.text.tokenizer import Tokenizer

BATCH_TOKENS = 2**13  # read at once, with padding


class ClassifierPredictor(Protocol):
    """Whatever gives the logits of a classifier, in NumPy or in torch."""

    def logits(self, ids: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float64]:
        """Texts with both ends, ids (B, T) of these lengths (B,) -> logits (B, L)."""


@dataclass(frozen=True)
class Classification:
    """The probability of each label of a text, the likeliest first.

    With one label a text they sum to 1; with several, each label has a probability of its own.
    """

    text: str
    probabilities: tuple[tuple[str, float], ...]
    several_labels: bool = False

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.probabilities[0][0]

    @property
    def probability(self) -> float:
        """The probability of the likeliest label."""
        return self.probabilities[0][1]

    def surprise(self, labels: Sequence[str]) -> float:
        """-log p of these labels in nats; infinite for one that no training row had."""
        own = dict(self.probabilities)
        if not self.several_labels:
            return -math.log(max(own.get(labels[0], 0.0), math.ulp(0.0))) if labels[0] in own else math.inf
        if any(label not in own for label in labels):
            return math.inf
        chances = (p if label in labels else 1 - p for label, p in own.items())
        return -sum(math.log(max(p, math.ulp(0.0))) for p in chances)

    def labels(self, threshold: float | None = None) -> tuple[str, ...]:
        """The labels that the text is given.

        Of several labels those with at least `threshold` (default 0.5); else the likeliest label, or none if its
        probability is below `threshold`.
        """
        if self.several_labels:
            return tuple(label for label, p in self.probabilities if p >= (0.5 if threshold is None else threshold))
        return (self.label,) if threshold is None or self.probability >= threshold else ()


class LabelScorer(Protocol):
    """Whatever tells labels apart."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Unnormalised log-probabilities of each label of some texts: (N, L)."""


@dataclass(frozen=True)
class ClassificationModel:
    """A classifier in use, or a generator that is used as one. `path` is the folder of its run, for messages."""

    vocabularies: Vocabularies
    scorer: LabelScorer
    reading: Reading
    several_labels: bool = False
    path: Path = Path()

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, the most frequent of the training data first."""
        return self.vocabularies.labels

    def classify(self, text: str) -> Classification:
        """The probability of each label of a text."""
        return next(self.classify_all([text]))

    def classify_all(self, texts: Iterable[str]) -> Iterator[Classification]:
        """The probabilities of many texts, in their order; those that come together are computed together."""
        for batch in in_groups(texts):
            for text, row in zip(batch, self.scorer.logits(batch), strict=True):
                yield self._classification(text, row)

    def _classification(self, text: str, logits: NDArray[np.float64]) -> Classification:
        probabilities = np.exp(-np.logaddexp(0, -logits) if self.several_labels else log_softmax(logits))
        order = np.argsort(-probabilities, kind="stable")
        ranked = tuple((self.labels[number], float(probabilities[number])) for number in order)
        return Classification(text, ranked, self.several_labels)


@dataclass(frozen=True)
class ClassifierScorer:
    """A `LabelScorer` that reads each text with a classifier."""

    tokenizer: Tokenizer
    reading: Reading
    predictor: ClassifierPredictor
    num_labels: int

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        encoded = [self.tokenizer.encode(self.reading.prepared(text)) for text in texts]
        logits = np.zeros((len(texts), self.num_labels))
        for numbers, batch in batches_of_texts(encoded, self.tokenizer.eos_id, BATCH_TOKENS):
            logits[numbers] = self.predictor.logits(batch.ids, batch.lengths)
        return logits


def load_classifier(
    run: RunDirectory, for_batches: bool = False, threads: int | None = None, prior: Prior | None = None
) -> ClassificationModel:
    """What gives texts the labels of a run, with its best weights: a classifier, or a generator by Bayes.

    `for_batches` is for many texts, and may bring torch with it. `prior` is for generators (see `tasks/bayes.py`).
    Raises RunError, and UsageError for the prior of a classifier.
    """
    config = read_config(run)
    config.check_kind(("classify", "generate"), run.path)
    if prior not in (None, *get_args(Prior)):
        raise UsageError(f"--prior {prior}: no such prior", to_do=f"choose from {', '.join(get_args(Prior))}")
    if config.architecture.kind == "generate":
        generator = open_generator(run)
        by_bayes = BayesScorer(generator, prior or "data", for_batches, threads)
        return ClassificationModel(generator.vocabularies, by_bayes, generator.reading, path=run.path)
    if prior is not None:
        what = f"--prior {prior} does nothing: this run is a classifier, which needs no prior"
        raise UsageError(what, str(run.path), "leave it out")
    opened = Opened.of(run, config, Classifier, _suits)
    architecture, tokenizer = opened.architecture, opened.vocabularies.tokenizer
    predictor: ClassifierPredictor
    if for_batches:
        from charlm.model.classifier import TorchClassifierPredictor
        from charlm.model.network import load_network

        predictor = TorchClassifierPredictor(load_network(architecture, opened.weights, threads))
    else:
        predictor = NumpyClassifierPredictor(architecture, opened.weights)
    scorer = ClassifierScorer(tokenizer, opened.reading, predictor, architecture.num_labels)
    return ClassificationModel(opened.vocabularies, scorer, opened.reading, architecture.several_labels, run.path)


def _suits(architecture: Classifier, vocabularies: Vocabularies) -> bool:
    sizes = vocabularies.tokenizer.vocab_size, len(vocabularies.labels)
    return sizes == (architecture.num_symbols, architecture.num_labels)
