"""Files that are not text, such as pictures, programs, databases, or UTF-16 read as UTF-8: recognised and refused."""

import codecs
import re
import unicodedata

from charlm.errors import TextError

HEAD_SIZE = 1 << 16  # bytes at the beginning of a file that are looked at
MIN_SAMPLE_SIZE = 128  # bytes; shorter files are judged only by signatures, and by whether they are UTF-16
MAX_NULS = 0.5  # share of the bytes
CONTROLS = bytes({*range(1, 8), *range(14, 27), *range(28, 32), 127})  # without those of terminals: 8 to 13, ESC
HIGH = bytes(range(128, 256))
MAX_CONTROLS = 0.03  # share of the bytes; in compressed data it is a tenth
MAX_CONTROL_KINDS = 3  # different controls in a text without NUL: it may have its own use for one or two
ODD_CATEGORIES = ("Cc", "Cn", "Co")  # of Unicode: controls, unassigned characters, private ones
MAX_ODD = 0.05  # share of the characters
MIN_WIDE_SIZE = 12  # bytes, from which UTF-16 can be recognised without a mark
ONE_SIDED = 0.8  # share of the NULs that are at even offsets, or at odd ones
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF_32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)

SIGNATURES = {
    "a PNG picture": rb"\x89PNG\r\n\x1a\n",
    "a JPEG picture": rb"\xff\xd8\xff",
    "a GIF picture": rb"GIF8[79]a(?=.*\0)",
    "a BMP picture": rb"BM.{4}\0\0\0\0",
    "a TIFF picture": rb"II\*\0|MM\0\*",
    "a PNM picture": rb"P[456]\s(?:#[^\n]*\n)*\s*\d+\s+\d+\s+(?:\d+\s)?[^\n]*[\x80-\xff]",
    "a picture (DOS EPS)": rb"\xc5\xd0\xd3\xc6",
    "a catalogue of messages": rb"\xde\x12\x04\x95|\x95\x04\x12\xde",
    "a Photoshop picture": rb"8BPS\0",
    "an icon": rb"\0\0[\x01\x02]\0[^\0]\0",
    "a RIFF file of sound or pictures": rb"RIFF.{4}(?:WEBP|WAVE|AVI )",
    "a PDF": rb"%PDF-\d\.\d\s",
    "an MP3": rb"ID3[\x02-\x04][\0-\x0f]|\xff[\xfb\xf3\xf2\xfa][\x10-\xef]",
    "an Ogg file": rb"OggS\0",
    "a FLAC file": rb"fLaC\0",
    "a film": rb".{4}ftyp[ -~]{4}.*\0|\x1aE\xdf\xa3",
    "a program": rb"\x7fELF|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe|MZ(?=.*\0)|\0asm",
    "an SQLite database": rb"SQLite format 3\0",
    "an office document of the old kind": rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "an office document, an e-book or a program (zip)": rb"PK\x03\x04",
    "an archive (tar), which is read as a whole where it is given as a file": rb".{257}ustar",
    "an archive that charlm does not open (7z)": rb"7z\xbc\xaf\x27\x1c",
    "an archive that charlm does not open (rar)": rb"Rar!\x1a\x07",
    "an archive that charlm does not open (ar)": rb"!<arch>\n",
    "an archive that charlm does not open (cpio)": rb"07070[127][0-7A-Fa-f]{70}|\xc7\x71",
    "compressed in a way that charlm does not read": rb"\x1f[\x9d\xa0]|LZIP\x01|\x04\x22\x4d\x18",
    "an array of numbers": rb"\x93NUMPY|\x89HDF\r\n|PAR1(?=.*\0)|ARROW1\0\0|GGUF[\x01-\x0f]\0",
    "objects of Python": rb"\x80[\x02-\x05](?:\x95.{7}\0|[c}\]])",
    "a font": rb"wOF[F2]\0\x01|\0\x01\0\0\0|OTTO\0",
}
KINDS = {kind: re.compile(signature, re.DOTALL) for kind, signature in SIGNATURES.items()}


class NotText(TextError):
    """A file that is not text, or not in the encoding that was given.

    `reason` says why in a few words; `fitting` are the encodings that would fit.
    """

    def __init__(
        self, what: str, where: str, to_do: str, reason: str, fitting: tuple[str, ...] = (), is_binary: bool = False
    ) -> None:
        super().__init__(what, where, to_do)
        self.reason, self.fitting, self.is_binary = reason, fitting, is_binary


