"""One token a byte of UTF-8 (or of whatever the file holds): its id is its value, and nothing is ever unknown.

Bytes that are no UTF-8 are lone surrogates in a `str`, U+DC80 to U+DCFF, as Python has them in arguments and file
names (PEP 383): so bytes become text and the same bytes again.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from charlm.settings import TextSettings
from charlm.text.interface import EOS, TOKENIZER_FILE, Decoder, Encoded, Token, Tokenizer, to_json

NUM_BYTES = 256
NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
CONTINUATION = -65  # as signed numbers, UTF-8's continuation bytes are those up to here


@final
class OctetTokenizer(Tokenizer):
    unit = "byte"
    vocab_size = NUM_BYTES
    eos_id = ord("\n")
    unk_id = None
    lossless = True
    needs_lines = False

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        return cls()

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        return cls()

    def normalise(self, text: str) -> str:
        return text

    def encode_detailed(self, text: str) -> Encoded:
        return self.encode_bytes(to_bytes(text))

    def tokens(self, text: str) -> list[Token]:
        sizes = (to_bytes(character) for character in text)
        return [Token(byte, end) for end, character in enumerate(sizes, 1) for byte in character]

    def encode_bytes(self, data: bytes) -> Encoded:
        """The same for bytes that need not be UTF-8; a character is then any byte that does not continue one."""
        ids = np.frombuffer(data, np.uint8).astype(np.uint32)
        return Encoded(ids, (), count_characters(data), len(data))

    def decoder(self) -> Decoder:
        return OctetDecoder()

    def symbol(self, id: int) -> str:
        if id == self.eos_id:
            return EOS
        return chr(id) if 32 <= id < 127 else f"0x{id:02X}"

    def files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: to_json(self.unit, {})}


class OctetDecoder(Decoder):
    """A character appears with its last byte, a byte that is no UTF-8 as a lone surrogate: `to_bytes` gives it back."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, id: int) -> str:
        return self._decoder.decode(bytes((id,)))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def to_bytes(text: str) -> bytes:
    """The bytes of a text; what stands for none, the other half of the surrogates, is written as U+FFFD."""
    return NO_BYTES.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """The text of some bytes, from which `to_bytes` makes the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def count_characters(data: bytes) -> int:
    """The characters that begin in these bytes of UTF-8."""
    if data.isascii():
        return len(data)
    return int(np.count_nonzero(np.frombuffer(data, np.int8) > CONTINUATION))


def count_bytes(data: bytes) -> NDArray[np.int64]:
    """How often each byte occurs. They are counted two at a time, which halves the work."""
    pairs = np.bincount(np.frombuffer(data, np.uint16, len(data) // 2), minlength=NUM_BYTES**2)
    square = pairs.reshape(NUM_BYTES, NUM_BYTES)
    counts: NDArray[np.int64] = square.sum(0) + square.sum(1)
    if len(data) % 2:
        counts[data[-1]] += 1
    return counts
