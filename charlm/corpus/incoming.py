"""Lines as they come from standard input, a pipe or a terminal: a line is handed on as soon as it is complete.

The blocks of bytes in this module are handed on as they are read; an empty block means that one has to wait for more.
"""

import codecs
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

from charlm.corpus.compression import MAGIC_SIZE, compression_of, decompress
from charlm.corpus.decoding import BYTE_ORDER_MARKS, check_encoding, codec_of, drops_own_mark, mark_of
from charlm.corpus.line_ends import with_lf
from charlm.corpus.not_text import HEAD_SIZE, refuse_binary
from charlm.corpus.reader import open_text
from charlm.corpus.sources import STDIN, cannot_read, open_binary, printable
from charlm.corpus.text_file import TextFile
from charlm.errors import TextError
from charlm.settings import CorpusSettings
from charlm.text.items import BLANKS
from charlm.text.surrogates import text_from_argument

BLOCK_SIZE = 1 << 18  # bytes read at a time
Note = Callable[[str], None]


def batches_of_lines(
    path: Path | str,
    settings: CorpusSettings,
    max_lines: int,
    note: Note,
    raw: bool = False,
    bring_into_form: Callable[[TextFile], Iterable[str]] | None = None,
) -> Iterator[list[bytes]]:
    """The lines of a text without their ends, at most `max_lines` at a time; as UTF-8, or with `raw` as they are.

    A batch of standard input, a pipe or a terminal has the lines that have come so far. A file or a folder is first
    checked as a whole and changed by `bring_into_form`, which gives notes on that. `note` is called with whatever a
    person should know. Raises what `open_text` raises; for a pipe, after the lines before the error have been given.
    """
    check_encoding(settings.encoding)
    if _comes_bit_by_bit(path):
        yield from _batches_of_pipe(path, settings, max_lines, note, raw)
        return
    with open_text(path, settings, raw) as text:
        notes_on_form = bring_into_form(text) if bring_into_form else ()
        for message in (*text.notes, *notes_on_form):
            note(message)
        pieces = text.texts(lines=True)
        lines = chain.from_iterable(piece.removesuffix(b"\n").split(b"\n") for piece in pieces)
        while batch := list(islice(lines, max_lines)):
            yield batch


