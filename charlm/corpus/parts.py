"""A text divided into a part to train on and a part to validate on: the end of it, or items from all over it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.hashing import hash_uniform
from charlm.corpus.sources import TRAIN, number_of, temporary_copy
from charlm.corpus.text_file import Span, TextFile
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, Item, Mode, TrainingSettings, ValidSplit, fill
from charlm.system.files import remove, replacing
from charlm.system.folders import making_folder
from charlm.text.items import NUM_ENDS

VALID, TEST = "valid.ids", "test.ids"
TEXT_FILES = {TRAIN: "train.txt", VALID: "valid.txt"}  # where the parts are written as texts
NEWLINE = ord("\n")
SPLITS: dict[tuple[Mode, Item], ValidSplit] = {
    ("stream", "line"): "end",
    ("sentence", "line"): "lines",
    ("sentence", "paragraph"): "paragraphs",
}
MAX_GROUP = 100  # lines in a group of which more than one is taken
MAX_LINES = 2.0**52  # in a group of which one is taken: floats are exact integers up to there


@dataclass(frozen=True)
class Part:
    """Some bytes of an open text."""

    text: TextFile
    span: Span


@dataclass(frozen=True)
class Division:
    """How a text was divided: for which mode of training, what was kept for validation, and what its items are.

    The defaults stand for older folders, which do not say.
    """

    mode: Mode | None = None
    split: ValidSplit = "end"
    item: Item = "line"

    @property
    def is_running(self) -> bool:
        """Whether the validation part is a running text, not items that stand on their own."""
        return self.split != "lines" and self.item == "line"


def mode_of(values: Mapping[str, Any]) -> Mode:
    """The mode of training that these settings ask for; paragraphs are read one by one. Raises UsageError."""
    mode = fill(TrainingSettings, {name: values[name] for name in ("mode",) if name in values}).mode
    if fill(CorpusSettings, {name: values[name] for name in ("item",) if name in values}).item == "line":
        return mode
    if "mode" in values and mode == "stream":
        what = "--mode stream reads one running text, and --item paragraph reads each paragraph on its own"
        raise UsageError(what, to_do="leave one of them out")
    return "sentence"


def divide(
    texts: Mapping[str, TextFile],
    settings: CorpusSettings,
    mode: Mode,
    at_line: bool,
    notes: list[str],
    opened: ExitStack,
) -> tuple[dict[str, Part], ValidSplit]:
    """The parts to train on, to validate on and to test on, and how the first two were told apart.

    Without a text of its own, the validation part is taken from the training text: in sentence mode items from all
    over it, in stream mode its end, which begins at a line start if `at_line`. Temporary files are closed by `opened`.
    What a person should know is appended to `notes`. Raises TextError when the text has changed; ResourceError.
    """
    parts = {name: Part(text, text.span) for name, text in texts.items()}
    if VALID in parts:
        return parts, "given"
    if settings.valid_fraction == 0:
        return parts, "none"
    corpus, split = texts[TRAIN], SPLITS[mode, settings.item]
    if split == "end":
        divided = _divide_at_end(corpus, settings.valid_fraction, at_line, notes)
    else:
        divided = _divide_by_items(corpus, settings, notes, opened)
    return ({**parts, **divided}, split) if divided else (parts, "none")


@contextmanager
def parts_written(folder: Path, parts: Mapping[str, Part]) -> Iterator[None]:
    """Write the parts to train on and to validate on into a folder; a new folder is removed when the block fails.

    The files have the text as it was read: decoded, in UTF-8. Raises ResourceError, and TextError when the text
    changes meanwhile.
    """
    with making_folder(folder):
        for name, file_name in TEXT_FILES.items():
            remove(folder / file_name)  # of a text that was divided here before
            if name in parts:
                with replacing(folder / file_name) as file:
                    file.writelines(parts[name].text.blocks(parts[name].span))
        yield


def _divide_at_end(corpus: TextFile, valid_fraction: float, at_line: bool, notes: list[str]) -> dict[str, Part]:
    """A text and its end; nothing, and a note, where the end would be empty."""
    train, valid = corpus.split(valid_fraction, at_line)
    if not len(valid):
        reason = "no line starts" if at_line else "there is no character"
        notes.append(f"{corpus.name}: no validation part, because {reason} in the last {valid_fraction:.3g} of it")
        return {}
    return {TRAIN: Part(corpus, train), VALID: Part(corpus, valid)}


def _divide_by_items(
    corpus: TextFile, settings: CorpusSettings, notes: list[str], opened: ExitStack
) -> dict[str, Part]:
    """Two copies with the items of each part; nothing, and a note, where one part would be empty."""
    divided, fraction = {}, settings.valid_fraction
    for name, is_valid in ((TRAIN, False), (VALID, True)):
        copy = opened.enter_context(temporary_copy(_taken(corpus, settings, is_valid)))
        text = TextFile(corpus.name, copy, Span(0, copy.tell()), sha256=corpus.sha256)
        divided[name] = Part(text, text.span)
    items = number_of(_num_items(corpus, settings.item), settings.item)
    if not all(len(part.span) for part in divided.values()):
        notes.append(f"{corpus.name}: no validation part, because it has only {items} to take {fraction:.3g} of")
        return {}
    taken = f"{_num_items(divided[VALID].text, settings.item):,} of {items}"
    notes.append(f"validation: {taken}, taken at random (always the same ones of this text)")
    return divided


def _num_items(text: TextFile, item: Item) -> int:
    """The number of items, including an unfinished last one."""
    return sum(int(np.count_nonzero(starts)) for _, starts in _with_starts(text, item))


def _taken(text: TextFile, settings: CorpusSettings, is_valid: bool) -> Iterator[bytes]:
    """The items for validation, or the other ones, unchanged and in the order of the text."""
    count, is_last_taken = 0, False  # of the items that have begun
    for data, starts in _with_starts(text, settings.item):
        places = np.flatnonzero(starts)
        taken = np.append(is_last_taken, taken_lines(count, len(places), settings.valid_fraction))
        lengths = np.diff(places, prepend=0, append=len(data))
        yield data[np.repeat(taken == is_valid, lengths)].tobytes()
        count, is_last_taken = count + len(places), bool(taken[-1])


def _with_starts(text: TextFile, item: Item) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The bytes of a text in blocks, and for each byte whether an item starts there: arrays (block,), (block,).

    A paragraph starts behind an empty line, so the text must be in its canonical form (`corpus/paragraphs.py`).
    """
    num_ends = NUM_ENDS[item]
    before = b"\n" * num_ends
    for block in text.blocks():
        whole = before + block
        is_end = np.frombuffer(whole, np.uint8) == NEWLINE
        starts = np.logical_and.reduce([is_end[place : place + len(block)] for place in range(num_ends)])
        yield np.frombuffer(block, np.uint8), starts
        before = whole[-num_ends:]


def taken_lines(first: int, count: int, valid_fraction: float) -> NDArray[np.bool_]:
    """Which of `count` lines, from line number `first` on, are kept for validation, as an array (count,).

    The lines form groups of equal size, and the same number is taken from each group: for 0.3, of every 10 lines 3.
    Which ones depends only on the line numbers.
    """
    wanted, size = _ratio(valid_fraction)
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


def _ratio(valid_fraction: float) -> tuple[int, int]:
    """How many lines are taken from each group, and the size of a group."""
    if valid_fraction * MAX_GROUP < 1:
        return 1, round(min(1 / valid_fraction, MAX_LINES))
    return Fraction(valid_fraction).limit_denominator(MAX_GROUP).as_integer_ratio()
