"""An open text on disk: read in blocks of bounded size, cut between characters, at line ends or within long lines."""

import bisect
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from charlm.corpus.line_ends import LineEndCounts
from charlm.corpus.sources import Version, changed_while_read, read_at, version_of
from charlm.errors import TextError
from charlm.text.long_lines import Place
from charlm.text.octets import CONTINUATION, count_characters
from charlm.text.surrogates import to_text

BLOCK_SIZE = 1 << 18  # bytes read at a time: what is made of them stays in the processor's cache
LONG_LINE = 1 << 20  # bytes; a longer line is cut where that is possible
MIN_REST = 1 << 18  # bytes of a long line that are left behind a cut, so that its last piece is long, too
MAX_UNCUT = 1 << 22  # bytes without a point to cut at: words made of them can take 75 times as much memory


@dataclass(frozen=True)
class Span:
    """The bytes from offset `start` up to offset `stop` of a text file."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass
class TextFile:
    """An open text: UTF-8 that has been checked, or any bytes where these are the unit. A context manager."""

    name: str
    file: BinaryIO
    span: Span
    notes: list[str] = field(default_factory=list)
    version: Version | None = None
    """The version when it was opened, of a file that others can change."""
    sha256: str = ""
    """Checksum of the bytes as they were given; where several files are one text, of that text."""
    added: LineEndCounts = field(default_factory=LineEndCounts)
    """The line ends that were added to files without one at their end; an LF added behind a CR counts as a CRLF."""
    has_cr: bool = False
    is_ascii: bool = True
    _characters_before: list[int] = field(default_factory=list)  # the number of characters before each block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close the file when the block fails."""
        try:
            yield
        except BaseException:
            self.file.close()
            raise

    def blocks(self, span: Span | None = None, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a part (default: all), `size` at a time (default: BLOCK_SIZE).

        Raises TextError when the file has changed since it was opened, at the latest when all has been read.
        """
        part, step = self.span if span is None else span, size or BLOCK_SIZE
        for start in range(part.start, part.stop, step):
            wanted = min(step, part.stop - start)
            block = read_at(self.file, wanted, start, self.name)
            if len(block) < wanted:
                raise changed_while_read(self.name)
            yield block
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise TextError when the file was written to since it was opened."""
        if self.version and version_of(self.file) != self.version:
            raise changed_while_read(self.name)

    def texts(
        self, span: Span | None = None, size: int | None = None, lines: bool = False, within: Place | None = None
    ) -> Iterator[bytes]:
        """The UTF-8 of a part, about `size` bytes at a time, cut between any two characters, or after `lines` only.

        The part begins and ends between characters. A longer line is given as a whole, unless `within` finds points to
        cut at: then one of more than LONG_LINE bytes is cut there. Raises TextError when MAX_UNCUT bytes have no such
        point.
        """
        pending: list[bytes] = []
        limit = LONG_LINE + MIN_REST
        for block in self.blocks(span, size):
            end = block.rfind(b"\n") + 1 if lines else _end_of_characters(block)
            if end:
                yield b"".join([*pending, block[:end]])
                pending.clear()
            pending.append(block[end:])
            if within and sum(map(len, pending)) > limit:
                *pieces, rest = self._cut(b"".join(pending), within)
                yield from pieces
                pending = [rest]
                # The rest was searched without success: much more is read before it is searched again.
                limit = max(LONG_LINE + MIN_REST, min(2 * len(rest), MAX_UNCUT))
        if rest := b"".join(pending):
            yield rest

    def _cut(self, line: bytes, within: Place) -> list[bytes]:
        """A long line in pieces, the last of which may still be long. Raises TextError."""
        pieces, start = [], 0
        while cut := within(line, start + LONG_LINE, len(line) - MIN_REST):
            pieces.append(line[start:cut])
            start = cut
        if len(line) - start > MAX_UNCUT:
            what = f"there are {MAX_UNCUT:,} bytes without a line end, and without a space between two words"
            raise TextError(what, self.name, "break it into lines, or give --unit char, as it is or with --lowercase")
        return [*pieces, line[start:]]

    def chunks(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut between any two characters."""
        return (data.decode() for data in self.texts(span, size))

    def lines(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut only after line ends; bytes that are not UTF-8 become lone surrogates."""
        return (to_text(data) for data in self.texts(span, size, lines=True))

    def split(self, valid_fraction: float, at_line: bool) -> tuple[Span, Span]:
        """The part to train on, and the part to validate on, which begins at character `int((1 - valid_fraction) * n)`.

        With `at_line` the second part begins at the first line start from there on; it may be empty.
        """
        num_characters = self._characters_before[-1]
        offset = self._offset_of_character(int((1 - valid_fraction) * num_characters))
        if at_line:
            offset = self._next_line_start(offset)
        return Span(self.span.start, offset), Span(offset, self.span.stop)

    def count(self) -> None:
        """Find `sha256`, `has_cr` and `is_ascii`, and count the characters before each block, which `split` needs."""
        self._characters_before, self.has_cr, self.is_ascii = [0], False, True
        digest = hashlib.sha256(read_at(self.file, self.span.start, 0, self.name))
        with ThreadPoolExecutor(1) as hasher:  # the next block is counted while one is hashed
            hashed = None
            for block in self.blocks():
                num_characters = count_characters(block)
                self._characters_before.append(self._characters_before[-1] + num_characters)
                self.is_ascii = self.is_ascii and num_characters == len(block)
                self.has_cr = self.has_cr or b"\r" in block
                if hashed:
                    hashed.result()
                hashed = None if self.sha256 else hasher.submit(digest.update, block)
        self.sha256 = self.sha256 or digest.hexdigest()

    def replace(self, copy: BinaryIO) -> None:
        """Continue with a temporary copy, which has the same text in another form."""
        self.file.close()
        self.file, self.span, self.version = copy, Span(0, copy.tell()), None

    def _offset_of_character(self, index: int) -> int:
        """The offset of the byte with which a character begins."""
        block_index = bisect.bisect_right(self._characters_before, index) - 1
        start = self.span.start + block_index * BLOCK_SIZE
        if start >= self.span.stop:
            return self.span.stop
        block = next(self.blocks(Span(start, min(start + BLOCK_SIZE, self.span.stop))))
        first_bytes = np.flatnonzero(np.frombuffer(block, np.int8) > CONTINUATION)
        return start + int(first_bytes[index - self._characters_before[block_index]])

    def _next_line_start(self, offset: int) -> int:
        """The offset of the first line start at this offset or after it."""
        start = max(offset - 1, self.span.start)
        for block in self.blocks(Span(start, self.span.stop)):
            if (index := block.find(b"\n")) >= 0:
                return start + index + 1
            start += len(block)
        return self.span.stop


def _end_of_characters(block: bytes) -> int:
    """How many bytes of a block of UTF-8 are whole characters, if the block begins with a whole character."""
    last = len(block) - 1  # becomes the index of the first byte of the last character
    while last > 0 and _is_continuation(block[last]):
        last -= 1
    length = sum(block[last] >= lead for lead in (0x00, 0xC0, 0xE0, 0xF0))  # of that character when it is whole
    return len(block) if last + length == len(block) and not _is_continuation(block[last]) else last


def _is_continuation(byte: int) -> bool:
    """Whether a byte of UTF-8 continues a character."""
    return byte & 0xC0 == 0x80
