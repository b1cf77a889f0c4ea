"""Compiled code: shared libraries that were built from C code beside them, where a compiler was found."""

import ctypes
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def load_library(library: Path, sources: Sequence[Path], arguments: Mapping[str, Sequence[Any]]) -> Any:
    """The library, with the types of its functions' arguments; None unless it was built from the current sources.

    Its function `charlm_source` returns the `source_number` of those it was built from. A function returns an int64, or
    nothing.
    """
    try:
        loaded = ctypes.CDLL(str(library))
        loaded.charlm_source.restype = ctypes.c_int64
        if loaded.charlm_source() != source_number(sources):
            return None
    except (OSError, AttributeError):
        return None
    for name, kinds in arguments.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = tuple(kinds), ctypes.c_int64
    return loaded


def source_number(sources: Sequence[Path]) -> int:
    """A fingerprint of C code, which a library keeps; `hatch_build.py` computes the same."""
    content = b"".join(source.read_bytes() for source in sources)
    return int(hashlib.sha256(content).hexdigest()[:15], 16)


def address(array: Any) -> int | None:
    """The address of a writable array's numbers, None if it is empty; five times as fast as `array.ctypes.data`."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array)) if array.size else None
