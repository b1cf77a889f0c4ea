"""The objective of a classifier: give each text its label.

Shapes: B batch, L labels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches, batches_by_length, spread
from charlm.corpus.examples import Examples
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.texts import TextColumn, Texts
from charlm.model.classifier import TorchClassifierPredictor, logits, total_nats
from charlm.model.means import Means
from charlm.model.network import TorchNetwork
from charlm.network.classifier import Classifier
from charlm.network.ngrams import RATIOS
from charlm.settings import TrainingSettings
from charlm.training.example_objective import ExampleObjective
from charlm.training.naive_bayes import log_count_ratios
from charlm.training.objective import Batch, Check, Generators
from charlm.training.task_defaults import ENOUGH_UPDATES, MAX_PASSES, MIN_PASSES

MEASURED_TOKENS = 2**13  # read at once outside training, with padding


@dataclass(frozen=True)
class LabelledTexts:
    """Some texts (B of them) and their labels: numbers (B,), or a 1 for each label that a text has (B, L)."""

    texts: Texts
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, rows: slice) -> "LabelledTexts":
        return LabelledTexts(self.texts.rows(rows), self.targets[rows])


class ClassificationObjective(ExampleObjective):
    """A `training.objective.Objective`: the loss is -log p of the labels of texts, averaged over the texts."""

    architecture: Classifier
    corpus: LabelledCorpus
    _batches: ExampleBatches

    def __init__(
        self, architecture: Classifier, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        super().__init__(architecture, corpus, settings, device)
        fix_weights(self.network, settings.freeze)
        self._texts = TextColumn.of(corpus.train["text"], corpus.tokenizer, settings.seed)
        self._batches = self.example_batches(self._texts.lengths)
        # The n-grams are soon learned by heart, so a large training part is read less often than a small one.
        enough = math.ceil(ENOUGH_UPDATES / self.batches_per_pass)
        self.max_passes = min(MAX_PASSES, max(MIN_PASSES, enough))
        self._label_weights = torch.from_numpy(self._weights_of_labels()).to(device)

    @property
    def targets_per_batch(self) -> float:
        return len(self.corpus.train) / self.batches_per_pass

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        if self.architecture.ngram_order:
            ratios = log_count_ratios(self.corpus.train, self.corpus.tokenizer.eos_id, self.architecture)
            self.network.weights[RATIOS].data.copy_(torch.from_numpy(ratios))

    def next_batch(self) -> Batch:
        pass_number = self._batches.pass_number
        numbers = self._batches.next()
        texts = self._texts.texts(numbers, pass_number)
        size_of_one = f"{texts.ids.shape[1]:,} tokens in the longest text"
        targets = targets_of(self.corpus.train, numbers, self.architecture)
        return Batch(LabelledTexts(texts, targets), (), len(texts), texts.num_tokens, size_of_one)

    def loss(
        self, examples: LabelledTexts, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, None]:
        """-log p of the labels in nats, summed over the texts; how many texts they are; no state."""
        arrays = (examples.texts.ids, examples.texts.lengths, examples.targets)
        ids, lengths, targets = (torch.from_numpy(array).to(self.network.device) for array in arrays)
        means = Means.of(self.network, generators["dropout"], generators.get("initial_state"))
        found = logits(self.network, ids, lengths, means)
        nats = total_nats(found, targets, self.architecture.several_labels, self._label_weights)
        return nats, len(examples), None

    def check(self) -> Check:
        """Nats per text on examples spread over the validation part, in the precision of the training.

        The best weights are chosen by what the training weighs: with `--balance` all labels count the same.
        """
        valid = self.corpus.valid
        assert valid is not None
        predictor = TorchClassifierPredictor(self.network, self.is_bfloat16)
        share, nats, weights = self.share_to_check(valid.num_tokens), list[float](), list[float]()
        weight_of = np.append(self._weights_of_labels(), 0)  # the last one of labels that no training row has
        for found, numbers in predictions(predictor, valid, self.corpus.tokenizer.eos_id, share):
            targets = targets_of(valid, numbers, self.architecture)
            nats += nats_of(found, targets, self.architecture).tolist()
            weights += weight_of[targets].tolist() if self._settings.balance else []
        cost = float(np.dot(nats, weights)) / max(1.0, sum(weights)) if self._settings.balance else None
        return Check(sum(nats) / len(nats), cost)

    def try_measuring(self) -> int:
        texts = self._texts.texts(self.upcoming())
        TorchClassifierPredictor(self.network).logits(texts.ids, texts.lengths)
        return texts.num_tokens

    def _weights_of_labels(self) -> NDArray[np.float32]:
        """The weight of each label in the loss (L,): 1, or with `--balance` such that all labels weigh the same."""
        num_labels = self.architecture.num_labels
        if not self._settings.balance:
            return np.ones(num_labels, np.float32)
        counts = np.bincount(self.corpus.train["labels"].values, minlength=num_labels)[:num_labels]
        weights: NDArray[np.float32] = (counts.sum() / (num_labels * np.maximum(counts, 1))).astype(np.float32)
        return weights


def fix_weights(network: TorchNetwork, freeze: bool) -> None:
    """Leave the ratios of n-grams as they are in training; with `freeze`, everything below the head too."""
    for name, weight in network.named_parameters():
        weight.requires_grad_(name != RATIOS and (name.startswith("head.") or not freeze))


def targets_of(examples: Examples, numbers: NDArray[np.int64], architecture: Classifier) -> NDArray[Any]:
    """The labels of some examples: numbers (B,), or a 1 for each label that an example has (B, L).

    A label that no training row has is the number L, or has no 1 in any column.
    """
    labels = [examples["labels"][int(number)] for number in numbers]
    if not architecture.several_labels:
        return np.array([own[0] for own in labels], np.int64)
    targets = np.zeros((len(labels), architecture.num_labels + 1), np.float32)
    for row, own in zip(targets, labels, strict=True):
        row[own] = 1
    return targets[:, :-1]


def nats_of(found: NDArray[np.float64], targets: NDArray[Any], architecture: Classifier) -> NDArray[np.float64]:
    """-log p of the labels of each text in nats: logits (B, L) -> (B,), without labels that no training row has."""
    if architecture.several_labels:
        return np.asarray((np.logaddexp(0, found) - targets * found).sum(axis=1))
    logprobs = found - np.logaddexp.reduce(found, axis=1, keepdims=True)
    known = targets < architecture.num_labels
    chosen = np.take_along_axis(logprobs, np.where(known, targets, 0)[:, None], axis=1)[:, 0]
    return np.where(known, -chosen, 0.0)


def predictions(
    predictor: TorchClassifierPredictor, examples: Examples, eos_id: int, share: float = 1.0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """The logits (B, L) of examples, batch by batch, and the numbers of these examples.

    With a `share` below 1 only about that share of the examples is read, spread evenly over the part.
    """
    column = TextColumn(examples["text"], eos_id)
    for numbers in batches_by_length(column.lengths, MEASURED_TOKENS, spread(len(examples), share)):
        texts = column.texts(numbers)
        yield predictor.logits(texts.ids, texts.lengths), numbers
