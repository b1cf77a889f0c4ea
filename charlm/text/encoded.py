"""A text as ids, with its lengths in characters and bytes, by which its log-probability is divided."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint32]


@dataclass(frozen=True)
class Encoded:
    """A text as ids, with the lengths by which its log-probability is divided.

    `unknown` holds the original of each token that became `<unk>`, in the order of the text. `characters` and `bytes`
    (of UTF-8) are those of the normalised text; a line end counts as one of each.
    """

    ids: Ids
    unknown: tuple[str, ...]
    characters: int
    bytes: int


@dataclass(frozen=True)
class Token:
    """One token of a text. It ends after the first `end` characters of the text.

    `unknown` is its original if it became `<unk>`, else None.
    """

    id: int
    end: int
    unknown: str | None = None


@dataclass(frozen=True)
class OpenEnd:
    """A text that will be continued: the ids that are certain, and the end of the text whose tokens may change.

    `rest` is that end in UTF-8, as it would be spelled by `Tokenizer.texts_after`. It decodes to `characters`
    characters.
    """

    ids: Ids
    rest: bytes = b""
    characters: int = 0


@dataclass(frozen=True)
class Counted:
    """A text as ids, with its lengths and with counts of its unknown symbols.

    `unknown_bytes` are the bytes of their UTF-8 and one more for the end of each.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    characters: int
    bytes: int
    num_unknown: int
    unknown_bytes: int

    @classmethod
    def from_encoded(cls, encoded: Encoded) -> Self:
        unknown = encoded.unknown
        unknown_bytes = len("".join(unknown).encode()) + len(unknown)
        return cls(encoded.ids, encoded.characters, encoded.bytes, len(unknown), unknown_bytes)
