"""A text becomes a folder: the tokenizer's files, and the ids of each part. A few passes, none holds the whole text."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm.corpus.comparison import note_on_unknown, notes_on_parts
from charlm.corpus.forms import about_marks, about_other_form, about_spaceless, bring_into_form, check_forms
from charlm.corpus.gathering import Texts, texts_of
from charlm.corpus.numbered import NumberedText
from charlm.corpus.parts import TEST, VALID, Division, Part, divide, parts_written
from charlm.corpus.reader import TextFile, check_encoding, open_text
from charlm.corpus.seal import MANIFEST, check_manifest, read_manifest, write_manifest
from charlm.corpus.sources import STDIN, TRAIN, number_of
from charlm.corpus.sources import is_prepared as is_prepared
from charlm.corpus.store import IdsFile, write_ids
from charlm.errors import RunError, TextError, UsageError
from charlm.settings import CorpusSettings, Mode, TextSettings, Unit
from charlm.system.files import cannot_write, make_folder, remove, write_atomically
from charlm.text.characters import CharacterTokenizer
from charlm.text.interface import Counted, Encoded, Tokenizer
from charlm.text.long_lines import Piece, at_a_space, where_case_is_plain, with_cut_spaces, without_cut_spaces
from charlm.text.marks import count_marks, meaning_of
from charlm.text.tokenizer import build_tokenizer, check_text_settings, load_tokenizer
from charlm.text.words import WordTokenizer

PARTS = (TRAIN, VALID, TEST)
SUBWORD_BLOCK = 1 << 22  # bytes encoded at a time, by several threads
GROWING = ("char", "word")  # units whose tokenizers can take further symbols
PROBE = 1 << 16  # bytes read at a time while looking for a second symbol


@dataclass(frozen=True)
class PreparedCorpus:
    """A folder with a tokenizer and the ids of the parts of a text; `notes` are for the person who asked for it."""

    folder: Path
    tokenizer: Tokenizer
    train: IdsFile
    valid: IdsFile | None
    test: IdsFile | None
    notes: tuple[str, ...]
    seal: str = ""
    """sha256 of the folder's MANIFEST.json, which covers all of it; empty in folders of older versions."""
    division: Division = Division()


def prepare(
    corpus: Path | str | Texts,
    folder: Path,
    text: TextSettings,
    corpus_settings: CorpusSettings,
    valid: Path | None = None,
    test: Path | None = None,
    tokenizer: Tokenizer | None = None,
    grow: bool = False,
    mode: Mode = "stream",
    write_parts: Path | None = None,
) -> PreparedCorpus:
    """Read a text (`-`: standard input), learn its symbols unless a tokenizer is given, and write all as ids.

    How its line ends are read is decided by what it has, unless the settings say; the other texts are read likewise.

    With `grow` the tokenizer that is given gets the text's new symbols, behind its own, if it is one that can.

    Without `valid` the end of the text is kept for validation: from character `int((1 - valid_fraction) * n)` for
    characters and bytes, from the next line start for words and subwords; in sentence mode so many of its lines, from
    all over it. With `write_parts` both parts are written into that folder as texts, too. The folders are made only
    once the input has been found good. Raises UsageError, TextError, ResourceError.
    """
    if tokenizer is None:
        check_text_settings(text)
    check_encoding(corpus_settings.encoding)
    given = texts_of(corpus)
    if [*given.paths, str(valid), str(test)].count(STDIN) > 1:
        raise UsageError("only one text can come from standard input", to_do="give the others as files")
    unit = tokenizer.unit if tokenizer else text.unit
    check_forms(corpus_settings, unit)
    notes: list[str] = []
    with ExitStack() as opened:
        texts = {
            name: opened.enter_context(open_text(path, corpus_settings, raw=unit == "byte"))
            for name, path in ((TRAIN, given), (VALID, given.beside(valid)), (TEST, given.beside(test)))
            if path
        }
        reading = _in_form(texts, corpus_settings, unit, tokenizer)
        for one in texts.values():
            notes += one.notes
        if unit != "byte" and tokenizer is None:
            notes += about_marks(texts[TRAIN])
        if unit == "word":
            notes += about_spaceless(texts[TRAIN])
        at_line = unit in ("word", "subword")
        parts, split = divide(texts, corpus_settings.valid_fraction, mode, at_line, notes, opened)
        train = parts[TRAIN]
        if unit != "byte":
            _refuse_one_symbol(train, map(set, train.text.chunks(train.span, PROBE)), "\n")
        numbered = None
        if tokenizer is None or (grow and unit in GROWING):
            learned: Tokenizer
            if unit == "word":
                splitting = tokenizer.splitting if isinstance(tokenizer, WordTokenizer) else None
                numbered = opened.enter_context(NumberedText(text, splitting))
                learned = _learn_words(numbered, parts)
            else:
                learned = _learn(text, train, notes)
            tokenizer = tokenizer.grown(learned) if tokenizer else learned
        notes += _notes_on_marks(tokenizer, texts.values())
        probes = _encoded(tokenizer, train, PROBE)
        _refuse_one_symbol(train, (set(np.unique(piece.ids).tolist()) for piece in probes), tokenizer.eos_id)
        for one in texts.values():
            notes += about_other_form(tokenizer, one)
        notes += notes_on_parts(parts, split, unit)
        opened.enter_context(nullcontext() if write_parts is None else parts_written(write_parts, parts))
        pieces = {name: _pieces(tokenizer, numbered, name, part) for name, part in parts.items()}
        hashes = {name: part.text.sha256 for name, part in parts.items()}
        return _write(folder, tokenizer, pieces, hashes, reading, notes, Division(mode, split))


