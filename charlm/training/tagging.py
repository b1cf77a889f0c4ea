"""The objective of a tagger: give each word of a sentence its tag.

Shapes: T words of a sentence, B sentences, K tags.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import batches_by_length, spread
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.sentence_columns import SentenceColumns
from charlm.corpus.sentences import Sentences, Spelling, WordDropout, places
from charlm.corpus.vocabularies import Vocabularies
from charlm.corpus.windows import RareTypes
from charlm.engine.numpy_ops import NumpyOps
from charlm.evaluation.matches import f1
from charlm.model.tagger import TorchTaggerPredictor, freeze_features, to_tensors, total_nats
from charlm.network import crf, tagger
from charlm.network.tagger import Tagger
from charlm.settings import TrainingSettings
from charlm.text.tag_schemes import Scheme, spans
from charlm.training.example_objective import ExampleObjective
from charlm.training.kept_features import KeptFeatures
from charlm.training.objective import Batch, Check, Generators
from charlm.training.tagger_defaults import MAX_PASSES

TIE_BREAK = 1e-3  # how much a nat per word counts beside the errors
MEASURED_WORDS = 2**12  # read at once outside training, with padding


class TaggingObjective(ExampleObjective):
    """A `training.objective.Objective`: the loss is -log p of the tags of sentences, averaged over the words."""

    architecture: Tagger
    corpus: LabelledCorpus
    max_passes = MAX_PASSES

    def __init__(
        self, architecture: Tagger, corpus: LabelledCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        super().__init__(architecture, corpus, settings, device)
        freeze_features(self.network)
        self.exclusions = np.array(tagger.exclusions(corpus.vocabularies))
        self.spelling = Spelling.of(corpus.vocabularies, with_characters=architecture.features is not None)
        self._columns = SentenceColumns(corpus.train, self.spelling)
        self._features = KeptFeatures(self.network, self._columns) if architecture.features else None
        self._word_dropout, self._rare_symbols = _replacing(corpus, settings.seed)
        self._batches = self.example_batches(self._columns.lengths)

    @property
    def targets_per_batch(self) -> float:
        return self.corpus.train.num_tokens / self.batches_per_pass

    def next_batch(self) -> Batch:
        pass_number, step = self._batches.position().tolist()
        numbers = self._batches.next()
        sentences = self._columns.sentences(numbers)
        words = self._word_dropout.replace(sentences.words, pass_number, step)
        if (spelled := sentences.spelled) and self._rare_symbols:
            symbols = self._rare_symbols.replace(spelled.symbols, places(spelled.symbols, step), pass_number)
            sentences = replace(sentences, spelled=replace(spelled, symbols=symbols))
        sentences = replace(sentences, words=words)
        if self._features:
            sentences = self._features.given_to(sentences, numbers)
        size_of_one = f"{len(words):,} words in the longest sentence"
        return Batch(sentences, (), sentences.num_words, sentences.num_words, size_of_one)

    def loss(self, examples: Sentences, state: NetworkState | None, generators: Generators) -> tuple[Tensor, int, None]:
        """-log p of the tags in nats, summed over the sentences; how many words they have; no state."""
        device = self.network.device
        sentences = to_tensors(examples, device)
        excluded = torch.from_numpy(self.exclusions).float().to(device)
        drawn = generators["dropout"], generators.get("initial_state")
        return total_nats(self.network, sentences, excluded, *drawn), examples.num_words, None

    def check(self) -> Check:
        """Nats per word on sentences spread over the validation part, in the precision of the training.

        The best weights are those with the highest F1 of entities, or of plain tags with the fewest errors: a tagger
        becomes surer of its mistakes while it still makes fewer of them. Between equals, the loss decides.
        """
        valid = self.corpus.valid
        assert valid is not None
        predictor = TorchTaggerPredictor(self.network, self.exclusions, self.is_bfloat16)
        columns, share = SentenceColumns(valid, self.spelling), self.share_to_check(valid.num_tokens)
        found = measured(predictor, columns, self.corpus.vocabularies, share)
        return Check(found.nats_per_word, found.error + TIE_BREAK * found.nats_per_word)

    def try_measuring(self) -> int:
        sentences = self._columns.sentences(self.upcoming())
        TorchTaggerPredictor(self.network, self.exclusions).emissions(sentences)
        return sentences.num_words


def _replacing(corpus: LabelledCorpus, seed: int) -> tuple[WordDropout, RareTypes | None]:
    """What replaces words, and symbols of their spelling, by `<unk>` now and then in training."""
    words, spelling = corpus.tokenizer, corpus.vocabularies.second
    assert words.unk_id is not None
    dropout = WordDropout(corpus.train["words"].values, words.vocab_size, words.unk_id, seed)
    if spelling is None:
        return dropout, None
    symbols = corpus.train["spelling"].values
    return dropout, RareTypes(symbols, spelling.vocab_size, spelling.eos_id, spelling.unk_id, seed)


def predictions(
    predictor: TorchTaggerPredictor, columns: SentenceColumns, share: float
) -> Iterator[tuple[NDArray[np.float64], Sentences]]:
    """The emissions (T, B, K) of a share of the sentences, batch by batch, and these sentences."""
    lengths = columns.lengths
    for numbers in batches_by_length(lengths, MEASURED_WORDS, spread(len(lengths), share)):
        sentences = columns.sentences(numbers)
        yield predictor.emissions(sentences), sentences


@dataclass
class Measured:
    """The true and the best tags of sentences, and -log p of the true ones.

    Sentences with a tag that no training sentence has, or that may not stand where it is, are left out of the nats:
    their probability is 0.
    """

    scheme: Scheme
    truth: list[list[str]] = field(default_factory=list)
    predicted: list[list[str]] = field(default_factory=list)
    nats: float = 0.0
    words: int = 0
    """Of the sentences in `nats`."""

    def add_nats(self, sentences: Sentences, emissions: NDArray[np.float64], transitions: NDArray[np.float64]) -> None:
        """Add the nats of sentences, given the scores of their tags (T, B, K) and of all transitions (K + 1, K + 1)."""
        assert sentences.tags is not None
        num_tags = emissions.shape[2]
        tags = np.where((sentences.tags < 0) | (sentences.tags >= num_tags), 0, sentences.tags)
        scores = crf.path_scores(emissions, tags, sentences.lengths, transitions, NumpyOps)
        is_possible = (sentences.tags < num_tags).all(axis=0) & (scores > crf.EXCLUDED / 2)
        nats = crf.log_partition(emissions, sentences.lengths, transitions, NumpyOps) - scores
        self.nats += float(nats[is_possible].sum())
        self.words += int(sentences.lengths[is_possible].sum())

    @property
    def nats_per_word(self) -> float:
        """nan if there were no words."""
        return self.nats / self.words if self.words else math.nan

    @property
    def error(self) -> float:
        """1 - F1 of the spans that the tags mark; of plain tags, the share that is wrong."""
        pairs = list(zip(self.truth, self.predicted, strict=True))
        if not self.scheme.has_spans:
            wrong = sum(true != found for tags, best in pairs for true, found in zip(tags, best, strict=True))
            return wrong / max(1, sum(map(len, self.truth)))
        found = [(set(spans(tags, self.scheme)), set(spans(best, self.scheme))) for tags, best in pairs]
        num_right = sum(len(true & best) for true, best in found)
        return 1 - float(f1(num_right, sum(len(best) for _, best in found), sum(len(true) for true, _ in found)))


def measured(
    predictor: TorchTaggerPredictor, columns: SentenceColumns, vocabularies: Vocabularies, share: float = 1.0
) -> Measured:
    """How well the sentences of a part are tagged.

    With a `share` below 1 only about that share of the sentences is read, spread evenly over the part.
    """
    names = (*vocabularies.labels, "")  # the last one stands for tags that no training sentence has
    result, transitions = Measured(vocabularies.tagging_scheme), predictor.transitions
    for emissions, sentences in predictions(predictor, columns, share):
        result.add_nats(sentences, emissions, transitions)
        best = crf.best_paths(emissions, sentences.lengths, transitions, NumpyOps)
        assert sentences.tags is not None
        for row, length in enumerate(sentences.lengths.tolist()):
            result.truth.append([names[tag] for tag in sentences.tags[:length, row]])
            result.predicted.append([names[tag] for tag in best[:length, row]])
    return result
