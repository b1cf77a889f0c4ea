"""What sentencepiece itself does not refuse in a model from elsewhere: a character that becomes a megabyte of text.

A model is a protocol buffer: fields, each a number with its kind of content, then the content. Field 3 is the way to
normalise, and in it field 2 the map of characters: a trie's size in four bytes, the trie, then all the texts that it
leads to, each ended by a NUL.
"""

from collections.abc import Iterator

NORMALISATION, MAP = 3, 2
MAX_LENGTH = 256  # bytes that one character may become; Unicode's longest, U+FDFA, becomes 33
SHORT_PIECE = 0x0A  # the key of field 1, a piece
MAX_SHIFT = 63
FIXED = {1: 8, 5: 4}  # bytes of the kinds of content that are always of one size


def check_model(model: bytes) -> None:
    """Raise ValueError when this is no protocol buffer, or it makes very much text of little."""
    for normalisation in contents(model, NORMALISATION):
        for characters in contents(normalisation, MAP):
            texts = characters[4 + int.from_bytes(characters[:4], "little") :]
            if max(map(len, texts.split(b"\0"))) > MAX_LENGTH:
                raise ValueError("the sentencepiece model makes very much text of one character")


def contents(data: bytes, wanted: int) -> Iterator[bytes]:
    """What the fields of one number hold, as far as they hold bytes. Raises ValueError."""
    return (held for number, held in _fields(data) if number == wanted and isinstance(held, bytes))


def numbers(data: bytes) -> Iterator[tuple[int, int]]:
    """The fields that hold a whole number, and these. Raises ValueError."""
    return ((number, held) for number, held in _fields(data) if isinstance(held, int))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields and what they hold; of those of a fixed size nothing, nor of most pieces of a model."""
    at, last = 0, len(data) - 1
    while at <= last:
        if data[at] == SHORT_PIECE and at < last and data[at + 1] < 128:  # the first thousands of fields, quickly
            at += 2 + data[at + 1]
            continue
        key, at = _number(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(data, at)
            yield key >> 3, value
            continue
        size, at = (FIXED[kind], at) if kind in FIXED else _number(data, at)
        if kind not in (1, 2, 5) or at + size > len(data):
            raise ValueError("not a sentencepiece model")
        if kind == 2:
            yield key >> 3, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, MAX_SHIFT + 1, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not a sentencepiece model")
