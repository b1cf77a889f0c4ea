"""Tag the words of sentences, and find the spans, such as names, that the tags mark. One sentence needs no torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length, in_groups
from charlm.corpus.forms import in_form
from charlm.corpus.sentences import Sentences, Spelling, sentences_of
from charlm.corpus.vocabularies import Vocabularies, word_id
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.tagger import NumpyTaggerPredictor
from charlm.network import crf, tagger
from charlm.network.tagger import Tagger
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.opened import Opened
from charlm.settings import CorpusSettings, DataSettings
from charlm.text.locating import located
from charlm.text.splitting import Splitting
from charlm.text.surrogates import text_from_argument
from charlm.text.tag_schemes import OUTSIDE, Scheme, parts, spans

BATCH_WORDS = 2**12  # read at once, with padding
SPLITTING = Splitting()  # as `--unit word` splits by default

Places = tuple[tuple[int, int], ...]
"""Where each of several words starts and ends in a text, in characters."""


class TaggerPredictor(Protocol):
    """Whatever gives the scores of tags, in NumPy or in torch; K tags."""

    @property
    def transitions(self) -> NDArray[np.float64]:
        """The scores of all transitions (K + 1, K + 1), as in `network/crf.py`."""

    def emissions(self, sentences: Sentences) -> NDArray[np.float64]:
        """The score of each tag at each word (T, B, K)."""


@dataclass(frozen=True)
class TaggedSpan:
    """A part of a text that its tags mark as one thing, such as a name; `start` and `stop` are characters of it.

    `probability` is that of exactly the tags that its words have.
    """

    label: str
    text: str
    start: int
    stop: int
    probability: float


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with the best tags of its words, the probability of each, and the spans that the tags mark.

    `places` says where each word starts and ends in the text, in characters. Plain tags, such as parts of speech, mark
    no spans.
    """

    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    places: Places
    spans: tuple[TaggedSpan, ...]


@dataclass(frozen=True)
class _Words:
    """A text with its words and their places."""

    text: str
    tokens: tuple[str, ...]
    places: Places


