"""The objective of a translator: write the target of each source.

Shapes: B batch, S time of the source, T time of the target.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.pairs import PairColumns, Pairs
from charlm.model.network import TorchNetwork
from charlm.model.translator import TorchTranslatorPredictor, total_nats
from charlm.network.snapshot import POSITION
from charlm.network.translator import Translator
from charlm.sampling.strategies import Strategy
from charlm.sampling.writing import Ends, Hypothesis, write
from charlm.settings import TrainingSettings
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.objective import Batch, Check, Generators
from charlm.training.translator_defaults import MAX_PASSES

MAX_EXAMPLES_FACTOR = 4  # a batch of short pairs has up to this many times as many as one of mean length
MEASURED_TOKENS = 2**13  # read at once outside training, with padding
ARG_MAX = Strategy(temperature=0)


class TranslationObjective:
    """A `training.objective.Objective`: the loss is -log p of the targets' tokens, the ends included."""

    network: TorchNetwork
    max_passes = MAX_PASSES

    def __init__(
        self, architecture: Translator, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        self.network = TorchNetwork(architecture, settings.dropout or 0.0).to(device)
        self.corpus, self.architecture, self._settings = corpus, architecture, settings
        self._train = PairColumns.of(corpus.train, corpus, settings.seed)
        self._valid = PairColumns.of(corpus.valid, corpus) if corpus.valid else None
        assert settings.batch_size is not None
        assert settings.bptt is not None
        self._batches = ExampleBatches(
            self._train.lengths,
            settings.batch_size * settings.bptt,
            MAX_EXAMPLES_FACTOR * settings.batch_size,
            settings.seed,
            self._train.alike,
        )
        self.check_tokens = CHECK_TOKENS
        self.generators = ("dropout", *(["initial_state"] if architecture.initial_state == "random" else []))
        self.state_sizes: tuple[tuple[int, ...], ...] = ()

    @property
    def batches_per_pass(self) -> int:
        return self._batches.batches_per_pass

    @property
    def targets_per_batch(self) -> float:
        return float((self._train.targets.lengths - 1).sum()) / self.batches_per_pass

    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

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

    def after_update(self) -> None:
        self.network.keep_bounds()

    def position(self) -> dict[str, Tensor]:
        return {POSITION: torch.from_numpy(self._batches.position())}

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        self._batches.restore(tensors[POSITION].numpy())

    @property
    def has_check(self) -> bool:
        return self._valid is not None

    def check(self) -> Check:
        """Nats per token of targets spread over the validation part, in the precision of the training."""
        assert self._valid is not None
        assert self.corpus.valid is not None
        share = min(1.0, self.check_tokens / max(1, self.corpus.valid.num_tokens))
        predictor = TorchTranslatorPredictor(self.network, bfloat16=self._settings.precision == "bfloat16")
        found = [nats_of(predictor, pairs) for _, pairs in self._valid.spread(share, MEASURED_TOKENS)]
        return Check(float(sum(nats.sum() for nats in found)) / sum(map(len, found)))

    def try_measuring(self) -> int:
        before = self.position()
        pairs = self.next_batch().examples
        self.restore_position(before)
        assert isinstance(pairs, Pairs)
        predictor = TorchTranslatorPredictor(self.network)
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
