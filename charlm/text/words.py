"""Word tokenizer: text is split by Unicode with nothing lost, or at white space if it is tokenized already."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, Self, TypeVar, final

import numpy as np

from charlm.settings import Punctuation, Split, TextSettings
from charlm.system.records import read_record
from charlm.text.encoded import Counted, Encoded, Ids, OpenEnd, Token
from charlm.text.interface import (
    EMPTY_SYMBOL,
    TOKENIZER_FILE,
    UNK,
    Decoder,
    Joins,
    Tokenizer,
    ends_before_lowercasing,
    to_json,
)
from charlm.text.joining import JOINER, unjoin
from charlm.text.locating import LINE_END, located, num_open
from charlm.text.numbering import Numbering
from charlm.text.octets import count_characters
from charlm.text.splitting import Splitting, segments
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

DEFAULT_VOCAB_SIZE = 10_000
MAX_TYPE_LENGTH = 200  # characters; a longer word does not become a type
MAX_REMEMBERED = 500_000  # pieces of text whose ids are remembered
MAX_SHORT = 1000  # characters of a text that is encoded faster without tables
MIN_SIZE = 3  # symbols: `<eos>`, `<unk>` and a word
SPACES_OF_JOINERS = {  # by whether a symbol joins the one before it and the one after it
    (False, False): "",
    (True, False): "no space before",
    (False, True): "no space after",
    (True, True): "no space around",
}

Description = TypeVar("Description")


@dataclass(frozen=True)
class WordRecord:
    """The fields of `tokenizer.json` for words, before the list of symbols. They are those of `Splitting`.

    Older files have no `marks`: they took all marks for words.
    """

    split: Split
    punctuation: Punctuation
    lowercase: bool
    marks: bool = False


@final
class WordTokenizer(Tokenizer):
    unit = "word"
    eos_id = EOS_ID
    unk_id = UNK_ID
    needs_lines = True
    characters_per_token = 5.0
    can_grow = True

    def __init__(self, vocabulary: Vocabulary, splitting: Splitting | None = None) -> None:
        self.vocabulary = vocabulary
        self.splitting = splitting or Splitting()
        self.vocab_size = len(vocabulary)
        self.lossless = self.splitting.keeps_text and not self.splitting.lowercase
        known = {**vocabulary.ids, UNK: UNK_ID}
        self._ids = {**known, LINE_END: EOS_ID}
        self._numbering = Numbering(self.splitting, known, self.vocab_size, MAX_REMEMBERED)
        self._lock = Lock()
        texts = ["\n", "", *vocabulary.symbols[2:]]
        self._lengths = np.array([len(text) for text in texts], np.uint32)  # characters
        self._sizes = np.array([len(text.encode()) for text in texts], np.uint32)  # bytes

    def __reduce__(self) -> tuple[type[Self], tuple[Vocabulary, Splitting]]:
        return type(self), (self.vocabulary, self.splitting)  # a copy needs a lock and a numbering of its own

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls.from_counts(settings, _count_symbols(splitting_of(settings), chunks))

    @classmethod
    def from_counts(cls, settings: TextSettings, counts: Mapping[str, int]) -> Self:
        """A tokenizer with the most frequent symbols; `counts` are without line ends.

        The empty symbol is included, even if it was never counted, if it is needed to keep the text and there is room.
        """
        types = {symbol: count for symbol, count in counts.items() if len(symbol) <= MAX_TYPE_LENGTH}
        size, splitting = settings.vocab_size or DEFAULT_VOCAB_SIZE, splitting_of(settings)
        vocabulary = Vocabulary.from_counts(types, size, settings.min_count)
        if splitting.keeps_text and "" not in vocabulary.ids and size > MIN_SIZE:
            vocabulary = Vocabulary((*vocabulary.symbols[: size - 1], ""))
        return cls(vocabulary, splitting)

    @classmethod
    def load(cls, fields: Mapping[str, Any], symbols: Any, model: Path) -> Self:
        splitting = Splitting(**vars(read_record(WordRecord, fields)))
        return cls(Vocabulary.from_json(symbols), splitting)

    def files(self) -> dict[str, bytes]:
        fields: dict[str, Any] = {**vars(self.splitting), "symbols": self.vocabulary.symbols}
        if not self.splitting.marks:
            del fields["marks"]  # as in older files, whose fingerprint must stay the same
        return {TOKENIZER_FILE: to_json(self.unit, fields)}

    def normalise(self, text: str) -> str:
        return self.splitting.normalise(text)

    def grown(self, learned: Self) -> Self:
        return type(self)(self.vocabulary.grown(learned.vocabulary), self.splitting)

    def encode_detailed(self, text: str) -> Encoded:
        return self._encode_short(text) if len(text) <= MAX_SHORT else self.encode_bytes(text.encode())

    def _encode_short(self, text: str) -> Encoded:
        text = self.splitting.prepared_text(text)
        first, *others = text.split("\n")
        symbols = list(self.splitting.symbols(first))
        for line in others:
            symbols += [LINE_END, *self.splitting.symbols(line)]
        ids = np.array([self._ids.get(symbol, UNK_ID) for symbol in symbols], np.uint32)
        unknown = tuple(self.splitting.text_of(symbol) for symbol in symbols if symbol not in self._ids)
        return self._encoded(text.encode(), ids, unknown)

    def encode_bytes(self, data: bytes) -> Encoded:
        data = self.splitting.prepared(data)
        ids, unknown = self._encode(data, self._numbering.symbols_of)
        return self._encoded(data, ids, tuple(map(self.splitting.text_of, chain.from_iterable(unknown))))

    def encode_counted(self, data: bytes) -> Counted:
        data = self.splitting.prepared(data)
        ids, unknown = self._encode(data, self._numbering.lengths_of)
        num_unknown, characters, size = map(sum, zip(*unknown, strict=True))
        lengths = self._normalised_lengths(data, ids, num_unknown, characters, size)
        return Counted(ids, *lengths, num_unknown, size + num_unknown)

    def _encode(self, data: bytes, describe: Callable[[Ids], Description]) -> tuple[Ids, list[Description]]:
        """The ids of a prepared text, and for each segment what `describe` says of its unknown symbols' numbers.

        Each segment is done under the lock, since other threads add to the numbering or restart it.
        """
        blocks, descriptions = [], []
        for segment in segments(data):
            with self._lock:
                if self._numbering.is_full:
                    self._numbering.restart()
                numbers = self._numbering.number_segment(segment)
                is_unknown = numbers >= self.vocab_size
                descriptions.append(describe(numbers[is_unknown]))
            blocks.append(np.where(is_unknown, np.uint32(UNK_ID), numbers))
        return np.concatenate(blocks), descriptions

    def _encoded(self, data: bytes, ids: Ids, unknown: tuple[str, ...]) -> Encoded:
        text = "".join(unknown)
        lengths = self._normalised_lengths(data, ids, len(unknown), len(text), len(text.encode()))
        return Encoded(ids, unknown, *lengths)

    def _normalised_lengths(
        self, data: bytes, ids: Ids, num_unknown: int, unknown_characters: int, unknown_bytes: int
    ) -> tuple[int, int]:
        """The characters and bytes of the normalised text, given those of its unknown symbols."""
        if self.splitting.keeps_text:
            return count_characters(data), len(data)
        num_literal = int(np.count_nonzero(ids == UNK_ID)) - num_unknown  # where the text itself has "<unk>"
        others = num_literal * len(UNK) + num_neighbours(ids)
        size = int(self._sizes.take(ids).sum()) + unknown_bytes + others
        characters = size if data.isascii() else int(self._lengths.take(ids).sum()) + unknown_characters + others
        return characters, size

    def tokens(self, text: str) -> list[Token]:
        cased = text.lower() if self.splitting.lowercase else text
        symbols = list(located(self.splitting, cased))
        ends = [end for _, end in symbols]
        if self.splitting.lowercase:
            ends = ends_before_lowercasing(text, ends)
        return [self._token(symbol, end) for (symbol, _), end in zip(symbols, ends, strict=True)]

    def _token(self, symbol: str, end: int) -> Token:
        id = self._ids.get(symbol)
        return Token(UNK_ID, end, self.splitting.text_of(symbol)) if id is None else Token(id, end)

    def encode_open(self, text: str) -> Ids:
        ids = self.encode(text)
        return ids[:-1] if self.splitting.keeps_text and text.endswith(" ") else ids

    def encode_after(self, text: str) -> Ids:
        ids = self.encode(text)
        return ids[1:] if self.splitting.keeps_text and text.startswith(" ") else ids

    def open_end(self, text: str) -> OpenEnd:
        splitting = self.splitting
        line = (text.lower() if splitting.lowercase else text).rpartition("\n")[2]
        symbols = [symbol for symbol, _ in located(splitting, line)]
        if not symbols or symbols[-1] == LINE_END:
            return OpenEnd(self.encode(text))
        if line[-1] == " " if splitting.keeps_text else line[-1].isspace():
            return OpenEnd(self.encode_open(text), b" ", 1)
        chunk = line.split(" ")[-1] if splitting.split == "unicode" else line.split()[-1]
        if not chunk.endswith(splitting.text_of(symbols[-1])):
            return OpenEnd(self.encode(text))  # dropped punctuation has ended the last word
        count = num_open(splitting, chunk)
        rest = "".join(map(splitting.text_of, symbols[-count:]))
        if len(symbols) > count and not (splitting.keeps_text and rest != chunk):
            rest = " " + rest
        return OpenEnd(self.encode(text)[:-count], rest.encode(), len(rest))

    def texts_after(self, id: int) -> Sequence[bytes]:
        joins_next = id == EOS_ID or (id != UNK_ID and self._unjoin(id)[2])
        return self._texts if joins_next else self._texts_after_a_word

    @cached_property
    def _texts(self) -> list[bytes]:
        """For each id, its text where no space is needed before it."""
        texts = (self._unjoin(id)[0] for id in range(self.vocab_size))
        return [b"\n" if id == EOS_ID else text.encode() for id, text in enumerate(texts)]

    @cached_property
    def _texts_after_a_word(self) -> list[bytes]:
        """For each id, its text with the space that it needs after a word."""
        joins_previous = (id == EOS_ID or self._unjoin(id)[1] for id in range(self.vocab_size))
        return [text if joins else b" " + text for text, joins in zip(self._texts, joins_previous, strict=True)]

    def _unjoin(self, id: int) -> tuple[str, bool, bool]:
        """A type's text, and whether it joins the symbol before it and the symbol after it."""
        symbol = self.vocabulary.symbols[id]
        return unjoin(symbol) if self.splitting.keeps_text and JOINER in symbol else (symbol, False, False)

    def written(self) -> Iterator[tuple[str, Joins]]:
        has_joiners = self.splitting.split == "unicode"
        for symbol in self.vocabulary.ids:
            text, joins_previous, joins_next = unjoin(symbol) if has_joiners else (symbol, False, False)
            yield text, (joins_previous, joins_next)

    def plain(self, id: int) -> tuple[str, str]:
        text, joins_previous, joins_next = self._unjoin(id)
        return text or EMPTY_SYMBOL, SPACES_OF_JOINERS[joins_previous, joins_next]

    def symbol(self, id: int) -> str:
        return self.vocabulary.symbols[id] or EMPTY_SYMBOL

    def decoder(self) -> Decoder:
        return WordDecoder(self.vocabulary, has_joiners=self.splitting.split == "unicode")


