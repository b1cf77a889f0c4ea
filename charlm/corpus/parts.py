"""Which part of a text is trained on and which is kept for validation: its end, or lines taken at random."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.hashing import hash_uniform
from charlm.corpus.reader import Span, TextFile
from charlm.corpus.sources import TRAIN, written
from charlm.settings import Mode, ValidSplit
from charlm.system.files import remove, replacing
from charlm.system.folders import make_folder

VALID, TEST = "valid.ids", "test.ids"
TEXT_FILES = {TRAIN: "train.txt", VALID: "valid.txt"}  # the parts as texts
NEWLINE = ord("\n")
SPLITS: dict[Mode, ValidSplit] = {"stream": "end", "sentence": "lines"}
MAX_GROUP = 100  # lines of which several are taken
MAX_LINES = 2.0**52  # of which one is taken: whole numbers up to there are exact


@dataclass(frozen=True)
class Part:
    """Some bytes of an open text."""

    text: TextFile
    span: Span


@dataclass(frozen=True)
class Division:
    """How a text was divided: for which mode of training, and what is kept for validation; older folders do not say."""

    mode: Mode | None = None
    split: ValidSplit = "end"


def divide(
    texts: Mapping[str, TextFile], valid_fraction: float, mode: Mode, at_line: bool, notes: list[str], opened: ExitStack
) -> tuple[dict[str, Part], ValidSplit]:
    """What to train on, validate on and test on; the second is taken from the first unless it is a text of its own.

    In sentence mode it is lines from all over the text, otherwise the end of it, with `at_line` from a line start on.
    `opened` closes the temporary files. Raises TextError when the text changes meanwhile; ResourceError.
    """
    parts = {name: Part(text, text.span) for name, text in texts.items()}
    if VALID in parts:
        return parts, "given"
    if valid_fraction == 0:
        return parts, "none"
    corpus, split = texts[TRAIN], SPLITS[mode]
    if split == "lines":
        cut = _lines(corpus, valid_fraction, notes, opened)
    else:
        cut = _end(corpus, valid_fraction, at_line, notes)
    return ({**parts, **cut}, split) if cut else (parts, "none")


@contextmanager
def parts_written(folder: Path, parts: Mapping[str, Part]) -> Iterator[None]:
    """Write the texts to train on and to validate on into a folder; when the block fails, a new folder vanishes again.

    The files have the text as it was read: decoded, in UTF-8. Raises ResourceError, and TextError when the text
    changes meanwhile.
    """
    is_new = not folder.exists()
    try:
        make_folder(folder)
        for name, file_name in TEXT_FILES.items():
            remove(folder / file_name)  # of a text that was divided here before
            if name in parts:
                with replacing(folder / file_name) as file:
                    file.writelines(parts[name].text.blocks(parts[name].span))
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _end(corpus: TextFile, valid_fraction: float, at_line: bool, notes: list[str]) -> dict[str, Part]:
    train, valid = corpus.split(valid_fraction, at_line)
    if not len(valid):
        why = "no line starts" if at_line else "there is no character"
        notes.append(f"{corpus.name}: no validation part, for {why} in the last {valid_fraction:.3g} of it")
        return {}
    return {TRAIN: Part(corpus, train), VALID: Part(corpus, valid)}


def _lines(corpus: TextFile, valid_fraction: float, notes: list[str], opened: ExitStack) -> dict[str, Part]:
    cut = {}
    for name, is_valid in ((TRAIN, False), (VALID, True)):
        copy = opened.enter_context(written(_taken(corpus, valid_fraction, is_valid)))
        text = TextFile(corpus.name, copy, Span(0, copy.tell()), sha256=corpus.sha256)
        cut[name] = Part(text, text.span)
    num_lines = _num_lines(corpus)
    lines = f"{num_lines:,} {'line' if num_lines == 1 else 'lines'}"
    if not all(len(part.span) for part in cut.values()):
        notes.append(f"{corpus.name}: no validation part, for it has only {lines} to take {valid_fraction:.3g} of")
        return {}
    taken = f"{_num_lines(cut[VALID].text):,} of {lines}"
    notes.append(f"validation: {taken}, taken at random (always the same ones of this text)")
    return cut


def _num_lines(text: TextFile) -> int:
    """An unfinished last line is one, too."""
    count, block = 0, b"\n"
    for block in text.blocks():
        count += block.count(b"\n")
    return count + (not block.endswith(b"\n"))


def _taken(text: TextFile, valid_fraction: float, is_valid: bool) -> Iterator[bytes]:
    """The lines for validation, or those that are left; each as it stands, in the order of the text."""
    line = 0  # that the block begins in
    for block in text.blocks():
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == NEWLINE) + 1
        lengths = np.diff(ends, prepend=0, append=len(data))
        taken = taken_lines(line, len(lengths), valid_fraction) == is_valid
        yield data[np.repeat(taken, lengths)].tobytes()
        line += len(ends)


def taken_lines(first: int, count: int, valid_fraction: float) -> NDArray[np.bool_]:
    """Which of `count` lines, from number `first` on, are kept for validation.

    Of every so many lines in a row so many are taken (of 10 lines 3, for 0.3). Which ones follows from their numbers
    alone.
    """
    wanted, size = _wanted_of(valid_fraction)
    groups = np.arange(first // size, (first + count) // size + 1)
    if wanted == 1:
        lines = groups * size + (hash_uniform(groups) * size).astype(np.int64)
    else:
        members = groups[:, None] * size + np.arange(size)
        order = np.argsort(hash_uniform(members), axis=1)[:, :wanted]
        lines = np.take_along_axis(members, order, axis=1).ravel()
    taken = np.zeros(count, np.bool_)
    taken[lines[(lines >= first) & (lines < first + count)] - first] = True
    return taken


def _wanted_of(valid_fraction: float) -> tuple[int, int]:
    """How many lines of how many."""
    if valid_fraction * MAX_GROUP < 1:
        return 1, round(min(1 / valid_fraction, MAX_LINES))
    return Fraction(valid_fraction).limit_denominator(MAX_GROUP).as_integer_ratio()
