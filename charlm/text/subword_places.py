"""Where sentencepiece's pieces end in a text, read from the protocol buffer into which it encodes the text.

Field 2 is a piece; the piece's own fields 4 and 5 say where it begins and ends, in bytes of UTF-8. If several pieces
spell a character, sentencepiece gives the character to the last of them and empty ranges to the others.
"""

from charlm.text.subword_checking import contents, integers

PIECE, BEGIN, END = 2, 4, 5


def piece_ends(encoded: bytes, text: str) -> list[int]:
    """For each piece, how many characters of the text end with it. All pieces that spell a character end with it."""
    ranges = [dict(integers(piece)) for piece in contents(encoded, PIECE)]
    characters = _characters_by_byte(text)
    ends: list[int] = []
    following = None
    for piece in reversed(ranges):
        begin, end = piece.get(BEGIN, 0), piece.get(END, 0)
        following = end if begin < end or following is None else following
        ends.append(characters[following])
    return ends[::-1]


def _characters_by_byte(text: str) -> list[int]:
    """For each number of bytes of UTF-8 from 0 on, how many characters end within that many bytes."""
    counts = [0]
    for count, character in enumerate(text, 1):
        counts += [count - 1] * (len(character.encode()) - 1) + [count]
    return counts
