"""One token a word: split by Unicode with nothing lost, or at white space for text that is tokenized already."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from charlm.settings import TextSettings
from charlm.text.interface import (
    TOKENIZER_FILE,
    UNK,
    Counted,
    Decoder,
    Encoded,
    Ids,
    OpenEnd,
    Token,
    Tokenizer,
    ends_before_lower,
    flag_field,
    to_json,
)
from charlm.text.joining import JOINER, unjoin
from charlm.text.locating import LINE_END, located, num_open
from charlm.text.numbering import Numbering
from charlm.text.octets import count_characters
from charlm.text.splitting import SPELL, Splitting, segments
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

DEFAULT_VOCAB_SIZE = 10_000
MAX_TYPE_LENGTH = 200  # characters; what is longer is not kept as a type
MAX_REMEMBERED = 500_000  # pieces whose ids are remembered while encoding
SHORT = 1000  # characters; a line up to here is not worth looking up in tables
MIN_SIZE = 3  # symbols: with fewer than one word there is nothing to learn
MARKS = "marks"  # the field of tokenizer.json that says whether marks are line ends
MARKER = "␣"  # how the symbol between two spaces is shown


@final
class WordTokenizer(Tokenizer):
    unit = "word"
    eos_id = EOS_ID
    unk_id = UNK_ID
    needs_lines = True

    def __init__(self, vocabulary: Vocabulary, splitting: Splitting | None = None) -> None:
        self.vocabulary = vocabulary
        self.splitting = splitting or Splitting()
        self.vocab_size = len(vocabulary)
        self.lossless = self.splitting.keeps_text and not self.splitting.lowercase
        self._ids = {**vocabulary.ids, UNK: UNK_ID, LINE_END: EOS_ID}
        known = {**vocabulary.ids, UNK: UNK_ID}
        self._numbering = Numbering(self.splitting, known, self.vocab_size, MAX_REMEMBERED)
        texts = ["\n", "", *vocabulary.symbols[2:]]
        self._lengths = np.array([len(text) for text in texts], np.uint32)  # characters
        self._sizes = np.array([len(text.encode()) for text in texts], np.uint32)  # bytes

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls.of_counts(settings, _count_symbols(splitting_of(settings), chunks))

    @classmethod
    def of_counts(cls, settings: TextSettings, counts: Mapping[str, int]) -> Self:
        """With the most frequent symbols; line ends are not among them.

        Where texts come back as they were, two spaces side by side are known, seen or not.
        """
        types = {symbol: count for symbol, count in counts.items() if len(symbol) <= MAX_TYPE_LENGTH}
        size, splitting = settings.vocab_size or DEFAULT_VOCAB_SIZE, splitting_of(settings)
        vocabulary = Vocabulary.of_counts(types, size, settings.min_count)
        if splitting.keeps_text and "" not in vocabulary.ids and size > MIN_SIZE:
            vocabulary = Vocabulary((*vocabulary.symbols[: size - 1], ""))
        return cls(vocabulary, splitting)

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        split, punctuation = fields["split"], fields["punctuation"]
        if (split, punctuation) not in SPELL:
            raise ValueError(f"no such way to split: {split!r}, {punctuation!r}")
        marks = flag_field(fields, MARKS) if MARKS in fields else False  # older ones took them for words
        splitting = Splitting(split, punctuation, flag_field(fields, "lowercase"), marks)
        return cls(Vocabulary.of_json(fields["symbols"]), splitting)

    def normalise(self, text: str) -> str:
        return self.splitting.normalise(text)

    def grown(self, learned: Self) -> Self:
        return type(self)(self.vocabulary.grown(learned.vocabulary), self.splitting)

    def encode_detailed(self, text: str) -> Encoded:
        return self._encode_short(text) if len(text) <= SHORT else self.encode_bytes(text.encode())

    def _encode_short(self, text: str) -> Encoded:
        """Symbol by symbol, which is sooner done for one sentence."""
        text = self.splitting.prepared_text(text)
        first, *others = text.split("\n")
        symbols = list(self.splitting.symbols(first))
        for line in others:
            symbols += [LINE_END, *self.splitting.symbols(line)]
        ids = np.array([self._ids.get(symbol, UNK_ID) for symbol in symbols], np.uint32)
        unknown = tuple(self.splitting.text_of(symbol) for symbol in symbols if symbol not in self._ids)
        return Encoded(ids, unknown, *self._size(text.encode(), ids, len(unknown), _lengths(unknown)))

    def tokens(self, text: str) -> list[Token]:
        cased = text.lower() if self.splitting.lowercase else text
        symbols = list(located(self.splitting, cased))
        ends = [end for _, end in symbols]
        if self.splitting.lowercase:
            ends = ends_before_lower(text, ends)
        return [self._token(symbol, end) for (symbol, _), end in zip(symbols, ends, strict=True)]

    def _token(self, symbol: str, end: int) -> Token:
        id = self._ids.get(symbol)
        return Token(UNK_ID, end, self.splitting.text_of(symbol)) if id is None else Token(id, end)

    def encode_open(self, text: str) -> Ids:
        ids = self.encode(text)
        return ids[:-1] if self.splitting.keeps_text and text.endswith(" ") else ids

    def open_end(self, text: str) -> OpenEnd:
        line = (text.lower() if self.splitting.lowercase else text).rpartition("\n")[2]
        symbols = [symbol for symbol, _ in located(self.splitting, line)]
        if not symbols or symbols[-1] == LINE_END:
            return OpenEnd(self.encode(text))
        if line[-1] == " " if self.splitting.keeps_text else line[-1].isspace():
            return OpenEnd(self.encode_open(text), b" ", 1)
        chunk = line.split(" ")[-1] if self.splitting.split == "unicode" else line.split()[-1]
        if not chunk.endswith(self.splitting.text_of(symbols[-1])):
            return OpenEnd(self.encode(text))  # punctuation, which is dropped, has ended the last word
        count = num_open(self.splitting, chunk)
        rest = "".join(map(self.splitting.text_of, symbols[-count:]))
        has_space = len(symbols) > count and not (self.splitting.keeps_text and rest != chunk)
        rest = " " + rest if has_space else rest
        return OpenEnd(self.encode(text)[:-count], rest.encode(), len(rest))

    def texts_after(self, id: int) -> Sequence[bytes]:
        joins = id == EOS_ID or (id != UNK_ID and self._unjoined(id)[2])
        return self._joined_texts if joins else self._texts

    @cached_property
    def _joined_texts(self) -> list[bytes]:
        """What each id is where nothing keeps it apart from what is before it."""
        texts = (self._unjoined(id)[0] for id in range(self.vocab_size))
        return [b"\n" if id == EOS_ID else text.encode() for id, text in enumerate(texts)]

    @cached_property
    def _texts(self) -> list[bytes]:
        """What each id is after a word."""
        joins = (id == EOS_ID or self._unjoined(id)[1] for id in range(self.vocab_size))
        return [text if joined else b" " + text for text, joined in zip(self._joined_texts, joins, strict=True)]

    def _unjoined(self, id: int) -> tuple[str, bool, bool]:
        symbol = self.vocabulary.symbols[id]
        return unjoin(symbol) if self.splitting.keeps_text and JOINER in symbol else (symbol, False, False)

    def plain(self, id: int) -> tuple[str, str]:
        text, left, right = self._unjoined(id)
        where = " around" if left and right else " before" if left else " after" if right else ""
        return text or MARKER, f"no space{where}" if where else ""

    def encode_bytes(self, data: bytes) -> Encoded:
        data = self.splitting.prepared(data)
        blocks, unknown = [], list[str]()
        for segment in segments(data):
            ids, numbers = self._encode(segment)
            blocks.append(ids)
            unknown += map(self.splitting.text_of, self._numbering.texts(numbers))
        ids = np.concatenate(blocks)
        return Encoded(ids, tuple(unknown), *self._size(data, ids, len(unknown), _lengths(unknown)))

    def encode_counted(self, data: bytes) -> Counted:
        data = self.splitting.prepared(data)
        blocks, num_unknown, lengths = [], 0, (0, 0)
        for segment in segments(data):
            ids, numbers = self._encode(segment)
            blocks.append(ids)
            num_unknown += len(numbers)
            characters, size = self._numbering.lengths(numbers)
            lengths = lengths[0] + characters, lengths[1] + size
        ids = np.concatenate(blocks)
        return Counted(ids, *self._size(data, ids, num_unknown, lengths), num_unknown, lengths[1] + num_unknown)

    def _encode(self, segment: bytes) -> tuple[Ids, Ids]:
        """The ids, and the numbers of what the text has where they are `<unk>`."""
        if self._numbering.is_full:
            self._numbering.restart()
        numbers = self._numbering.of_segment(segment)
        is_unknown = numbers >= self.vocab_size
        return np.where(is_unknown, np.uint32(UNK_ID), numbers), numbers[is_unknown]

    def _size(self, data: bytes, ids: Ids, num_unknown: int, unknown: tuple[int, int]) -> tuple[int, int]:
        """The characters and bytes of the normalised text, given those of its unknown symbols."""
        if self.splitting.keeps_text:
            return count_characters(data), len(data)
        literal = (int(np.count_nonzero(ids == UNK_ID)) - num_unknown) * len(UNK)
        other = literal + num_neighbours(ids)
        size = int(self._sizes.take(ids).sum()) + unknown[1] + other
        characters = size if data.isascii() else int(self._lengths.take(ids).sum()) + unknown[0] + other
        return characters, size

    def decoder(self) -> Decoder:
        return WordDecoder(self.vocabulary, joins=self.splitting.split == "unicode")

    def symbol(self, id: int) -> str:
        return self.vocabulary.symbols[id] or MARKER

    def files(self) -> dict[str, bytes]:
        fields = {
            "split": self.splitting.split,
            "punctuation": self.splitting.punctuation,
            "lowercase": self.splitting.lowercase,
            **({MARKS: True} if self.splitting.marks else {}),
            "symbols": list(self.vocabulary.symbols),
        }
        return {TOKENIZER_FILE: to_json(self.unit, fields)}


@final
class WordDecoder(Decoder):
    """One space between two symbols of a line, unless one of them joins the other."""

    def __init__(self, vocabulary: Vocabulary, joins: bool) -> None:
        self._symbols = vocabulary.symbols
        self._joins = joins
        self._joined = True  # at a line's start there is nothing to keep apart from

    def feed(self, id: int) -> str:
        if id == EOS_ID:
            self._joined = True
            return "\n"
        symbol = self._symbols[id]
        text, left, right = unjoin(symbol) if self._joins and id != UNK_ID else (symbol, False, False)
        space = "" if self._joined or left else " "
        self._joined = right
        return space + text


def splitting_of(settings: TextSettings) -> Splitting:
    return Splitting(settings.split, settings.punctuation, settings.lowercase, marks=settings.split == "whitespace")


def _lengths(symbols: Iterable[str]) -> tuple[int, int]:
    """All their characters, and bytes."""
    text = "".join(symbols)
    return len(text), len(text.encode())


def num_neighbours(ids: Ids) -> int:
    """How often two tokens stand side by side in a line."""
    words = ids != EOS_ID
    return int(np.count_nonzero(words[1:] & words[:-1]))


def _count_symbols(splitting: Splitting, chunks: Iterable[str]) -> Counter[str]:
    """How often each symbol occurs, line ends left out."""
    texts = map(splitting.prepared_text, chunks)
    lines = chain.from_iterable(text.split("\n") for text in texts)
    return Counter(chain.from_iterable(map(splitting.symbols, lines)))