def open_prepared(folder: Path, seal: str = "") -> PreparedCorpus:
    """What `prepare` wrote into a folder, every byte of it checked.

    Raises RunError when a file is missing or damaged, or the folder's seal is not the one given.
    """
    manifest, division, found = read_manifest(folder)
    if seal and found != seal:
        what = f"damaged corpus: {MANIFEST} is missing, altered, or belongs to another run"
        raise RunError(what, str(folder / MANIFEST), "restore the run's own from a copy")
    tokenizer = load_tokenizer(folder)
    listed = manifest if found else [name for name in PARTS if (folder / name).exists()]
    if TRAIN not in listed:
        raise RunError("no ids to train on", str(folder / TRAIN), "make them with charlm tokenize corpus.txt -o DIR")
    files = {name: IdsFile.open(folder / name) for name in PARTS if name in listed}
    if found:
        check_manifest(folder, manifest, tokenizer.files(), files)
    fingerprint = tokenizer.sha256()
    for file in files.values():
        if file.header.tokenizer_sha256 != fingerprint:
            raise RunError("these ids were made by another tokenizer", str(file.path), "make the folder again")
        file.verify(tokenizer.vocab_size, tokenizer.eos_id)
    return PreparedCorpus(folder, tokenizer, files[TRAIN], files.get(VALID), files.get(TEST), (), found, division)


def source_sha256(path: Path | str | Texts, settings: CorpusSettings, raw: bool) -> str:
    """The checksum that `prepare` would note for a text, which is read in the same way. Raises TextError."""
    with open_text(path, settings, raw) as text:
        return text.sha256


def encoded_text(
    tokenizer: Tokenizer, source: Path | str, settings: CorpusSettings, notes: list[str] | None = None
) -> Iterator[Encoded]:
    """A text (`-`: standard input) as ids, in pieces as they are read. Raises TextError as `prepare` does."""
    raw = tokenizer.unit == "byte"
    with open_text(source, settings, raw) as text:
        bring_into_form(text, settings, raw, tokenizer)
        if notes is not None:
            notes += [*text.notes, *about_other_form(tokenizer, text)]
        yield from _encoded(tokenizer, Part(text, text.span))


def _in_form(
    texts: dict[str, TextFile], settings: CorpusSettings, unit: Unit, tokenizer: Tokenizer | None
) -> CorpusSettings:
    """Bring all texts into the form of the one to train on; the settings, with what was decided for that.

    Where it has no CR at all, the line ends of the others are their own matter.
    """
    train = texts[TRAIN]
    had_cr = train.has_cr
    reading = bring_into_form(train, settings, unit == "byte", tokenizer)
    is_open = settings.line_ends is None and not had_cr
    for name in {*texts} - {TRAIN}:
        others = replace(reading, line_ends=None) if is_open else reading
        bring_into_form(texts[name], others, unit == "byte", tokenizer)
    return reading


def _learn_words(numbered: NumberedText, parts: dict[str, Part]) -> WordTokenizer:
    """The types of the part to train on, while all parts are numbered."""
    for name, part in parts.items():
        numbered.add(name, part.text.texts(part.span, lines=True, within=at_a_space), counted=name == TRAIN)
    numbered.finish()
    return numbered.tokenizer()


