"""One token a word: split by Unicode with nothing lost, or at white space for text that is tokenized already."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from charlm.config import TextSettings
from charlm.text.interface import TOKENIZER_FILE, UNK, Counted, Decoder, Encoded, Ids, Tokenizer, flag_field, to_json
from charlm.text.joining import unjoin
from charlm.text.numbering import Numbering
from charlm.text.octets import count_characters
from charlm.text.splitting import SPELL, Splitting, segments
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

DEFAULT_VOCAB_SIZE = 10_000
LONGEST_TYPE = 200  # characters; what is longer is not kept as a type
MAX_REMEMBERED = 500_000  # pieces whose ids are remembered while encoding
SHORT = 1000  # characters; a line up to here is not worth looking up in tables
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
        self._ids = {**vocabulary.ids, UNK: UNK_ID}
        self._numbering = Numbering(self.splitting, self._ids, self.vocab_size, MAX_REMEMBERED)
        texts = ["\n", "", *vocabulary.symbols[2:]]
        self._lengths = np.array([len(text) for text in texts], np.uint32)  # characters
        self._sizes = np.array([len(text.encode()) for text in texts], np.uint32)  # bytes

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls.of_counts(settings, _count_symbols(splitting_of(settings), chunks))

    @classmethod
    def of_counts(cls, settings: TextSettings, counts: Mapping[str, int]) -> Self:
        """With the most frequent symbols; line ends are not among them."""
        types = {symbol: count for symbol, count in counts.items() if len(symbol) <= LONGEST_TYPE}
        size = settings.vocab_size or DEFAULT_VOCAB_SIZE
        return cls(Vocabulary.of_counts(types, size, settings.min_count), splitting_of(settings))

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        split, punctuation = fields["split"], fields["punctuation"]
        if (split, punctuation) not in SPELL:
            raise ValueError(f"no such way to split: {split!r}, {punctuation!r}")
        splitting = Splitting(split, punctuation, flag_field(fields, "lowercase"))
        return cls(Vocabulary.of_json(fields["symbols"]), splitting)

    def normalise(self, text: str) -> str:
        return self.splitting.normalise(text)

    def grown(self, learned: Self) -> Self:
        return type(self)(self.vocabulary.grown(learned.vocabulary), self.splitting)

    def encode_detailed(self, text: str) -> Encoded:
        is_short_line = len(text) <= SHORT and "\n" not in text
        return self._encode_line(text) if is_short_line else self.encode_bytes(text.encode())

    def _encode_line(self, line: str) -> Encoded:
        """Symbol by symbol, which is sooner done for one sentence."""
        line = line.lower() if self.splitting.lowercase else line
        symbols = list(self.splitting.symbols(line))
        ids = np.array([self._ids.get(symbol, UNK_ID) for symbol in symbols], np.uint32)
        unknown = tuple(symbol for symbol in symbols if symbol not in self._ids)
        return Encoded(ids, unknown, *self._size(line.encode(), ids, len(unknown), _lengths(unknown)))

    def encode_bytes(self, data: bytes) -> Encoded:
        data = self.splitting.cased(data)
        blocks, unknown = [], []
        for segment in segments(data):
            ids, numbers = self._encode(segment)
            blocks.append(ids)
            unknown += self._numbering.texts(numbers)
        ids = np.concatenate(blocks)
        return Encoded(ids, tuple(unknown), *self._size(data, ids, len(unknown), _lengths(unknown)))

    def encode_counted(self, data: bytes) -> Counted:
        data = self.splitting.cased(data)
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
    return Splitting(settings.split, settings.punctuation, settings.lowercase)


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
    texts = (chunk.lower() for chunk in chunks) if splitting.lowercase else chunks
    lines = chain.from_iterable(text.split("\n") for text in texts)
    return Counter(chain.from_iterable(map(splitting.symbols, lines)))
