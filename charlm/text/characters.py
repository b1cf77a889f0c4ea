"""Character tokenizer: each Unicode code point is a token, looked up in tables for a whole block of text at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from charlm.settings import TextSettings
from charlm.system.records import read_record
from charlm.text.encoded import Encoded, Ids, Token
from charlm.text.interface import (
    TOKENIZER_FILE,
    UNK,
    Decoder,
    SymbolDecoder,
    Tokenizer,
    ends_before_lowercasing,
    to_json,
)
from charlm.text.long_lines import Place, where_case_is_plain
from charlm.text.octets import CONTINUATION, NUM_BYTES, count_bytes
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

NUM_ASCII = 128
ASCII = bytes(range(NUM_ASCII))
CONTINUATIONS = bytes(range(NUM_ASCII, NUM_BYTES + CONTINUATION + 1))  # bytes of UTF-8 after a character's first
NUM_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class CharacterRecord:
    """The fields of `tokenizer.json` for characters, before the list of symbols."""

    lowercase: bool


@final
class CharacterTokenizer(Tokenizer):
    unit = "char"
    eos_id = EOS_ID
    unk_id = UNK_ID
    characters_per_token = 1.0
    can_be_cut_anywhere = True
    can_grow = True

    def __init__(self, vocabulary: Vocabulary, lowercase: bool = False) -> None:
        """Raises ValueError if a symbol is not one character."""
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.vocab_size = len(vocabulary)
        self.lossless = not lowercase
        self.needs_lines = lowercase  # the lowercase of a capital sigma depends on what follows it in the word
        if any(len(symbol) != 1 for symbol in vocabulary.ids):
            raise ValueError("a symbol is not one character")
        self._table = _id_table(vocabulary)
        ascii_ids = self._table[:NUM_ASCII]
        self._ascii_ids_fit_a_byte = bool(ascii_ids.max() < NUM_BYTES)
        self._placeholder = next(byte for byte in range(NUM_BYTES) if byte not in ascii_ids)
        self._byte_table = bytes(ascii_ids.astype(np.uint8)).ljust(NUM_BYTES, bytes([self._placeholder]))

    @property
    def place_to_cut(self) -> Place:
        return where_case_is_plain

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls.learn(settings, (chunk.encode() for chunk in chunks))

    @classmethod
    def learn(cls, settings: TextSettings, texts: Iterable[bytes]) -> Self:
        """A tokenizer with the most frequent characters of a text that is given in pieces of UTF-8."""
        cased = (text.decode().lower().encode() for text in texts) if settings.lowercase else texts
        counts = count_characters(cased)
        counts.pop("\n", None)
        return cls(Vocabulary.from_counts(counts, settings.vocab_size, settings.min_count), settings.lowercase)

    @classmethod
    def load(cls, fields: Mapping[str, Any], symbols: Any, model: Path) -> Self:
        return cls(Vocabulary.from_json(symbols), read_record(CharacterRecord, fields).lowercase)

    def normalise(self, text: str) -> str:
        return text.lower() if self.lowercase else text

    def grown(self, learned: Self) -> Self:
        return type(self)(self.vocabulary.grown(learned.vocabulary), self.lowercase)

    def encode_detailed(self, text: str) -> Encoded:
        return self.encode_bytes(text.encode())

    def encode_bytes(self, data: bytes) -> Encoded:
        if self.lowercase:
            data = data.decode().lower().encode()
        ids = self._encode(data)
        unknown = np.flatnonzero(ids == UNK_ID)
        text = data.decode() if len(unknown) else ""
        return Encoded(ids, tuple(text[place] for place in unknown), len(ids), len(data))

    def tokens(self, text: str) -> list[Token]:
        source = self.normalise(text)
        ids = self._encode(source.encode()).tolist()
        ends: Iterable[int] = range(1, len(ids) + 1)
        if self.lowercase:
            ends = ends_before_lowercasing(text, ends)
        unknown = (character if id == UNK_ID else None for id, character in zip(ids, source, strict=True))
        return list(map(Token, ids, ends, unknown))

    def _encode(self, data: bytes) -> Ids:
        """Look up ASCII in a table of bytes, which is the fastest way, then the other characters if they are few."""
        others = b"" if data.isascii() else data.translate(None, ASCII)
        if not self._ascii_ids_fit_a_byte or 2 * len(others) > len(data):
            return self._table.take(_code_points(data), mode="clip")
        found = np.frombuffer(data.translate(self._byte_table, CONTINUATIONS), np.uint8)
        ids = found.astype(np.uint32)
        if others:
            ids[found == self._placeholder] = self._table.take(_code_points(others), mode="clip")
        return ids

    def decoder(self) -> Decoder:
        return SymbolDecoder(("\n", UNK, *self.vocabulary.symbols[2:]))

    def symbol(self, id: int) -> str:
        return self.vocabulary.symbols[id]

    def files(self) -> dict[str, bytes]:
        fields = {**vars(CharacterRecord(self.lowercase)), "symbols": self.vocabulary.symbols}
        return {TOKENIZER_FILE: to_json(self.unit, fields)}


def count_characters(texts: Iterable[bytes]) -> dict[str, int]:
    """How often each character occurs in a text that is given in pieces of UTF-8."""
    counts = np.zeros(NUM_CODE_POINTS, np.int64)
    for text in texts:
        counts[:NUM_ASCII] += count_bytes(text)[:NUM_ASCII]
        if not text.isascii():
            others = np.bincount(_code_points(text.translate(None, ASCII)))
            counts[: len(others)] += others
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _code_points(data: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(data.decode().encode("utf-32-le"), np.uint32)


def _id_table(vocabulary: Vocabulary) -> Ids:
    """The id of each code point; the last entry, `<unk>`, also serves all larger ones."""
    codes = [ord(symbol) for symbol in vocabulary.ids]
    table = np.full(max([NUM_ASCII, *codes]) + 2, UNK_ID, np.uint32)
    table[codes] = list(vocabulary.ids.values())
    table[ord("\n")] = EOS_ID
    return table
