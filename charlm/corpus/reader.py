"""What a person gives as a text, opened and checked: one file, standard input, or many files joined into one text."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from charlm.corpus.decoding import check_encoding, to_checked_utf8
from charlm.corpus.gathering import Gathering, Texts, kind_of_archive, refusal, refuse_idle_patterns, texts_of
from charlm.corpus.line_ends import LineEndCounts
from charlm.corpus.not_text import NotText
from charlm.corpus.sources import Source, open_source, temporary_copy
from charlm.corpus.text_file import Span, TextFile
from charlm.errors import TextError
from charlm.settings import CorpusSettings

MAX_NOTES = 5  # on the single files of a folder


def open_text(given: Path | str | Texts, settings: CorpusSettings, raw: bool = False) -> TextFile:
    """Open and check a text file (`-` is standard input), or the files of folders and archives as one text.

    Line ends and normal form are not changed. With `raw`, the bytes are taken as they are, in any encoding.

    Raises TextError when the text is missing, unreadable, empty, damaged, binary, or does not decode; UsageError for an
    unknown encoding, or a compression that needs a package; ResourceError when there is no space for a copy.
    """
    check_encoding(settings.encoding)
    text = _open_texts(texts_of(given), settings, raw)
    with text.closed_on_error():
        if not len(text.span):
            raise TextError("the text is empty", text.name, "give a file with some text in it")
        text.count()
    return text


def _open_texts(texts: Texts, settings: CorpusSettings, raw: bool) -> TextFile:
    gathering = Gathering(texts)
    if not texts.is_one_file:
        return _joined(gathering, gathering.sources(), settings, raw)
    source = open_source(texts.paths[0])
    if kind_of_archive(source):
        return _joined(gathering, gathering.in_source(source), settings, raw)
    text = _text(source)
    with text.closed_on_error():
        refuse_idle_patterns(texts)
        if not raw:
            to_checked_utf8(text, settings)
    return text


def _text(source: Source) -> TextFile:
    """A text that has not been checked or counted, and may be empty."""
    size = os.fstat(source.file.fileno()).st_size if source.version is None else source.version[0]
    return TextFile(source.name, source.file, Span(0, size), [*source.notes], source.version, source.sha256)


def _joined(gathering: Gathering, sources: Iterator[Source], settings: CorpusSettings, raw: bool) -> TextFile:
    """A copy of all files, each decoded and decompressed on its own, and ended by a line end."""
    joining = _Joining(settings, raw, gathering.refused)
    copy = temporary_copy(chain.from_iterable(map(joining.blocks, sources)))
    text = TextFile(gathering.texts.name, copy, Span(0, copy.tell()), added=joining.added)
    with text.closed_on_error():
        if joining.refused:
            raise refusal(gathering, settings.encoding, joining.is_ascii)
        if not gathering.num_files:
            raise gathering.nothing()
        notes = [*gathering.notes, *joining.notes]
        more = [f"{text.name}: {len(notes) - MAX_NOTES:,} more such notes"] if len(notes) > MAX_NOTES else []
        text.notes += [gathering.found(), *notes[:MAX_NOTES], *more]
    return text


@dataclass
class _Joining:
    """Files that become one text."""

    settings: CorpusSettings
    raw: bool
    refused: list[NotText]
    """The errors of the files that are not text; they are reported together."""
    is_ascii: bool = True
    notes: list[str] = field(default_factory=list)
    added: LineEndCounts = field(default_factory=LineEndCounts)

    def blocks(self, source: Source) -> Iterator[bytes]:
        """The text of a file, and a line end where it has none at its end; nothing of a file that is not text."""
        block = b"\n"
        with _text(source) as text:
            try:
                if not self.raw:
                    to_checked_utf8(text, self.settings)
            except NotText as error:
                self.refused.append(error)
                return
            for block in text.blocks():
                self.is_ascii = self.is_ascii and block.isascii()
                yield block
            self.notes += text.notes
        if not block.endswith(b"\n"):
            self.added += LineEndCounts(crlf=1) if block.endswith(b"\r") else LineEndCounts(lf=1)
            yield b"\n"
