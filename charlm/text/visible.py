"""Text as people can see it: escapes for what could control a screen, and for what has no width."""

import re
import unicodedata

CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
ZERO_WIDTH = r"\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff"  # without joiners: they shape their neighbours
ESCAPED = re.compile(f"[{CONTROLS}{ZERO_WIDTH}]")
BLANK = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")  # to Unicode they are letters and signs, but they show nothing
BLANK_MARKS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
DOTTED_CIRCLE = "\u25cc"


def visible(text: str) -> str:
    """A text that is safe to show, with escapes for what could control a screen and for what has no width.

    Escaped are control characters except newline and tab, marks that change the direction of writing, the byte order
    mark, soft hyphens, and lone surrogates.
    """
    return ESCAPED.sub(lambda found: _escape(found[0]), text)


def visible_symbol(symbol: str) -> str:
    """A token as tables show it: quoted, with escapes, if something in it cannot be seen.

    Spaces can be seen between other characters, but not at an end. A combining mark that has no character to combine
    with is put on a dotted circle.
    """
    shown, follows_a_base = "", False
    for character in symbol:
        drawn = _drawn(character, follows_a_base)
        shown, follows_a_base = shown + drawn, drawn.endswith(character) and character != " "
    is_plain = shown == symbol and symbol == symbol.strip() and symbol != ""
    return symbol if is_plain else f"'{shown}'"


def visible_type(plain: str, joins: str) -> str:
    """A type as tables show it: its symbol, and how it joins its neighbours, if it does."""
    return visible_symbol(plain) + (f" ({joins})" if joins else "")


def _drawn(character: str, follows_a_base: bool) -> str:
    if unicodedata.category(character) in ("Mn", "Me"):
        if follows_a_base:
            return character
        return _escape(character) if BLANK_MARKS.match(character) else DOTTED_CIRCLE + character
    return character if character.isprintable() and not BLANK.match(character) else _escape(character)


def _escape(character: str) -> str:
    r"""The escape of a character: \xe9 for a byte that is not UTF-8, the code point for all others."""
    is_byte = "\udc80" <= character <= "\udcff"
    return rf"\x{ord(character) - 0xDC00:02x}" if is_byte else character.encode("unicode_escape").decode("ascii")
