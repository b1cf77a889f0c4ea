"""Counts the n-grams of a text by sorting. The counts of each length go to a temporary file, so memory stays small.

The places of a text whose n-grams begin with the same few types are sorted together, in a bucket: by the last token of
their n-grams first, by the first token last (radix sort). Equal n-grams of every length are then neighbours, in
lexicographic order, and so are the continuations of a context. One bucket after another gives the whole order.

An n-gram has two counts. `occurrences` says how often it occurs. `count` is what its probability is estimated from: of
the longest n-grams the occurrences, of shorter ones the number of different tokens before them (Kneser & Ney 1995).
In sentence mode no n-gram goes on behind the end of an item, so before the `<eos>` that an item begins with there is
nothing. There the count of an n-gram of two or more tokens that begins with `<eos>` is how often it occurs (as in
Heafield et al. 2013).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.sources import cannot_copy, temporary_file
from charlm.ngram.trie import id_type
from charlm.settings import Item, Mode
from charlm.text.items import ends_of_items

Ids = NDArray[Any]
Integers = NDArray[np.integer[Any]]
Records = NDArray[np.void]

MIN_BUCKET = 1 << 17  # places; a smaller text is sorted at once
MAX_BUCKETS = 64  # a text is read once for each
MAX_SHORT_TEXT = 1 << 30  # tokens; the places of a longer text need wider numbers
COUNTED = 1 << 17  # ids counted at a time, since NumPy makes large numbers of them
MAX_CUTOFF = 255  # occurrences of n-grams that can be left out
NUM_COUNTS = 4  # counts from 1 on whose frequencies the discounts follow from


@dataclass(frozen=True)
class Text:
    """What is counted: the ids of a text, the first of which is the `<eos>` before its first token."""

    ids: Ids
    vocab_size: int
    eos_id: int
    order: int
    """The length of the longest n-grams."""
    mode: Mode = "stream"
    item: Item = "line"
    """What is read on its own in sentence mode."""

    @cached_property
    def _ends(self) -> Integers:
        """The places behind each item, and behind the text."""
        return np.append(ends_of_items(self.ids[1:], self.eos_id, self.item) + 2, len(self.ids))

    def lengths(self, places: Integers) -> Integers:
        """The length of the longest n-gram that begins at each place."""
        behind = len(self.ids) - places
        if self.mode == "sentence":
            following = np.searchsorted(self._ends[:-1], places + 1, side="right")
            behind = self._ends[following] - places
        return np.minimum(behind, self.order)

    def tokens(self, places: Integers, offset: int) -> Ids:
        """The tokens this far behind the places; behind the end of the text its last token."""
        return self.ids[np.minimum(places + offset, len(self.ids) - 1)]

    def tokens_before(self, places: Integers) -> Integers:
        """The token before each place plus 1; 0 where nothing is before it."""
        tokens = self.ids[places - 1].astype(id_type(self.vocab_size + 1)) + 1
        return np.where(places > 0, tokens, 0).astype(tokens.dtype)


@dataclass
class Counted:
    """The n-grams of one length in lexicographic order: a record for each, in a file, and statistics of them all."""

    file: BinaryIO
    record: np.dtype[np.void]
    num_ngrams: int = 0
    num_with_count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_COUNTS + 2, np.int64))
    """How many have the count 0, 1, ...; the last number is of all larger ones."""
    num_with_occurrences: NDArray[np.int64] = field(default_factory=lambda: np.zeros(MAX_CUTOFF + 2, np.int64))

    def write(self, records: Records) -> None:
        self.file.write(records.tobytes())
        self.num_ngrams += len(records)
        self.num_with_count += _frequencies(records["count"], len(self.num_with_count))
        self.num_with_occurrences += _frequencies(records["occurrences"], len(self.num_with_occurrences))

    def rewind(self) -> None:
        self.file.seek(0)

    def read(self, num_records: int) -> Records:
        """The next records."""
        return np.frombuffer(self.file.read(num_records * self.record.itemsize), self.record)


def count(text: Text, opened: ExitStack, bucket_size: int | None = None) -> list[Counted]:
    """Count the n-grams of each length from 1 to `text.order`; those of length 1 are all types, in their order.

    The files are open as long as `opened` is. `bucket_size` is the number of places that are sorted together, unless
    more n-grams begin with the same type. Raises ResourceError.
    """
    record = record_type(text.vocab_size)
    counted = [Counted(opened.enter_context(temporary_file()), record) for _ in range(text.order)]
    if bucket_size is None:
        bucket_size = max(MIN_BUCKET, len(text.ids) // MAX_BUCKETS)
    try:
        for types in _buckets(text, bucket_size):
            for length, records in _count_bucket(text, types, bucket_size, record):
                counted[length - 1].write(records)
        for ngrams in counted:
            ngrams.file.flush()
    except OSError as error:
        raise cannot_copy(error) from error
    return counted


def record_type(vocab_size: int) -> "np.dtype[np.void]":
    """What is known of an n-gram: its last token, its two counts, and how many n-grams continue it by one token."""
    numbers = [(name, np.uint32) for name in ("occurrences", "count", "num_continuations")]
    return np.dtype([("id", id_type(vocab_size)), *numbers])


def _buckets(text: Text, bucket_size: int) -> Iterator[range]:
    """The types in ranges, such that about `bucket_size` n-grams begin with those of a range."""
    sizes = np.zeros(text.vocab_size, np.int64)
    for start in range(0, len(text.ids), COUNTED):
        sizes += np.bincount(text.ids[start : start + COUNTED], minlength=text.vocab_size)
    before = np.append(0, np.cumsum(sizes))
    first = 0
    while first < text.vocab_size:
        num_fitting = int(np.searchsorted(before, before[first] + bucket_size, side="right")) - 1 - first
        yield range(first, first := min(first + max(1, num_fitting), text.vocab_size))


def _count_bucket(
    text: Text, types: range, max_places: int, record: "np.dtype[np.void]"
) -> Iterator[tuple[int, Records]]:
    """The n-grams that begin with these types: each length, and the records of all of that length."""
    bucket = _Bucket(text, types, max_places)
    numbers: Integers = bucket.first_tokens - types.start
    records = np.zeros(len(types), record)
    records["id"] = types
    bucket.count(np.where(bucket.places > 0, numbers, -1), records, 1)  # what is before the text is no token of it
    for length in range(2, text.order + 1):
        parents, (numbers, starts) = numbers, bucket.numbers_of_longer(numbers, length)
        records["num_continuations"] = np.bincount(parents[starts], minlength=len(records))
        yield length - 1, records
        records = np.zeros(len(starts), record)
        records["id"] = text.tokens(bucket.places[starts], length - 1)
        bucket.count(numbers, records, length)
        if text.mode == "sentence":
            begins = bucket.first_tokens[starts] == text.eos_id
            records["count"] = np.where(begins, records["occurrences"], records["count"])
    yield text.order, records


class _Bucket:
    """Places of a text in the lexicographic order of their n-grams.

    The n-grams of one length are numbered in that order. `numbers` (places,) are those of the n-grams that begin there,
    -1 where none of that length does.
    """

    def __init__(self, text: Text, types: range, max_places: int) -> None:
        places, self._weights = _different_places(text, types, max_places)
        for offset in reversed(range(text.order)):
            order = _stable_order(text.tokens(places, offset))
            places, self._weights = places[order], self._weights[order]
        self._text, self.places, self._lengths = text, places, text.lengths(places)
        self.first_tokens = text.ids[places].astype(np.int32)
        tokens_before = text.tokens_before(places)
        self._by_token_before = _stable_order(tokens_before).astype(np.int32)
        self._tokens_before = tokens_before[self._by_token_before]

    def numbers_of_longer(self, numbers: Integers, length: int) -> tuple[Integers, Integers]:
        """The numbers of the n-grams of this length, given those that are shorter by 1; where each occurs first."""
        rows = np.flatnonzero(self._lengths >= length)
        parents, last_tokens = numbers[rows], self._text.tokens(self.places[rows], length - 1)
        is_first = _differs(parents) | _differs(last_tokens)
        longer = np.full(len(numbers), -1, np.int32)
        longer[rows] = np.cumsum(is_first) - 1
        return longer, rows[is_first]

    def count(self, numbers: Integers, records: Records, length: int) -> None:
        """Fill in both counts of the n-grams of this length."""
        exists = numbers >= 0
        occurrences = np.bincount(numbers[exists], self._weights[exists], len(records))
        records["occurrences"] = records["count"] = occurrences
        if length < self._text.order:
            numbers = numbers[self._by_token_before]
            exists = numbers >= 0
            numbers, tokens_before = numbers[exists], self._tokens_before[exists]
            is_new = _differs(tokens_before) | _differs(numbers)
            records["count"] = np.bincount(numbers[is_new], minlength=len(records))


def _different_places(text: Text, types: range, max_places: int) -> tuple[Integers, Integers]:
    """The places of tokens of these types, and how many places each stands for.

    Where there are more than `max_places`, one stands for all that have the same n-gram and the same token before it: a
    text that repeats itself takes no more memory. They are merged each time when their number has doubled.
    """
    place_type = np.int32 if len(text.ids) < MAX_SHORT_TEXT else np.int64
    places: Integers = np.empty(0, place_type)
    weights: Integers = np.empty(0, np.uint32)
    num_different = 0
    for start in range(0, len(text.ids), max_places):
        ids = text.ids[start : start + max_places]
        more = np.flatnonzero((ids >= types.start) & (ids < types.stop)) + start
        places = np.append(places, more.astype(place_type))
        weights = np.append(weights, np.ones(len(more), np.uint32))
        if len(places) > 2 * num_different + max_places:
            places, weights = _merged(text, places, weights)
            num_different = len(places)
    return places, weights


def _merged(text: Text, places: Integers, weights: Integers) -> tuple[Integers, Integers]:
    """One place for all that have the same n-gram and the same token before it, with the sum of their weights."""
    order = _stable_order(text.tokens_before(places))
    for offset in reversed(range(text.order)):
        order = order[_stable_order(text.tokens(places[order], offset))]
    places = places[order]
    is_new = _differs(text.tokens_before(places)) | _differs(text.lengths(places))
    for offset in range(text.order):
        is_new |= _differs(text.tokens(places, offset))
    starts = np.flatnonzero(is_new)
    return places[starts], np.add.reduceat(weights[order], starts)


def _stable_order(keys: Integers) -> Integers:
    """The indices that sort the keys, of which equal ones stay in their order; in linear time (radix sort)."""
    if keys.itemsize <= 2:
        return np.argsort(keys, kind="stable")
    low = np.argsort(keys.astype(np.uint16), kind="stable")  # the lower 16 bits
    return low[np.argsort((keys[low] >> 16).astype(np.uint16), kind="stable")]


def _differs(values: Integers) -> NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first one does."""
    differs = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _frequencies(values: Integers, size: int) -> NDArray[np.int64]:
    """How often 0, 1, ..., size - 2 occurs, and at last how often all larger values do."""
    return np.bincount(np.minimum(values, size - 1), minlength=size)
