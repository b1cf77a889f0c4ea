"""Classify texts with a generator: P(label | text) is in proportion to P(label) P(text | label), by Bayes' rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charlm.scoring.generators import OpenedGenerator
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import language_model
from charlm.settings import Prior
from charlm.text.items import as_paragraph

MAX_KEPT = 32  # models of single labels; those of the other labels are made anew for each batch of texts


@dataclass
class BayesScorer:
    """A `tasks.classification.LabelScorer`: log P(label) + log P(text | label) of each label.

    With the prior "data", labels are as probable as they are frequent in the training data; with "uniform", all alike.
    P(text | label) is what `charlm score --given` shows. `for_batches` is for many texts, and may bring torch with it.
    """

    generator: OpenedGenerator
    prior: Prior = "data"
    for_batches: bool = False
    threads: int | None = None
    _kept: dict[int, LanguageModel] = field(default_factory=dict)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """log P(label) + log P(text | label) in nats: (N, L)."""
        if self.generator.config.reading.item == "paragraph":
            texts = list(map(as_paragraph, texts))
        likelihoods = [self._logprobs(self._model(number), texts) for number in range(len(self.generator.labels))]
        logits: NDArray[np.float64] = self._log_priors() + np.array(likelihoods).T
        return logits

    def _log_priors(self) -> NDArray[np.float64]:
        if self.prior == "data":
            return self.generator.vocabularies.log_priors()
        return np.full(len(self.generator.labels), -np.log(len(self.generator.labels)))

    def _logprobs(self, lm: LanguageModel, texts: Sequence[str]) -> list[float]:
        scores = lm.score_lines(texts) if self.for_batches else map(lm.score, texts)
        return [score.logprob_nats for score in scores]

    def _model(self, number: int) -> LanguageModel:
        """The language model of the label with this number."""
        if number in self._kept:
            return self._kept[number]
        lm = language_model(self.generator.numbered(number), self.generator.path, threads=self.threads)
        if len(self._kept) < MAX_KEPT:
            self._kept[number] = lm
        return lm
