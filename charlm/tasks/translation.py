"""Translate texts: two tokenizers, and a network that writes the target. One text is translated without torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import in_groups
from charlm.corpus.texts import Texts, batches_of_texts
from charlm.corpus.vocabularies import Vocabularies
from charlm.engine.translator import NumpyTranslatorPredictor
from charlm.errors import UsageError
from charlm.network.translator import Translator
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.sampling.beam import beam_search
from charlm.sampling.strategies import Strategy
from charlm.sampling.writing import Ends, Hypothesis, Writer, write
from charlm.scoring.opened import Opened
from charlm.scoring.reading import Reading
from charlm.text.normal_form import in_parts
from charlm.text.tokenizer import Tokenizer

DEFAULT_BEAM = 5
MAX_BEAM = 1000
BATCH_TOKENS = 2**14  # of sources read at once, with padding, divided by the width of the beam


class TranslatorPredictor(Writer, Protocol):
    """A network that writes targets, in NumPy or in torch."""

    def begin(self, ids: NDArray[Any], lengths: NDArray[Any]) -> Any:
        """Read sources with both ends, ids (B, S) of these lengths (B,) -> the state in which each target begins."""

    def attention(self, ids: NDArray[Any], inputs: NDArray[Any]) -> NDArray[np.float64] | None:
        """How much of each place of one source (S,) each step of its target (T,) gets -> (T, S), if it has attention.

        The source has both ends, and the target begins with its own.
        """


@dataclass(frozen=True, kw_only=True)
class Search:
    """How translations are looked for: by beam search, or with a `temperature` drawn at random.

    Drawing gives `n_best` translations that do not depend on one another. At temperature 0 and with a beam of 1, each
    token is the likeliest one. Raises UsageError for a value out of range.
    """

    beam: int = DEFAULT_BEAM
    n_best: int = 1
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.beam <= MAX_BEAM:
            raise UsageError(f"--beam {self.beam} is out of range", to_do=f"give a number from 1 to {MAX_BEAM:,}")
        if self.n_best < 1:
            raise UsageError(f"--n-best {self.n_best} is out of range", to_do="give a number of 1 or more")
        if self.temperature is None and self.n_best > self.beam:
            what = f"--n-best {self.n_best} is more than a beam of {self.beam} finds"
            raise UsageError(what, to_do=f"give --beam {self.n_best} or more")


@dataclass(frozen=True)
class Translation:
    """A translation of a text, with its log-probability, in nats, under the network at temperature 1.

    `score` is the log-probability divided for its length; a higher one ranks first. `ids` and `tokens` have its end,
    too; it lacks it, and is not `is_complete`, if it was cut because it became too long.
    """

    text: str
    logprob_nats: float
    score: float
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    is_complete: bool = True


@dataclass(frozen=True)
class Attention:
    """How much of each token of the source each token of the target got: shares (target, source) that sum to 1."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class TranslationModel:
    """A translator in use. `path` is the folder of its run, for messages."""

    vocabularies: Vocabularies
    predictor: TranslatorPredictor
    architecture: Translator
    reading: Reading
    path: Path = Path()

    @property
    def source(self) -> Tokenizer:
        return self.vocabularies.tokenizer

    @property
    def target(self) -> Tokenizer:
        assert self.vocabularies.second is not None
        return self.vocabularies.second

    def translate(
        self,
        text: str,
        *,
        beam: int = DEFAULT_BEAM,
        n_best: int = 1,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[Translation]:
        """Up to `n_best` translations of a text, the best first; see `Search`."""
        search = Search(beam=beam, n_best=n_best, temperature=temperature, seed=seed)
        return next(self.translate_all([text], search))

    def translate_all(self, texts: Iterable[str], search: Search | None = None) -> Iterator[list[Translation]]:
        """The translations of many texts, in their order; texts of similar length are computed together."""
        count = 0
        for group in in_groups(texts):
            yield from self._translated(group, count, search or Search())
            count += len(group)

    def unknown(self, text: str) -> tuple[str, ...]:
        """The symbols of a text that the network does not know, each once; they are read as `<unk>`."""
        return tuple(dict.fromkeys(self.source.encode_detailed(self.read(text)).unknown))

    def attention(self, text: str, translation: Translation) -> Attention:
        """What the network looked at while it wrote a translation of a text.

        Raises UsageError for a network without attention.
        """
        ids = self._encoded(text)
        read = Texts.of([ids], self.source.eos_id).ids[0]
        written = np.array([self.target.eos_id, *translation.ids[:-1]])
        shares = self.predictor.attention(read, written)
        if shares is None:
            what = "this network has no attention, so there is no map of it"
            raise UsageError(what, str(self.path), "train one: charlm train --task translate --attention additive")
        return Attention(tuple(self.source.symbol(int(id)) for id in read), translation.tokens, shares)

    def read(self, text: str) -> str:
        """A source as the network reads it."""
        return in_parts(self.reading.prepared(text), self.source.unit)

    def _encoded(self, text: str) -> NDArray[np.int64]:
        return self.source.encode(self.read(text)).astype(np.int64)

    def _translated(self, texts: Sequence[str], first: int, search: Search) -> list[list[Translation]]:
        """The translations of some texts; `first` is how many came before them."""
        encoded = [self._encoded(text) for text in texts]
        width, found = search.beam if search.temperature is None else search.n_best, [list[Translation]()] * len(texts)
        for numbers, batch in batches_of_texts(encoded, self.source.eos_id, max(1, BATCH_TOKENS // width)):
            hypotheses = self._searched(batch, numbers + first, search)
            for number, own in zip(numbers.tolist(), hypotheses, strict=True):
                found[number] = [self._translation(hypothesis) for hypothesis in own]
        return found

    def _searched(self, batch: Texts, numbers: NDArray[np.int64], search: Search) -> list[list[Hypothesis]]:
        """The hypotheses for a batch of texts; draws depend on the number of a text alone."""
        state = self.predictor.begin(batch.ids, batch.lengths)
        forbidden = () if self.target.unk_id is None else (self.target.unk_id,)
        ends = Ends(self.target.eos_id, self.architecture.max_lengths(batch.lengths), forbidden)
        if search.temperature is None:
            return beam_search(self.predictor, state, ends, search.beam, search.n_best)
        draws = range(search.n_best)
        rows = np.repeat(np.arange(len(batch)), len(draws))
        rngs = [np.random.default_rng([search.seed, number, draw]) for number in numbers.tolist() for draw in draws]
        ends = Ends(ends.eos_id, ends.max_lengths[rows], forbidden)
        state = self.predictor.select(state, rows.tolist())
        drawn = write(self.predictor, state, ends, Strategy(temperature=search.temperature), rngs)
        return [drawn[start : start + len(draws)] for start in range(0, len(drawn), len(draws))]

    def _translation(self, hypothesis: Hypothesis) -> Translation:
        return Translation(
            text=self.target.decode(hypothesis.without_end),
            logprob_nats=hypothesis.logprob_nats,
            score=hypothesis.score,
            ids=hypothesis.ids,
            tokens=tuple(map(self.target.symbol, hypothesis.ids)),
            is_complete=hypothesis.is_complete,
        )


def load_translator(run: RunDirectory, for_batches: bool = False, threads: int | None = None) -> TranslationModel:
    """The translator of a run, with its best weights; `for_batches` it runs in torch. Raises RunError."""
    config = read_config(run)
    config.check_kind("translate", run.path)
    opened = Opened.of(run, config, Translator, _suits)
    predictor: TranslatorPredictor
    if for_batches:
        from charlm.model.network import load_network
        from charlm.model.translator import TorchTranslatorPredictor

        predictor = TorchTranslatorPredictor(load_network(opened.architecture, opened.weights, threads))
    else:
        predictor = NumpyTranslatorPredictor(opened.architecture, opened.weights)
    return TranslationModel(opened.vocabularies, predictor, opened.architecture, opened.reading, run.path)


def _suits(architecture: Translator, vocabularies: Vocabularies) -> bool:
    sizes = vocabularies.tokenizer.vocab_size, vocabularies.second and vocabularies.second.vocab_size
    return sizes == (architecture.vocab_size, architecture.target_vocab_size)
