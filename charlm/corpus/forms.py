"""What a text is made into before anything is counted: its line ends and its normal form."""

import codecs
import dataclasses
import re
from collections.abc import Container, Iterator

from charlm.corpus.line_ends import LineEndCounts, with_lf
from charlm.corpus.reader import TextFile
from charlm.corpus.sources import written
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
from charlm.text.tokenizer import Tokenizer

MARKS = (b"\xcc", b"\xe3\x82\x99", b"\xe1\x84")  # accents, the Japanese voicing mark, parts of Korean syllables
SPACELESS = {
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Lao": re.compile("[\u0e80-\u0eff]"),
    "Tibetan": re.compile("[\u0f00-\u0fff]"),
    "Burmese": re.compile("[\u1000-\u109f\uaa60-\uaa7f]"),
    "Khmer": re.compile("[\u1780-\u17ff]"),
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Chinese": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"),
}
NO_LETTER = re.compile(r"[\W\d_]+")
MANY = 0.3  # of the letters
MAX_BYTES_SEARCHED = 16  # chunks with such marks; composing is slow


def check_forms(settings: CorpusSettings, unit: Unit) -> None:
    """Raise UsageError for what would change bytes where these are the unit."""
    changing = {"--line-ends lf": settings.line_ends == "lf", "--normal-form": settings.normal_form != "keep"}
    for option in (option for option, given in changing.items() if given and unit == "byte"):
        raise UsageError(f"{option} does nothing with --unit byte: every byte is kept", to_do="leave it out")


def bring_into_form(
    text: TextFile, settings: CorpusSettings, raw: bool, tokenizer: Tokenizer | None = None
) -> CorpusSettings:
    """Change an open text's line ends and normal form as the settings say; the settings with what was decided.

    Line ends that the settings leave open are decided by what the text has; but CR is kept where the tokenizer, if
    there is one already, has it as a symbol. Notes of the text say what was found and done.
    """
    if raw:
        if text.has_cr and (counts := LineEndCounts.of(text.blocks())).best() == "lf":
            text.notes.append(f"{text.name}: line ends: {counts}; kept, as every byte is")
        return dataclasses.replace(settings, line_ends="keep", normal_form="keep")
    line_ends = _decide_line_ends(text, settings, tokenizer) if text.has_cr else settings.line_ends or "keep"
    decided = dataclasses.replace(settings, line_ends=line_ends)
    blocks = with_lf(text.blocks()) if text.has_cr and line_ends == "lf" else None
    if decided.normal_form != "keep" and not text.is_ascii:
        chunks = codecs.iterdecode(blocks or text.blocks(), "utf-8")
        blocks = (chunk.encode() for chunk in normalised_chunks(chunks, decided.normal_form))
    if blocks is not None:
        text.replace(written(blocks))
        text.count()
    return decided


def _decide_line_ends(text: TextFile, settings: CorpusSettings, tokenizer: Tokenizer | None) -> LineEnds:
    found = LineEndCounts.of(text.blocks())
    added = text.added
    counts = LineEndCounts(found.lf - added.lf, found.crlf - added.crlf, found.cr + added.crlf)
    knows_cr = settings.line_ends is None and tokenizer is not None and knows_carriage_return(tokenizer)
    line_ends = settings.line_ends or ("keep" if knows_cr else counts.best())
    done = {"lf": "all read as LF", "keep": "kept, CR is a character"}[line_ends]
    other = {"lf": "keep leaves CR in the text", "keep": "lf makes all of them LF"}[line_ends]
    advice = f" (--line-ends {other})" if tokenizer is None else ""  # else the run or the tokenizer decides
    text.notes.append(f"{text.name}: line ends: {counts}; {done}{advice}")
    return line_ends


def in_form(text: str, settings: CorpusSettings) -> str:
    """A sentence, context or prompt as the text that a run was trained on.

    A CR at its very end is the rest of a CRLF whose newline is gone, as `$(head -1 FILE)` leaves it. Where line ends
    are open, for that text had no CR, only those that belong to a CRLF are taken away.
    """
    if settings.line_ends != "keep" and "\r" in text:
        text = text.removesuffix("\r").replace("\r\n", "\n")
        text = text.replace("\r", "\n") if settings.line_ends == "lf" else text
    return normalised(text, settings.normal_form)


def taken_over(settings: CorpusSettings, before: CorpusSettings, given: Container[str]) -> CorpusSettings:
    """The settings, and as far as they were not given, the line ends and the normal form of a text before this one.

    CR that was kept in it is a matter of its tokenizer, which has it as a symbol or not.
    """
    if "line_ends" not in given and before.line_ends == "lf":
        settings = dataclasses.replace(settings, line_ends="lf")
    if "normal_form" not in given:
        settings = dataclasses.replace(settings, normal_form=before.normal_form)
    return settings


def knows_carriage_return(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has a symbol with CR, as that of bytes, so that the text it was learned from may have one."""
    return tokenizer.unit == "byte" or any("\r" in tokenizer.symbol(id) for id in range(tokenizer.vocab_size))


def about_other_form(tokenizer: Tokenizer, text: TextFile) -> Iterator[str]:
    """A note where a tokenizer knows more of an open text in another normal form."""
    if tokenizer.unit != "byte" and not text.is_ascii and (form := fitting_form(tokenizer, next(text.chunks(), ""))):
        yield f"{text.name}: {about_form(form)}"


def about_spaceless(text: TextFile) -> Iterator[str]:
    """A note where words are to be found in a script that puts no spaces between them."""
    beginning = next(text.chunks(), "")
    letters = len(NO_LETTER.sub("", beginning))
    names = [name for name, script in SPACELESS.items() if len(script.findall(beginning)) > MANY * letters]
    if names and not text.is_ascii:
        yield (
            f"{text.name}: {names[0]} has no spaces between words, so that most words here are whole clauses; "
            "--unit char fits it, or --unit subword"
        )


def about_marks(text: TextFile) -> Iterator[str]:
    """A note where letters and their accents are written apart, and whether they are so everywhere."""
    decomposed = composed = looked_at = 0
    for data in text.texts() if not text.is_ascii else ():
        if data.isascii() or not any(mark in data for mark in MARKS):
            continue
        chunk = data.decode()
        decomposed += count_decomposed(chunk)
        composed += count_composed(chunk) if decomposed else 0
        looked_at += 1
        if looked_at == MAX_BYTES_SEARCHED:
            break
    if decomposed:
        more = " or more" if looked_at == MAX_BYTES_SEARCHED else ""
        both = ", others within their letters (NFC): the same word is written in two ways" if composed else ""
        yield (
            f"{text.name}: {decomposed:,}{more} accents or marks stand as characters of their own (NFD){both}; "
            "--normal-form nfc joins them to their letters"
        )
