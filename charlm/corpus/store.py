"""Ids on disk: a header of JSON, then the ids, read by memory-mapping."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.errors import RunError
from charlm.files import replacing
from charlm.text.interface import Counted, Tokenizer
from charlm.text.octets import NUM_BYTES, count_bytes

MAGIC = b"charlm-ids-1\n"
HEADER_SIZE = 1024  # bytes; a multiple of 64, so that the ids behind it are aligned
CHUNK = 1 << 22  # bytes
COUNTED = 1 << 17  # ids counted at a time: the whole numbers that NumPy makes of them stay in the cache

StoredType = Literal["uint8", "uint16", "uint32"]
StoredIds = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True)
class Header:
    """What a file of ids says about itself. `count` includes the leading `<eos>`; nothing else does."""

    dtype: StoredType
    count: int
    tokenizer_sha256: str
    num_tokens: int
    num_characters: int
    """Of the normalised text, as `num_bytes` (UTF-8)."""
    num_bytes: int
    num_lines: int
    """An unfinished last line is one, too."""
    num_unknown: int
    """Tokens that became `<unk>` because the vocabulary lacks them."""
    unknown_bytes: int
    """Their length in UTF-8, each with one more for its end."""
    crc32: int
    """Of the ids' bytes."""
    source_sha256: str = ""
    """Of the text as it was given; older files do not say."""


@dataclass(frozen=True)
class IdsFile:
    """A text's ids on disk. `ids[0]` is `<eos>`, the first input; the tokens to be predicted are `ids[1:]`."""

    path: Path
    header: Header

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and check the header. Raises RunError when the file is missing, truncated or none of charlm's."""
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                head = file.read(HEADER_SIZE)
        except OSError as error:
            raise RunError(f"cannot read the ids: {error.strerror or error}", str(path)) from error
        if not head.startswith(MAGIC):
            raise _damaged(path, "it does not begin as a file of ids")
        header = _header(path, head)
        if size != HEADER_SIZE + header.count * np.dtype(header.dtype).itemsize:
            raise _damaged(path, f"{size:,} bytes are not {header.count:,} ids of {header.dtype}")
        return cls(path, header)

    @cached_property
    def ids(self) -> StoredIds:
        """All ids, the leading `<eos>` too, mapped from the disk."""
        return np.memmap(self.path, self.header.dtype, mode="r", offset=HEADER_SIZE, shape=(self.header.count,))

    @property
    def num_tokens(self) -> int:
        return self.header.num_tokens

    def counts(self, size: int) -> NDArray[np.int64]:
        """How often each id below `size` occurs among the tokens."""
        counts = np.zeros(max(size, NUM_BYTES), np.int64)
        dtype = np.dtype(self.header.dtype)
        with open(self.path, "rb") as file:  # not by memory-mapping: all that was read would count as ours
            file.seek(HEADER_SIZE + dtype.itemsize)
            while block := file.read(COUNTED * dtype.itemsize):
                if dtype.itemsize == 1:
                    counts[:NUM_BYTES] += count_bytes(block)
                else:
                    counts += np.bincount(np.frombuffer(block, dtype), minlength=len(counts))
        return counts[:size]

    def verify(self) -> None:
        """Read everything once. Raises RunError when a byte has changed."""
        with open(self.path, "rb") as file:
            file.seek(HEADER_SIZE)
            checksum = 0
            while block := file.read(CHUNK):
                checksum = zlib.crc32(block, checksum)
        if checksum != self.header.crc32:
            raise _damaged(self.path, "its checksum differs")


def write_ids(path: Path, tokenizer: Tokenizer, pieces: Iterable[Counted], source_sha256: str = "") -> IdsFile:
    """Write a text's ids as they come, in constant memory, and put the file in place when it is whole.

    Raises ResourceError when the place cannot be written.
    """
    with replacing(path) as file:
        file.write(bytes(HEADER_SIZE))
        header = replace(_write(file, tokenizer, pieces), source_sha256=source_sha256)
        file.seek(0)
        file.write((MAGIC + json.dumps(asdict(header)).encode()).ljust(HEADER_SIZE - 1) + b"\n")
    return IdsFile(path, header)


def _write(file: BinaryIO, tokenizer: Tokenizer, pieces: Iterable[Counted]) -> Header:
    dtype = _stored_type(tokenizer.vocab_size)
    start = np.array([tokenizer.eos_id], dtype)
    file.write(start.data)
    checksum, last = zlib.crc32(start.data), tokenizer.eos_id
    tokens = characters = size = lines = unknown = unknown_bytes = 0
    for piece in pieces:
        ids = piece.ids.astype(dtype)
        file.write(ids.data)
        checksum = zlib.crc32(ids.data, checksum)
        last = int(ids[-1]) if len(ids) else last
        tokens += len(ids)
        characters += piece.characters
        size += piece.bytes
        lines += int(np.count_nonzero(ids == tokenizer.eos_id))
        unknown += piece.num_unknown
        unknown_bytes += piece.unknown_bytes
    return Header(
        dtype=dtype,
        count=tokens + 1,
        tokenizer_sha256=tokenizer.sha256(),
        num_tokens=tokens,
        num_characters=characters,
        num_bytes=size,
        num_lines=lines + (last != tokenizer.eos_id),
        num_unknown=unknown,
        unknown_bytes=unknown_bytes,
        crc32=checksum,
    )


def _stored_type(vocab_size: int) -> StoredType:
    """The smallest one that holds the ids."""
    if vocab_size <= 1 << 8:
        return "uint8"
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def _header(path: Path, head: bytes) -> Header:
    try:
        fields: dict[str, Any] = json.loads(head[len(MAGIC) :])
        header = Header(**fields)
    except (ValueError, TypeError) as error:
        raise _damaged(path, "its header cannot be read") from error
    numbers = [value for name, value in fields.items() if name not in ("dtype", "tokenizer_sha256", "source_sha256")]
    if header.dtype not in get_args(StoredType) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise _damaged(path, "its header cannot be read")
    return header


def _damaged(path: Path, how: str) -> RunError:
    return RunError(f"damaged ids: {how}", str(path), "write them again with charlm tokenize -o DIR")
