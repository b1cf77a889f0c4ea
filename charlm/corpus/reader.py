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

from charlm.corpus.gathering import Gathering, Texts, kind_of, refusal, refuse_idle_patterns, texts_of
from charlm.corpus.guessing import fitting_encodings
from charlm.corpus.line_ends import LineEndCounts
from charlm.corpus.not_text import HEAD, NoText, refuse_what_is_no_text, wide_encoding
from charlm.corpus.sources import Source, Version, changed, open_source, read_at, version_of, written
from charlm.errors import TextError, UsageError
from charlm.settings import CorpusSettings
from charlm.text.interface import text_from_argument
from charlm.text.long_lines import Place
from charlm.text.octets import CONTINUATION, count_characters, to_text

CHUNK = 1 << 18  # bytes read at a time: what is made of them stays in the processor's cache
LONG_LINE = 1 << 20  # bytes; a longer line is cut where it can be
LEFT = 1 << 18  # bytes of it at least that are left behind a cut: a piece of a long line is long
MAX_STRETCH = 1 << 22  # bytes without such a place: up to 75 times as much memory, if it is all spaces and letters
MAX_NOTES = 5  # on the files of a folder
TRIED = 1 << 15  # bytes on both sides of a place that does not decode, on which other encodings are tried
NOT_OF_FILES = {
    "idna": "a way to write host names",
    "punycode": "a way to write host names",
    "unicode-escape": "a way to write Python's strings",
    "raw-unicode-escape": "a way to write Python's strings",
    "undefined": "a name for none",
    "charmap": "a part of others",
}
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
    """Of the bytes as they were given; of several files, of their text as one."""
    added: LineEndCounts = field(default_factory=LineEndCounts)
    """The line ends that were put where files had none at their ends; behind a CR, they count as CRLF."""
    has_cr: bool = False
    is_ascii: bool = True
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
        over LONG_LINE bytes is cut there. Raises TextError when it has no such place in MAX_STRETCH bytes.
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
                limit = max(LONG_LINE + LEFT, min(2 * len(rest), MAX_STRETCH))
        if rest := b"".join(pending):
            yield rest

    def _cut(self, line: bytes, within: Place) -> list[bytes]:
        """A long line in pieces, the last one of which may still be long."""
        pieces, start = [], 0
        while place := within(line, start + LONG_LINE, len(line) - LEFT):
            pieces.append(line[start:place])
            start = place
        if len(line) - start > MAX_STRETCH:
            what = f"there are {MAX_STRETCH:,} bytes without a line end, and without a space between two words"
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
        self._characters_before, self.has_cr, self.is_ascii = [0], False, True
        digest = hashlib.sha256(read_at(self.file, self.span.start, 0, self.name))
        with ThreadPoolExecutor(1) as beside:  # the next block is counted meanwhile
            hashed = None
            for block in self.blocks():
                characters = count_characters(block)
                self._characters_before.append(self._characters_before[-1] + characters)
                self.is_ascii = self.is_ascii and characters == len(block)
                self.has_cr = self.has_cr or b"\r" in block
                if hashed:
                    hashed.result()
                hashed = None if self.sha256 else beside.submit(digest.update, block)
        self.sha256 = self.sha256 or digest.hexdigest()

    def replace(self, copy: BinaryIO) -> None:
        """Go on with a temporary copy, which is another form of the same text."""
        self.file.close()
        self.file, self.span, self.version = copy, Span(0, copy.tell()), None

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


def open_text(given: Path | str | Texts, settings: CorpusSettings, raw: bool = False) -> TextFile:
    """Open and check a text file (`-` is standard input), or the files of folders and archives as one text.

    Its line ends and its normal form stay as they are. With `raw` its bytes are taken as they are. Raises TextError
    when it is missing, unreadable, empty, damaged, no text, or does not decode; UsageError for an unknown encoding, or
    a compression that needs a package; ResourceError.
    """
    check_encoding(settings.encoding)
    text = _open_texts(texts_of(given), settings, raw)
    with _closed_on_error(text):
        if not len(text.span):
            raise TextError("the text is empty", text.name, "give a file with some text in it")
        text.count()
    return text


def _open_texts(texts: Texts, settings: CorpusSettings, raw: bool) -> TextFile:
    gathering = Gathering(texts)
    if not texts.is_one_file:
        return _joined(gathering, gathering.sources(), settings, raw)
    source = open_source(texts.paths[0])
    if kind_of(source):
        return _joined(gathering, gathering.in_source(source), settings, raw)
    text = _text(source)
    with _closed_on_error(text):
        refuse_idle_patterns(texts)
        if not raw:
            _to_checked_utf8(text, settings)
    return text


def _text(source: Source) -> TextFile:
    """A text that may be empty, is not counted, and not checked."""
    size = os.fstat(source.file.fileno()).st_size if source.version is None else source.version[0]
    return TextFile(source.name, source.file, Span(0, size), [*source.notes], source.version, source.sha256)


