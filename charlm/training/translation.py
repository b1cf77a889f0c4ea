"""The objective of a translator: write the target of each source.

Shapes: B batch, S time of the source, T time of the target.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.pairs import PairColumns, Pairs
from charlm.evaluation.edit_distance import edit_distance
from charlm.model.translator import TorchTranslatorPredictor, total_nats
from charlm.network.translator import Translator
from charlm.sampling.strategies import Strategy
from charlm.sampling.writing import Ends, Hypothesis, write
from charlm.settings import TrainingSettings
from charlm.training.example_objective import ExampleObjective
from charlm.training.objective import Batch, Check, Generators
from charlm.training.translator_defaults import MAX_PASSES

TIE_BREAK = 1e-3  # how much a nat per token counts beside the errors
MEASURED_TOKENS = 2**13  # read at once outside training, with padding
ARG_MAX = Strategy(temperature=0)


class TranslationObjective(ExampleObjective):
    """A `training.objective.Objective`: the loss is -log p of the targets' tokens, the ends included."""

    architecture: Translator
    corpus: LabelledCorpus
    _batches: ExampleBatches
    max_passes = MAX_PASSES

    def __init__(
        self, architecture: Translator, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        super().__init__(architecture, corpus, settings, device)
        self._train = PairColumns.of(corpus.train, corpus, settings.seed)
        self._valid = PairColumns.of(corpus.valid, corpus) if corpus.valid else None
        self._batches = self.example_batches(self._train.lengths, self._train.alike)

    @property
    def targets_per_batch(self) -> float:
        return float((self._train.targets.lengths - 1).sum()) / self.batches_per_pass

    def next_batch(self) -> Batch:
        pass_number = self._batches.pass_number
        pairs = self._train.pairs(self._batches.next(), pass_number)
        size_of_one = f"{pairs.sources.ids.shape[1] + pairs.wanted.ids.shape[1]:,} tokens in the longest pair"
        return Batch(pairs, (), pairs.num_targets, pairs.num_tokens, size_of_one)

    def loss(self, examples: Pairs, state: NetworkState | None, generators: Generators) -> tuple[Tensor, int, None]:
        """-log p of the targets in nats, summed; how many tokens they are; no state."""
        arrays = (examples.sources.ids, examples.sources.lengths, examples.inputs, examples.targets)
        sources, lengths, inputs, targets = (
            torch.from_numpy(np.ascontiguousarray(array)).to(self.network.device) for array in arrays
        )
        drawn = generators["dropout"], generators.get("initial_state")
        nats = total_nats(self.network, sources, lengths, inputs, targets, *drawn)
        return nats, examples.num_targets, None

    def check(self) -> Check:
        """Nats per token of targets spread over the validation part, in the precision of the training.

        The best weights are those with the fewest errors in what they write: its symbol error rate falls on when the
        nats have begun to rise.
        """
        assert self._valid is not None
        assert self.corpus.valid is not None
        share = self.share_to_check(self.corpus.valid.num_tokens)
        predictor = TorchTranslatorPredictor(self.network, self.is_bfloat16)
        nats, edits, symbols = list[float](), 0, 0
        for _, pairs in self._valid.spread(share, MEASURED_TOKENS):
            nats += nats_of(predictor, pairs).tolist()
            for true, found in zip(pairs.wanted, self.translations(predictor, pairs), strict=True):
                edits, symbols = edits + edit_distance(true.tolist(), found.without_end), symbols + len(true)
        per_token = sum(nats) / len(nats)
        return Check(per_token, edits / max(1, symbols) + TIE_BREAK * per_token)

    def try_measuring(self) -> int:
        pairs, predictor = self._train.pairs(self.upcoming()), TorchTranslatorPredictor(self.network)
        nats_of(predictor, pairs)
        # An untrained network would write on and on.
        self._write(predictor, pairs, pairs.wanted.lengths)
        return pairs.num_tokens

    def translations(self, predictor: TorchTranslatorPredictor, pairs: Pairs) -> list[Hypothesis]:
        """The arg max translation of each source."""
        return self._write(predictor, pairs, self.architecture.max_lengths(pairs.sources.lengths))

    def sample(self) -> str:
        """A source of the validation part, or else of the training part, and its arg max translation."""
        columns = self._valid or self._train
        number = int(self._batches.position().sum()) % len(columns.sources.column)
        pairs = columns.pairs(np.array([number]))
        (found,) = self.translations(TorchTranslatorPredictor(self.network), pairs)
        source = self.corpus.tokenizer.decode(columns.sources.column[number])
        return f"{source} → {self.corpus.second.decode(found.without_end)}"

    def _write(
        self, predictor: TorchTranslatorPredictor, pairs: Pairs, max_lengths: NDArray[np.int64]
    ) -> list[Hypothesis]:
        second = self.corpus.second
        forbidden = () if second.unk_id is None else (second.unk_id,)
        state = predictor.begin(pairs.sources.ids, pairs.sources.lengths)
        return write(predictor, state, Ends(second.eos_id, max_lengths, forbidden), ARG_MAX)


def nats_of(predictor: TorchTranslatorPredictor, pairs: Pairs) -> NDArray[np.float64]:
    """-log p in nats of each token of the targets, those of all pairs one after the other."""
    targets = pairs.targets
    logprobs = predictor.logprobs(pairs.sources.ids, pairs.sources.lengths, pairs.inputs, targets)
    return -logprobs[targets >= 0]
