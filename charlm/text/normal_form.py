"""Unicode normal forms: an accented letter as one character (NFC), or as a letter followed by its marks (NFD)."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from charlm.settings import NormalForm, Unit
from charlm.text.encoded import Encoded
from charlm.text.interface import Tokenizer

SLICE = 1 << 10  # characters; Python's time to normalise grows with the square of a run of marks
JOINING_JAMO = ("\u1160", "\u11ff")  # the parts of a Hangul syllable that join what stands before them
FORMS: dict[NormalForm, Literal["NFC", "NFD"]] = {"nfc": "NFC", "nfd": "NFD"}
MUCH_SHORTER = 0.9  # of the number of tokens: subwords spell what they do not know, in more tokens


def normalised(text: str, form: NormalForm) -> str:
    """The text in a normal form."""
    if form == "keep" or text.isascii():
        return text
    return "".join(_normalised_slices(text, form))


def normalised_chunks(chunks: Iterable[str], form: NormalForm) -> Iterator[str]:
    """A text in a normal form, which does not depend on how the text is divided into chunks."""
    pending = ""
    for chunk in chunks:
        text = pending + chunk
        end = _safe_place(text, len(text) - 1)
        if end == 0 and len(text) > SLICE:
            end = len(text)
        pending = text[end:]
        yield normalised(text[:end], form)
    yield normalised(pending, form)


def in_parts(text: str, unit: Unit) -> str:
    """A text that is only read, not written: characters are read in parts (NFD), an accent or a Hangul vowel as one.

    So a network knows a rare syllable by its parts. Words and subwords stay as they are.
    """
    return normalised(text, "nfd") if unit in ("char", "byte") else text


def count_decomposed(text: str) -> int:
    """How many marks are characters of their own which NFC would join to their letters."""
    return 0 if text.isascii() else max(0, len(text) - len(normalised(text, "nfc")))


def count_composed(text: str) -> int:
    """How many marks are part of their letters which NFD would write separately."""
    return 0 if text.isascii() else max(0, len(normalised(text, "nfd")) - len(text))


def fitting_form(tokenizer: Tokenizer, text: str, encoded: Encoded | None = None) -> NormalForm | None:
    """The normal form in which a tokenizer knows more of the text than in the form it has; None if there is none.

    `encoded` is the text as ids, if it has been encoded already.
    """
    if text.isascii() or tokenizer.takes_any_bytes:
        return None
    own = encoded or tokenizer.encode_detailed(text)
    for form in FORMS:
        other = normalised(text, form)
        if other != text and _is_better_known(tokenizer.encode_detailed(other), own, tokenizer.unit == "subword"):
            return form
    return None


def about_form(form: NormalForm) -> str:
    """The advice to a user whose text `fitting_form` says should be in this form."""
    written = {"nfc": "decomposed (NFD)", "nfd": "composed (NFC)"}[form]
    learned = {"nfc": "composed (NFC)", "nfd": "decomposed (NFD)"}[form]
    return (
        f"accented letters are written {written} here, but {learned} in what the model learned from: give the text in "
        f"{form.upper()}, or train with --normal-form {form}"
    )


def _is_better_known(other: Encoded, own: Encoded, spells: bool) -> bool:
    if own.unknown or not spells:
        return len(other.unknown) < len(own.unknown)
    return len(other.ids) < MUCH_SHORTER * len(own.ids)


def _normalised_slices(text: str, form: NormalForm) -> Iterator[str]:
    name = FORMS[form]
    if unicodedata.is_normalized(name, text):
        yield text
        return
    start = 0
    while start < len(text):
        end = len(text) if len(text) - start <= SLICE else _safe_place(text, start + SLICE, start) or start + SLICE
        yield unicodedata.normalize(name, text[start:end])
        start = end


def _safe_place(text: str, place: int, start: int = 0) -> int:
    """The last place after `start` and up to `place` where the text can be cut, or 0 if there is none.

    It is before a character that never joins what stands before it.
    """
    while place > start and _may_join(text[place]):
        place -= 1
    return place if place > start else 0


def _may_join(character: str) -> bool:
    if character < "\u0300":
        return False
    return unicodedata.category(character)[0] == "M" or JOINING_JAMO[0] <= character <= JOINING_JAMO[1]
