"""The objective of a generator: predict each next token of a text of a known label.

Shapes: B batch, T time.
"""

import dataclasses
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.texts import TextColumn
from charlm.corpus.windows import IGNORED
from charlm.errors import DivergedError
from charlm.model.generator import TorchGenerator
from charlm.network.generator import Generator, language_model_of, untied
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import Trained, for_sentences
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, TrainingSettings
from charlm.text.items import NUM_ENDS
from charlm.training.classification import LabelledTexts
from charlm.training.example_objective import ExampleObjective
from charlm.training.language_model import SAMPLE_CHARACTERS, SAMPLE_TEMPERATURE
from charlm.training.likelihoods import Likelihoods, labels_of
from charlm.training.objective import Batch, Check, Generators

TRIAL_TOKENS = 2**12  # to find out how fast measuring is
NUM_SAMPLES = 3  # labels of which a sample is shown


class GenerationObjective(ExampleObjective):
    """A `training.objective.Objective`: the loss is -log p of the tokens of texts, given their labels."""

    network_type = TorchGenerator
    max_examples_factor = None
    network: TorchGenerator
    architecture: Generator
    corpus: LabelledCorpus
    _batches: ExampleBatches

    def __init__(
        self, architecture: Generator, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        super().__init__(architecture, corpus, settings, device)
        self._texts = TextColumn.of(corpus.train["text"], corpus.tokenizer, settings.seed)
        self._batches = self.example_batches(self._texts.lengths)

    @property
    def likelihoods(self) -> Likelihoods:
        """What gives the probability of texts with the current network, in float32."""
        return Likelihoods(self.network, self.corpus.tokenizer.eos_id)

    @property
    def targets_per_batch(self) -> float:
        return float((self._texts.lengths - 1).sum()) / self.batches_per_pass

    def next_batch(self) -> Batch:
        pass_number = self._batches.pass_number
        numbers = self._batches.next()
        texts = self._texts.without_false_ends(numbers, pass_number)
        size_of_one = f"{texts.ids.shape[1]:,} tokens in the longest text"
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

    @property
    def has_check(self) -> bool:
        """Whether a validation text has a label that a training text has, too."""
        valid = self.corpus.valid
        return valid is not None and bool((labels_of(valid) < self.architecture.num_labels).any())

    def check(self) -> Check:
        """Nats per token on texts spread over the validation part, in the precision of the training."""
        valid = self.corpus.valid
        assert valid is not None
        measuring = dataclasses.replace(self.likelihoods, bfloat16=self.is_bfloat16)
        found = [logprobs for _, logprobs in measuring.of_part(valid, self.share_to_check(valid.num_tokens))]
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
