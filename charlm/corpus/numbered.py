"""A text of words, read once: its symbols are numbered as they come, and get their ids when all have been counted.

The numbers of the text and the tables of what they mean are kept in a temporary file, so that memory is bounded. When
a table is full, it is stored there and a new one is begun. The counts are exact nevertheless.
"""

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from math import ceil
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.sources import cannot_copy, temporary_file
from charlm.corpus.text_file import Span
from charlm.settings import TextSettings
from charlm.text.encoded import Counted, Ids
from charlm.text.interface import UNK
from charlm.text.long_lines import with_cut_spaces, without_cut_spaces
from charlm.text.numbering import Numbering
from charlm.text.octets import count_characters
from charlm.text.splitting import Splitting
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary
from charlm.text.words import DEFAULT_VOCAB_SIZE, MAX_TYPE_LENGTH, WordTokenizer, num_neighbours, splitting_of

MAX_REMEMBERED = 500_000  # pieces of text that a table remembers
MAX_SUMMED = 1_000_000  # symbols whose counts are added up at a time
BLOCK_LENGTH = 1 << 20  # numbers written at a time
EMPTY = Span(0, 0)
NUM_SPECIAL = UNK_ID + 1  # the numbers below it are ids: of the line end, and of "<unk>" where a text contains it


@dataclass
class _Table:
    """Where the temporary file has the symbols from number NUM_SPECIAL on, and how often each was counted."""

    symbols: Span = EMPTY
    counts: Span = EMPTY


@dataclass(frozen=True)
class _Block:
    """Some numbers in the temporary file, and the characters and bytes of their text."""

    table: _Table
    numbers: Span
    characters: int
    bytes: int


@dataclass(frozen=True)
class _Meaning:
    """What each number of a table means, as arrays (numbers,): its id, and the characters and bytes of its text.

    `unknown_bytes` is the length of the spelling, with one more for its end; 0 for symbols that are in the vocabulary.
    """

    ids: Ids
    characters: Ids
    bytes: Ids
    unknown_bytes: Ids


@dataclass
class _Pending:
    """Numbers that have not been written yet, and the characters and bytes of their text."""

    numbers: list[Ids] = field(default_factory=list)
    length: int = 0
    characters: int = 0
    bytes: int = 0
    is_within_a_line: bool = False
    """Whether the next piece continues the line of the last one."""


