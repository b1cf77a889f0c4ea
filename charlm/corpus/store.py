"""The ids of a text on disk: a JSON header of fixed size, then the ids, which are read by memory-mapping."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.direction import turned
from charlm.errors import RunError
from charlm.settings import CorpusSettings, Item, LineEnds, NormalForm
from charlm.system.files import open_file, replacing
from charlm.system.json_files import parse_json
from charlm.system.records import NO_OTHER_FIELDS, Count, ShortText, read_record
from charlm.text.encoded import Counted
from charlm.text.interface import Tokenizer
from charlm.text.octets import NUM_BYTES, count_bytes

MAGIC = b"charlm-ids-1\n"
HEADER_SIZE = 1024  # bytes; a multiple of 64, so that the ids behind it are aligned
VERIFIED_BYTES = 1 << 22  # read at a time to verify a file
COUNTED_IDS = 1 << 17  # counted at a time: the integers that NumPy makes of them stay in the processor's cache

StoredType = Literal["uint8", "uint16", "uint32"]
StoredIds = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True)
class Header:
    """What a file of ids says about itself. Only `count` includes the leading `<eos>`."""

    __pydantic_config__ = NO_OTHER_FIELDS
    dtype: StoredType
    count: Count
    tokenizer_sha256: ShortText
    num_tokens: Count
    num_characters: Count
    """Characters of the normalised text."""
    num_bytes: Count
    """Bytes of the normalised text in UTF-8."""
    num_lines: Count
    """Lines of the text, an unfinished last line included."""
    num_unknown: Count
    """Tokens that became `<unk>` because the vocabulary lacks them."""
    unknown_bytes: Count
    """Bytes of the unknown tokens in UTF-8, and one more for the end of each."""
    crc32: Count
    """Checksum of the bytes that hold the ids."""
    source_sha256: ShortText = ""
    """Checksum of the text as it was given; empty in older files."""
    line_ends: LineEnds = "keep"
    """What was done with the line ends of the text."""
    normal_form: NormalForm = "keep"
    """The normal form into which the text was brought."""


@dataclass(frozen=True)
class IdsFile:
    """A text's ids on disk. `ids[0]` is `<eos>`, the first input; the tokens to predict are `ids[1:]`."""

    path: Path
    header: Header
    is_backward: bool = False
    """Whether `ids` are read from the end of the text, as `corpus/direction.py` says."""
    item: Item = "line"
    """The items of a text that is read from the end."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and check the header. Raises RunError when the file is missing, truncated, or not a file of ids."""
        with _open(path) as file:
            head = file.read(HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
        if not head.startswith(MAGIC):
            raise _damaged(path, "it does not begin as a file of ids")
        header = _read_header(path, head)
        opened = cls(path, header)
        if size != opened.num_bytes:
            raise _damaged(path, f"{size:,} bytes are not {header.count:,} ids of {header.dtype}")
        return opened

    @cached_property
    def ids(self) -> StoredIds:
        """All ids (count,), including the leading `<eos>`, mapped from the disk."""
        with _open(self.path) as file:
            ids = np.memmap(file, self.header.dtype, mode="r", offset=HEADER_SIZE, shape=(self.header.count,))
        return turned(ids, self.item) if self.is_backward else ids

    @property
    def num_tokens(self) -> int:
        return self.header.num_tokens

    @property
    def num_examples(self) -> int:
        """Labelled examples: none, for this is plain text."""
        return 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole file."""
        return HEADER_SIZE + self.header.count * np.dtype(self.header.dtype).itemsize

    def counts(self, size: int) -> NDArray[np.int64]:
        """How often each id below `size` occurs among the tokens (size,)."""
        counts = np.zeros(max(size, NUM_BYTES), np.int64)
        dtype = np.dtype(self.header.dtype)
        with _open(self.path) as file:  # not memory-mapped: all pages read would count as this process's memory
            file.seek(HEADER_SIZE + dtype.itemsize)
            while block := file.read(COUNTED_IDS * dtype.itemsize):
                if dtype.itemsize == 1:
                    counts[:NUM_BYTES] += count_bytes(block)
                else:
                    counts += np.bincount(np.frombuffer(block, dtype), minlength=len(counts))
        return counts[:size]

    def verify(self, vocab_size: int, eos_id: int) -> None:
        """Read the whole file. Raises RunError when a byte has changed, or an id is not below `vocab_size`."""
        dtype = np.dtype(self.header.dtype)
        checksum, highest, first = 0, 0, None
        with _open(self.path) as file:
            file.seek(HEADER_SIZE)
            while block := file.read(VERIFIED_BYTES):
                checksum = zlib.crc32(block, checksum)
                ids = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
                first = int(ids[0]) if first is None else first
                highest = max(highest, int(ids.max()))
        if checksum != self.header.crc32:
            raise _damaged(self.path, "its checksum differs")
        if highest >= vocab_size or first != eos_id:
            raise _damaged(self.path, "it has ids that its tokenizer does not have, or does not begin with <eos>")

    def header_sha256(self) -> str:
        """The sha256 of the header, which holds the checksum of the ids."""
        with _open(self.path) as file:
            return hashlib.sha256(file.read(HEADER_SIZE)).hexdigest()


def write_ids(
    path: Path,
    tokenizer: Tokenizer,
    pieces: Iterable[Counted],
    source_sha256: str = "",
    reading: CorpusSettings | None = None,
) -> IdsFile:
    """Write a text's ids as they come, in constant memory; the file appears under its name when it is complete.

    `reading` says how the text was read. Raises ResourceError when the file cannot be written.
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
    """Write `<eos>` and the ids of the pieces; the header that describes them."""
    dtype = _stored_type(tokenizer.vocab_size)
    start = np.array([tokenizer.eos_id], dtype)
    file.write(start.data)
    checksum, last = zlib.crc32(start.data), tokenizer.eos_id
    num_tokens = num_characters = num_bytes = num_ends = num_unknown = unknown_bytes = 0
    for piece in pieces:
        ids = piece.ids.astype(dtype)
        file.write(ids.data)
        checksum = zlib.crc32(ids.data, checksum)
        last = int(ids[-1]) if len(ids) else last
        num_tokens += len(ids)
        num_characters += piece.characters
        num_bytes += piece.bytes
        num_ends += int(np.count_nonzero(ids == tokenizer.eos_id))
        num_unknown += piece.num_unknown
        unknown_bytes += piece.unknown_bytes
    return Header(
        dtype=dtype,
        count=num_tokens + 1,
        tokenizer_sha256=tokenizer.sha256(),
        num_tokens=num_tokens,
        num_characters=num_characters,
        num_bytes=num_bytes,
        num_lines=num_ends if last == tokenizer.eos_id else num_ends + 1,
        num_unknown=num_unknown,
        unknown_bytes=unknown_bytes,
        crc32=checksum,
    )


def _stored_type(vocab_size: int) -> StoredType:
    """The smallest type that holds all ids of a vocabulary."""
    if vocab_size <= 1 << 8:
        return "uint8"
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def _open(path: Path) -> BinaryIO:
    try:
        return open_file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise RunError(f"cannot read the ids: {reason}", str(path)) from error


def _read_header(path: Path, head: bytes) -> Header:
    try:
        header = read_record(Header, parse_json(head[len(MAGIC) :]))
    except ValueError as error:
        raise _damaged(path, f"its header cannot be read: {error}") from error
    if not _counts_agree(header):
        raise _damaged(path, "the counts in its header contradict each other")
    return header


def _counts_agree(header: Header) -> bool:
    return (
        header.num_tokens == header.count - 1
        and max(header.num_lines, header.num_unknown) <= header.num_tokens
        and header.num_unknown <= header.unknown_bytes
        and header.num_characters <= header.num_bytes
        and (header.num_tokens == 0 or header.num_characters > 0)
    )


def _damaged(path: Path, how: str) -> RunError:
    return RunError(f"damaged ids: {how}", str(path), "write them again with charlm tokenize -o DIR")
