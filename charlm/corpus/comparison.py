"""What a person should know of the parts of a text beside each other: lines that stand in both, an end unlike the rest.

All of it reads the texts in constant memory, and the check of the end reads about a megabyte of them.
"""

from collections.abc import Iterator, Mapping
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.parts import TEST, VALID, Part, taken_lines
from charlm.corpus.reader import CHUNK, Span
from charlm.corpus.sources import TRAIN
from charlm.corpus.store import IdsFile
from charlm.settings import Unit, ValidSplit

NOT_NEW = "figures on it say nothing about new text"
PART_NAMES = {VALID: "validation", TEST: "test"}
MAX_LINES = 10_000  # of a part that are looked for
REPEATED = 0.1  # share of lines from which on it is said
NEARLY_ALL = 0.99
PROBES, PROBE = 8, 40  # pieces that are looked for where lines differ, and their bytes
BLOCK = 1 << 16  # bytes read in one place
MAX_BLOCKS = {TRAIN: 16, VALID: 4}  # that are looked at
MIN_ = 700  # characters of an end that can be told from the rest
PIECE = 50  # characters of the training part that are kept back together, for the comparison
KEPT_BACK = 10  # one such piece in so many
UNLIKE = 1.3  # times as many nats: ordinary texts have 1.0 to 1.25, sorted lists of 3,000 words 1.45 to 1.65
TABLE = 1 << 18  # cells for sequences of characters
NUM_COMMON = 500  # characters, for the share of one that was never seen
PRIOR = 4.0  # how many times a shorter sequence counts beside a longer one
MORE_UNKNOWN = 3, 0.01  # times the share that was to be expected, and more

Codes = NDArray[np.uint32]


def notes_on_parts(parts: Mapping[str, Part], split: ValidSplit, unit: Unit) -> Iterator[str]:
    """What is to be said before anything is trained. Raises TextError when a text changes meanwhile."""
    yield from _repeated_lines(parts, split)
    if split == "end":
        yield from _unlike_end(parts[TRAIN], parts[VALID], unit)


def note_on_unknown(train: IdsFile, valid: IdsFile, vocab_size: int) -> Iterator[str]:
    """Unknown tokens of the validation part, where they are many more than the training part makes expect.

    A token of the training part would be unknown in a text without it if it occurs once, or is unknown already.
    """
    times, more = MORE_UNKNOWN
    rate = valid.header.num_unknown / valid.num_tokens
    if rate <= more:
        return
    once = int(np.count_nonzero(train.counts(vocab_size) == 1))
    expected = (once + train.header.num_unknown) / train.num_tokens
    if rate > times * expected + more:
        yield f"validation: {rate:.1%} of its tokens are unknown, where the training part makes {expected:.1%} expect"


def _repeated_lines(parts: Mapping[str, Part], split: ValidSplit) -> Iterator[str]:
    """What validation and test part have in common with the training part."""
    train, looked_at = parts[TRAIN], {}
    for name in (name for name in PART_NAMES if name in parts):
        part, is_own = parts[name], name == TEST or split == "given"
        if is_own and part.text.sha256 == train.text.sha256:
            yield f"{PART_NAMES[name]}: {part.text.name} is the text to train on: {NOT_NEW}"
        else:
            looked_at[name] = _some_lines(part)
    found = _found(train, {line for _, lines in looked_at.values() for line in lines})
    for name, (num_lines, lines) in looked_at.items():
        repeated = sum(line in found for line in lines)
        is_own = name == TEST or split == "given"
        if repeated <= REPEATED * len(lines):
            if is_own and _stands_in(train, parts[name]):
                yield f"{PART_NAMES[name]}: pieces from all over it stand in the text to train on, too: {NOT_NEW}"
            continue
        all_lines = f"the {len(lines):,} lines looked at" if len(lines) < num_lines else f"its {num_lines:,} lines"
        what = f"{PART_NAMES[name]}: {repeated:,} of {all_lines} ({repeated / len(lines):.1%}), blank ones left out"
        may_be_a_part = is_own and repeated >= NEARLY_ALL * len(lines)
        more = f"; if they were taken from there, {NOT_NEW}" if may_be_a_part else ""
        yield f"{what}, stand word for word in the text to train on too{more}"


