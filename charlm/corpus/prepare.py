"""From a text to a folder with the tokenizer and the ids of each part, in a few passes that never hold all the text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm.corpus.comparison import note_on_unknown, notes_on_parts
from charlm.corpus.decoding import check_encoding
from charlm.corpus.encoding import count_part, encode_part
from charlm.corpus.forms import about_marks, about_other_form, about_spaceless, bring_into_form, check_forms
from charlm.corpus.gathering import Texts, texts_of
from charlm.corpus.numbered import NumberedText
from charlm.corpus.paragraphs import bring_into_paragraphs
from charlm.corpus.parts import TEST, VALID, Division, Part, divide, parts_written
from charlm.corpus.reader import open_text
from charlm.corpus.seal import check_manifest, read_manifest, write_manifest
from charlm.corpus.sources import STDIN, TRAIN, number_of
from charlm.corpus.sources import is_prepared as is_prepared
from charlm.corpus.store import IdsFile, write_ids
from charlm.corpus.text_file import TextFile
from charlm.errors import RunError, TextError, UsageError
from charlm.settings import CorpusSettings, Mode, TextSettings, Unit
from charlm.system.files import MANIFEST, cannot_write, remove, write_atomically
from charlm.system.folders import making_folder
from charlm.text.characters import CharacterTokenizer
from charlm.text.encoded import Encoded
from charlm.text.interface import Tokenizer
from charlm.text.long_lines import at_a_space, where_case_is_plain
from charlm.text.marks import count_marks, meaning_of
from charlm.text.tokenizer import TOKENIZERS, build_tokenizer, check_text_settings, load_tokenizer
from charlm.text.words import WordTokenizer, splitting_of

PART_FILES = (TRAIN, VALID, TEST)
PROBE_SIZE = 1 << 16  # bytes read at a time while looking for a second symbol


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
    """sha256 of the folder's MANIFEST.json, which covers the whole folder; empty in folders of older versions."""
    division: Division = Division()

    @property
    def unit(self) -> Unit:
        """What one token is."""
        return self.tokenizer.unit

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer by name, which a run needs in use, too."""
        return self.tokenizer.files()

    def backward(self) -> "PreparedCorpus":
        """This corpus with each part read from its end."""
        parts, item = (self.train, self.valid, self.test), self.division.item
        train, valid, test = (part and replace(part, is_backward=True, item=item) for part in parts)
        assert train is not None
        return replace(self, train=train, valid=valid, test=test)


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
    """Read a text (`-` is standard input), learn its symbols unless a tokenizer is given, and write its parts as ids.

    Unless the settings say how line ends are read, the text itself decides, also for the texts `valid` and `test`.

    With `grow`, a tokenizer that is given gets the new symbols of the text, behind its own, if its unit allows that.

    Without `valid`, some of the text is kept for validation. In stream mode it is the end: for characters and bytes
    from character `int((1 - valid_fraction) * n)` on, for words and subwords from the next line start on. In sentence
    mode, which paragraphs need, it is a share of the lines or paragraphs, taken from all over the text. With
    `write_parts`, the parts to train and to validate on are also written into that folder as texts.

    Both folders are made only when the input has been found good. Raises UsageError, TextError, ResourceError.
    """
    unit = tokenizer.unit if tokenizer else text.unit
    kind = TOKENIZERS[unit]
    if tokenizer is None:
        check_text_settings(text)
    if corpus_settings.item == "paragraph":
        _refuse_dropped_lines(text, tokenizer)
    check_encoding(corpus_settings.encoding)
    sources = _sources(texts_of(corpus), valid, test)
    check_forms(corpus_settings, unit)
    with ExitStack() as opened:
        texts = {
            name: opened.enter_context(open_text(source, corpus_settings, raw=kind.takes_any_bytes))
            for name, source in sources.items()
        }
        reading = _bring_all_into_form(texts, corpus_settings, unit, tokenizer)
        for text_file in texts.values() if reading.item == "paragraph" else ():
            bring_into_paragraphs(text_file)
        notes = _notes_on_texts(texts, unit, is_learned=tokenizer is None)
        at_lines = not kind.can_be_cut_anywhere
        parts, split = divide(texts, reading, mode, at_lines, notes, opened)
        _refuse_one_character(parts[TRAIN], unit)
        numbered = None
        if tokenizer is None or (grow and kind.can_grow):
            learned, numbered = _learn(text, unit, parts, tokenizer, notes, opened)
            tokenizer = tokenizer.grown(learned) if tokenizer else learned
        notes += _notes_on_marks(tokenizer, texts.values())
        _refuse_one_token(parts[TRAIN], tokenizer)
        for text_file in texts.values():
            notes += about_other_form(tokenizer, text_file)
        notes += notes_on_parts(parts, split, unit, reading.item)
        if write_parts is not None:
            opened.enter_context(parts_written(write_parts, parts))
        return _write(folder, tokenizer, parts, numbered, reading, notes, Division(mode, split, reading.item))


def open_prepared(folder: Path, seal: str = "") -> PreparedCorpus:
    """What `prepare` wrote into a folder, with every byte checked.

    Raises RunError when a file is missing or damaged, or the folder's seal is not the one given.
    """
    manifest = read_manifest(folder)
    if seal and manifest.seal != seal:
        what = f"damaged corpus: {MANIFEST} is missing, altered, or belongs to another run"
        raise RunError(what, str(folder / MANIFEST), "restore the run's own from a copy")
    tokenizer = load_tokenizer(folder)
    names = [name for name in PART_FILES if (name in manifest.files if manifest.seal else (folder / name).exists())]
    if TRAIN not in names:
        raise RunError("no ids to train on", str(folder / TRAIN), "make them with charlm tokenize corpus.txt -o DIR")
    files = {name: IdsFile.open(folder / name) for name in names}
    if manifest.seal:
        check_manifest(folder, manifest, tokenizer.files(), files)
    tokenizer_sha256 = tokenizer.sha256()
    for file in files.values():
        if file.header.tokenizer_sha256 != tokenizer_sha256:
            raise RunError("these ids were made by another tokenizer", str(file.path), "make the folder again")
        file.verify(tokenizer.vocab_size, tokenizer.eos_id)
    return _prepared(folder, tokenizer, files, [], manifest.seal, manifest.division)


def source_sha256(path: Path | str | Texts, settings: CorpusSettings, raw: bool) -> str:
    """The checksum that `prepare` would store for a text, which is read in the same way. Raises TextError."""
    with open_text(path, settings, raw) as text:
        return text.sha256


def encoded_text(
    tokenizer: Tokenizer, source: Path | str, settings: CorpusSettings, notes: list[str] | None = None
) -> Iterator[Encoded]:
    """The ids of a text (`-` is standard input), in pieces as they are read; notes on the text go to `notes`.

    Raises TextError as `prepare` does.
    """
    raw = tokenizer.takes_any_bytes
    with open_text(source, settings, raw) as text:
        bring_into_form(text, settings, raw, tokenizer)
        if notes is not None:
            notes += [*text.notes, *about_other_form(tokenizer, text)]
        yield from encode_part(tokenizer, Part(text, text.span))


def _sources(corpus: Texts, valid: Path | None, test: Path | None) -> dict[str, Texts]:
    """What each part is read from, as far as it was given. Raises UsageError where two come from standard input."""
    if [*corpus.paths, str(valid), str(test)].count(STDIN) > 1:
        raise UsageError("only one text can come from standard input", to_do="give the others as files")
    given = {TRAIN: corpus, VALID: corpus.with_same_patterns(valid), TEST: corpus.with_same_patterns(test)}
    return {name: source for name, source in given.items() if source}


def _refuse_dropped_lines(settings: TextSettings, tokenizer: Tokenizer | None) -> None:
    """Raise UsageError where lines of punctuation would leave nothing, and so divide a paragraph."""
    splitting = tokenizer.splitting if isinstance(tokenizer, WordTokenizer) else splitting_of(settings)
    if splitting.punctuation == "drop":
        what = "--item paragraph needs the punctuation: without it, a line such as *** would be a blank one"
        raise UsageError(what, to_do="leave --punctuation drop out")


def _bring_all_into_form(
    texts: Mapping[str, TextFile], settings: CorpusSettings, unit: Unit, tokenizer: Tokenizer | None
) -> CorpusSettings:
    """Bring all texts into the form of the training text; the settings, with what was decided for it.

    Where the training text has no CR at all, each of the other texts decides about its own line ends.
    """
    train, is_raw = texts[TRAIN], TOKENIZERS[unit].takes_any_bytes
    each_decides = settings.line_ends is None and not train.has_cr
    reading = bring_into_form(train, settings, is_raw, tokenizer)
    for name in texts.keys() - {TRAIN}:
        bring_into_form(texts[name], replace(reading, line_ends=None) if each_decides else reading, is_raw, tokenizer)
    return reading


def _notes_on_texts(texts: Mapping[str, TextFile], unit: Unit, is_learned: bool) -> list[str]:
    """The notes from opening the texts, and those on what suits the unit; `is_learned`: no tokenizer was given."""
    notes = [note for text in texts.values() for note in text.notes]
    if is_learned and not TOKENIZERS[unit].takes_any_bytes:
        notes += about_marks(texts[TRAIN])
    if unit == "word":
        notes += about_spaceless(texts[TRAIN])
    return notes


def _learn(
    settings: TextSettings,
    unit: Unit,
    parts: Mapping[str, Part],
    growing: Tokenizer | None,
    notes: list[str],
    opened: ExitStack,
) -> tuple[Tokenizer, NumberedText | None]:
    """A tokenizer of the symbols of the training part; for words also the numbers of all parts, found on the way."""
    train = parts[TRAIN]
    if unit == "word":
        splitting = growing.splitting if isinstance(growing, WordTokenizer) else None
        numbered = opened.enter_context(NumberedText(settings, splitting))
        for name, part in parts.items():
            texts = part.text.texts(part.span, lines=True, within=at_a_space)
            numbered.add(name, texts, is_counted=name == TRAIN)
        numbered.finish()
        return numbered.tokenizer(), numbered
    if settings.unit == "char":
        texts = train.text.texts(train.span, lines=settings.lowercase, within=where_case_is_plain)
        return CharacterTokenizer.learn(settings, texts), None
    texts = train.text.texts(train.span, lines=True, within=at_a_space)
    return build_tokenizer(settings, (text.decode() for text in texts), notes), None


def _notes_on_marks(tokenizer: Tokenizer, texts: Iterable[TextFile]) -> Iterator[str]:
    """What becomes of the marks that other tools write, where words are split at white space and a text has some."""
    if not isinstance(tokenizer, WordTokenizer) or tokenizer.splitting.split != "whitespace":
        return
    for text in texts:
        blocks = map(tokenizer.splitting.in_case, text.texts(lines=True, within=at_a_space))
        counts = sum(map(count_marks, blocks), Counter[str]())
        for mark, count in sorted(counts.items()):
            what = meaning_of(mark) if tokenizer.splitting.marks else "unknown to this older tokenizer"
            yield f"{text.name}: {mark} occurs in it {number_of(count, 'time')}; it is {what}"


def _refuse_one_character(train: Part, unit: Unit) -> None:
    """Raise TextError unless a training part of characters has two different ones; bytes are checked as tokens."""
    if not TOKENIZERS[unit].takes_any_bytes:
        _refuse_one_symbol(train, map(set, train.text.chunks(train.span, PROBE_SIZE)), "\n")


def _refuse_one_token(train: Part, tokenizer: Tokenizer) -> None:
    """Raise TextError unless the training part has two different tokens."""
    pieces = encode_part(tokenizer, train, PROBE_SIZE)
    _refuse_one_symbol(train, (set(np.unique(piece.ids).tolist()) for piece in pieces), tokenizer.eos_id)


def _refuse_one_symbol(part: Part, pieces: Iterable[set[Any]], end: Any) -> None:
    """Raise TextError unless two different symbols occur in the pieces of a text, the line end not counted."""
    seen: set[Any] = set()
    for symbols in pieces:
        seen |= symbols - {end}
        if len(seen) > 1:
            return
    what = "the text to train on has fewer than two different symbols: nothing to learn"
    raise TextError(what, part.text.name, "give a longer text, or another one")


def _write(
    folder: Path,
    tokenizer: Tokenizer,
    parts: Mapping[str, Part],
    numbered: NumberedText | None,
    reading: CorpusSettings,
    notes: list[str],
    division: Division,
) -> PreparedCorpus:
    """Write the folder. Raises ResourceError, and TextError when a text has changed since it was opened."""
    with making_folder(folder):
        try:
            files = _write_files(folder, tokenizer, parts, numbered, reading)
            for name in [name for name, file in files.items() if not file.num_tokens]:
                notes.append(f"{name}: no tokens, so there is no such part")
                remove(files.pop(name).path)
            if VALID in files:
                notes += note_on_unknown(files[TRAIN], files[VALID], tokenizer.vocab_size)
            else:
                division = replace(division, split="none")
            seal = write_manifest(folder, tokenizer.files(), files, division)
        except OSError as error:
            raise cannot_write(folder, error) from error
    return _prepared(folder, tokenizer, files, notes, seal, division)


def _write_files(
    folder: Path,
    tokenizer: Tokenizer,
    parts: Mapping[str, Part],
    numbered: NumberedText | None,
    reading: CorpusSettings,
) -> dict[str, IdsFile]:
    """Write the tokenizer and the ids, the training part last: a folder without it is not a prepared corpus."""
    for name in (MANIFEST, *PART_FILES):
        remove(folder / name)  # of a corpus that was prepared here before
    for name, content in tokenizer.files().items():
        write_atomically(folder / name, content)
    files = {}
    for name in sorted(parts, key=lambda name: name == TRAIN):
        pieces = count_part(tokenizer, numbered, name, parts[name])
        files[name] = write_ids(folder / name, tokenizer, pieces, parts[name].text.sha256, reading)
    return files


def _prepared(
    folder: Path, tokenizer: Tokenizer, files: Mapping[str, IdsFile], notes: list[str], seal: str, division: Division
) -> PreparedCorpus:
    train, valid, test = files[TRAIN], files.get(VALID), files.get(TEST)
    return PreparedCorpus(folder, tokenizer, train, valid, test, tuple(notes), seal, division)