@dataclass(frozen=True)
class TaggingModel:
    """A tagger in use. `path` is the folder of its run, for messages."""

    vocabularies: Vocabularies
    predictor: TaggerPredictor
    spelling: Spelling | None
    reading: CorpusSettings
    data: DataSettings = field(default_factory=DataSettings)
    path: Path = Path()

    @property
    def labels(self) -> tuple[str, ...]:
        """All tags, the most frequent of the training data first."""
        return self.vocabularies.labels

    @property
    def scheme(self) -> Scheme:
        """How the tags mark spans."""
        return self.vocabularies.tagging_scheme

    @property
    def types(self) -> tuple[str, ...]:
        """What spans can be, such as "person"; of plain tags, the tags themselves."""
        if not self.scheme.has_spans:
            return self.labels
        return tuple(dict.fromkeys(parts(label).type for label in self.labels if label != OUTSIDE))

    def tag(self, text: str) -> TaggedSentence:
        """Tag a text as one sentence; it is split into words as `--unit word` splits."""
        return next(self.tag_all([text]))

    def tag_tokens(self, tokens: Sequence[str]) -> TaggedSentence:
        """Tag a sentence that is split into words already. Its text is that of the words with spaces between them."""
        return next(self.tag_all_tokens([tokens]))

    def tag_all(self, texts: Iterable[str]) -> Iterator[TaggedSentence]:
        """Tag many texts, each as one sentence, in their order; sentences of similar length are computed together."""
        return self._tag_all(map(_split, texts))

    def tag_all_tokens(self, sentences: Iterable[Sequence[str]]) -> Iterator[TaggedSentence]:
        """Tag many sentences that are split into words already."""
        return self._tag_all(map(_joined, sentences))

    def _tag_all(self, sentences: Iterable[_Words]) -> Iterator[TaggedSentence]:
        for group in in_groups(sentences):
            yield from self._tagged(group)

    def _tagged(self, sentences: Sequence[_Words]) -> list[TaggedSentence]:
        lengths = np.array([len(words.tokens) for words in sentences], np.int64)
        found = [self._sentence(words, *np.zeros((3, 0))) for words in sentences]
        for numbers in batches_by_length(lengths, BATCH_WORDS, np.flatnonzero(lengths)):
            batch = self._encoded([sentences[number].tokens for number in numbers])
            columns = self._best(batch)
            for row, number in enumerate(numbers.tolist()):
                own = (column[: lengths[number], row] for column in columns)
                found[number] = self._sentence(sentences[number], *own)
        return found

    def _encoded(self, sentences: Sequence[Sequence[str]]) -> Sentences:
        """Sentences as the network reads them."""
        prepared = [[in_form(text_from_argument(token), self.reading) for token in tokens] for tokens in sentences]
        known, second = self.vocabularies.tokenizer, self.vocabularies.second
        words = [np.array([word_id(token, known) for token in tokens], np.int64) for tokens in prepared]
        spelled = [[second.encode(token) for token in tokens] for tokens in prepared] if second else None
        return sentences_of(words, spelled, self.spelling)

    def _best(self, batch: Sentences) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """The best tags of sentences (T, B), log p of each, and log p of each given the one before it."""
        chain = (batch.lengths, self.predictor.transitions, NumpyOps)
        emissions = self.predictor.emissions(batch)
        tags = crf.best_paths(emissions, *chain)
        marginals = crf.log_marginals(emissions, *chain)
        own = np.take_along_axis(marginals, tags[:, :, None], axis=2)[:, :, 0]
        return tags, own, crf.log_steps(emissions, tags, *chain)

    def _sentence(
        self, words: _Words, numbers: NDArray[Any], logprobs: NDArray[Any], steps: NDArray[Any]
    ) -> TaggedSentence:
        tags = tuple(self.labels[number] for number in numbers.astype(np.int64))
        found = []
        for span in spans(tags, self.scheme):
            start, stop = words.places[span.start][0], words.places[span.stop - 1][1]
            probability = np.exp(logprobs[span.start] + steps[span.start + 1 : span.stop].sum())
            found.append(TaggedSpan(span.type, words.text[start:stop], start, stop, float(probability)))
        probabilities = tuple(np.exp(logprobs).tolist())
        return TaggedSentence(words.text, words.tokens, tags, probabilities, words.places, tuple(found))


def _split(text: str) -> _Words:
    """A text split into words, without what is only white space."""
    found = []
    for symbol, stop in located(SPLITTING, text):
        token = SPLITTING.text_of(symbol)
        if token and not token.isspace():
            found.append((token, (stop - len(token), stop)))
    return _Words(text, tuple(token for token, _ in found), tuple(place for _, place in found))


def _joined(tokens: Sequence[str]) -> _Words:
    stops = np.cumsum([len(token) + 1 for token in tokens]).astype(np.int64) - 1
    places = tuple((int(stop) - len(token), int(stop)) for token, stop in zip(tokens, stops, strict=True))
    return _Words(" ".join(tokens), tuple(tokens), places)


def load_tagger(run: RunDirectory, for_batches: bool = False, threads: int | None = None) -> TaggingModel:
    """The tagger of a run, with its best weights; `for_batches` it runs in torch. Raises RunError."""
    config = read_config(run)
    config.check_kind("tag", run.path)
    opened = Opened.of(run, config, Tagger, Tagger.suits)
    architecture, vocabularies = opened.architecture, opened.vocabularies
    exclusions = np.array(tagger.exclusions(vocabularies))
    predictor: TaggerPredictor
    if for_batches:
        from charlm.model.network import load_network
        from charlm.model.tagger import TorchTaggerPredictor

        predictor = TorchTaggerPredictor(load_network(architecture, opened.weights, threads), exclusions)
    else:
        predictor = NumpyTaggerPredictor(architecture, opened.weights, exclusions)
    spelling = Spelling.of(vocabularies, with_characters=architecture.features is not None)
    return TaggingModel(vocabularies, predictor, spelling, config.reading, config.data, run.path)
