"""Files and standard input as text: decoded strictly, in chunks of bounded size, newlines as they stand."""

import bisect
import codecs
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from charlm.config import CorpusSettings
from charlm.corpus.sources import (
    STDIN,
    Version,
    changed,
    files_below,
    is_prepared,
    open_source,
    read_at,
    shown,
    version_of,
    written,
)
from charlm.errors import TextError, UsageError
from charlm.text.interface import text_from_argument
from charlm.text.long_lines import Place
from charlm.text.octets import CONTINUATION, count_characters, to_text

CHUNK = 1 << 18  # bytes read at a time: what is made of them stays in the processor's cache
LONG_LINE = 1 << 20  # bytes; a longer line is cut where it can be
LEFT = 1 << 18  # bytes of it at least that are left behind a cut: a piece of a long line is long
LONGEST_STRETCH = 1 << 22  # bytes without such a place: up to 75 times as much memory, if it is all spaces and letters
MOST_NOTES = 5  # on the files of a folder
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Span:
    """The bytes from `start` up to `stop` of a text file."""

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
    """Of a file that others can change, when it was opened."""
    sha256: str = ""
    """Of the bytes as they were given; of a folder, of its files' text as one."""
    _characters_before: list[int] = field(default_factory=list)  # each chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def blocks(self, span: Span | None = None, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a part (default: all), `size` at a time (default: CHUNK).

        Raises TextError when the file is no longer what it was when it was opened; at the end at the latest.
        """
        part, step = self.span if span is None else span, size or CHUNK
        for start in range(part.start, part.stop, step):
            wanted = min(step, part.stop - start)
            block = read_at(self.file, wanted, start, self.name)
            if len(block) < wanted:
                raise changed(self.name)
            yield block
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise TextError when the file was written to since it was opened."""
        if self.version and version_of(self.file) != self.version:
            raise changed(self.name)

    def texts(
        self, span: Span | None = None, size: int | None = None, lines: bool = False, within: Place | None = None
    ) -> Iterator[bytes]:
        """The UTF-8 of a part, some `size` bytes at a time, cut between any two characters, or only after line ends.

        The part begins and ends between characters. A line that is longer comes as a whole; with `within`, one of
        over LONG_LINE bytes is cut there. Raises TextError when it has no such place in LONGEST_STRETCH bytes.
        """
        pending: list[bytes] = []
        limit = LONG_LINE + LEFT
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
                # What was searched in vain is seldom searched again.
                limit = max(LONG_LINE + LEFT, min(2 * len(rest), LONGEST_STRETCH))
        if rest := b"".join(pending):
            yield rest

    def _cut(self, line: bytes, within: Place) -> list[bytes]:
        """A long line in pieces, the last one of which may still be long."""
        pieces, start = [], 0
        while place := within(line, start + LONG_LINE, len(line) - LEFT):
            pieces.append(line[start:place])
            start = place
        if len(line) - start > LONGEST_STRETCH:
            what = f"there are {LONGEST_STRETCH:,} bytes without a line end, and without a space between two words"
            raise TextError(what, self.name, "break it into lines, or give --unit char, as it is or with --lowercase")
        return [*pieces, line[start:]]

    def chunks(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut between any two characters."""
        return (data.decode() for data in self.texts(span, size))

    def lines(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut only after line ends; bytes that are no UTF-8 as lone surrogates."""
        return (to_text(data) for data in self.texts(span, size, lines=True))

    def split(self, valid_fraction: float, at_line: bool) -> tuple[Span, Span]:
        """The part to train on, and the part after character `int((1 - valid_fraction) * n)` to validate on.

        With `at_line` the second part begins at the first line start from there on; it may be empty.
        """
        characters = self._characters_before[-1]
        place = self._place_of_character(int((1 - valid_fraction) * characters))
        if at_line:
            place = self._line_start(place)
        return Span(self.span.start, place), Span(place, self.span.stop)

    def count(self) -> None:
        """Count the characters before each chunk, which `split` needs, and find `sha256`; nothing is decoded."""
        self._characters_before = [0]
        digest = hashlib.sha256(read_at(self.file, self.span.start, 0, self.name))
        with ThreadPoolExecutor(1) as beside:  # the next block is counted meanwhile
            hashed = None
            for block in self.blocks():
                self._characters_before.append(self._characters_before[-1] + count_characters(block))
                if hashed:
                    hashed.result()
                hashed = None if self.sha256 else beside.submit(digest.update, block)
        self.sha256 = self.sha256 or digest.hexdigest()

    def _place_of_character(self, number: int) -> int:
        """The offset of the byte with which this character begins."""
        index = bisect.bisect_right(self._characters_before, number) - 1
        start = self.span.start + index * CHUNK
        if start >= self.span.stop:
            return self.span.stop
        block = next(self.blocks(Span(start, min(start + CHUNK, self.span.stop))))
        begins = np.flatnonzero(np.frombuffer(block, np.int8) > CONTINUATION)
        return start + int(begins[number - self._characters_before[index]])

    def _line_start(self, place: int) -> int:
        """The first line start at this offset or after it."""
        start = max(place - 1, self.span.start)
        for block in self.blocks(Span(start, self.span.stop)):
            if (at := block.find(b"\n")) >= 0:
                return start + at + 1
            start += len(block)
        return self.span.stop


def open_text(path: Path | str, settings: CorpusSettings, raw: bool = False) -> TextFile:
    """Open and check a text file, or the files of a folder as one; `-` is standard input.

    With `raw` its bytes are taken as they are. Raises TextError when it is missing, unreadable, empty, damaged or
    does not decode; UsageError for an unknown encoding, or a compression that needs a package; ResourceError.
    """
    check_encoding(settings.encoding)
    is_folder = str(path) != STDIN and os.path.isdir(path)
    text = _open_folder(Path(path), settings, raw) if is_folder else _open_file(path, settings, raw)
    with _closed_on_error(text):
        if not len(text.span):
            raise TextError("the text is empty", text.name, "give a file with some text in it")
        text.count()
    return text


def _open_file(path: Path | str, settings: CorpusSettings, raw: bool) -> TextFile:
    """A text that may be empty, and is not counted."""
    source = open_source(path)
    size = os.fstat(source.file.fileno()).st_size if source.version is None else source.version[0]
    text = TextFile(source.name, source.file, Span(0, size), [*source.notes], source.version, source.sha256)
    with _closed_on_error(text):
        if not raw:
            _to_checked_utf8(text, settings)
    return text


def _open_folder(folder: Path, settings: CorpusSettings, raw: bool) -> TextFile:
    """A copy of all its files, each decoded and decompressed on its own and ended by a line end."""
    name = shown(folder)
    if is_prepared(folder):
        raise TextError("this folder has ids, not a text", name, f"give the text, or: charlm train {name}")
    files = files_below(folder)
    if not files:
        raise TextError("this folder has no files", name, "give a text file, or a folder of them")
    notes: list[str] = []
    copy = written(chain.from_iterable(_ended(path, settings, raw, notes) for path in files))
    more = [f"{name}: {len(notes) - MOST_NOTES:,} more such notes"] if len(notes) > MOST_NOTES else []
    notes = [f"{name}: {len(files):,} files", *notes[:MOST_NOTES], *more]
    return TextFile(name, copy, Span(0, copy.tell()), notes)


def _ended(path: Path, settings: CorpusSettings, raw: bool, notes: list[str]) -> Iterator[bytes]:
    """A file's text, and a line end where it has none."""
    block = b"\n"
    with _open_file(path, settings, raw) as text:
        notes += text.notes
        for block in text.blocks():
            yield block
    if not block.endswith(b"\n"):
        yield b"\n"


@contextmanager
def _closed_on_error(text: TextFile) -> Iterator[None]:
    try:
        yield
    except BaseException:
        text.file.close()
        raise


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python knows this encoding of text."""
    try:
        "".encode(name)
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"--encoding {name}: no such encoding of text", to_do="try utf-8, utf-16 or latin-1"
        ) from error


def _end_of_characters(block: bytes) -> int:
    """How much of a block of UTF-8 is whole characters, if it begins with one."""
    place = len(block) - 1
    while place > 0 and block[place] & 0xC0 == 0x80:
        place -= 1
    size = sum(block[place] >= lead for lead in (0x00, 0xC0, 0xE0, 0xF0))  # of the last character
    return len(block) if place + size == len(block) and block[place] & 0xC0 != 0x80 else place


def _to_checked_utf8(text: TextFile, settings: CorpusSettings) -> None:
    """Check the encoding; replace the file by a temporary copy in UTF-8 where it has to be changed."""
    encoding = codecs.lookup(settings.encoding).name.replace("utf-8-sig", "utf-8")
    _drop_byte_order_mark(text, encoding)
    if encoding != "utf-8":
        _transcode(text, encoding, settings.encoding_errors)
        return
    try:
        for _ in _decoded(text, "utf-8", "strict"):
            pass
    except TextError as error:
        if settings.encoding_errors == "strict":
            raise
        text.notes.append(f"{error.where}: not valid utf-8; such bytes: {settings.encoding_errors}")
        _transcode(text, encoding, settings.encoding_errors)


def _drop_byte_order_mark(text: TextFile, encoding: str) -> None:
    mark = _byte_order_mark(text)
    if mark and encoding.startswith(BYTE_ORDER_MARKS[mark]):
        text.notes.append(f"{text.name}: its byte order mark was dropped")
        if encoding not in ("utf-16", "utf-32"):  # these need it, and drop it themselves
            text.span = Span(len(mark), text.span.stop)


def _byte_order_mark(text: TextFile) -> bytes:
    head = read_at(text.file, 4, 0, text.name)
    return next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")


def _transcode(text: TextFile, encoding: str, errors: str) -> None:
    """Replace the file by a temporary copy in UTF-8."""
    if not text.sha256:
        digest = hashlib.sha256()
        for block in text.blocks(Span(0, text.span.stop)):
            digest.update(block)
        text.sha256 = digest.hexdigest()
    copy = written(text_from_argument(chunk).encode() for chunk in _decoded(text, encoding, errors))
    text.file.close()
    text.file, text.span, text.version = copy, Span(0, copy.tell()), None


def _decoded(text: TextFile, encoding: str, errors: str) -> Iterator[str]:
    """The text in chunks. Raises TextError with line and byte offset of the first place that does not decode."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    offset = text.span.start
    try:
        for block in text.blocks():
            offset += len(block)
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(text, encoding, offset - len(error.object) + error.start) from error
    except UnicodeError as error:  # by an encoding that does not say where: UTF-16 and UTF-32 without their mark
        to_do = f"give another --encoding, such as {encoding}-le or latin-1"
        raise TextError(f"the text is not valid {encoding}: {error}", text.name, to_do) from error


def _undecodable(text: TextFile, encoding: str, offset: int) -> TextError:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    line = 1 + sum(decoder.decode(block).count("\n") for block in text.blocks(Span(text.span.start, offset)))
    guess = BYTE_ORDER_MARKS.get(_byte_order_mark(text), encoding)
    name = "NAME" if guess == encoding else guess
    to_do = f"give --encoding {name}, or --encoding-errors replace, or train with --unit byte, which takes any bytes"
    return TextError(f"the text is not valid {encoding}", f"{text.name}, line {line}, byte offset {offset}", to_do)