def paragraphs_of(batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """The paragraphs in batches of lines: what stands between blank lines, without the end of the last line.

    A paragraph is handed on when the blank line behind it has come.
    """
    lines: list[str] = []
    for batch in batches:
        paragraphs = []
        for line in batch:
            if line.strip(BLANKS):
                lines.append(line)
            elif lines:
                paragraphs.append("\n".join(lines))
                lines = []
        if paragraphs:
            yield paragraphs
    if lines:
        yield ["\n".join(lines)]


def _comes_bit_by_bit(path: Path | str) -> bool:
    """Whether this is standard input, a pipe or a device."""
    if str(path) == STDIN:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # `open_text` reports what is wrong
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _batches_of_pipe(
    path: Path | str, settings: CorpusSettings, max_lines: int, note: Note, raw: bool
) -> Iterator[list[bytes]]:
    name = printable(path)
    with _descriptor(path, name, note) as descriptor:
        blocks = _decompressed(_read(descriptor, name), name, note)
        if not raw:
            blocks = _ToUtf8(settings, name, note).converted(blocks)
            blocks = with_lf(blocks) if settings.line_ends == "lf" else blocks
        yield from _batches(blocks, max_lines, name)


@contextmanager
def _descriptor(path: Path | str, name: str, note: Note) -> Iterator[int]:
    """The descriptor to read from. Raises TextError."""
    if str(path) != STDIN:
        with open_binary(path, name) as file:
            yield file.fileno()
        return
    if sys.stdin is None:
        raise TextError("there is no standard input", to_do="give a text file")
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        note("type one sentence per line; Ctrl-D on a line of its own ends the input")
    yield descriptor


def _read(descriptor: int, name: str) -> Iterator[bytes]:
    """Blocks as they come, and an empty one whenever the next one has not come yet. Raises TextError."""
    while True:
        if not select.select([descriptor], [], [], 0)[0]:
            yield b""
            select.select([descriptor], [], [])
        try:
            block = os.read(descriptor, BLOCK_SIZE)
        except BlockingIOError:  # another process has read it first
            continue
        except OSError as error:
            raise cannot_read(error, name) from error
        if not block:
            return
        yield block


def _decompressed(blocks: Iterator[bytes], name: str, note: Note) -> Iterator[bytes]:
    """The blocks, decompressed if they begin like a compressed file."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= MAGIC_SIZE or b"\n" in head:
            break
    whole = chain([head], blocks)
    if kind := compression_of(head):
        note(f"{name}: decompressed ({kind})")
        return decompress(whole, kind, name)
    return whole


class _ToUtf8:
    """Converts the blocks of a text to UTF-8, without a byte order mark."""

    def __init__(self, settings: CorpusSettings, name: str, note: Note) -> None:
        self._codec = codec_of(settings.encoding)
        self._decoder = codecs.getincrementaldecoder(self._codec)("strict")
        self._errors, self._name, self._note = settings.encoding_errors, name, note
        self._mark, self._drops_mark = b"", False
        self._offset, self._line = 0, 1  # where the next block begins, in bytes and in lines
        self._error: TextError | None = None

    def converted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The text as UTF-8. Raises TextError, after the text before the first byte that does not decode."""
        for block in chain(blocks, [None]):
            if not self._offset and block:
                self._look_for_mark(block)
            text = self._decode(block or b"", is_last=block is None)
            if self._drops_mark and text:
                text, self._drops_mark = text.removeprefix("\ufeff"), False
            self._line += text.count("\n")
            yield text_from_argument(text).encode()
            if self._error:
                raise self._error

    def _look_for_mark(self, head: bytes) -> None:
        """Find the byte order mark at the beginning of a text. Raises NotText when the text is binary."""
        refuse_binary(head[:HEAD_SIZE], self._name, self._codec)
        self._mark = mark_of(head)
        if self._mark and self._codec.startswith(BYTE_ORDER_MARKS[self._mark]):
            self._note(f"{self._name}: its byte order mark was dropped")
            self._drops_mark = not drops_own_mark(self._codec)

    def _decode(self, block: bytes, is_last: bool) -> str:
        """The text of a block; only up to the first error, which is kept, unless `--encoding-errors` allows errors."""
        before = self._decoder.getstate()
        num_pending, start = len(before[0]), self._offset  # bytes of an unfinished character; offset of the block
        self._offset += len(block)
        try:
            return self._decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            num_good, bad_offset = max(0, error.start - num_pending), start + error.start - num_pending
        except UnicodeError as error:  # UTF-16 and UTF-32 without their mark, which have no offset to report
            self._error = self._undecodable(f": {error}", self._name)
            return ""
        if self._errors == "strict":
            self._decoder.setstate(before)
            text = self._decoder.decode(block[:num_good])
            line = self._line + text.count("\n")
            self._error = self._undecodable("", f"{self._name}, line {line}, byte offset {bad_offset}")
            return text
        self._note(f"{self._name}: not valid {self._codec}; such bytes: {self._errors}")
        self._decoder = codecs.getincrementaldecoder(self._codec)(self._errors)
        self._decoder.setstate(before)
        return self._decoder.decode(block, is_last)

    def _undecodable(self, reason: str, where: str) -> TextError:
        marked = BYTE_ORDER_MARKS.get(self._mark, f"{self._codec}-le" if reason else self._codec)
        suggested = "NAME" if marked == self._codec else marked
        to_do = f"give --encoding {suggested}, or --encoding-errors replace; a run of --unit byte takes any bytes"
        return TextError(f"the text is not valid {self._codec}{reason}", where, to_do)


def _batches(blocks: Iterator[bytes], max_lines: int, name: str) -> Iterator[list[bytes]]:
    """The lines of blocks, as soon as there are `max_lines`, or one has to wait for more. Raises TextError if empty."""
    lines: list[bytes] = []
    unfinished: list[bytes] = []  # the pieces of a line whose end has not come yet
    is_empty = True
    try:
        for block in blocks:
            is_empty = is_empty and not block
            first, *others = block.split(b"\n")
            unfinished.append(first)
            if others:
                lines += [b"".join(unfinished), *others[:-1]]
                unfinished = [others[-1]]
            while len(lines) >= max_lines or (lines and not block):
                yield lines[:max_lines]
                del lines[:max_lines]
    except TextError:
        yield from _in_batches(lines, max_lines)
        raise
    if is_empty:
        raise TextError("the text is empty", name, "give a text with something in it")
    rest = b"".join(unfinished)
    yield from _in_batches([*lines, rest] if rest else lines, max_lines)


def _in_batches(lines: list[bytes], max_lines: int) -> Iterator[list[bytes]]:
    for start in range(0, len(lines), max_lines):
        yield lines[start : start + max_lines]