def _stands_in(train: Part, part: Part) -> bool:
    """Whether a part looks copied from the training part though their lines differ: all of some pieces are found.

    White space is one space in both.
    """
    size, start = len(part.span), part.span.start
    if size < PROBES * PROBE:
        return False
    places = [start + (size - PROBE) * number // (PROBES - 1) for number in range(PROBES)]
    pieces = (b"".join(part.text.blocks(Span(place, place + PROBE))) for place in places)
    wanted = {b" ".join(piece.split()) for piece in pieces}
    end = b""
    for block in train.text.blocks(train.span):
        read = b" ".join((end + block).split())
        wanted = {piece for piece in wanted if piece not in read}
        if not wanted:
            return True
        end = block[-2 * PROBE :]
    return False


def _some_lines(part: Part) -> tuple[int, list[int]]:
    """How many lines of a part are not blank, and hashes of all of them, or of MAX_LINES from all over it."""
    num_lines = sum(map(len, map(_without_blank, _lines(part))))
    share, number = min(1.0, MAX_LINES / max(1, num_lines)), 0
    kept: list[int] = []
    for lines in map(_without_blank, _lines(part)):
        kept += map(hash, compress(lines, taken_lines(number, len(lines), share)))
        number += len(lines)
    return num_lines, kept


def _without_blank(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line and not line.isspace()]


def _found(part: Part, wanted: set[int]) -> set[int]:
    """Those of the hashes that are of lines of a part."""
    found: set[int] = set()
    for lines in _lines(part) if wanted else ():
        found |= wanted.intersection(map(hash, lines))
        if len(found) == len(wanted):
            break
    return found


def _lines(part: Part) -> Iterator[list[bytes]]:
    """A part's lines, as many at a time as are read at once; not the end of one that begins before the part.

    Of a line that is longer, something is left out.
    """
    first = max(part.span.start - 1, part.text.span.start)  # the line end before the part, unless it is cut
    begins, rest = first == part.span.start, b""
    for block in part.text.blocks(Span(first, part.span.stop)):
        *lines, rest = (rest + block).split(b"\n")
        yield lines if begins else lines[1:]
        begins, rest = begins or bool(lines), rest[:CHUNK]
    yield [rest] if begins else []


def _unlike_end(train: Part, end: Part, unit: Unit) -> Iterator[str]:
    """The end of a text, compared with small pieces from all over the rest."""
    ends = list(_codes(end, MAX_BLOCKS[VALID], unit))
    if sum(map(len, ends)) < MIN_:
        return
    model, kept_back = _Sequences(), []
    for codes in _codes(train, MAX_BLOCKS[TRAIN], unit):
        is_kept_back = np.repeat(taken_lines(0, len(codes) // PIECE + 1, 1 / KEPT_BACK), PIECE)[: len(codes)]
        model.add(codes, ~is_kept_back)
        kept_back.append((codes, is_kept_back))
    rest = np.concatenate([model.nats(codes)[chosen] for codes, chosen in kept_back])
    if not len(rest):
        return
    here, there = float(np.concatenate([model.nats(codes) for codes in ends]).mean()), float(rest.mean())
    if here > UNLIKE * there:
        figures = f"by a quick count of letters it costs {here:.2f} nats/char, the rest {there:.2f}"
        to_do = "for lines that stand each on their own give --mode sentence, otherwise a text with --valid"
        yield f"{end.text.name}: its end, kept for validation, is unlike the rest ({figures}); {to_do}"


class _Sequences:
    """How often sequences of one, two and three characters occur: a model of a text that takes no time."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, TABLE), np.int64)

    def add(self, codes: Codes, chosen: NDArray[np.bool_]) -> None:
        """Count the sequences that end at the characters chosen."""
        for counts, cells in zip(self._counts, _cells(codes), strict=True):
            counts += np.bincount(cells[chosen], minlength=TABLE)

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        """What each character costs after the two before it; longer sequences are interpolated with shorter ones."""
        one, two, three = (counts[cells] for counts, cells in zip(self._counts, _cells(codes), strict=True))
        probability = (one + 0.5) / (self._counts[0].sum() + NUM_COMMON)
        for longer, shorter in ((two, one), (three, two)):
            before = np.concatenate([shorter[:1], shorter[:-1]])
            probability = (longer + PRIOR * probability) / (np.maximum(before, longer) + PRIOR)
        nats: NDArray[np.float64] = -np.log(probability)
        return nats


def _cells(codes: Codes) -> list[NDArray[np.int64]]:
    """For each character the cells of the sequences of one, two and three characters that end with it."""
    cells = np.zeros(len(codes), np.uint64)
    result = []
    for length in range(3):
        shifted = np.zeros(len(codes), np.uint64)
        shifted[length:] = codes[: len(codes) - length]
        cells = (cells + shifted) * np.uint64(0x9E3779B97F4A7C15)
        cells ^= cells >> np.uint64(29)
        result.append((cells % np.uint64(TABLE)).astype(np.int64))
    return result


def _codes(part: Part, most: int, unit: Unit) -> Iterator[Codes]:
    """A part's characters as numbers, or those of so many pieces of it, spread evenly."""
    start, stop = part.span.start, part.span.stop
    starts = list(range(start, stop, BLOCK))
    if len(starts) > most:
        starts = [start + (stop - BLOCK - start) * i // (most - 1) for i in range(most)]
    for place in starts:
        block = b"".join(part.text.blocks(Span(place, min(place + BLOCK, stop))))
        if unit == "byte":
            yield np.frombuffer(block, np.uint8).astype(np.uint32)
        else:
            yield np.frombuffer(block.decode("utf-8", "ignore").encode("utf-32-le"), np.uint32)
