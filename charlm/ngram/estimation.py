"""From the counts of a text to its n-gram model: interpolated modified Kneser-Ney (Chen & Goodman 1998, section 3).

alpha, the discounted share of a continuation, is its count less a discount, by the counts of all continuations of its
context. gamma is what remains: the discounts, and the counts of what is left out to keep the model small.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.sources import cannot_copy, temporary_file
from charlm.ngram.counting import Counted, Records, Text, count, record_type
from charlm.ngram.discounts import discounts
from charlm.ngram.pruning import MAX_NGRAMS, choose_cutoffs, num_kept
from charlm.ngram.trie import Branches, Trie, id_type

CONTEXTS_AT_ONCE = 1 << 13
ZEROS = bytes(1 << 20)
MAX_ARRAY_IN_MEMORY = 1 << 26  # bytes; a larger array is a temporary file


def build(text: Text, max_bytes: int | None = None, bucket_size: int | None = None) -> Trie:
    """The n-gram model of a text; its file has at most `max_bytes`, if that is given (`pruning.py` says how).

    The unigrams always stay. Where no n-grams of the longest length are left, the order of the model is lower.
    `bucket_size` is that of `counting.count`; the model does not depend on it. Raises ResourceError.
    """
    with ExitStack() as opened:
        counted = count(text, opened, bucket_size)
        cutoffs = choose_cutoffs(counted, text.vocab_size, max_bytes)
        num_contexts, contexts, branches = 1, iter([_empty_context(text.vocab_size)]), []
        for ngrams, *of_lengths in zip(counted, cutoffs, cutoffs[1:], strict=False):
            num_ngrams = num_kept(ngrams, of_lengths[1])
            if num_ngrams == 0:
                break
            room = _room(num_contexts, num_ngrams, text.vocab_size)
            _fill(room, contexts, ngrams, of_lengths)
            branches.append(room)
            num_contexts, contexts = num_ngrams, _blocks(ngrams)
    return Trie(text.vocab_size, tuple(branches))


def _empty_context(vocab_size: int) -> Records:
    """The only context of length 0, which all types continue, and which is never left out."""
    record = np.zeros(1, record_type(vocab_size))
    record["occurrences"], record["num_continuations"] = MAX_NGRAMS, vocab_size
    return record


def _blocks(ngrams: Counted) -> Iterator[Records]:
    """The records of all n-grams of one length, some at a time."""
    ngrams.rewind()
    while len(block := ngrams.read(CONTEXTS_AT_ONCE)):
        yield block


def _room(num_contexts: int, num_ngrams: int, vocab_size: int) -> Branches:
    """Arrays to fill."""
    return Branches(
        first=_array(num_contexts + 1, np.dtype(np.uint32)),
        gamma=_array(num_contexts, np.dtype(np.float32)),
        ids=_array(num_ngrams, id_type(vocab_size)),
        alpha=_array(num_ngrams, np.dtype(np.float32)),
    )


def _array(size: int, dtype: "np.dtype[Any]") -> NDArray[Any]:
    """Room for an array, on disk where it is large. Raises ResourceError."""
    if size * dtype.itemsize <= MAX_ARRAY_IN_MEMORY:
        return np.empty(size, dtype)
    try:
        with temporary_file() as file:
            num_bytes = size * dtype.itemsize
            for start in range(0, num_bytes, len(ZEROS)):  # room that is only promised could end the process later
                file.write(ZEROS[: num_bytes - start])
            file.flush()
            return np.memmap(file, dtype, mode="r+", shape=(size,))
    except OSError as error:
        raise cannot_copy(error) from error


def _fill(room: Branches, contexts: Iterable[Records], ngrams: Counted, cutoffs: list[int]) -> None:
    """Fill in the branches of the contexts of one length. The cutoffs are theirs and that of their continuations."""
    taken = discounts(ngrams.num_with_count[:5])
    num_contexts = num_ngrams = 0
    ngrams.rewind()
    for block in contexts:
        continuations = ngrams.read(int(block["num_continuations"].sum()))
        part = _estimate(block, continuations, taken, cutoffs)
        of_contexts = slice(num_contexts, num_contexts + len(part.gamma))
        of_ngrams = slice(num_ngrams, num_ngrams + len(part.alpha))
        room.first[of_contexts], room.gamma[of_contexts] = part.first + num_ngrams, part.gamma
        room.ids[of_ngrams], room.alpha[of_ngrams] = part.ids, part.alpha
        num_contexts, num_ngrams = of_contexts.stop, of_ngrams.stop
    room.first[num_contexts] = num_ngrams


def _estimate(contexts: Records, continuations: Records, taken: NDArray[np.float64], cutoffs: list[int]) -> Branches:
    """The branches of some contexts; `taken` are the discounts. The numbers in `first` begin at 0."""
    context = np.repeat(np.arange(len(contexts)), contexts["num_continuations"])
    counts = continuations["count"].astype(np.float64)
    stays = continuations["occurrences"] > cutoffs[1]
    shares = np.where(stays, counts - taken[np.minimum(continuations["count"], 3)], 0)

    def by_context(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(context, values, len(contexts))

    totals = by_context(counts)
    divisors = np.maximum(totals, 1)  # the total is 0 only where nothing was counted
    gamma = np.where(totals > 0, by_context(counts - shares) / divisors, 1)
    num_continuations = by_context(stays).astype(np.int64)
    of_contexts = contexts["occurrences"] > cutoffs[0]
    return Branches(
        first=(np.cumsum(num_continuations) - num_continuations)[of_contexts].astype(np.uint32),
        gamma=gamma[of_contexts].astype(np.float32),
        ids=continuations["id"][stays],
        alpha=(shares / divisors[context])[stays].astype(np.float32),
    )
