"""Refuses a sentencepiece model that turns a character into a megabyte of text, which sentencepiece itself allows.

A model is a protocol buffer: a sequence of fields, each a number, a wire type and a content. Field 3 is the
normalisation, and its field 2 the character map: the size of a trie (4 bytes), the trie, then the texts that it leads
to, each ended by a NUL.
"""

from collections.abc import Iterator

NORMALISATION, CHARACTER_MAP = 3, 2
TRIE_SIZE_BYTES = 4
MAX_LENGTH = 256  # bytes that a character may become; Unicode's longest, U+FDFA, becomes 33
SHORT_PIECE = 0x0A  # the key of field 1 with a length: a piece
MAX_SHIFT = 63
VARINT, LENGTH_DELIMITED = 0, 2  # wire types
FIXED_SIZES = {1: 8, 5: 4}  # bytes, by wire type


def check_model(model: bytes) -> None:
    """Raise ValueError if this is not a protocol buffer, or turns a character into very much text."""
    for normalisation in contents(model, NORMALISATION):
        for character_map in contents(normalisation, CHARACTER_MAP):
            trie_size = int.from_bytes(character_map[:TRIE_SIZE_BYTES], "little")
            texts = character_map[TRIE_SIZE_BYTES + trie_size :]
            if max(map(len, texts.split(b"\0"))) > MAX_LENGTH:
                raise ValueError("the sentencepiece model makes very much text of one character")


def contents(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of the fields numbered `wanted` that hold bytes. Raises ValueError."""
    return (content for number, content in _fields(data) if number == wanted and isinstance(content, bytes))


def integers(data: bytes) -> Iterator[tuple[int, int]]:
    """The number and content of each field that holds an integer. Raises ValueError."""
    return ((number, content) for number, content in _fields(data) if isinstance(content, int))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and content of each field. Fields of a fixed size and most pieces of a model are left out."""
    place, last = 0, len(data) - 1
    while place <= last:
        if data[place] == SHORT_PIECE and place < last and data[place + 1] < 128:  # most fields: skip them quickly
            place += 2 + data[place + 1]
            continue
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire_type in FIXED_SIZES:
            size = FIXED_SIZES[wire_type]
        else:
            size, place = _varint(data, place)
        if wire_type not in (LENGTH_DELIMITED, *FIXED_SIZES) or place + size > len(data):
            raise ValueError("not a sentencepiece model")
        if wire_type == LENGTH_DELIMITED:
            yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An integer written with seven bits a byte, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, MAX_SHIFT + 1, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("not a sentencepiece model")
