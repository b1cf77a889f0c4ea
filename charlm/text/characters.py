"""One token a character (a Unicode code point), by table look-up on whole blocks of text."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from charlm.config import TextSettings
from charlm.text.interface import (
    TOKENIZER_FILE,
    UNK,
    Decoder,
    Encoded,
    Ids,
    SymbolDecoder,
    Tokenizer,
    flag_field,
    to_json,
)
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

NUM_ASCII = 128
BLOCK = 1 << 16  # characters a time: 2 bytes of count table each at most, and the block stays in the cache


@final
class CharacterTokenizer(Tokenizer):
    unit = "char"
    eos_id = EOS_ID
    unk_id = UNK_ID

    def __init__(self, vocabulary: Vocabulary, lowercase: bool = False) -> None:
        """Raises ValueError when a symbol is not one character."""
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.vocab_size = len(vocabulary)
        self.lossless = not lowercase
        self.needs_lines = lowercase  # a capital sigma's small form depends on what follows it in the word
        if any(len(symbol) != 1 for symbol in vocabulary.ids):
            raise ValueError("a symbol is not one character")
        self._table = _table(vocabulary)
        self._ascii = bytes(self._table[:NUM_ASCII].astype(np.uint8)).ljust(256, b"\0")
        self._fits_byte = bool(self._table[:NUM_ASCII].max() < 256)

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        counts = count_characters(chunk.lower() for chunk in chunks) if settings.lowercase else count_characters(chunks)
        counts.pop("\n", None)
        return cls(Vocabulary.of_counts(counts, settings.vocab_size, settings.min_count), settings.lowercase)

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        return cls(Vocabulary.of_json(fields["symbols"]), flag_field(fields, "lowercase"))

    def normalise(self, text: str) -> str:
        return text.lower() if self.lowercase else text

    def encode_detailed(self, text: str) -> Encoded:
        text = self.normalise(text)
        ids = self.encode_normalised(text)
        unknown = tuple(text[at] for at in np.flatnonzero(ids == UNK_ID))
        return Encoded(ids, unknown, len(text), len(text) if text.isascii() else len(text.encode()))

    def encode_normalised(self, text: str) -> Ids:
        if text.isascii() and self._fits_byte:
            return np.frombuffer(text.encode().translate(self._ascii), np.uint8).astype(np.uint32)
        return self._table.take(_code_points(text), mode="clip")

    def decoder(self) -> Decoder:
        return SymbolDecoder(("\n", UNK, *self.vocabulary.symbols[2:]))

    def symbol(self, id: int) -> str:
        return self.vocabulary.symbols[id]

    def files(self) -> dict[str, bytes]:
        fields = {"lowercase": self.lowercase, "symbols": list(self.vocabulary.symbols)}
        return {TOKENIZER_FILE: to_json(self.unit, fields)}


def count_characters(chunks: Iterable[str]) -> dict[str, int]:
    """How often each character occurs."""
    ascii_pairs = np.zeros(1 << 16, np.int64)
    counts = np.zeros(0x110000, np.int64)
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK):
            _count(chunk[start : start + BLOCK], ascii_pairs, counts)
    square = ascii_pairs.reshape(256, 256)
    counts[:256] += square.sum(0) + square.sum(1)
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _count(block: str, ascii_pairs: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Add a block to the tables: ASCII two characters at a time, which halves the work."""
    if block.isascii():
        if len(block) % 2:
            counts[ord(block[-1])] += 1
        data = np.frombuffer(block.encode(), np.uint8)
        found = np.bincount(data[: len(block) // 2 * 2].view(np.uint16))
        ascii_pairs[: len(found)] += found
    else:
        found = np.bincount(_code_points(block))
        counts[: len(found)] += found


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _table(vocabulary: Vocabulary) -> Ids:
    """The id of each code point; the last entry stands for all that follow."""
    codes = [ord(symbol) for symbol in vocabulary.ids]
    table = np.full(max([NUM_ASCII, *codes]) + 2, UNK_ID, np.uint32)
    table[codes] = list(vocabulary.ids.values())
    table[ord("\n")] = EOS_ID
    return table
