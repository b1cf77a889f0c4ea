"""The encoding of a text: checked strictly, with the first error located; everything else becomes a copy in UTF-8."""

import codecs
import hashlib
from collections.abc import Iterator

from charlm.corpus.guessing import fitting_encodings
from charlm.corpus.not_text import HEAD_SIZE, NotText, refuse_binary, wide_encoding
from charlm.corpus.sources import read_at, temporary_copy
from charlm.corpus.text_file import Span, TextFile
from charlm.errors import UsageError
from charlm.settings import CorpusSettings
from charlm.text.surrogates import text_from_argument

SAMPLE_SIZE = 1 << 15  # bytes on both sides of an error, on which other encodings are tried
NOT_OF_FILES = {
    "idna": "a way to write host names",
    "punycode": "a way to write host names",
    "unicode-escape": "a way to write Python's strings",
    "raw-unicode-escape": "a way to write Python's strings",
    "undefined": "not the name of an encoding",
    "charmap": "a part of other encodings",
}
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before the mark of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python knows this encoding, and text files are written in it."""
    try:
        "".encode(name)
        codec = codecs.lookup(name).name
    except (LookupError, UnicodeError) as error:
        to_do = "try utf-8, utf-16 or latin-1"
        raise UsageError(f"--encoding {name}: no such encoding of text", to_do=to_do) from error
    if codec in NOT_OF_FILES:
        what = f"--encoding {name}: it is {NOT_OF_FILES[codec]}, not an encoding of text files"
        raise UsageError(what, to_do="give what the file is written in: utf-8, utf-16, latin-1 or another")


def codec_of(encoding: str) -> str:
    """Python's name for an encoding; `utf-8` also where its byte order mark is named."""
    return codecs.lookup(encoding).name.replace("utf-8-sig", "utf-8")


def mark_of(head: bytes) -> bytes:
    """The byte order mark with which a text begins, empty if there is none."""
    return next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")


def drops_own_mark(codec: str) -> bool:
    """Whether decoding drops the byte order mark: these encodings need it."""
    return codec in ("utf-16", "utf-32")


def to_checked_utf8(text: TextFile, settings: CorpusSettings) -> None:
    """Check a text's encoding; replace its file by a temporary copy in UTF-8 where something has to change.

    Raises NotText for what is binary or does not decode; ResourceError when there is no space for the copy.
    """
    codec = codec_of(settings.encoding)
    refuse_binary(_head(text), text.name, codec)
    _drop_byte_order_mark(text, codec)
    if codec != "utf-8":
        _transcode(text, codec, settings.encoding_errors)
        return
    try:
        for _ in _decoded(text, "utf-8", "strict"):
            pass
    except NotText as error:
        if settings.encoding_errors == "strict":
            raise
        text.notes.append(f"{error.where}: not valid utf-8; such bytes: {settings.encoding_errors}")
        _transcode(text, codec, settings.encoding_errors)


def _head(text: TextFile) -> bytes:
    return read_at(text.file, HEAD_SIZE, 0, text.name)


def _drop_byte_order_mark(text: TextFile, codec: str) -> None:
    """Leave out a text's byte order mark. Raises NotText where the encoding needs one and there is none."""
    mark = mark_of(_head(text))
    if not mark and drops_own_mark(codec) and len(text.span):
        fitting = wide_encoding(_head(text)) or f"{codec}-le"
        what = f"the text does not begin with the byte order mark of {codec}"
        raise NotText(what, text.name, f"give another --encoding, such as {fitting} or latin-1", f"not {codec}")
    if mark and codec.startswith(BYTE_ORDER_MARKS[mark]):
        text.notes.append(f"{text.name}: its byte order mark was dropped")
        if not drops_own_mark(codec):
            text.span = Span(len(mark), text.span.stop)


def _transcode(text: TextFile, codec: str, errors: str) -> None:
    """Replace the file by a temporary copy in UTF-8."""
    if not text.sha256:
        digest = hashlib.sha256()
        for block in text.blocks(Span(0, text.span.stop)):
            digest.update(block)
        text.sha256 = digest.hexdigest()
    text.replace(temporary_copy(text_from_argument(chunk).encode() for chunk in _decoded(text, codec, errors)))


def _decoded(text: TextFile, codec: str, errors: str) -> Iterator[str]:
    """The text in chunks. Raises NotText with the line and byte offset of the first error."""
    decoder = codecs.getincrementaldecoder(codec)(errors)
    offset = text.span.start
    try:
        for block in text.blocks():
            offset += len(block)
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(text, codec, offset - len(error.object) + error.start) from error


def _undecodable(text: TextFile, codec: str, offset: int) -> NotText:
    """The error for a text whose byte at `offset` does not decode; it names the encodings that would fit."""
    decoder = codecs.getincrementaldecoder(codec)("replace")
    line = 1 + sum(decoder.decode(block).count("\n") for block in text.blocks(Span(text.span.start, offset)))
    marked = BYTE_ORDER_MARKS.get(mark_of(_head(text)), codec)
    fitting = _fitting(text, offset) if marked == codec else (marked,)
    names = " or ".join(fitting)
    to_do = f"give --encoding {names}, which would fit, or --encoding-errors replace, "
    to_do += "or train with --unit byte, which takes any bytes"
    where = f"{text.name}, line {line}, byte offset {offset}"
    return NotText(f"the text is not valid {codec}", where, to_do, f"not {codec}; {names} would fit", fitting)


def _fitting(text: TextFile, offset: int) -> tuple[str, ...]:
    """The encodings that are likely for the whole lines around an offset."""
    start, stop = max(text.span.start, offset - SAMPLE_SIZE), min(text.span.stop, offset + SAMPLE_SIZE)
    around = b"".join(text.blocks(Span(start, stop)))
    begin = around.find(b"\n", 0, offset - start) + 1 if start > text.span.start else 0
    end = around.rfind(b"\n", offset - start) + 1 if stop < text.span.stop else len(around)
    return fitting_encodings(around[begin : end or len(around)])
