"""Lines as they come, from standard input, a pipe or a terminal: nobody waits for a line that is there already.

The blocks of bytes below are handed on as they are read; an empty one says that nothing more is there yet.
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

from charlm.corpus.compression import MAGIC_SIZE, compression_of, decompressed
from charlm.corpus.line_ends import with_lf
from charlm.corpus.not_text import HEAD, refuse_what_is_no_text
from charlm.corpus.reader import BYTE_ORDER_MARKS, TextFile, check_encoding, open_text
from charlm.corpus.sources import STDIN, cannot_read, opened, shown
from charlm.errors import TextError
from charlm.settings import CorpusSettings
from charlm.text.interface import text_from_argument

BLOCK = 1 << 18  # bytes read at a time
Note = Callable[[str], None]


def batches_of_lines(
    path: Path | str,
    settings: CorpusSettings,
    most: int,
    note: Note,
    raw: bool = False,
    bring_into_form: Callable[[TextFile], Iterable[str]] | None = None,
) -> Iterator[list[bytes]]:
    """The lines of a text as UTF-8, or with `raw` as they are, without their ends; at most `most` at a time.

    Of standard input, a pipe or a terminal each batch has the lines that have come so far; a file or a folder is
    checked as a whole and brought into the form that the lines are to have first, with notes on that. What a person
    should know is given to `note`. Raises what `open_text` raises; where
    lines come bit by bit, after those before the place that is damaged.
    """
    check_encoding(settings.encoding)
    if _comes_bit_by_bit(path):
        name = shown(path)
        with _descriptor(path, name, note) as descriptor:
            blocks = _decompressed(_read(descriptor, name), name, note)
            if not raw:
                blocks = _ToUtf8(settings, name, note).of(blocks)
                blocks = with_lf(blocks) if settings.line_ends == "lf" else blocks
            yield from _batches(blocks, most, name)
        return
    with open_text(path, settings, raw) as text:
        about_form = bring_into_form(text) if bring_into_form else ()
        for message in (*text.notes, *about_form):
            note(message)
        pieces = text.texts(lines=True)
        lines = chain.from_iterable(piece.removesuffix(b"\n").split(b"\n") for piece in pieces)
        while batch := list(islice(lines, most)):
            yield batch


def _comes_bit_by_bit(path: Path | str) -> bool:
    """Whether this is standard input, a pipe or a device."""
    if str(path) == STDIN:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # `open_text` says what is wrong
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def _descriptor(path: Path | str, name: str, note: Note) -> Iterator[int]:
    """What to read from. Raises TextError."""
    if str(path) != STDIN:
        with opened(path, name) as file:
            yield file.fileno()
        return
    if sys.stdin is None:
        raise TextError("there is no standard input", to_do="give a text file")
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        note("type a sentence a line; Ctrl-D on a line of its own ends it")
    yield descriptor


def _read(descriptor: int, name: str) -> Iterator[bytes]:
    """Blocks as they come, and an empty one whenever the next has to be waited for. Raises TextError."""
    while True:
        if not select.select([descriptor], [], [], 0)[0]:
            yield b""
            select.select([descriptor], [], [])
        try:
            block = os.read(descriptor, BLOCK)
        except BlockingIOError:  # somebody else was faster
            continue
        except OSError as error:
            raise cannot_read(error, name) from error
        if not block:
            return
        yield block


def _decompressed(blocks: Iterator[bytes], name: str, note: Note) -> Iterator[bytes]:
    """The same, decompressed if they begin as a compressed file does."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= MAGIC_SIZE or b"\n" in head:
            break
    whole = chain([head], blocks)
    if kind := compression_of(head):
        note(f"{name}: decompressed ({kind})")
        return decompressed(whole, kind, name)
    return whole


class _ToUtf8:
    """Blocks of an encoding as blocks of UTF-8, without a byte order mark."""

    def __init__(self, settings: CorpusSettings, name: str, note: Note) -> None:
        self._encoding = codecs.lookup(settings.encoding).name.replace("utf-8-sig", "utf-8")
        self._decoder = codecs.getincrementaldecoder(self._encoding)("strict")
        self._errors, self._name, self._note = settings.encoding_errors, name, note
        self._mark, self._drops_mark = b"", False
        self._offset, self._line = 0, 1  # of the next block, and of what comes next
        self._error: TextError | None = None

    def of(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Raises TextError, after the text before the first place that does not decode."""
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
        refuse_what_is_no_text(head[:HEAD], self._name, self._encoding)
        self._mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
        if self._mark and self._encoding.startswith(BYTE_ORDER_MARKS[self._mark]):
            self._note(f"{self._name}: its byte order mark was dropped")
            self._drops_mark = self._encoding not in ("utf-16", "utf-32")  # these drop it themselves

    def _decode(self, block: bytes, is_last: bool) -> str:
        """The text of a block, up to the first place that does not decode unless `--encoding-errors` helps."""
        before = self._decoder.getstate()
        begun, start = len(before[0]), self._offset
        self._offset += len(block)
        try:
            return self._decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            good, place = max(0, error.start - begun), start + error.start - begun
        except UnicodeError as error:  # by UTF-16 and UTF-32 without their mark, who do not say where
            self._error = self._undecodable(f": {error}", self._name)
            return ""
        if self._errors == "strict":
            self._decoder.setstate(before)
            text = self._decoder.decode(block[:good])
            line = self._line + text.count("\n")
            self._error = self._undecodable("", f"{self._name}, line {line}, byte offset {place}")
            return text
        self._note(f"{self._name}: not valid {self._encoding}; such bytes: {self._errors}")
        self._decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)
        self._decoder.setstate(before)
        return self._decoder.decode(block, is_last)

    def _undecodable(self, why: str, where: str) -> TextError:
        guess = BYTE_ORDER_MARKS.get(self._mark, f"{self._encoding}-le" if why else self._encoding)
        named = "NAME" if guess == self._encoding else guess
        to_do = f"give --encoding {named}, or --encoding-errors replace; a run of --unit byte takes any bytes"
        return TextError(f"the text is not valid {self._encoding}{why}", where, to_do)


def _batches(blocks: Iterator[bytes], most: int, name: str) -> Iterator[list[bytes]]:
    """The lines of blocks, as soon as no more of them are there, or `most`. Raises TextError when there is nothing."""
    lines: list[bytes] = []
    begun: list[bytes] = []  # the pieces of a line whose end has not come yet
    is_empty = True
    try:
        for block in blocks:
            is_empty = is_empty and not block
            first, *others = block.split(b"\n")
            begun.append(first)
            if others:
                lines += [b"".join(begun), *others[:-1]]
                begun = [others[-1]]
            while len(lines) >= most or (lines and not block):
                yield lines[:most]
                del lines[:most]
    except TextError:
        yield from _parts(lines, most)
        raise
    if is_empty:
        raise TextError("the text is empty", name, "give a text with something in it")
    rest = b"".join(begun)
    yield from _parts([*lines, rest] if rest else lines, most)


def _parts(lines: list[bytes], most: int) -> Iterator[list[bytes]]:
    for start in range(0, len(lines), most):
        yield lines[start : start + most]