@final
class WordDecoder(Decoder):
    """Puts a space between two symbols of a line, unless one of them joins the other."""

    def __init__(self, vocabulary: Vocabulary, has_joiners: bool) -> None:
        self._symbols = vocabulary.symbols
        self._has_joiners = has_joiners
        self._needs_no_space = True

    def feed(self, id: int) -> str:
        if id == EOS_ID:
            self._needs_no_space = True
            return "\n"
        symbol = self._symbols[id]
        text, joins_previous, joins_next = (
            unjoin(symbol) if self._has_joiners and id != UNK_ID else (symbol, False, False)
        )
        space = "" if self._needs_no_space or joins_previous else " "
        self._needs_no_space = joins_next
        return space + text


def splitting_of(settings: TextSettings) -> Splitting:
    return Splitting(settings.split, settings.punctuation, settings.lowercase, marks=settings.split == "whitespace")


def num_neighbours(ids: Ids) -> int:
    """How many pairs of neighbouring words there are, each with one space between: neither of a pair is `<eos>`."""
    words = ids != EOS_ID
    return int(np.count_nonzero(words[1:] & words[:-1]))


def _count_symbols(splitting: Splitting, chunks: Iterable[str]) -> Counter[str]:
    """How often each symbol occurs, without line ends."""
    texts = map(splitting.prepared_text, chunks)
    lines = chain.from_iterable(text.split("\n") for text in texts)
    return Counter(chain.from_iterable(map(splitting.symbols, lines)))


def is_split_at_white_space(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of a text are what stands between white space."""
    return isinstance(tokenizer, WordTokenizer) and tokenizer.splitting.split == "whitespace"
