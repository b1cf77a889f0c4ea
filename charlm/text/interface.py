"""What every tokenizer promises: text <-> ids, lines ended by `<eos>`, nothing lost that is not declared lost."""

import bisect
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError
from charlm.settings import TextSettings, Unit
from charlm.text.long_lines import Place, at_a_space

Ids = NDArray[np.uint32]

EOS = "<eos>"
UNK = "<unk>"
TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "tokenizer.model"
FORMAT = "charlm-tokenizer"
FORMAT_VERSION = 1
BYTES_TO_DO = "a model of bytes takes any: charlm train --unit byte"
MAX_TOKENIZER = 1 << 28  # bytes of tokenizer.json


@dataclass(frozen=True)
class Encoded:
    """A text as ids, with what its numbers are divided by.

    `unknown` holds, in order, what the text has in place of each token that became `<unk>` because the vocabulary
    lacks it. `characters` and `bytes` (UTF-8) are those of the normalised text, each end of line counted as one.
    """

    ids: Ids
    unknown: tuple[str, ...]
    characters: int
    bytes: int


@dataclass(frozen=True)
class Token:
    """One token of a text. `end` says how many characters of the text have been read with it.

    `unknown` is what the text has in its place, where it became `<unk>` because the vocabulary lacks that.
    """

    id: int
    end: int
    unknown: str | None = None


@dataclass(frozen=True)
class OpenEnd:
    """A text that is to go on. `ids` stay, whatever follows; the text's end `rest` may get other tokens then.

    `rest` is UTF-8, as `Tokenizer.texts_after` gives texts; a decoder makes `characters` of it.
    """

    ids: Ids
    rest: bytes = b""
    characters: int = 0


@dataclass(frozen=True)
class Counted:
    """A text as ids, and what is counted of it; of unknown tokens their number, and their bytes with one more each."""

    ids: NDArray[np.unsignedinteger[Any]]
    characters: int
    bytes: int
    num_unknown: int
    unknown_bytes: int

    @classmethod
    def of(cls, encoded: Encoded) -> Self:
        unknown = encoded.unknown
        unknown_bytes = len("".join(unknown).encode()) + len(unknown)
        return cls(encoded.ids, encoded.characters, encoded.bytes, len(unknown), unknown_bytes)


class Decoder(ABC):
    """Ids to text, one at a time: what `feed` has returned is never taken back."""

    @abstractmethod
    def feed(self, id: int) -> str:
        """The text that this id makes certain; empty while, say, a character's bytes are incomplete."""

    def finish(self) -> str:
        """What is left when no further id comes."""
        return ""


class Tokenizer(ABC):
    """Text to ids and back; all ids are below `vocab_size`.

    Every "\\n" of the normalised text, and only that, becomes `eos_id`.
    """

    unit: Unit
    vocab_size: int
    eos_id: int
    unk_id: int | None
    lossless: bool
    """Whether `decode(encode(text)) == text` for every text whose symbols are known."""
    needs_lines: bool
    """Whether a long text may be encoded in pieces only if they end at line ends, or where a long line may be cut."""

    @property
    def place_to_cut(self) -> Place:
        """Where a long line may be cut, where `needs_lines`; for words, the space there belongs to neither side."""
        return at_a_space

    @classmethod
    @abstractmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        """Learn the symbols of a text; what a person should know about that is appended to `notes`."""

    @classmethod
    @abstractmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        """From the fields of `tokenizer.json`. Raises KeyError, TypeError or ValueError when they are damaged."""

    @abstractmethod
    def encode_detailed(self, text: str) -> Encoded:
        """The ids of a text, and what has to be known to divide by characters and to price unknown symbols."""

    @abstractmethod
    def tokens(self, text: str) -> list[Token]:
        """The tokens of `encode_detailed` one by one, with the place where each ends: slower, for single sentences."""

    @abstractmethod
    def normalise(self, text: str) -> str:
        """The text that the counts are of; the text itself when nothing is lost."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A fresh streaming decoder; an unknown symbol is shown as `<unk>`."""

    @abstractmethod
    def symbol(self, id: int) -> str:
        """How a type is shown to people, such as `<eos>`, `a`, a space."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """All of it as files, by name, the same bytes each time."""

    def grown(self, learned: Self) -> Self:
        """This tokenizer with the symbols of one that was learned from a further text, behind its own."""
        return self

    def plain(self, id: int) -> tuple[str, str]:
        """A type's symbol without marks of charlm's own, and what these say about the spaces beside it."""
        return self.symbol(id), ""

    def encode_open(self, text: str) -> Ids:
        """The ids of a text that is to go on; of words, a space at its end belongs to what follows."""
        return self.encode(text)

    def open_end(self, text: str) -> OpenEnd:
        """The same for new text: what is certain, and the end that may get other tokens with what follows."""
        return OpenEnd(self.encode(text))

    def texts_after(self, id: int) -> Sequence[bytes]:
        """What each id adds to a text whose last token is this one, where `open_end` leaves something open."""
        raise NotImplementedError(f"{self.unit}s leave nothing open")

    def encode_bytes(self, data: bytes) -> Encoded:
        """The same as `encode_detailed` for a text as UTF-8."""
        return self.encode_detailed(data.decode())

    def encode_counted(self, data: bytes) -> Counted:
        """The same for who does not ask what the unknown tokens were."""
        return Counted.of(self.encode_bytes(data))

    def encode(self, text: str) -> Ids:
        return self.encode_detailed(text).ids

    def decode(self, ids: Iterable[int]) -> str:
        decoder = self.decoder()
        return "".join([decoder.feed(int(id)) for id in ids]) + decoder.finish()

    def sha256(self) -> str:
        """A fingerprint: tokenizers with the same one give the same ids."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files().items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()


class SymbolDecoder(Decoder):
    """For units whose symbols are their own text, whatever stands beside them."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts

    def feed(self, id: int) -> str:
        return self._texts[id]


def text_from_argument(text: str) -> str:
    """A command line's argument as real text: bytes of it that are not text (lone surrogates) become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def check_is_text(data: bytes) -> None:
    """Raise TextError for bytes that are no UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise TextError("the text is not valid utf-8", f"byte offset {error.start}", BYTES_TO_DO) from error


def ends_before_lower(text: str, ends: Iterable[int]) -> list[int]:
    """Places in a text, given those in its lowercased form: a few characters become two."""
    sizes = [len(character.lower()) for character in text]
    if sum(sizes) == len(text):
        return list(ends)
    places = list(accumulate(sizes))
    return [bisect.bisect_left(places, end) + 1 if end else 0 for end in ends]


def to_json(unit: Unit, fields: Mapping[str, Any]) -> bytes:
    """The content of `tokenizer.json`."""
    content = {"format": FORMAT, "version": FORMAT_VERSION, "unit": unit, **fields}
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def flag_field(fields: Mapping[str, Any], name: str) -> bool:
    """A boolean field. Raises ValueError when it is missing or something else."""
    value = fields.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name!r} is not true or false")
    return value
