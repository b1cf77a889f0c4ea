"""Which n-grams stay where a model would be too large.

Rare long n-grams are left out: first those that occur once, the longest first, down to those of MIN_PRUNED tokens; then
those that occur twice, and so on. If that is not enough, whole lengths are left out. An n-gram never occurs more often
than its beginning or its end, so it is never left after these have gone.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from charlm.ngram.counting import MAX_CUTOFF, Counted
from charlm.ngram.trie import id_type

MIN_PRUNED = 3  # tokens
NONE, ALL = -1, 1 << 32  # as cutoffs
MAX_NGRAMS = (1 << 32) - 1  # of one length
NUMBER_BYTES = 4  # of an offset, a gamma and an alpha
HEADER_BYTES = 1024  # of the file of a model, and as many again for each length

Cutoffs = list[int]
"""For each length from 0 on: how often an n-gram may occur and still be left out."""


def choose_cutoffs(counted: Sequence[Counted], vocab_size: int, max_bytes: int | None) -> Cutoffs:
    """The first cutoffs with which the file of the model has at most `max_bytes`, if that is given.

    Unigrams always stay, even where they alone take more.
    """
    for cutoffs in _candidates(len(counted)):
        numbers = [1, *(num_kept(*pair) for pair in zip(counted, cutoffs[1:], strict=True))]
        if max(numbers) <= MAX_NGRAMS and (max_bytes is None or _num_bytes(numbers, vocab_size) <= max_bytes):
            break
    return cutoffs


def num_kept(ngrams: Counted, cutoff: int) -> int:
    """How many n-grams of one length stay."""
    return ngrams.num_ngrams - int(ngrams.num_with_occurrences[: cutoff + 1].sum())


def _candidates(order: int) -> Iterator[Cutoffs]:
    """Cutoffs that leave out more and more."""
    cutoffs = [NONE] * (order + 1)
    yield cutoffs
    for cutoff in range(1, MAX_CUTOFF + 1):
        for length in range(order, MIN_PRUNED - 1, -1):
            cutoffs[length] = cutoff
            yield cutoffs
    for length in range(order, 1, -1):
        cutoffs[length] = ALL
        yield cutoffs


def _num_bytes(numbers: Sequence[int], vocab_size: int) -> int:
    """Bytes that suffice for the file of a model with this many n-grams of each length from 0 on."""
    ngrams = sum(numbers[1:]) * (np.dtype(id_type(vocab_size)).itemsize + NUMBER_BYTES)
    return HEADER_BYTES * len(numbers) + ngrams + sum((2 * number + 1) * NUMBER_BYTES for number in numbers[:-1])
