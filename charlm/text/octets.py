"""Byte tokenizer: each byte of UTF-8, or of any other file, is a token. Its id is its value; no byte is unknown.

Bytes that are not UTF-8 appear in a `str` as lone surrogates, see `surrogates.py`.
"""

import codecs
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from charlm.settings import TextSettings
from charlm.text.encoded import Encoded, Token
from charlm.text.interface import EOS, TOKENIZER_FILE, Decoder, Tokenizer, to_json
from charlm.text.surrogates import to_bytes

NUM_BYTES = 256
CONTINUATION = -65  # as a signed number, the largest byte of UTF-8 that continues a character


@final
class ByteTokenizer(Tokenizer):
    unit = "byte"
    vocab_size = NUM_BYTES
    eos_id = ord("\n")
    unk_id = None
    lossless = True
    needs_lines = False
    characters_per_token = 1.0
    can_be_cut_anywhere = True
    takes_any_bytes = True
    can_spell_anything = True

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls()

    @classmethod
    def load(cls, fields: Mapping[str, Any], symbols: Any, model: Path) -> Self:
        return cls()

    def normalise(self, text: str) -> str:
        return text

    def encode_detailed(self, text: str) -> Encoded:
        return self.encode_bytes(to_bytes(text))

    def tokens(self, text: str) -> list[Token]:
        characters = map(to_bytes, text)
        return [Token(byte, end) for end, character in enumerate(characters, 1) for byte in character]

    def encode_bytes(self, data: bytes) -> Encoded:
        """The ids of any bytes. If they are not UTF-8, each byte that does not continue a character counts as one."""
        ids = np.frombuffer(data, np.uint8).astype(np.uint32)
        return Encoded(ids, (), count_characters(data), len(data))

    def decoder(self) -> Decoder:
        return ByteDecoder()

    def symbol(self, id: int) -> str:
        if id == self.eos_id:
            return EOS
        return chr(id) if 32 <= id < 127 else f"0x{id:02X}"

    def files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: to_json(self.unit, {})}


class ByteDecoder(Decoder):
    """Returns a character with its last byte, and a byte that is not UTF-8 as a lone surrogate, as in `to_text`."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, id: int) -> str:
        return self._decoder.decode(bytes((id,)))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def count_characters(data: bytes) -> int:
    """The number of characters that begin in these bytes of UTF-8."""
    if data.isascii():
        return len(data)
    return int(np.count_nonzero(np.frombuffer(data, np.int8) > CONTINUATION))


def count_bytes(data: bytes) -> NDArray[np.int64]:
    """How often each byte occurs: (256,). Counting pairs of bytes takes half the time of counting single ones."""
    pairs = np.bincount(np.frombuffer(data, np.uint16, len(data) // 2), minlength=NUM_BYTES**2)
    square = pairs.reshape(NUM_BYTES, NUM_BYTES)
    counts: NDArray[np.int64] = square.sum(0) + square.sum(1)
    if len(data) % 2:
        counts[data[-1]] += 1
    return counts
