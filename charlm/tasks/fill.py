"""Fill the blanks of a sentence: rank what could stand in them, by the probability of the whole sentence.

A forward model knows what stands before a blank, a backward model what stands after it, and the probability that either
gives to a whole sentence takes both sides into account. So candidates are the likeliest by what stands on one side, and
are then scored as whole sentences.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.probability import log_softmax
from charlm.sampling.generate import prime
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.predictor import Predictor
from charlm.scoring.reading import Reading
from charlm.scoring.score import score_variants
from charlm.tasks.blanks import Gap, Sentence
from charlm.text.items import as_one_item
from charlm.text.tokenizer import Tokenizer

NUM_CANDIDATES = 200  # likeliest words, by what stands on one side of a blank
SPAN_WIDTH = 50  # spans of several tokens that are continued, of each length
HYPOTHESES = 40  # ways to fill the first of several blanks that are gone on with
MAX_COMBINATIONS = 10_000  # of given candidates for several blanks
DEFAULT_LENGTH = 20  # tokens of a filling


@dataclass(frozen=True)
class Filling:
    """What could stand in each blank, and its cost in nats: -log p of the whole sentence, or as the filler says.

    Unlike in `LanguageModel.score`, unknown symbols of the sentence are not spelled: that costs all fillings the same.
    """

    texts: tuple[str, ...]
    nats: float


class Filler(Protocol):
    """Finds and scores fillings of a sentence. A text with fewer nats ranks higher."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def reading(self) -> Reading:
        """In which form texts are read."""

    def candidates(self, sentence: Sentence, length: int) -> list[tuple[str, ...]]:
        """Likely fillings of all blanks, each of up to `length` tokens."""

    def nats(self, sentence: Sentence, fillings: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
        """The cost of each filling."""


@dataclass(frozen=True)
class CausalFiller:
    """Fills with one language model: nats are -log p of the whole sentence, to its `<eos>`."""

    lm: LanguageModel
    num_candidates: int = NUM_CANDIDATES
    span_width: int = SPAN_WIDTH

    @property
    def tokenizer(self) -> Tokenizer:
        return self.lm.tokenizer

    @property
    def reading(self) -> Reading:
        return self.lm.reading

    def candidates(self, sentence: Sentence, length: int) -> list[tuple[str, ...]]:
        """The likeliest by what a model has read when it comes to a blank, which a backward one does from the end."""
        found: list[tuple[str, ...]] = [()]
        for _ in range(sentence.num_blanks):
            extended = [new for fillings in found for new in self._extended(sentence, fillings, length)]
            found = list(dict.fromkeys(extended))
            if found and len(found[0]) < sentence.num_blanks:
                found = self._likeliest(sentence, found)
        return found

    def nats(self, sentence: Sentence, fillings: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
        filled = ("".join(as_one_item("", sentence.filled(texts), True, self.lm.item)) for texts in fillings)
        wholes = [self.tokenizer.encode(text).astype(np.int64) for text in filled]
        return -self._logprobs([ids[self.lm.reading_order(len(ids), has_end=True)] for ids in wholes])

    def _extended(self, sentence: Sentence, fillings: tuple[str, ...], length: int) -> Iterator[tuple[str, ...]]:
        """The fillings with those of the next blank that the model comes to."""
        gap, width = self._gap(sentence, fillings), self.span_width
        if self.tokenizer.unit == "word":
            width = self.num_candidates
        read = np.append(self.tokenizer.eos_id, self._ids_read(gap))
        for text in likeliest_texts(self.lm.predictor, read, gap, length, self._is_backward, width):
            yield (text, *fillings) if self._is_backward else (*fillings, text)

    def _likeliest(self, sentence: Sentence, found: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The likeliest ways to fill some of the blanks, by the part of the sentence that the model has read then."""
        read = [self._ids_read(self._gap(sentence, fillings)) for fillings in found]
        best = np.argsort(-self._logprobs(read), kind="stable")[:HYPOTHESES]
        return [found[n] for n in best.tolist()]

    def _gap(self, sentence: Sentence, fillings: tuple[str, ...]) -> Gap:
        """The blank that comes next when these fillings stand in those before it, in the order of reading."""
        count = len(fillings)
        if self._is_backward:
            before = sentence.before(sentence.num_blanks - count - 1)
            return Gap(self.tokenizer, before, sentence.filled_from_end(fillings))
        return Gap(self.tokenizer, sentence.filled(fillings), sentence.after(count))

    def _ids_read(self, gap: Gap) -> NDArray[np.int64]:
        """What the model has read when it comes to a blank, in the order of reading."""
        return gap.ids_after[::-1] if self._is_backward else gap.ids_before

    @property
    def _is_backward(self) -> bool:
        return self.lm.direction == "backward"

    def _logprobs(self, sequences: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        """log p of each sequence of ids, in the order of reading."""
        return score_variants(self.lm.predictor, sequences, self.tokenizer.eos_id)


@dataclass(frozen=True)
class MeanFiller:
    """Fills with a pair: nats are the mean of both models'. This ranks fillings; it is not -log of a probability."""

    forward: CausalFiller
    backward: CausalFiller

    @property
    def tokenizer(self) -> Tokenizer:
        return self.forward.tokenizer

    @property
    def reading(self) -> Reading:
        return self.forward.reading

    def candidates(self, sentence: Sentence, length: int) -> list[tuple[str, ...]]:
        both = [filler.candidates(sentence, length) for filler in (self.forward, self.backward)]
        return list(dict.fromkeys(both[0] + both[1]))

    def nats(self, sentence: Sentence, fillings: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
        return (self.forward.nats(sentence, fillings) + self.backward.nats(sentence, fillings)) / 2


def fill(
    filler: Filler,
    text: str,
    candidates: Sequence[str] | None = None,
    length: int = DEFAULT_LENGTH,
    top: int = 10,
) -> list[Filling]:
    """The `top` best fillings of the blanks (`___`) of a text, the best first.

    Without `candidates` they are found: a word of the vocabulary in each blank for a model of words, else a span of up
    to `length` tokens. Raises UsageError for a text without a blank, and for a candidate with unknown symbols.
    """
    sentence = Sentence.parsed(filler.reading.prepared(text))
    if candidates is None:
        found = filler.candidates(sentence, 1 if filler.tokenizer.unit == "word" else length)
    else:
        found = _combinations(filler.tokenizer, candidates, sentence.num_blanks)
    nats = filler.nats(sentence, found) if found else np.empty(0)
    order = np.argsort(nats, kind="stable")[:top]
    return [Filling(found[n], float(nats[n])) for n in order.tolist()]


def likeliest_texts(
    predictor: Predictor, read: NDArray[np.int64], gap: Gap, length: int, is_backward: bool, width: int
) -> list[str]:
    """The likeliest texts of 1 to `length` tokens in a gap, by beam search: `width` of each length are continued.

    `read` are the ids that the model has read. A backward model writes each text from its end.
    """
    tokenizer, texts = gap.tokenizer, dict[str, None]()
    logits, state = prime(predictor, read.astype(np.int64))
    spans: list[tuple[int, ...]] = [()]
    totals = np.zeros(1)
    for size in range(1, length + 1):
        logprobs = log_softmax(logits)
        logprobs[:, [id for id in (tokenizer.eos_id, tokenizer.unk_id) if id is not None]] = -np.inf
        scores = totals[:, None] + logprobs
        may_stand = partial(_may_stand, gap, is_backward=is_backward, is_whole=length == 1)
        rows, ids = _best(scores, spans, width, may_stand)
        if not len(rows):
            break
        spans = [((id, *spans[row]) if is_backward else (*spans[row], id)) for row, id in zip(rows, ids, strict=True)]
        totals = scores[rows, ids]
        texts |= dict.fromkeys(filling for span in spans if (filling := gap.filling(span)) is not None)
        if size < length:
            logits, state = predictor.step(np.array(ids), predictor.select(state, rows))
    return list(texts)


def _may_stand(gap: Gap, span: tuple[int, ...], id: int, is_backward: bool, is_whole: bool) -> bool:
    """Whether a span that is continued with this id can be a filling (`is_whole`), or become one."""
    if is_whole:
        return gap.filling((*span, id)) is not None
    return is_backward or gap.may_begin((*span, id))  # what a backward model writes begins only in the end


def _best(
    scores: NDArray[np.float64],
    spans: Sequence[tuple[int, ...]],
    width: int,
    may_stand: Callable[[tuple[int, ...], int], bool],
) -> tuple[list[int], list[int]]:
    """The rows and ids of the `width` best continuations of the spans, among those that may stand in the blank."""
    rows, ids = list[int](), list[int]()
    for place in np.argsort(-scores, axis=None, kind="stable").tolist():
        row, id = divmod(place, scores.shape[1])
        if scores[row, id] == -np.inf or len(rows) == width:
            break
        if may_stand(spans[row], id):
            rows.append(row)
            ids.append(id)
    return rows, ids


def _combinations(tokenizer: Tokenizer, candidates: Sequence[str], num_blanks: int) -> list[tuple[str, ...]]:
    """All ways to fill the blanks with these candidates. Raises UsageError for one that cannot be used."""
    if not all(candidates):
        raise UsageError("a candidate is empty", to_do="separate candidates by single commas: --candidates bears,name")
    for candidate in candidates:
        if unknown := tokenizer.encode_detailed(candidate).unknown:
            what = f"the candidate {candidate!r} is unknown: {unknown[0]!r} is not in the vocabulary of this run"
            raise UsageError(what, to_do="leave it out")
    if len(candidates) ** num_blanks > MAX_COMBINATIONS:
        what = f"{len(candidates)} candidates for {num_blanks} blanks are too many combinations"
        raise UsageError(what, to_do="give fewer candidates, or fill fewer blanks at once")
    return list(product(dict.fromkeys(candidates), repeat=num_blanks))
