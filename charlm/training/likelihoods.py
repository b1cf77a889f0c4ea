"""The probability of texts under a generator, given their own labels or each label; many of them side by side.

Shapes: B texts, L labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length, spread
from charlm.corpus.examples import Examples
from charlm.model.generator import TorchGenerator
from charlm.model.predictor import TorchPredictor
from charlm.scoring.score import score_padded

MEASURED_TOKENS = 2**13  # read at once, with padding

Ids = NDArray[np.int64]
LogProbs = NDArray[np.float64]


@dataclass(frozen=True)
class Likelihoods:
    """Gives the probability of texts with the current weights of a network."""

    network: TorchGenerator
    eos_id: int
    bfloat16: bool = False

    def of_part(self, examples: Examples, share: float = 1.0) -> Iterator[tuple[Ids, LogProbs]]:
        """The tokens of texts with their ends, and log p of each given the label of the text.

        Texts of labels that no training text has are left out. With a `share` below 1 only about that share of the
        texts is read, spread evenly over the part.
        """
        known = np.flatnonzero(labels_of(examples) < self.network.architecture.num_labels)
        numbers = known[spread(len(known), share)]
        texts = self.texts(examples, numbers)
        for rows, logprobs in self._of(texts, labels_of(examples)[numbers]):
            yield from zip((texts[row] for row in rows), logprobs, strict=True)

    def by_label(self, texts: Sequence[Ids]) -> LogProbs:
        """log p of each text given each label: (B, L)."""
        num_labels = self.network.architecture.num_labels
        repeated = [text for text in texts for _ in range(num_labels)]
        found = np.zeros(len(repeated))
        for rows, logprobs in self._of(repeated, np.arange(len(repeated)) % num_labels):
            found[rows] = [each.sum() for each in logprobs]
        return found.reshape(-1, num_labels)

    def texts(self, examples: Examples, numbers: Ids) -> list[Ids]:
        """The tokens of these examples, with their ends."""
        return [np.append(examples["text"][int(number)].astype(np.int64), self.eos_id) for number in numbers]

    def _of(self, texts: Sequence[Ids], labels: Ids) -> Iterator[tuple[Ids, list[LogProbs]]]:
        """log p of each token of texts given these labels (B,), in batches of similar length, with their places."""
        predictor, lengths = TorchPredictor(self.network, self.bfloat16), np.array(list(map(len, texts)), np.int64)
        for rows in batches_by_length(lengths, MEASURED_TOKENS):
            with torch.no_grad():
                state = self.network.state_of(torch.from_numpy(labels[rows]).to(self.network.device))
            yield rows, score_padded(predictor, [texts[row] for row in rows], self.eos_id, state)


def labels_of(examples: Examples) -> Ids:
    """The number of the label of each example (N,)."""
    return examples["labels"].values.astype(np.int64)