def refuse_binary(head: bytes, name: str, encoding: str) -> None:
    """Raise NotText when a file that begins with `head` is binary, or is UTF-16 or UTF-32 but `encoding` is not.

    A NUL is a character like others: a file is binary only if it has many of them, or other control characters.
    """
    for kind, signature in KINDS.items():
        if signature.match(head):
            raise _binary(kind, name)
    if encoding.startswith(("utf-16", "utf-32")):
        if len(head) >= MIN_SAMPLE_SIZE and _is_odd(head, encoding):
            raise _binary(f"binary data, or not {encoding}", name)
        return
    wide = wide_encoding(head)
    if wide:
        what = f"this is not {encoding}: it looks like {wide[:6].upper()}"
        raise NotText(what, name, f"give --encoding {wide}", f"looks like {wide[:6].upper()}", (wide,))
    if len(head) >= MIN_SAMPLE_SIZE and _is_binary(head):
        raise _binary("binary data", name)


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, where a file can be nothing else: half of its bytes would be NULs or control characters."""
    if b"\0" not in head:
        return None
    if head.startswith(UTF_32_MARKS):  # before those of UTF-16: one of them begins with one of these
        return "utf-32"
    if head.startswith(UTF_16_MARKS):
        return "utf-16"
    if len(head) < MIN_WIDE_SIZE or is_utf_8(head):
        return None
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        if (_nuls_suit(head, width) or (width == 2 and _is_beyond_latin(head))) and _reads_as_text(head, encoding):
            return encoding
    return None


def _binary(kind: str, name: str) -> NotText:
    to_do = "give a text; in a folder or an archive, --exclude leaves it out; --unit byte learns any bytes"
    return NotText(f"this is not a text: {kind}", name, to_do, kind, is_binary=True)


def _is_binary(head: bytes) -> bool:
    if len(head) - len(head.translate(None, CONTROLS)) > MAX_CONTROLS * len(head):
        return b"\0" in head or len({*head} & {*CONTROLS}) > MAX_CONTROL_KINDS
    return head.count(b"\0") > MAX_NULS * len(head)


def _is_odd(head: bytes, encoding: str) -> bool:
    """Whether too much of a file decodes to errors, or to characters that texts do not have."""
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    except UnicodeError:  # its mark is missing: `to_checked_utf8` reports that
        return False
    num_odd = sum(c == "\ufffd" or (unicodedata.category(c) in ODD_CATEGORIES and c not in "\t\n\r\f") for c in text)
    return num_odd > MAX_ODD * len(text)


def _nuls_suit(head: bytes, width: int) -> bool:
    """Whether the NULs are where Latin letters, spaces and line ends have them in an encoding of `width` bytes."""
    num_nuls, num_controls = head.count(b"\0"), len(head) - len(head.translate(None, CONTROLS))
    if width == 4:
        return num_nuls > 0.45 * len(head)
    num_odd = head[1::2].count(b"\0")  # at odd offsets
    return num_nuls + num_controls > 0.25 * len(head) and max(num_odd, num_nuls - num_odd) > ONE_SIDED * num_nuls


def _is_beyond_latin(head: bytes) -> bool:
    """Whether the bytes can be UTF-16 of another script than the Latin one."""
    return len(head) - len(head.translate(None, HIGH)) > 0.05 * len(head)


def is_utf_8(head: bytes) -> bool:
    """Whether the bytes are UTF-8 with characters beyond ASCII, which UTF-16 never looks like."""
    try:
        return not head.isascii() and bool(codecs.getincrementaldecoder("utf-8")("strict").decode(head))
    except UnicodeDecodeError:
        return False


def _reads_as_text(head: bytes, encoding: str) -> bool:
    """Whether the bytes decode to characters that texts have."""
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(head)
    except UnicodeDecodeError:
        return False
    categories = {unicodedata.category(c) for c in text[:MIN_SAMPLE_SIZE] if c not in "\t\n\r\f"}
    return (
        bool(categories)
        and categories.isdisjoint(ODD_CATEGORIES)
        and ("\n" in text or " " in text or len(text) < MIN_SAMPLE_SIZE)
    )
