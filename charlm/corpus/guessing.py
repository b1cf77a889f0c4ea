"""Which encodings would fit a text that does not decode: found by trial, told by what its words then look like."""

import re
import unicodedata

from charlm.corpus.not_text import is_utf_8, wide_encoding

LETTERS_OF = {  # an encoding, and the scripts of the letters that its texts have
    "cp1252": {"LATIN"},
    "cp1250": {"LATIN"},
    "cp1254": {"LATIN"},
    "mac_roman": {"LATIN"},
    "cp850": {"LATIN"},
    "cp1251": {"CYRILLIC"},
    "koi8-r": {"CYRILLIC"},
    "cp866": {"CYRILLIC"},
    "cp1253": {"GREEK"},
    "cp1255": {"HEBREW"},
    "cp1256": {"ARABIC"},
    "cp874": {"THAI"},
    "cp932": {"HIRAGANA", "KATAKANA", "CJK"},
    "euc_jp": {"HIRAGANA", "KATAKANA", "CJK"},
    "gb18030": {"CJK"},
    "big5": {"CJK"},
    "cp949": {"HANGUL"},
}
CASELESS = {"HEBREW", "ARABIC", "THAI"}
KANA = {"HIRAGANA", "KATAKANA"}
SPACELESS = {"CJK", "HANGUL", *KANA}
NATURAL = 0.9  # of the words that are not ASCII
LESS_LIKELY = 0.95  # what a word of capitals counts, or of one letter
MAX_NAMED = 3
WORD = re.compile(r"[^\W\d_]+(?:[^\x00-\x7f\s][^\W\d_]+)*|[^\x00-\x7f\s]")


def fitting_encodings(sample: bytes) -> tuple[str, ...]:
    """The encodings in which these bytes are a likely text, the likeliest first; latin-1, which takes all, if none."""
    if wide := wide_encoding(sample):
        return (wide,)
    if is_utf_8(sample):
        return ("utf-8",)
    found: dict[str, tuple[float, str]] = {}  # by what the text is then: many encodings agree on it
    for encoding, scripts in LETTERS_OF.items():
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        found.setdefault(text, (_naturalness(text, scripts), encoding))
    natural = sorted((one for one in found.values() if one[0] >= NATURAL), key=lambda one: -one[0])
    best = [encoding for share, encoding in natural if share >= natural[0][0] - 0.01]
    return tuple(best[:MAX_NAMED]) or ("latin-1",)


def _naturalness(text: str, scripts: set[str]) -> float:
    """The share of the words with letters beyond ASCII that look as those of a text in these scripts do."""
    words = [word for word in WORD.findall(text) if not word.isascii()]
    if scripts & SPACELESS:
        found = [_script(c) for word in words for c in word if c.isalpha()]
        wanted = bool(KANA & scripts) == bool(KANA & set(found))  # Japanese always has some
        return sum(script in scripts for script in found) / len(found) if found and wanted else 0.0
    return sum(_likelihood(word, scripts) for word in words) / len(words) if words else 0.0


def _likelihood(word: str, scripts: set[str]) -> float:
    letters = [c for c in word if c.isalpha() or unicodedata.category(c)[0] == "M"]
    if not letters:
        return float(unicodedata.category(word[0]) in ("Pd", "Pi", "Pf", "Ps", "Pe", "Po", "Sc", "Zs"))
    if any(c not in letters and unicodedata.category(c) not in ("Pd", "Pf") for c in word):
        return 0.0  # a sign within a word
    beyond = [c for c in letters if c > "\x7f"]
    is_latin = scripts == {"LATIN"}
    if not {_script(c) for c in beyond} <= scripts or (len(beyond) < len(letters) and not is_latin):
        return 0.0
    if is_latin and len(beyond) == len(letters) > 2:
        return 0.0  # every letter accented: another script
    if not is_latin and len(word) == 1:
        return LESS_LIKELY
    if scripts & CASELESS or word.islower() or word[1:].islower():
        return 1.0
    return LESS_LIKELY * word.isupper()


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]
