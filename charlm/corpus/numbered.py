"""A text of words is read once: its symbols are numbered as they come, and get their ids when all have been counted.

What is long lies in a temporary file, so that memory is bounded: the numbers of the text, and the tables of what they
mean. A table that is full is put away and a new one begun. The counts are exact all the same.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.reader import Span
from charlm.corpus.sources import no_room, temporary_file
from charlm.settings import TextSettings
from charlm.text.interface import UNK, Counted, Ids
from charlm.text.long_lines import with_cut_spaces, without_cut_spaces
from charlm.text.numbering import Numbering
from charlm.text.octets import count_characters
from charlm.text.splitting import Splitting
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary
from charlm.text.words import DEFAULT_VOCAB_SIZE, MAX_TYPE_LENGTH, WordTokenizer, num_neighbours, splitting_of

MAX_REMEMBERED = 500_000  # pieces of text in a table
MAX_SUMMED = 1_000_000  # symbols whose counts are added up at a time
BLOCK = 1 << 20  # numbers written at a time
NOWHERE = Span(0, 0)
NUM_SPECIAL = UNK_ID + 1  # numbers below are ids: those of the line end, and of "<unk>" where a text has it


@dataclass
class _Table:
    """The symbols from number NUM_SPECIAL on, and how often each was counted; both in the file."""

    symbols: Span = NOWHERE
    counts: Span = NOWHERE


@dataclass(frozen=True)
class _Block:
    """Some numbers in the file, and what is known of their text."""

    table: _Table
    numbers: Span
    characters: int
    bytes: int


@dataclass(frozen=True)
class _Meaning:
    """By number: the id, the characters and bytes of its text, and for unknown symbols those of the spelling."""

    ids: Ids
    characters: Ids
    bytes: Ids
    unknown_bytes: Ids


@dataclass
class _Pending:
    """What has been numbered but not written."""

    numbers: list[Ids] = field(default_factory=list)
    length: int = 0
    characters: int = 0
    bytes: int = 0
    is_within_a_line: bool = False
    """Whether it goes on with the line that its last piece began."""


class NumberedText:
    """The parts of a text as numbers. A context manager, for its temporary file."""

    def __init__(self, settings: TextSettings, splitting: Splitting | None = None) -> None:
        """`splitting` is that of a tokenizer which is to grow."""
        self._settings = settings
        self._splitting = splitting or splitting_of(settings)
        self._numbering = Numbering(self._splitting, {UNK: UNK_ID}, NUM_SPECIAL, MAX_REMEMBERED)
        self._scratch = _Scratch()
        self._tables = [_Table()]
        self._counts = np.zeros(0, np.int64)  # of the last table's numbers
        self._parts: dict[str, list[_Block]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.close()

    def add(self, part: str, texts: Iterable[bytes], counted: bool) -> None:
        """Number a part, given in pieces that end at line ends, or where a long line may be cut.

        Only what is `counted` can become a type.
        """
        blocks = self._parts[part] = []
        pending = _Pending()
        for text in without_cut_spaces(texts):
            data = self._splitting.prepared(text)
            numbers = self._numbering.number(data)
            if self._splitting.keeps_text:
                space = pending.is_within_a_line and len(data) > 0
                pending.characters += count_characters(data) + space
                pending.bytes += len(data) + space
            pending.numbers.append(numbers)
            pending.length += len(numbers)
            pending.is_within_a_line = not data.endswith(b"\n")
            if pending.length > BLOCK or self._numbering.is_full:
                blocks.append(self._flush(pending, counted))
                pending = _Pending()
            if self._numbering.is_full:
                self._begin_table()
        if pending.numbers:
            blocks.append(self._flush(pending, counted))

    def finish(self) -> None:
        """No more is added."""
        self._begin_table()
        del self._tables[-1]

    def tokenizer(self) -> WordTokenizer:
        """With the most frequent symbols of what was counted."""
        size = self._settings.vocab_size or DEFAULT_VOCAB_SIZE
        return WordTokenizer.from_counts(self._settings, self._frequent(size))

    def encoded(self, part: str, vocabulary: Vocabulary) -> Iterator[Counted]:
        """A part's ids."""
        yield from with_cut_spaces(self._encoded(part, vocabulary), EOS_ID)

    def _encoded(self, part: str, vocabulary: Vocabulary) -> Iterator[Counted]:
        """The same; a space between two blocks is not counted."""
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
        spaces = num_neighbours(ids)
        characters, size = (int(sizes.take(numbers).sum()) for sizes in (meaning.characters, meaning.bytes))
        return Counted(ids, characters + spaces, size + spaces, *unknown)

    def _flush(self, pending: _Pending, counted: bool) -> _Block:
        numbers = np.concatenate(pending.numbers)
        if counted:
            found = np.bincount(numbers, minlength=len(self._counts))
            found[: len(self._counts)] += self._counts
            self._counts = found
        return _Block(self._tables[-1], self._scratch.put(numbers.data), pending.characters, pending.bytes)

    def _begin_table(self) -> None:
        """Put the last table away and begin the next one."""
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

    def _at_least(self, table: _Table, least: int) -> Iterator[tuple[str, int]]:
        """A table's types that were counted so often there."""
        symbols, counts = self._symbols(table), self._counts_of(table)
        for at in np.flatnonzero(counts >= least).tolist():
            if len(symbols[at]) <= MAX_TYPE_LENGTH:
                yield symbols[at], int(counts[at])

    def _frequent(self, size: int) -> dict[str, int]:
        """The counts of all symbols that can be among the `size` most frequent ones.

        Of these, the last one has at least the count that the last one has when only some counts are added up. And a
        symbol with that count has, in one of the n tables, an nth part of it.
        """
        some: Counter[str] = Counter()
        for table in self._tables:
            symbols, counts = self._symbols(table), self._counts_of(table)
            most = np.argpartition(-counts, size)[:size] if len(counts) > size else np.arange(len(counts))
            some.update({symbols[at]: int(counts[at]) for at in most.tolist() if len(symbols[at]) <= MAX_TYPE_LENGTH})
        kept = heapq.nlargest(size, some.values())
        least = -(-kept[-1] // len(self._tables)) if len(kept) == size else 1
        return self._sums(max(1, least), size)

    def _sums(self, least: int, size: int) -> dict[str, int]:
        """The `size` largest counts at least, of the symbols that were counted `least` times in one table.

        If there are too many, some of them are counted at a time, and the largest counts kept.
        """
        num_symbols = sum(int(np.count_nonzero(self._counts_of(table) >= least)) for table in self._tables)
        turns = 1 + num_symbols // MAX_SUMMED
        kept: dict[str, int] = {}
        for turn in range(turns):
            sums: dict[str, int] = {}
            for table in self._tables:
                sums.update((symbol, 0) for symbol, _ in self._at_least(table, least) if hash(symbol) % turns == turn)
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
    """A temporary file to put bytes into and get them again."""

    def __init__(self) -> None:
        self._file: BinaryIO = temporary_file()

    def put(self, data: bytes | memoryview) -> Span:
        start = self._file.tell()
        try:
            self._file.write(data)
        except OSError as error:
            raise no_room(error) from error
        return Span(start, self._file.tell())

    def get(self, span: Span) -> bytes:
        try:
            self._file.seek(span.start)  # which writes what was put
            data = self._file.read(len(span))
            self._file.seek(0, 2)
        except OSError as error:
            raise no_room(error) from error
        return data

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
