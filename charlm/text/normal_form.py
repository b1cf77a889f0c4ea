"""Unicode's normal forms: an accented letter as one character (NFC), or as a letter and its marks (NFD)."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from charlm.settings import NormalForm
from charlm.text.interface import Encoded, Tokenizer

SLICE = 1 << 10  # characters; Python's normalising takes the square of the time for a longer run of marks
JOINING_JAMO = ("\u1160", "\u11ff")  # the parts of a Hangul syllable that join what stands before them
FORMS: dict[NormalForm, Literal["NFC", "NFD"]] = {"nfc": "NFC", "nfd": "NFD"}
MUCH_SHORTER = 0.9  # of the tokens; subwords have no unknown symbols, but spell them in more of their pieces


def normalised(text: str, form: NormalForm) -> str:
    """The text in this form."""
    if form == "keep" or text.isascii():
        return text
    return "".join(_normalised_slices(text, form))


def normalised_chunks(chunks: Iterable[str], form: NormalForm) -> Iterator[str]:
    """The same for a text in chunks, wherever they are cut."""
    pending = ""
    for chunk in chunks:
        whole = pending + chunk
        end = _safe_place(whole, len(whole) - 1)
        if end == 0 and len(whole) > SLICE:
            end = len(whole)
        pending = whole[end:]
        yield normalised(whole[:end], form)
    yield normalised(pending, form)


def count_decomposed(text: str) -> int:
    """How many marks stand as characters of their own that NFC would join to their letters."""
    return 0 if text.isascii() else max(0, len(text) - len(normalised(text, "nfc")))


def count_composed(text: str) -> int:
    """How many marks are within their letters, which NFD would write apart."""
    return 0 if text.isascii() else max(0, len(normalised(text, "nfd")) - len(text))


def fitting_form(tokenizer: Tokenizer, text: str, encoded: Encoded | None = None) -> NormalForm | None:
    """The form in which a tokenizer knows what it does not know of this text; None where that is no matter of form."""
    if text.isascii() or tokenizer.unit == "byte":
        return None
    own = encoded or tokenizer.encode_detailed(text)
    forms: tuple[NormalForm, ...] = ("nfc", "nfd")
    for form in forms:
        other = normalised(text, form)
        if other != text and _is_better_known(tokenizer.encode_detailed(other), own, tokenizer.unit == "subword"):
            return form
    return None


def about_form(form: NormalForm) -> str:
    """The sentence that says so."""
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
    """The last place up to `place`, and behind `start`, before a character that never changes what is before it; 0."""
    while place > start and _may_join(text[place]):
        place -= 1
    return place if place > start else 0


def _may_join(character: str) -> bool:
    if character < "\u0300":
        return False
    return unicodedata.category(character)[0] == "M" or JOINING_JAMO[0] <= character <= JOINING_JAMO[1]