class NumberedText:
    """The parts of a text as numbers. A context manager, which closes the temporary file."""

    def __init__(self, settings: TextSettings, splitting: Splitting | None = None) -> None:
        """`splitting` is given where a tokenizer grows: it is the one of that tokenizer."""
        self._settings = settings
        self._splitting = splitting or splitting_of(settings)
        self._numbering = Numbering(self._splitting, {UNK: UNK_ID}, NUM_SPECIAL, MAX_REMEMBERED)
        self._scratch = _Scratch()
        self._tables = [_Table()]
        self._counts = np.zeros(0, np.int64)  # how often each number of the last table was counted
        self._parts: dict[str, list[_Block]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.close()

    def add(self, part: str, texts: Iterable[bytes], is_counted: bool) -> None:
        """Number a part, given in pieces that end at line ends, or where a long line may be cut.

        Only symbols of a part that `is_counted` can become types.
        """
        blocks = self._parts[part] = []
        pending = _Pending()
        for text in without_cut_spaces(texts):
            data = self._splitting.prepared(text)
            numbers = self._numbering.number(data)
            if self._splitting.keeps_text:
                num_spaces = 1 if pending.is_within_a_line and data else 0
                pending.characters += count_characters(data) + num_spaces
                pending.bytes += len(data) + num_spaces
            pending.numbers.append(numbers)
            pending.length += len(numbers)
            pending.is_within_a_line = not data.endswith(b"\n")
            if pending.length > BLOCK_LENGTH or self._numbering.is_full:
                blocks.append(self._flush(pending, is_counted))
                pending = _Pending()
            if self._numbering.is_full:
                self._begin_table()
        if pending.numbers:
            blocks.append(self._flush(pending, is_counted))

    def finish(self) -> None:
        """Store the last table; nothing can be added afterwards."""
        self._begin_table()
        del self._tables[-1]

    def tokenizer(self) -> WordTokenizer:
        """A tokenizer of the most frequent symbols that were counted."""
        size = self._settings.vocab_size or DEFAULT_VOCAB_SIZE
        return WordTokenizer.from_counts(self._settings, self._frequent(size))

    def encoded(self, part: str, vocabulary: Vocabulary) -> Iterator[Counted]:
        """A part's ids, and the counts that go with them."""
        yield from with_cut_spaces(self._encoded(part, vocabulary), EOS_ID)

    def _encoded(self, part: str, vocabulary: Vocabulary) -> Iterator[Counted]:
        """A part's ids and counts, in which the implicit space between two blocks is missing."""
        table, meaning = None, None
        for block in self._parts[part]:
            if table is not block.table or meaning is None:
                table, meaning = block.table, self._meaning(block.table, vocabulary)
            numbers = np.frombuffer(self._scratch.get(block.numbers), np.uint32)
            yield self._counted(block, numbers, meaning)

    def _counted(self, block: _Block, numbers: Ids, meaning: _Meaning) -> Counted:
        ids = meaning.ids.take(numbers)
        unknown_bytes = meaning.unknown_bytes.take(numbers)
        unknown = int(np.count_nonzero(unknown_bytes)), int(unknown_bytes.sum())
        if self._splitting.keeps_text:
            return Counted(ids, block.characters, block.bytes, *unknown)
        num_spaces = num_neighbours(ids)
        characters, num_bytes = (int(sizes.take(numbers).sum()) for sizes in (meaning.characters, meaning.bytes))
        return Counted(ids, characters + num_spaces, num_bytes + num_spaces, *unknown)

    def _flush(self, pending: _Pending, is_counted: bool) -> _Block:
        """Write the pending numbers, and count them."""
        numbers = np.concatenate(pending.numbers)
        if is_counted:
            counts = np.bincount(numbers, minlength=len(self._counts))
            counts[: len(self._counts)] += self._counts
            self._counts = counts
        return _Block(self._tables[-1], self._scratch.put(numbers.data), pending.characters, pending.bytes)

    def _begin_table(self) -> None:
        """Store the last table, and begin the next one."""
        symbols = self._numbering.symbols
        counts = np.zeros(len(symbols), np.int64)
        counts[: max(0, len(self._counts) - NUM_SPECIAL)] = self._counts[NUM_SPECIAL:]
        self._tables[-1].symbols = self._scratch.put("".join(f"{symbol}\n" for symbol in symbols).encode())
        self._tables[-1].counts = self._scratch.put(counts.data)
        self._numbering.restart()
        self._counts = np.zeros(0, np.int64)
        self._tables.append(_Table())

    def _symbols(self, table: _Table) -> list[str]:
        return self._scratch.get(table.symbols).decode().split("\n")[:-1]

    def _counts_of(self, table: _Table) -> NDArray[np.int64]:
        return np.frombuffer(self._scratch.get(table.counts), np.int64)

    def _candidates(self, table: _Table, min_count: int) -> Iterator[str]:
        """The symbols that were counted at least `min_count` times in a table, and are short enough for a type."""
        symbols = self._symbols(table)
        for index in np.flatnonzero(self._counts_of(table) >= min_count).tolist():
            if len(symbols[index]) <= MAX_TYPE_LENGTH:
                yield symbols[index]

    def _frequent(self, size: int) -> dict[str, int]:
        """The exact counts of the `size` most frequent symbols, or of all where there are fewer.

        Adding up only some of the counts gives a lower bound on the count of the last of these symbols. And a symbol
        with that count has, in at least one of the n tables, an nth of it.
        """
        partial: Counter[str] = Counter()
        for table in self._tables:
            symbols, counts = self._symbols(table), self._counts_of(table)
            top = np.argpartition(-counts, size)[:size] if len(counts) > size else np.arange(len(counts))
            for index in top.tolist():
                if len(symbols[index]) <= MAX_TYPE_LENGTH:
                    partial[symbols[index]] += int(counts[index])
        largest = heapq.nlargest(size, partial.values())
        bound = ceil(largest[-1] / len(self._tables)) if len(largest) == size else 1
        return self._sums(max(1, bound), size)

    def _sums(self, min_count: int, size: int) -> dict[str, int]:
        """The counts of at least the `size` most frequent among the symbols with `min_count` in one of the tables.

        Where there are too many symbols to hold, they are summed in several turns, each for a share of them.
        """
        num_symbols = sum(int(np.count_nonzero(self._counts_of(table) >= min_count)) for table in self._tables)
        num_turns = 1 + num_symbols // MAX_SUMMED
        kept: dict[str, int] = {}
        for turn in range(num_turns):
            sums: dict[str, int] = {}
            for table in self._tables:
                sums |= {symbol: 0 for symbol in self._candidates(table, min_count) if hash(symbol) % num_turns == turn}
            for table in self._tables:
                for symbol, count in zip(self._symbols(table), self._counts_of(table).tolist(), strict=True):
                    if symbol in sums:
                        sums[symbol] += count
            kept.update(heapq.nsmallest(size, sums.items(), key=lambda item: (-item[1], item[0])))
        return kept

    def _meaning(self, table: _Table, vocabulary: Vocabulary) -> _Meaning:
        symbols = self._symbols(table)
        ids = np.fromiter(map(vocabulary.ids.get, symbols, repeat(UNK_ID)), np.uint32, len(symbols))
        texts = list(map(self._splitting.text_of, symbols))
        characters = np.fromiter(map(len, texts), np.uint32, len(texts))
        sizes = np.fromiter((len(text.encode()) for text in texts), np.uint32, len(texts))
        unknown = np.where(ids == UNK_ID, sizes + 1, 0)
        special = {"\n": EOS_ID, UNK: UNK_ID}
        lengths = [len(text) for text in special]
        return _Meaning(
            np.concatenate([list(special.values()), ids]).astype(np.uint32),
            np.concatenate([lengths, characters]).astype(np.uint32),
            np.concatenate([lengths, sizes]).astype(np.uint32),
            np.concatenate([[0, 0], unknown]).astype(np.uint32),
        )


class _Scratch:
    """A temporary file that stores bytes and gives them back. Its methods raise ResourceError when the disk is full."""

    def __init__(self) -> None:
        self._file: BinaryIO = temporary_file()

    def put(self, data: bytes | memoryview) -> Span:
        start = self._file.tell()
        try:
            self._file.write(data)
        except OSError as error:
            raise cannot_copy(error) from error
        return Span(start, self._file.tell())

    def get(self, span: Span) -> bytes:
        try:
            self._file.seek(span.start)  # this also writes what is still buffered
            data = self._file.read(len(span))
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise cannot_copy(error) from error
        return data

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
