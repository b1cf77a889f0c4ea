"""Files and standard input as text: decoded strictly, in chunks of bounded size, newlines as they stand."""

import bisect
import codecs
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from charlm.config import CorpusSettings
from charlm.errors import ResourceError, TextError, UsageError
from charlm.text.interface import text_from_argument
from charlm.text.octets import CONTINUATION, count_characters

STDIN = "-"
CHUNK = 1 << 18  # bytes read at a time: what is made of them stays in the processor's cache
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
    _characters_before: list[int] = field(default_factory=list)  # each chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def blocks(self, span: Span | None = None, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a part (default: all), `size` at a time (default: CHUNK)."""
        part, step = self.span if span is None else span, size or CHUNK
        for start in range(part.start, part.stop, step):
            yield os.pread(self.file.fileno(), min(step, part.stop - start), start)

    def texts(self, span: Span | None = None, size: int | None = None, lines: bool = False) -> Iterator[bytes]:
        """The UTF-8 of a part, some `size` bytes at a time, cut between any two characters, or only after line ends.

        The part begins and ends between characters. A line that is longer comes as a whole.
        """
        pending: list[bytes] = []
        for block in self.blocks(span, size):
            end = block.rfind(b"\n") + 1 if lines else _end_of_characters(block)
            if end:
                yield b"".join([*pending, block[:end]])
                pending.clear()
            pending.append(block[end:])
        if rest := b"".join(pending):
            yield rest

    def chunks(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut between any two characters."""
        return (data.decode() for data in self.texts(span, size))

    def lines(self, span: Span | None = None, size: int | None = None) -> Iterator[str]:
        """The text of a part, cut only after line ends."""
        return (data.decode() for data in self.texts(span, size, lines=True))

    @property
    def sha256(self) -> str:
        return ""

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
        """Count the characters before each chunk, which `split` needs; no check of the encoding."""
        self._characters_before = [0]
        for block in self.blocks():
            self._characters_before.append(self._characters_before[-1] + count_characters(block))

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
    """Open and check a text file; `-` is standard input. With `raw` its bytes are taken as they are.

    Raises TextError when it is missing, unreadable, empty or does not decode; UsageError for an unknown encoding.
    """
    check_encoding(settings.encoding)
    name = "standard input" if str(path) == STDIN else str(path)
    file = _open(path, name)
    text = TextFile(name, file, Span(0, os.fstat(file.fileno()).st_size))
    try:
        if not raw:
            _to_checked_utf8(text, settings)
        if not len(text.span):
            raise TextError("the text is empty", name, "give a file with some text in it")
        text.count()
    except BaseException:
        text.file.close()
        raise
    return text


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python knows this encoding of text."""
    try:
        "".encode(name)
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"--encoding {name}: no such encoding of text", to_do="try utf-8, utf-16 or latin-1"
        ) from error


def _open(path: Path | str, name: str) -> BinaryIO:
    """A file that can be read at any place: pipes and standard input are copied to a temporary file first."""
    if str(path) == STDIN:
        return _spooled(sys.stdin.buffer)
    try:
        if Path(path).is_dir():
            raise TextError("this is a folder, not a text file", name, "give a text file")
        file = open(path, "rb")  # noqa: SIM115 (closed by TextFile)
    except FileNotFoundError as error:
        raise TextError("no such file", name, "check the path") from error
    except (OSError, ValueError) as error:
        raise TextError(f"cannot read: {getattr(error, 'strerror', None) or error}", name) from error
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return _spooled(file)


def _spooled(source: BinaryIO) -> BinaryIO:
    copy = temporary_file()
    try:
        shutil.copyfileobj(source, copy, CHUNK)
        copy.flush()
    except OSError as error:
        copy.close()
        raise no_room(error) from error
    return copy


def temporary_file() -> BinaryIO:
    """A file that vanishes when it is closed. Raises ResourceError."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise no_room(error) from error


def no_room(error: OSError) -> ResourceError:
    to_do = "make room there, or set TMPDIR to another place"
    return ResourceError(f"cannot copy the text: {error.strerror or error}", tempfile.gettempdir(), to_do)


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
    head = os.pread(text.file.fileno(), 4, 0)
    return next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")


def _transcode(text: TextFile, encoding: str, errors: str) -> None:
    """Replace the file by a temporary copy in UTF-8."""
    with ExitStack() as stack:
        copy = stack.enter_context(temporary_file())
        for chunk in _decoded(text, encoding, errors):
            try:
                copy.write(text_from_argument(chunk).encode())
            except OSError as error:
                raise no_room(error) from error
        copy.flush()
        stack.pop_all()
    text.file.close()
    text.file, text.span = copy, Span(0, copy.tell())


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


def _undecodable(text: TextFile, encoding: str, offset: int) -> TextError:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    line = 1 + sum(decoder.decode(block).count("\n") for block in text.blocks(Span(text.span.start, offset)))
    guess = BYTE_ORDER_MARKS.get(_byte_order_mark(text), encoding)
    to_do = f"give --encoding {'NAME' if guess == encoding else guess}, or --encoding-errors replace"
    return TextError(f"the text is not valid {encoding}", f"{text.name}, line {line}, byte offset {offset}", to_do)
