"""Labelled examples on disk: a JSON header of fixed size, then columns of ids, which are read by memory-mapping.

A column has a row of ids for each example (a text, its labels), or for each part of one (the spelling of each word).
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.sources import cannot_copy, temporary_file
from charlm.errors import RunError
from charlm.settings import LineEnds, NormalForm
from charlm.system.files import open_file, replacing
from charlm.system.json_files import parse_json
from charlm.system.records import NO_OTHER_FIELDS, Count, ShortText, read_record

MAGIC = b"charlm-examples-1\n"
HEADER_SIZE = 4096  # bytes; a multiple of 64
ALIGNMENT = 64  # bytes, of the beginning of each array
VERIFIED_BYTES = 1 << 22  # read at a time to verify a file
COPIED_BYTES = 1 << 20  # copied at a time

StoredType = Literal["uint8", "uint16", "uint32"]
Ids = NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length: row n is `values[ends[n - 1] : ends[n]]`, and the first begins at 0."""

    values: Ids
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> Ids:
        return self.values[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each row."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True)
class ColumnRecord:
    """What a header says about a column."""

    __pydantic_config__ = NO_OTHER_FIELDS
    name: ShortText
    dtype: StoredType
    num_values: Count
    num_rows: Count


@dataclass(frozen=True)
class Header:
    """What a file of examples says about itself."""

    __pydantic_config__ = NO_OTHER_FIELDS
    num_examples: Count
    num_tokens: Count
    """Tokens of the texts, with those of their targets; what is counted is up to the kind of data."""
    num_characters: Count
    num_unknown: Count
    """Tokens that became `<unk>` because a vocabulary lacks them."""
    unknown_bytes: Count
    """Bytes of the unknown tokens in UTF-8, and one more for the end of each."""
    vocabularies_sha256: ShortText
    columns: tuple[ColumnRecord, ...]
    crc32: Count
    """Checksum of everything behind the header."""
    source_sha256: ShortText = ""
    """Checksum of the data as it was given."""
    line_ends: LineEnds = "keep"
    normal_form: NormalForm = "keep"


@dataclass
class Row:
    """One example, encoded: for each column its rows (one, or several as for the words of a sentence), and counts."""

    columns: Mapping[str, Sequence[Ids]]
    num_tokens: int = 0
    num_characters: int = 0
    num_unknown: int = 0
    unknown_bytes: int = 0


@dataclass(frozen=True)
class Examples:
    """A part of the labelled data on disk."""

    path: Path
    header: Header

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and check the header. Raises RunError when the file is missing, truncated, or of another kind."""
        with _open(path) as file:
            head = file.read(HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
        if not head.startswith(MAGIC):
            raise _damaged(path, "it does not begin as a file of examples")
        try:
            header = read_record(Header, parse_json(head[len(MAGIC) :]))
        except ValueError as error:
            raise _damaged(path, f"its header cannot be read: {error}") from error
        opened = cls(path, header)
        if size != opened.num_bytes:
            raise _damaged(path, f"it has {size:,} bytes, not {opened.num_bytes:,}")
        return opened

    def __len__(self) -> int:
        return self.header.num_examples

    @property
    def num_examples(self) -> int:
        return self.header.num_examples

    @property
    def num_tokens(self) -> int:
        return self.header.num_tokens

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole file."""
        return max([HEADER_SIZE, *(start + size for start, size, _ in self._arrays().values())])

    def _arrays(self) -> dict[tuple[str, str], tuple[int, int, str]]:
        """Where each array stands in the file: its offset, its bytes and its type, by column and part of it."""
        arrays, offset = {}, HEADER_SIZE
        for column in self.header.columns:
            parts = {"values": (column.num_values, column.dtype), "ends": (column.num_rows, "int64")}
            for part, (count, dtype) in parts.items():
                size = count * np.dtype(dtype).itemsize
                arrays[column.name, part] = (offset, size, dtype)
                offset += -(-size // ALIGNMENT) * ALIGNMENT
        return arrays

    @cached_property
    def columns(self) -> dict[str, Ragged]:
        """The columns by name, mapped from the disk."""
        with _open(self.path) as file:
            arrays = {
                key: np.memmap(file, dtype, mode="r", offset=offset, shape=(size // np.dtype(dtype).itemsize,))
                if size
                else np.empty(0, dtype)
                for key, (offset, size, dtype) in self._arrays().items()
            }
        names = [column.name for column in self.header.columns]
        return {name: Ragged(arrays[name, "values"], arrays[name, "ends"]) for name in names}

    def __getitem__(self, name: str) -> Ragged:
        return self.columns[name]

    def verify(self, sizes: Mapping[str, int]) -> None:
        """Read the whole file. Raises RunError when a byte has changed, or an id is not below its column's size."""
        checksum = 0
        with _open(self.path) as file:
            file.seek(HEADER_SIZE)
            while block := file.read(VERIFIED_BYTES):
                checksum = zlib.crc32(block, checksum)
        if checksum != self.header.crc32:
            raise _damaged(self.path, "its checksum differs")
        if self.columns.keys() != sizes.keys():
            raise _damaged(self.path, "it has other columns than this kind of data")
        for name, column in self.columns.items():
            ends = column.ends
            is_in_order = not len(ends) or (int(ends[0]) >= 0 and bool((np.diff(ends) >= 0).all()))
            if not is_in_order or (int(ends[-1]) if len(ends) else 0) != len(column.values):
                raise _damaged(self.path, f"the rows of its column {name[:40]} are not in order")
            if len(column.values) and int(column.values.max()) >= sizes[name]:
                raise _damaged(self.path, f"it has ids in its column {name[:40]} that stand for nothing")

    def header_sha256(self) -> str:
        """The sha256 of the header, which holds the checksum of all columns."""
        with _open(self.path) as file:
            return hashlib.sha256(file.read(HEADER_SIZE)).hexdigest()


@dataclass
class _Column:
    """A column while it is written: its values and the ends of its rows go to temporary files."""

    dtype: StoredType
    values: BinaryIO
    ends: BinaryIO
    num_values: int = 0
    num_rows: int = 0

    def add(self, rows: Sequence[Ids]) -> None:
        for ids in rows:
            self.values.write(np.asarray(ids).astype(self.dtype).data)
            self.num_values += len(ids)
            self.num_rows += 1
            self.ends.write(np.int64(self.num_values).tobytes())


@dataclass
class Origin:
    """Where the examples of a file come from: what its header says about that."""

    vocabularies_sha256: str
    source_sha256: str = ""
    line_ends: LineEnds = "keep"
    normal_form: NormalForm = "keep"


def write_examples(path: Path, sizes: Mapping[str, int], rows: Iterable[Row], origin: Origin) -> Examples:
    """Write encoded examples as they come, in constant memory; the file appears when it is complete.

    `sizes` has for each column the number of ids that can occur in it. Raises ResourceError.
    """
    with ExitStack() as opened:
        columns = {
            name: _Column(_stored_type(size), _temporary(opened), _temporary(opened)) for name, size in sizes.items()
        }
        counts = _Counts()
        for row in rows:
            counts.add(row)
            try:
                for name, column in columns.items():
                    column.add(row.columns[name])
            except OSError as error:
                raise cannot_copy(error) from error
        with replacing(path) as file:
            file.write(bytes(HEADER_SIZE))
            checksum = _copy(columns, file)
            records = tuple(
                ColumnRecord(name, column.dtype, column.num_values, column.num_rows) for name, column in columns.items()
            )
            header = Header(**asdict(counts), columns=records, crc32=checksum, **asdict(origin))
            file.seek(0)
            file.write((MAGIC + json.dumps(asdict(header)).encode()).ljust(HEADER_SIZE - 1) + b"\n")
    return Examples(path, header)


@dataclass
class _Counts:
    """The counts of a header, summed over examples."""

    num_examples: int = 0
    num_tokens: int = 0
    num_characters: int = 0
    num_unknown: int = 0
    unknown_bytes: int = 0

    def add(self, row: Row) -> None:
        self.num_examples += 1
        self.num_tokens += row.num_tokens
        self.num_characters += row.num_characters
        self.num_unknown += row.num_unknown
        self.unknown_bytes += row.unknown_bytes


@dataclass
class _Summing:
    """A file that is written to, with the checksum of what was written."""

    file: BinaryIO
    checksum: int = 0
    size: int = field(default=0)

    def write(self, data: bytes) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        self.size += len(data)
        return self.file.write(data)


def _temporary(opened: ExitStack) -> BinaryIO:
    return opened.enter_context(temporary_file())


def _copy(columns: Mapping[str, _Column], file: BinaryIO) -> int:
    """Write all columns behind the header, each array aligned; returns their checksum."""
    summing = _Summing(file)
    last = [array for column in columns.values() for array in (column.values, column.ends)][-1]
    for column in columns.values():
        for array in (column.values, column.ends):
            array.seek(0)
            shutil.copyfileobj(array, summing, COPIED_BYTES)
            if array is not last:
                summing.write(bytes(-summing.size % ALIGNMENT))
    return summing.checksum


def _stored_type(size: int) -> StoredType:
    """The smallest type that holds all ids below `size`."""
    if size <= 1 << 8:
        return "uint8"
    return "uint16" if size <= 1 << 16 else "uint32"


def _open(path: Path) -> BinaryIO:
    try:
        return open_file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise RunError(f"cannot read the examples: {reason}", str(path)) from error


def _damaged(path: Path, how: str) -> RunError:
    return RunError(f"damaged examples: {how}", str(path), "restore them from a copy, or train again")
