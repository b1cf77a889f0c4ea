"""Ids on disk: a header of JSON, then the ids, read by memory-mapping."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.errors import RunError
from charlm.settings import CorpusSettings, LineEnds, NormalForm
from charlm.system.files import open_file, parse_json, replacing
from charlm.text.interface import Counted, Tokenizer
from charlm.text.octets import NUM_BYTES, count_bytes

MAGIC = b"charlm-ids-1\n"
HEADER_SIZE = 1024  # bytes; a multiple of 64, so that the ids behind it are aligned
CHUNK = 1 << 22  # bytes
MAX_COUNT = (1 << 62) - 1  # of anything that is counted
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
    line_ends: LineEnds = "keep"
    """How the text was read, as its `normal_form`."""
    normal_form: NormalForm = "keep"


@dataclass(frozen=True)
class IdsFile:
    """A text's ids on disk. `ids[0]` is `<eos>`, the first input; the tokens to be predicted are `ids[1:]`."""

    path: Path
    header: Header

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and check the header. Raises RunError when the file is missing, truncated or none of charlm's."""
        with _open(path) as file:
            head = file.read(HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
        if not head.startswith(MAGIC):
            raise _damaged(path, "it does not begin as a file of ids")
        header = _header(path, head)
        opened = cls(path, header)
        if size != opened.num_bytes:
            raise _damaged(path, f"{size:,} bytes are not {header.count:,} ids of {header.dtype}")
        return opened

    @cached_property
    def ids(self) -> StoredIds:
        """All ids, the leading `<eos>` too, mapped from the disk."""
        with _open(self.path) as file:
            return np.memmap(file, self.header.dtype, mode="r", offset=HEADER_SIZE, shape=(self.header.count,))

    @property
    def num_tokens(self) -> int:
        return self.header.num_tokens

    @property
    def num_bytes(self) -> int:
        """Of the whole file."""
        return HEADER_SIZE + self.header.count * np.dtype(self.header.dtype).itemsize

    def counts(self, size: int) -> NDArray[np.int64]:
        """How often each id below `size` occurs among the tokens."""
        counts = np.zeros(max(size, NUM_BYTES), np.int64)
        dtype = np.dtype(self.header.dtype)
        with _open(self.path) as file:  # not by memory-mapping: all that was read would count as ours
            file.seek(HEADER_SIZE + dtype.itemsize)
            while block := file.read(COUNTED * dtype.itemsize):
                if dtype.itemsize == 1:
                    counts[:NUM_BYTES] += count_bytes(block)
                else:
                    counts += np.bincount(np.frombuffer(block, dtype), minlength=len(counts))
        return counts[:size]

    def verify(self, vocab_size: int, eos_id: int) -> None:
        """Read everything once. Raises RunError when a byte has changed, or an id is none of such a vocabulary."""
        dtype = np.dtype(self.header.dtype)
        checksum, highest, first = 0, 0, None
        with _open(self.path) as file:
            file.seek(HEADER_SIZE)
            while block := file.read(CHUNK):
                checksum = zlib.crc32(block, checksum)
                ids = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
                first = int(ids[0]) if first is None else first
                highest = max(highest, int(ids.max()))
        if checksum != self.header.crc32:
            raise _damaged(self.path, "its checksum differs")
        if highest >= vocab_size or first != eos_id:
            raise _damaged(self.path, "it has ids that its tokenizer does not have, or does not begin with <eos>")

    def header_sha256(self) -> str:
        """Of the file's first bytes, which hold the checksum of the others."""
        with _open(self.path) as file:
            return hashlib.sha256(file.read(HEADER_SIZE)).hexdigest()


def write_ids(
    path: Path,
    tokenizer: Tokenizer,
    pieces: Iterable[Counted],
    source_sha256: str = "",
    reading: CorpusSettings | None = None,
) -> IdsFile:
    """Write a text's ids as they come, in constant memory, and put the file in place when it is whole.

    Raises ResourceError when the place cannot be written.
    """
    with replacing(path) as file:
        file.write(bytes(HEADER_SIZE))
        header = replace(_write(file, tokenizer, pieces), source_sha256=source_sha256)
        if reading:
            header = replace(header, line_ends=reading.line_ends or "keep", normal_form=reading.normal_form)
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


def _open(path: Path) -> BinaryIO:
    try:
        return open_file(path)
    except (OSError, ValueError) as error:
        why = error.strerror or error if isinstance(error, OSError) else error
        raise RunError(f"cannot read the ids: {why}", str(path)) from error


def _header(path: Path, head: bytes) -> Header:
    try:
        header = Header(**parse_json(head[len(MAGIC) :]))
    except (ValueError, TypeError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if not _is_sound(header):
        raise _damaged(path, "its header has what charlm never wrote")
    return header


def _is_sound(header: Header) -> bool:
    """Whether all fields are of their types, and the counts agree with each other."""
    for one in fields(Header):
        value = getattr(header, one.name)
        if one.type is int and not (type(value) is int and 0 <= value <= MAX_COUNT):
            return False
        if one.type is not int and not isinstance(value, str):
            return False
    return (
        header.dtype in get_args(StoredType)
        and header.line_ends in get_args(LineEnds)
        and header.normal_form in get_args(NormalForm)
        and header.num_tokens == header.count - 1
        and max(header.num_lines, header.num_unknown) <= header.num_tokens
        and header.num_unknown <= header.unknown_bytes
        and header.num_characters <= header.num_bytes
        and (header.num_tokens > 0) <= (header.num_characters > 0)
        and header.crc32 < 1 << 32
    )


def _damaged(path: Path, how: str) -> RunError:
    return RunError(f"damaged ids: {how}", str(path), "write them again with charlm tokenize -o DIR")
