"""Compressed texts: recognised by their first bytes, whatever they are called, and decompressed in small pieces."""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from charlm.errors import TextError, UsageError

MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),  # of a file with content, and of an empty one
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
MAGIC_SIZE = 10  # bytes that suffice to recognise each kind
MAX_OUTPUT_SIZE = 1 << 18  # bytes decompressed at a time, because a few bytes can stand for gigabytes
# Bytes given to the package `zstandard` at a time: it does not limit its output, but 1 KB stands for at most 32 MB.
ZSTD_INPUT_SIZE = 1 << 10


class Decompressor(Protocol):
    """Decompresses one member of a compressed file; the interface is that of Python's own modules."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def compression_of(head: bytes) -> str | None:
    """How a file that begins with these bytes is compressed, None if it is not; MAGIC_SIZE bytes suffice."""
    return next((kind for kind, magic in MAGIC.items() if magic.match(head)), None)


def decompress(blocks: Iterable[bytes], kind: str, name: str) -> Iterator[bytes]:
    """The decompressed data of all members, one after another; zeros that pad the file behind a member are ignored.

    Raises TextError when the data are damaged, cut short, or followed by other data; UsageError when the package that
    decompresses them is not installed.
    """
    member: Decompressor | None = None
    begun = False
    for block in blocks:
        rest = block if member or not begun else block.lstrip(b"\0")
        while rest or member:
            if member is None:
                (member, error_type), begun = _begin(kind, name), True
            try:
                yield member.decompress(rest, MAX_OUTPUT_SIZE)
            except error_type as error:
                what = f"the text is damaged: not all of it is {kind} data"
                raise TextError(what, name, "make the file again, or decompress it by hand") from error
            rest = b""
            if member.eof:
                rest, member = member.unused_data.lstrip(b"\0"), None
            elif member.needs_input:
                break
    if member is not None:
        raise TextError(f"the text is cut short: its {kind} data end too early", name, "make or fetch the file again")


class _Gzip:
    """zlib's decompressor, with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class _Zstandard:
    """The decompressor of the package `zstandard`, with the interface of the others."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._waiting = inner, b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._waiting

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    def decompress(self, data: bytes, max_length: int) -> bytes:
        waiting = self._waiting + data
        self._waiting = waiting[ZSTD_INPUT_SIZE:]
        return bytes(self._inner.decompress(waiting[:ZSTD_INPUT_SIZE]))


def _zstd() -> tuple[Decompressor, type[Exception]]:
    """Python's own decompressor from 3.14 on, otherwise that of the package. Raises ModuleNotFoundError."""
    try:
        own = import_module("compression.zstd")
    except ModuleNotFoundError:
        import zstandard

        return _Zstandard(zstandard.ZstdDecompressor().decompressobj()), zstandard.ZstdError
    return own.ZstdDecompressor(), own.ZstdError


DECOMPRESSORS: dict[str, Callable[[], tuple[Any, type[Exception]]]] = {
    "gzip": lambda: (_Gzip(), zlib.error),
    "bzip2": lambda: (bz2.BZ2Decompressor(), OSError),
    "xz": lambda: (lzma.LZMADecompressor(lzma.FORMAT_XZ), lzma.LZMAError),
    "zstd": _zstd,
}


def _begin(kind: str, name: str) -> tuple[Decompressor, type[Exception]]:
    try:
        return DECOMPRESSORS[kind]()
    except ModuleNotFoundError as error:
        to_do = "pip install 'charlm[zst]', or decompress the text by hand"
        raise UsageError(f"the text is compressed with {kind}: a package is missing", name, to_do) from error
