"""Which encodings would fit a text that does not decode: each is tried, and judged by what the words look like then."""

import re
import unicodedata

from charlm.corpus.not_text import is_utf_8, wide_encoding

SCRIPTS = {  # for each encoding the scripts of the letters in its texts
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
MIN_NATURALNESS = 0.9  # of a text in an encoding that is named
LESS_LIKELY = 0.95  # how natural a word of capitals is, or one of a single letter
NEARLY_BEST = 0.01  # difference in naturalness from the best encoding, up to which others are named too
MAX_NAMED = 3
WORD = re.compile(r"[^\W\d_]+(?:[^\x00-\x7f\s][^\W\d_]+)*|[^\x00-\x7f\s]")


def fitting_encodings(sample: bytes) -> tuple[str, ...]:
    """The encodings in which these bytes are a likely text, the likeliest first; if there are none, latin-1."""
    if wide := wide_encoding(sample):
        return (wide,)
    if is_utf_8(sample):
        return ("utf-8",)
    found: dict[str, tuple[float, str]] = {}  # by the decoded text, because several encodings can give the same one
    for encoding, scripts in SCRIPTS.items():
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        found.setdefault(text, (_naturalness(text, scripts), encoding))
    likeliest_first = sorted(found.values(), key=lambda pair: -pair[0])
    least = max(MIN_NATURALNESS, likeliest_first[0][0] - NEARLY_BEST) if likeliest_first else 0.0
    best = [encoding for naturalness, encoding in likeliest_first if naturalness >= least]
    return tuple(best[:MAX_NAMED]) or ("latin-1",)


def _naturalness(text: str, scripts: set[str]) -> float:
    """The share of the words beyond ASCII that look like words in these scripts; without spaces, of the letters."""
    words = [word for word in WORD.findall(text) if not word.isascii()]
    if scripts & SPACELESS:
        found = [_script(c) for word in words for c in word if c.isalpha()]
        may_be = bool(KANA & scripts) == bool(KANA & set(found))  # Japanese always has some kana, Chinese none
        return sum(script in scripts for script in found) / len(found) if found and may_be else 0.0
    return sum(_likelihood(word, scripts) for word in words) / len(words) if words else 0.0


def _likelihood(word: str, scripts: set[str]) -> float:
    """How much a word beyond ASCII looks like one in these scripts, from 0 to 1."""
    letters = [c for c in word if c.isalpha() or unicodedata.category(c)[0] == "M"]
    if not letters:
        is_punctuation = unicodedata.category(word[0]) in ("Pd", "Pi", "Pf", "Ps", "Pe", "Po", "Sc", "Zs")
        return 1.0 if is_punctuation else 0.0
    if any(c not in letters and unicodedata.category(c) not in ("Pd", "Pf") for c in word):
        return 0.0  # a symbol within a word
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
    return LESS_LIKELY if word.isupper() else 0.0


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]