def _joined(gathering: Gathering, sources: Iterator[Source], settings: CorpusSettings, raw: bool) -> TextFile:
    """A copy of all files, each decoded and decompressed on its own and ended by a line end."""
    joining = _Joining(settings, raw, gathering.refused)
    copy = written(chain.from_iterable(map(joining.blocks, sources)))
    text = TextFile(gathering.texts.name, copy, Span(0, copy.tell()), added=joining.added)
    with _closed_on_error(text):
        if joining.refused:
            raise refusal(gathering, settings.encoding, joining.is_ascii)
        if not gathering.num_files:
            raise gathering.nothing()
        notes = [*gathering.notes, *joining.notes]
        more = [f"{text.name}: {len(notes) - MAX_NOTES:,} more such notes"] if len(notes) > MAX_NOTES else []
        text.notes += [gathering.found(), *notes[:MAX_NOTES], *more]
    return text


@dataclass
class _Joining:
    """Files that become one text."""

    settings: CorpusSettings
    raw: bool
    refused: list[NoText]
    is_ascii: bool = True
    notes: list[str] = field(default_factory=list)
    added: LineEndCounts = field(default_factory=LineEndCounts)

    def blocks(self, source: Source) -> Iterator[bytes]:
        """A file's text, and a line end where it has none. What is no text is remembered, to be named with others."""
        block = b"\n"
        with _text(source) as text:
            try:
                if not self.raw:
                    _to_checked_utf8(text, self.settings)
            except NoText as error:
                self.refused.append(error)
                return
            for block in text.blocks():
                self.is_ascii = self.is_ascii and block.isascii()
                yield block
            self.notes += text.notes
        if not block.endswith(b"\n"):
            is_pair = block.endswith(b"\r")
            self.added = LineEndCounts(self.added.lf + (not is_pair), self.added.crlf + is_pair)
            yield b"\n"


@contextmanager
def _closed_on_error(text: TextFile) -> Iterator[None]:
    try:
        yield
    except BaseException:
        text.file.close()
        raise


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python knows this encoding, and text files are written in it."""
    try:
        "".encode(name)
        codec = codecs.lookup(name).name
    except (LookupError, UnicodeError) as error:
        to_do = "try utf-8, utf-16 or latin-1"
        raise UsageError(f"--encoding {name}: no such encoding of text", to_do=to_do) from error
    if codec in NOT_OF_FILES:
        what = f"--encoding {name}: {NOT_OF_FILES[codec]}, no encoding of text files"
        raise UsageError(what, to_do="give what the file is written in: utf-8, utf-16, latin-1 or another")


def _end_of_characters(block: bytes) -> int:
    """How much of a block of UTF-8 is whole characters, if it begins with one."""
    place = len(block) - 1
    while place > 0 and block[place] & 0xC0 == 0x80:
        place -= 1
    size = sum(block[place] >= lead for lead in (0x00, 0xC0, 0xE0, 0xF0))  # of the last character
    return len(block) if place + size == len(block) and block[place] & 0xC0 != 0x80 else place


def _to_checked_utf8(text: TextFile, settings: CorpusSettings) -> None:
    """Check the encoding; replace the file by a temporary copy in UTF-8 where it has to be changed.

    Raises NoText for what is binary, or does not decode.
    """
    encoding = codecs.lookup(settings.encoding).name.replace("utf-8-sig", "utf-8")
    refuse_what_is_no_text(read_at(text.file, HEAD, 0, text.name), text.name, encoding)
    _drop_byte_order_mark(text, encoding)
    if encoding != "utf-8":
        _transcode(text, encoding, settings.encoding_errors)
        return
    try:
        for _ in _decoded(text, "utf-8", "strict"):
            pass
    except NoText as error:
        if settings.encoding_errors == "strict":
            raise
        text.notes.append(f"{error.where}: not valid utf-8; such bytes: {settings.encoding_errors}")
        _transcode(text, encoding, settings.encoding_errors)


def _drop_byte_order_mark(text: TextFile, encoding: str) -> None:
    mark = _byte_order_mark(text)
    if not mark and encoding in ("utf-16", "utf-32") and len(text.span):
        fitting = wide_encoding(read_at(text.file, HEAD, 0, text.name)) or f"{encoding}-le"
        what = f"the text does not begin with the byte order mark of {encoding}"
        raise NoText(what, text.name, f"give another --encoding, such as {fitting} or latin-1", f"not {encoding}")
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
    text.replace(written(text_from_argument(chunk).encode() for chunk in _decoded(text, encoding, errors)))


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


def _undecodable(text: TextFile, encoding: str, offset: int) -> NoText:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    line = 1 + sum(decoder.decode(block).count("\n") for block in text.blocks(Span(text.span.start, offset)))
    guess = BYTE_ORDER_MARKS.get(_byte_order_mark(text), encoding)
    fitting = _fitting(text, offset) if guess == encoding else (guess,)
    to_do = f"give --encoding {' or '.join(fitting)}, which would fit, or --encoding-errors replace, "
    to_do += "or train with --unit byte, which takes any bytes"
    where = f"{text.name}, line {line}, byte offset {offset}"
    why = f"not {encoding}; {' or '.join(fitting)} would fit"
    return NoText(f"the text is not valid {encoding}", where, to_do, why, fitting)


def _fitting(text: TextFile, offset: int) -> tuple[str, ...]:
    """The encodings in which the text around this place is likely."""
    start, stop = max(text.span.start, offset - TRIED), min(text.span.stop, offset + TRIED)
    around = b"".join(text.blocks(Span(start, stop)))
    begin = around.find(b"\n", 0, offset - start) + 1 if start > text.span.start else 0
    end = around.rfind(b"\n", offset - start) + 1 if stop < text.span.stop else len(around)
    return fitting_encodings(around[begin : end or len(around)])
