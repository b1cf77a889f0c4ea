"""The interface of all tokenizers: text to ids and back, with an `<eos>` for each line end."""

import bisect
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Self

from charlm.errors import TextError
from charlm.settings import TextSettings, Unit
from charlm.system.records import Count
from charlm.text.encoded import Counted, Encoded, Ids, OpenEnd, Token
from charlm.text.long_lines import Place, at_a_space

EOS = "<eos>"
UNK = "<unk>"
TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "tokenizer.model"
FORMAT_VERSION = 1
MAX_TOKENIZER = 1 << 28  # bytes of tokenizer.json
EMPTY_SYMBOL = "␣"  # how the empty symbol, which stands between two spaces, is shown

Joins = tuple[bool, bool]
"""Whether a token joins the one before it and the one after it; otherwise a space is between them."""


@dataclass(frozen=True)
class Header:
    """The fields that every `tokenizer.json` begins with."""

    format: Literal["charlm-tokenizer"]
    version: Count
    unit: Unit


class Decoder(ABC):
    """Turns ids into text, one at a time. Text that `feed` has returned is never changed by later ids."""

    @abstractmethod
    def feed(self, id: int) -> str:
        """The text that is certain with this id; empty while, for example, a character lacks some of its bytes."""

    def finish(self) -> str:
        """The text that was still uncertain, given that no further id follows."""
        return ""


class Tokenizer(ABC):
    """Turns text into ids below `vocab_size` and back. It never changes, and threads can share it.

    `eos_id` stands for each line end ("\\n") of the normalised text, and for nothing else.
    """

    unit: Unit
    vocab_size: int
    eos_id: int
    unk_id: int | None
    lossless: bool
    """Whether `decode(encode(text)) == text` for every text whose symbols are known."""
    needs_lines: bool
    """Whether the pieces in which a long text is encoded must end at line ends, or at a `place_to_cut` in a line."""
    characters_per_token: float
    """About how many characters a token has; default sizes follow from it. A property of the unit."""
    can_be_cut_anywhere: bool = False
    """Whether every character is a token or several, so that a text can be cut anywhere. A property of the unit."""
    can_grow: bool = False
    """Whether `grown` can add symbols. A property of the unit."""
    takes_any_bytes: bool = False
    """Whether it reads any bytes, which then stay as they are, and not text only. A property of the unit."""
    can_spell_anything: bool = False
    """Whether some sequence of tokens writes any given text."""

    def written(self) -> Iterator[tuple[str, Joins]]:
        """What each token writes, except `<eos>` and `<unk>`, and how it joins others."""
        return (
            (self.symbol(id), (True, True)) for id in range(self.vocab_size) if id not in (self.eos_id, self.unk_id)
        )

    @property
    def place_to_cut(self) -> Place:
        """Where a long line can be cut without changing its ids. A space there belongs to no token of words."""
        return at_a_space

    @classmethod
    @abstractmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        """Learn the symbols from a text. What the user should know about them is appended to `notes`."""

    @classmethod
    @abstractmethod
    def load(cls, fields: Mapping[str, Any], symbols: Any, model: Path) -> Self:
        """Make a tokenizer from a `tokenizer.json`: its list of symbols, if any, its other fields, and its model file.

        Raises ValueError if they are damaged.
        """

    @abstractmethod
    def encode_detailed(self, text: str) -> Encoded:
        """The ids of a text with its lengths and its unknown symbols."""

    @abstractmethod
    def tokens(self, text: str) -> list[Token]:
        """The tokens of a text, each with the place where it ends. It is slow: use it for single sentences."""

    @abstractmethod
    def normalise(self, text: str) -> str:
        """The text without what the tokenizer drops: letter case, for example, or repeated spaces."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A new decoder, which shows an unknown symbol as `<unk>`."""

    @abstractmethod
    def symbol(self, id: int) -> str:
        """How a type is shown to people, for example `<eos>` or `a`."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """The content by name of the files from which `load` makes this tokenizer, the same bytes each time."""

    def grown(self, learned: Self) -> Self:
        """This tokenizer with the symbols that only `learned`, built from a further text, has appended."""
        return self

    def plain(self, id: int) -> tuple[str, str]:
        """A type's symbol without the joiners that charlm adds, and their meaning, such as "no space before"."""
        return self.symbol(id), ""

    def encode_open(self, text: str) -> Ids:
        """The ids of a text that will be continued: a space at its end belongs to the word that follows."""
        return self.encode(text)

    def open_end(self, text: str) -> OpenEnd:
        """The ids of a text that will be continued, apart from its end, whose tokens depend on what follows."""
        return OpenEnd(self.encode(text))

    def texts_after(self, id: int) -> Sequence[bytes]:
        """For each id, the UTF-8 that it adds to a text that ends with the token `id`.

        Only for tokenizers whose `open_end` can leave a rest.
        """
        raise NotImplementedError(f"open_end leaves no rest for {self.unit} tokenizers")

    def encode_bytes(self, data: bytes) -> Encoded:
        """What `encode_detailed` returns, for a text given as UTF-8."""
        return self.encode_detailed(data.decode())

    def encode_counted(self, data: bytes) -> Counted:
        """The ids of a text given as UTF-8, with its lengths and the number and size of its unknown symbols."""
        return Counted.from_encoded(self.encode_bytes(data))

    def encode(self, text: str) -> Ids:
        return self.encode_detailed(text).ids

    def decode(self, ids: Iterable[int]) -> str:
        decoder = self.decoder()
        return "".join([decoder.feed(int(id)) for id in ids]) + decoder.finish()

    def sha256(self) -> str:
        """A fingerprint of the files: tokenizers with the same fingerprint give the same ids."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files().items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()


class SymbolDecoder(Decoder):
    """A decoder for tokens whose text does not depend on their neighbours."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts

    def feed(self, id: int) -> str:
        return self._texts[id]


def check_is_text(data: bytes) -> None:
    """Raise TextError if `data` is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        to_do = "a model of bytes takes any file: charlm train --unit byte"
        raise TextError("the text is not valid utf-8", f"byte offset {error.start}", to_do) from error


def ends_before_lowercasing(text: str, ends: Iterable[int]) -> list[int]:
    """Places in a text, from places in its lowercased form, where a few characters (such as İ) become two."""
    sizes = [len(character.lower()) for character in text]
    if sum(sizes) == len(text):
        return list(ends)
    places = list(accumulate(sizes))
    return [bisect.bisect_left(places, end) + 1 if end else 0 for end in ends]


def to_json(unit: Unit, fields: Mapping[str, Any]) -> bytes:
    """The content of `tokenizer.json`."""
    header = Header("charlm-tokenizer", FORMAT_VERSION, unit)
    return (json.dumps({**vars(header), **fields}, ensure_ascii=False, indent=1) + "\n").encode()
