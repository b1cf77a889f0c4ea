"""The form into which a text is brought before anything is counted: its line ends and its Unicode normal form."""

import codecs
import dataclasses
import re
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from charlm.corpus.line_ends import LineEndCounts, with_lf
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, LineEnds, Unit
from charlm.text.normal_form import (
    about_form,
    count_composed,
    count_decomposed,
    fitting_form,
    normalised,
    normalised_chunks,
)
from charlm.text.tokenizer import TOKENIZERS, Tokenizer

if TYPE_CHECKING:
    from charlm.corpus.text_file import TextFile

MARK_BYTES = (b"\xcc", b"\xe3\x82\x99", b"\xe1\x84")  # of accents, the Japanese voicing mark, parts of Korean syllables
SPACELESS_SCRIPTS = {
    "Thai": "[\u0e00-\u0e7f]",
    "Lao": "[\u0e80-\u0eff]",
    "Tibetan": "[\u0f00-\u0fff]",
    "Burmese": "[\u1000-\u109f\uaa60-\uaa7f]",
    "Khmer": "[\u1780-\u17ff]",
    "Japanese": "[\u3040-\u30ff]",
    "Chinese": "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]",
}
NOT_LETTERS = re.compile(r"[\W\d_]+")
MANY_SPACELESS = 0.3  # share of the letters
MAX_CHUNKS = 16  # with such marks that are searched, because composing is slow


def check_forms(settings: CorpusSettings, unit: Unit) -> None:
    """Raise UsageError for settings that would change the text where bytes are the unit."""
    changing = {"--line-ends lf": settings.line_ends == "lf", "--normal-form": settings.normal_form != "keep"}
    for option in (option for option, given in changing.items() if given and TOKENIZERS[unit].takes_any_bytes):
        raise UsageError(f"{option} does nothing with --unit {unit}: every byte is kept", to_do="leave it out")


def bring_into_form(
    text: "TextFile", settings: CorpusSettings, raw: bool, tokenizer: Tokenizer | None = None
) -> CorpusSettings:
    """Change an open text's line ends and normal form as the settings say; the settings with what was decided.

    Where the settings leave the line ends open, those of the text decide; but CR is kept if there is a tokenizer
    already and it has CR in a symbol. With `raw` nothing is changed. The notes of the text say what was found and done.
    Raises ResourceError when there is no space for a copy.
    """
    from charlm.corpus.sources import temporary_copy  # here, since a single sentence does not need it

    if raw:
        if text.has_cr and (counts := LineEndCounts.from_blocks(text.blocks())).best() == "lf":
            text.notes.append(f"{text.name}: line ends: {counts}; kept, as every byte is")
        return dataclasses.replace(settings, line_ends="keep", normal_form="keep")
    line_ends = _decide_line_ends(text, settings, tokenizer) if text.has_cr else settings.line_ends or "keep"
    decided = dataclasses.replace(settings, line_ends=line_ends)
    blocks = with_lf(text.blocks()) if text.has_cr and line_ends == "lf" else None
    if decided.normal_form != "keep" and not text.is_ascii:
        chunks = codecs.iterdecode(blocks or text.blocks(), "utf-8")
        blocks = (chunk.encode() for chunk in normalised_chunks(chunks, decided.normal_form))
    if blocks is not None:
        text.replace(temporary_copy(blocks))
        text.count()
    return decided


def _decide_line_ends(text: "TextFile", settings: CorpusSettings, tokenizer: Tokenizer | None) -> LineEnds:
    """How a text with CR is read; a note says what was found."""
    found, added = LineEndCounts.from_blocks(text.blocks()), text.added
    counts = LineEndCounts(found.lf - added.lf, found.crlf - added.crlf, found.cr + added.crlf)  # as they were given
    knows_cr = settings.line_ends is None and tokenizer is not None and knows_carriage_return(tokenizer)
    line_ends = settings.line_ends or ("keep" if knows_cr else counts.best())
    done = {"lf": "all read as LF", "keep": "kept, CR is a character"}[line_ends]
    other = {"lf": "keep leaves CR in the text", "keep": "lf makes all of them LF"}[line_ends]
    advice = f" (--line-ends {other})" if tokenizer is None else ""  # otherwise the run or the tokenizer decides
    text.notes.append(f"{text.name}: line ends: {counts}; {done}{advice}")
    return line_ends


def in_form(text: str, settings: CorpusSettings) -> str:
    """A sentence, context or prompt in the form of the text that a run was trained on.

    A CR at its very end is what is left of a CRLF that lost its newline, as in `$(head -1 FILE)`. Where the settings
    leave the line ends open, because the text of the run had no CR, only a CR that belongs to a CRLF is removed.
    """
    if settings.line_ends != "keep" and "\r" in text:
        text = text.removesuffix("\r").replace("\r\n", "\n")
        text = text.replace("\r", "\n") if settings.line_ends == "lf" else text
    return normalised(text, settings.normal_form)


def taken_over(settings: CorpusSettings, before: CorpusSettings, given: Container[str]) -> CorpusSettings:
    """The settings, with the line ends and normal form of an earlier text where they were not `given`.

    If CR was kept in the earlier text, that is not taken over: its tokenizer decides, by having CR as a symbol or not.
    """
    if "line_ends" not in given and before.line_ends == "lf":
        settings = dataclasses.replace(settings, line_ends="lf")
    if "normal_form" not in given:
        settings = dataclasses.replace(settings, normal_form=before.normal_form)
    return settings


def knows_carriage_return(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has a symbol with CR, so that the text it was learned from may have had one."""
    return tokenizer.takes_any_bytes or any("\r" in tokenizer.symbol(id) for id in range(tokenizer.vocab_size))


def about_other_form(tokenizer: Tokenizer, text: "TextFile") -> Iterator[str]:
    """A note where a tokenizer would know more of an open text if it were in another normal form."""
    if text.is_ascii or tokenizer.takes_any_bytes:
        return
    if form := fitting_form(tokenizer, next(text.chunks(), "")):
        yield f"{text.name}: {about_form(form)}"


def about_spaceless(text: "TextFile") -> Iterator[str]:
    """A note on a text to be split into words whose script puts no spaces between them."""
    beginning = next(text.chunks(), "")
    letters = len(NOT_LETTERS.sub("", beginning))
    many = MANY_SPACELESS * letters
    names = [name for name, script in SPACELESS_SCRIPTS.items() if len(re.findall(script, beginning)) > many]
    if names and not text.is_ascii:
        yield (
            f"{text.name}: {names[0]} has no spaces between words, so most words here are whole clauses; "
            "--unit char or --unit subword fits it"
        )


def about_marks(text: "TextFile") -> Iterator[str]:
    """A note where letters and their accents are separate characters, and on whether this is so everywhere."""
    num_decomposed = num_composed = num_chunks = 0
    for data in text.texts() if not text.is_ascii else ():
        if data.isascii() or not any(mark in data for mark in MARK_BYTES):
            continue
        chunk = data.decode()
        num_decomposed += count_decomposed(chunk)
        num_composed += count_composed(chunk) if num_decomposed else 0
        num_chunks += 1
        if num_chunks == MAX_CHUNKS:
            break
    if num_decomposed:
        more = " or more" if num_chunks == MAX_CHUNKS else ""
        both = ", others are within their letters (NFC): the same word is written in two ways" if num_composed else ""
        yield (
            f"{text.name}: {num_decomposed:,}{more} accents or marks are characters of their own (NFD){both}; "
            "--normal-form nfc joins them to their letters"
        )