def _notes_on_marks(tokenizer: Tokenizer, texts: Iterable[TextFile]) -> Iterator[str]:
    """What becomes of the marks that other tools write, where words are split at white space and a text has some."""
    if not isinstance(tokenizer, WordTokenizer) or tokenizer.splitting.split != "whitespace":
        return
    for text in texts:
        blocks = map(tokenizer.splitting.in_case, text.texts(lines=True, within=at_a_space))
        counts = sum(map(count_marks, blocks), Counter[str]())
        for mark, count in sorted(counts.items()):
            what = meaning_of(mark) if tokenizer.splitting.marks else "unknown to this older tokenizer"
            yield f"{text.name}: {mark} stands in it {number_of(count, 'time')}; it is {what}"


def _learn(settings: TextSettings, train: Part, notes: list[str]) -> Tokenizer:
    if settings.unit == "char":
        texts = train.text.texts(train.span, lines=settings.lowercase, within=where_case_is_plain)
        return CharacterTokenizer.learn(settings, texts)
    texts = train.text.texts(train.span, lines=True, within=at_a_space)
    return build_tokenizer(settings, (text.decode() for text in texts), notes)


def _encoded(tokenizer: Tokenizer, part: Part, size: int | None = None) -> Iterator[Encoded]:
    """A part's ids, some `size` bytes of text at a time."""
    return _joined(tokenizer, tokenizer.encode_bytes, _texts(tokenizer, part, size))


def _texts(tokenizer: Tokenizer, part: Part, size: int | None = None) -> Iterator[bytes]:
    """A part in pieces that the tokenizer can encode one by one."""
    if tokenizer.unit == "byte":
        return part.text.blocks(part.span, size)
    return part.text.texts(part.span, size, tokenizer.needs_lines, tokenizer.place_to_cut)


def _joined(tokenizer: Tokenizer, encode: Callable[[bytes], Piece], texts: Iterator[bytes]) -> Iterator[Piece]:
    """Pieces of a text, some of which begin within a long line, as ids."""
    if tokenizer.unit != "word":
        return map(encode, texts)
    return with_cut_spaces(map(encode, without_cut_spaces(texts)), tokenizer.eos_id)


def _pieces(tokenizer: Tokenizer, numbered: NumberedText | None, name: str, part: Part) -> Iterator[Counted]:
    """A part's ids, from its numbers where it has been numbered."""
    if numbered is not None and isinstance(tokenizer, WordTokenizer):
        yield from numbered.encoded(name, tokenizer.vocabulary)
        part.text.check_unchanged()
        return
    size = SUBWORD_BLOCK if tokenizer.unit == "subword" else None
    yield from _joined(tokenizer, tokenizer.encode_counted, _texts(tokenizer, part, size))


def _refuse_one_symbol(part: Part, pieces: Iterable[set[Any]], end: Any) -> None:
    """Raise TextError unless the pieces of a text have two different symbols besides its line's `end`."""
    seen: set[Any] = set()
    for piece in pieces:
        seen |= piece - {end}
        if len(seen) > 1:
            return
    what = "the text to train on has fewer than two different symbols: nothing to learn"
    raise TextError(what, part.text.name, "give a longer text, or another one")


def _write(
    folder: Path,
    tokenizer: Tokenizer,
    parts: dict[str, Iterator[Counted]],
    hashes: dict[str, str],
    reading: CorpusSettings,
    notes: list[str],
    division: Division,
) -> PreparedCorpus:
    """Write the folder. The ids to train on come last: as long as they are missing it is nobody's prepared corpus."""
    is_new = not folder.exists()
    make_folder(folder)
    try:
        for name in (MANIFEST, *PARTS):
            remove(folder / name)  # of a corpus prepared here before
        for name, content in tokenizer.files().items():
            write_atomically(folder / name, content)
        names = sorted(parts, key=TRAIN.__eq__)
        written = {name: write_ids(folder / name, tokenizer, parts[name], hashes[name], reading) for name in names}
        for name in [name for name, file in written.items() if not file.num_tokens]:
            notes.append(f"{name}: no tokens, so there is no such part")
            remove(written.pop(name).path)
        if VALID in written:
            notes += note_on_unknown(written[TRAIN], written[VALID], tokenizer.vocab_size)
        else:
            division = replace(division, split="none")
        seal = write_manifest(folder, tokenizer.files(), written, division)
    except BaseException as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(folder, error) from error
        raise
    files = written[TRAIN], written.get(VALID), written.get(TEST)
    return PreparedCorpus(folder, tokenizer, *files, tuple(notes), seal, division)
