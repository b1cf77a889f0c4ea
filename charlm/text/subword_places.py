"""Where sentencepiece's pieces end in a text, out of the protocol buffer that it gives.

It has the text in field 1 and each piece in field 2; a piece's own fields 4 and 5 say where it begins and ends, in
bytes of UTF-8. A character that is spelled in several pieces is said to belong to the last of them.
"""

from charlm.text.subword_checking import contents, numbers

PIECES, BEGIN, END = 2, 4, 5


def piece_ends(encoded: bytes, text: str) -> list[int]:
    """How many characters of the text have been read with each piece; a character belongs to all that spell it."""
    spans = [dict(numbers(piece)) for piece in contents(encoded, PIECES)]
    characters = _characters_before(text)
    ends: list[int] = []
    following = None
    for span in reversed(spans):
        begin, end = span.get(BEGIN, 0), span.get(END, 0)
        following = end if begin < end or following is None else following
        ends.append(characters[following])
    return ends[::-1]


def _characters_before(text: str) -> list[int]:
    """By bytes of UTF-8: the characters that end within so many."""
    counts = [0]
    for count, character in enumerate(text, 1):
        counts += [count - 1] * (len(character.encode()) - 1) + [count]
    return counts
