"""Bytes that are not valid UTF-8 as text: lone surrogates, U+DC80 to U+DCFF.

This is how Python writes such bytes in arguments and file names (PEP 383). So any bytes can become text, and the same
bytes again.
"""

import re

SURROGATE = re.compile("[\ud800-\udfff]")
_WITHOUT_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # those that stand for no byte


def to_bytes(text: str) -> bytes:
    """The bytes of a text made by `to_text`. Surrogates that stand for no byte become U+FFFD."""
    return _WITHOUT_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Any bytes as text, from which `to_bytes` makes the same bytes again."""
    return data.decode("utf-8", "surrogateescape")


def text_from_argument(text: str) -> str:
    """Text from the command line, where bytes that are not UTF-8 (lone surrogates) become U+FFFD."""
    return SURROGATE.sub("\ufffd", text)
