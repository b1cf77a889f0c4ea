"""The objective of a generator: predict each next token of a text of a known label.

Shapes: B batch, T time.
"""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.texts import TextColumn, Texts
from charlm.corpus.windows import IGNORED, RareTypes
from charlm.errors import DivergedError
from charlm.model.generator import TorchGenerator
from charlm.network.generator import Generator, language_model_of, untied
from charlm.network.snapshot import POSITION
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import Trained, for_sentences
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, TrainingSettings
from charlm.text.items import NUM_ENDS
from charlm.training.classification import LabelledTexts
from charlm.training.defaults import MAX_PASSES
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.language_model import SAMPLE_CHARACTERS, SAMPLE_TEMPERATURE
from charlm.training.likelihoods import Likelihoods, labels_of
from charlm.training.objective import Batch, Check, Generators

TRIAL_TOKENS = 2**12  # to find out how fast measuring is
NUM_SAMPLES = 3  # labels of which a sample is shown


class GenerationObjective:
    """A `training.objective.Objective`: the loss is -log p of the tokens of texts, given their labels."""

    network: TorchGenerator
    max_passes = MAX_PASSES

    def __init__(
        self, architecture: Generator, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        self.network = TorchGenerator(architecture, settings.dropout or 0.0).to(device)
        self.corpus, self.architecture, self._settings = corpus, architecture, settings
        eos_id, column = corpus.tokenizer.eos_id, corpus.train["text"]
        rare = RareTypes(column.values, corpus.tokenizer.vocab_size, eos_id, corpus.tokenizer.unk_id, settings.seed)
        self._texts = TextColumn(column, eos_id, rare)
        assert settings.batch_size is not None
        assert settings.bptt is not None
        max_tokens = settings.batch_size * settings.bptt
        self._batches = ExampleBatches(self._texts.lengths, max_tokens, max_tokens, settings.seed)
        self.check_tokens = CHECK_TOKENS
        self.generators = ("dropout",)
        self.state_sizes: tuple[tuple[int, ...], ...] = ()

    @property
    def likelihoods(self) -> Likelihoods:
        """What gives the probability of texts with the current network, in float32."""
        return Likelihoods(self.network, self.corpus.tokenizer.eos_id)

    @property
    def batches_per_pass(self) -> int:
        return self._batches.batches_per_pass

    @property
    def targets_per_batch(self) -> float:
        return float((self._texts.lengths - 1).sum()) / self.batches_per_pass

    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    def next_batch(self) -> Batch:
        pass_number = self._batches.pass_number
        numbers = self._batches.next()
        texts = self._texts.texts(numbers, pass_number)
        size_of_one = f"{texts.ids.shape[1]:,} tokens in the longest text"
        is_cut = self._texts.column.lengths[numbers] > self._texts.max_tokens
        texts = Texts(texts.ids, texts.lengths - is_cut)  # a text that is cut does not end there
        labelled = LabelledTexts(texts, labels_of(self.corpus.train)[numbers])
        return Batch(labelled, (), texts.num_tokens, texts.num_tokens, size_of_one)

    def loss(
        self, examples: LabelledTexts, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, None]:
        """-log p of the tokens and ends of texts in nats, summed; how many they are; no state."""
        texts, device = examples.texts, self.network.device
        inputs, targets = texts.ids[:, :-1], texts.ids[:, 1:]
        targets = np.where(np.arange(1, targets.shape[1] + 1) < texts.lengths[:, None], targets, IGNORED)
        arrays = (inputs, targets, examples.targets)
        inputs_there, targets_there, labels = (torch.from_numpy(np.array(array)).to(device) for array in arrays)
        start = self.network.state_of(labels)
        nats, _ = self.network.total_nats(inputs_there, targets_there, start, generators["dropout"])
        return nats, texts.num_tokens, None

    def after_update(self) -> None:
        self.network.keep_bounds()

    def position(self) -> dict[str, Tensor]:
        return {POSITION: torch.from_numpy(self._batches.position())}

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        self._batches.restore(tensors[POSITION].numpy())

    @property
    def has_check(self) -> bool:
        """Whether a validation text has a label that a training text has, too."""
        valid = self.corpus.valid
        return valid is not None and bool((labels_of(valid) < self.architecture.num_labels).any())

    def check(self) -> Check:
        """Nats per token on texts spread over the validation part, in the precision of the training."""
        assert self.corpus.valid is not None
        share = min(1.0, self.check_tokens / max(1, self.corpus.valid.num_tokens))
        measuring = dataclasses.replace(self.likelihoods, bfloat16=self._settings.precision == "bfloat16")
        found = [logprobs for _, logprobs in measuring.of_part(self.corpus.valid, share)]
        return Check(-sum(float(logprobs.sum()) for logprobs in found) / max(1, sum(map(len, found))))

    def try_measuring(self) -> int:
        share = min(1.0, TRIAL_TOKENS / self.corpus.train.num_tokens)
        return sum(len(logprobs) for _, logprobs in self.likelihoods.of_part(self.corpus.train, share))

    def sample(self) -> str:
        """A short sample for each of the most frequent labels; it ends early if the state diverges."""
        tokenizer, labels = self.corpus.tokenizer, self.corpus.labels[:NUM_SAMPLES]
        weights = untied(self.network.arrays(), self.architecture)
        ending = Ending(length=round(SAMPLE_CHARACTERS / tokenizer.characters_per_token), until_eos=True)
        reading = Reading(CorpusSettings(line_ends="keep", item=self.corpus.division.item), tokenizer)
        strategy, samples = Strategy(temperature=SAMPLE_TEMPERATURE), list[str]()
        for number, label in enumerate(labels):
            own = language_model_of(weights, self.architecture, number)
            lm = LanguageModel(tokenizer, for_sentences(Trained(self.architecture.plain, own)), reading=reading)
            texts: list[str] = []
            with suppress(DivergedError):
                texts.extend(token.text for token in lm.sample_tokens("", strategy, ending, seed=self._settings.seed))
            samples.append(f"{label}: {''.join(texts)}")
        return ("\n" * NUM_ENDS[self.corpus.division.item]).join(samples)
