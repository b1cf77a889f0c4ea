"""Sentences of words as padded ids, for a tagger: which word stands where, how each word is spelled, and its tag.

The fields are NumPy arrays, or tensors after `Sentences.mapped`. Shapes: T words of a sentence, B sentences, N
different words, C symbols of a word's spelling, S characters of a sentence. All are padded at their ends, with any ids.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.hashing import hash_uniform
from charlm.corpus.vocabularies import Vocabularies
from charlm.corpus.windows import IGNORED

MAX_SPELLED = 20  # symbols of a word that are read; of a longer one, its beginning and its end
WORD_DROPOUT = 0.25  # times: a word that is seen so often is left out half of the time
PLACES_PER_STEP = 1 << 32  # more than a batch has

Ids = NDArray[Any]
Array = Any


@dataclass(frozen=True)
class Spelled:
    """Different words as symbols (C, N) with their lengths (N,), and which of them stands where: numbers (T, B)."""

    symbols: Array
    lengths: Array
    numbers: Array


@dataclass(frozen=True)
class Characters:
    """Sentences as characters (S, B), spaces and both ends included, with their lengths (B,).

    `first` and `last` (T, B) are the places of each word's first and last character.
    """

    ids: Array
    lengths: Array
    first: Array
    last: Array


@dataclass(frozen=True)
class Sentences:
    """Words (T, B) of sentences with these lengths (B,), and what else is known of them.

    `features` (T, B, their size) are what character models know of each word; until they are computed, `characters` has
    what these models read. `tags` (T, B) are IGNORED in the padding.
    """

    words: Array
    lengths: Array
    spelled: Spelled | None = None
    characters: Characters | None = None
    features: Array | None = None
    tags: Array | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_words(self) -> int:
        return int(self.lengths.sum())

    def rows(self, rows: slice) -> Self:
        """Some of the sentences; of NumPy arrays only."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        spelled, characters = self.spelled, self.characters
        if spelled:
            used, numbers = np.unique(spelled.numbers[:longest, rows], return_inverse=True)
            spelled = Spelled(spelled.symbols[:, used], spelled.lengths[used], numbers.reshape(longest, len(lengths)))
        if characters:
            own = characters.lengths[rows]
            places = (characters.first[:longest, rows], characters.last[:longest, rows])
            characters = Characters(characters.ids[: int(own.max()), rows], own, *places)
        features, tags = (None if x is None else x[:longest, rows] for x in (self.features, self.tags))
        return type(self)(self.words[:longest, rows], lengths, spelled, characters, features, tags)

    def mapped(self, function: Callable[[Array], Array]) -> Self:
        """The same with a function applied to each array."""
        found: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Spelled | Characters):
                found[name] = type(value)(**{inner: function(array) for inner, array in vars(value).items()})
            elif value is not None:
                found[name] = function(value)
        return type(self)(**found)


@dataclass(frozen=True)
class Spelling:
    """How the words of sentences are spelled.

    `end_id` stands for a word without symbols, and at both ends of a sentence. `space_id` stands between two words; it
    is None where sentences are not needed as characters.
    """

    end_id: int
    space_id: int | None = None

    @classmethod
    def of(cls, vocabularies: Vocabularies, with_characters: bool) -> "Spelling | None":
        """With the second tokenizer; None if there is none."""
        if (tokenizer := vocabularies.second) is None:
            return None
        return cls(tokenizer.eos_id, int(tokenizer.encode(" ")[0]) if with_characters else None)


def sentences_of(
    words: Sequence[Ids],
    spelled: Sequence[Sequence[Ids]] | None = None,
    spelling: Spelling | None = None,
    tags: Sequence[Ids] | None = None,
) -> Sentences:
    """Sentences from the ids of their words, of each word's symbols, and of the tags."""
    lengths = np.array([len(row) for row in words], np.int64)
    found: dict[str, Any] = {}
    if spelled is not None and spelling is not None:
        found["spelled"] = _spelled(spelled, lengths, spelling.end_id)
        if spelling.space_id is not None:
            found["characters"] = _characters(spelled, lengths, spelling.end_id, spelling.space_id)
    if tags is not None:
        found["tags"] = _padded(tags, IGNORED)
    return Sentences(_padded(words, 0), lengths, **found)


def _spelled(sentences: Sequence[Sequence[Ids]], lengths: NDArray[np.int64], end_id: int) -> Spelled:
    """Each different word once."""
    numbers: dict[bytes, int] = {}
    different: list[Ids] = []
    rows = []
    for symbols in chain.from_iterable(sentences):
        number = numbers.setdefault(symbols.tobytes(), len(different))
        if number == len(different):
            different.append(_shortened(symbols) if len(symbols) else np.array([end_id]))
        rows.append(number)
    where = np.split(np.array(rows, np.int64), np.cumsum(lengths)[:-1])
    sizes = np.array([len(symbols) for symbols in different], np.int64)
    return Spelled(_padded(different, end_id), sizes, _padded(where, 0))


def _shortened(symbols: Ids) -> Ids:
    half = MAX_SPELLED // 2
    return symbols if len(symbols) <= MAX_SPELLED else np.concatenate([symbols[:half], symbols[-half:]])


def _characters(
    sentences: Sequence[Sequence[Ids]], lengths: NDArray[np.int64], end_id: int, space_id: int
) -> Characters:
    """Sentences as `<eos> a word , another <eos>`; a word without symbols is its space."""
    end, space = np.array([end_id]), np.array([space_id])
    texts, first, last = [], [], []
    for words in sentences:
        sizes = np.array([len(symbols) for symbols in words], np.int64)
        starts = np.cumsum(sizes + 1) - sizes
        parts = [end, *chain.from_iterable((symbols, space) for symbols in words)]
        texts.append(np.concatenate([*parts[:-1], end]))
        first.append(starts)
        last.append(starts + sizes - 1)
    sizes = np.array([len(text) for text in texts], np.int64)
    return Characters(_padded(texts, end_id), sizes, _padded(first, 0), _padded(last, 0))


def _padded(rows: Sequence[Ids], padding: int) -> NDArray[np.int64]:
    """Rows of unequal length as columns, padded at their ends: (longest, number of rows)."""
    lengths = np.array([len(row) for row in rows], np.int64)
    result = np.full((len(rows), int(lengths.max())), padding, np.int64)
    result[np.arange(result.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return np.ascontiguousarray(result.T)


class WordDropout:
    """Replaces words by `<unk>`, the rare ones more often, so that the network learns to tag words it does not know.

    Kiperwasser & Goldberg 2016: a word that was counted n times is replaced with probability a / (a + n).
    """

    def __init__(self, words: Ids, vocab_size: int, unk_id: int, seed: int) -> None:
        counts = np.bincount(words, minlength=vocab_size)
        self._rates, self._unk_id, self._seed = WORD_DROPOUT / (WORD_DROPOUT + counts), unk_id, seed

    def replace(self, words: NDArray[np.int64], pass_number: int, step: int) -> NDArray[np.int64]:
        """The words of a batch with some replaced; which ones follows from (seed, pass, step) alone."""
        chance = hash_uniform(places(words, step), self._seed + 0x30005 * pass_number)
        return np.where(chance < self._rates[words], self._unk_id, words)


def places(ids: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """A number for each id of a batch that no other step of the pass has."""
    return np.arange(ids.size).reshape(ids.shape) + PLACES_PER_STEP * step
