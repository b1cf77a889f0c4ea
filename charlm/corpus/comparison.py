"""Notes on how the parts of a text compare: lines or paragraphs that occur in both, an end that is unlike the rest.

The texts are read in constant memory; for the comparison of the end with the rest, only about a megabyte is read.
"""

from collections.abc import Iterator, Mapping
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.parts import TEST, VALID, Part, taken_lines
from charlm.corpus.sources import TRAIN
from charlm.corpus.store import IdsFile
from charlm.corpus.text_file import Span
from charlm.settings import Item, Unit, ValidSplit
from charlm.text.items import NUM_ENDS

NOT_NEW = "figures on it say nothing about new text"
PART_NAMES = {VALID: "validation", TEST: "test"}
MAX_LINES = 10_000  # of a part that are looked for in the training part
MAX_REPEATED = 0.1  # share of lines that may occur in both parts without a note
MAX_LINE_SIZE = 1 << 18  # bytes of a line that are remembered until its end is read
NEARLY_ALL = 0.99  # share of lines from which on a part may have been copied
NUM_PROBES, PROBE_SIZE = 8, 40  # pieces that are looked for where the lines differ, and their bytes
BLOCK_SIZE = 1 << 16  # bytes of a piece that is compared
MAX_BLOCKS = {TRAIN: 16, VALID: 4}  # pieces of each part that are compared
MIN_END_LENGTH = 700  # characters of an end that is long enough to compare
HELD_OUT_LENGTH = 50  # characters of the training part that are held out together, to be compared with the end
HELD_OUT_SHARE = 0.1  # of the training part
MAX_RATIO = 1.3  # of nats; ordinary texts have 1.0 to 1.25, sorted lists of 3,000 words 1.45 to 1.65
TABLE_SIZE = 1 << 18  # counters for sequences of characters, which are hashed
NUM_COMMON = 500  # assumed number of different characters, for the probability of one that was never seen
PRIOR = 4.0  # how many occurrences the estimate from the shorter sequence is worth
MAX_UNKNOWN_TIMES, MAX_UNKNOWN_MORE = 3, 0.01  # times the expected share of unknown tokens, and added to that

Codes = NDArray[np.uint32]


def notes_on_parts(parts: Mapping[str, Part], split: ValidSplit, unit: Unit, item: Item) -> Iterator[str]:
    """What a person should know before anything is trained. Raises TextError when a text has changed."""
    yield from _repeated_lines(parts, split, item)
    if split == "end":
        yield from _unlike_end(parts[TRAIN], parts[VALID], unit)


def note_on_unknown(train: IdsFile, valid: IdsFile, vocab_size: int) -> Iterator[str]:
    """A note where the validation part has many more unknown tokens than the training part suggests.

    Expected are as many as the training part would have if each of its tokens had to be known from the others: those
    that occur once, and those that are unknown already.
    """
    rate = valid.header.num_unknown / valid.num_tokens
    if rate <= MAX_UNKNOWN_MORE:
        return
    num_single = int(np.count_nonzero(train.counts(vocab_size) == 1))
    expected = (num_single + train.header.num_unknown) / train.num_tokens
    if rate > MAX_UNKNOWN_TIMES * expected + MAX_UNKNOWN_MORE:
        yield f"validation: {rate:.1%} of its tokens are unknown; the training part suggests {expected:.1%}"


def _repeated_lines(parts: Mapping[str, Part], split: ValidSplit, item: Item) -> Iterator[str]:
    """Notes on what the validation and the test part have in common with the training part."""
    train = parts[TRAIN]
    sampled: dict[str, tuple[int, list[int]]] = {}
    for name in (name for name in PART_NAMES if name in parts):
        part = parts[name]
        if _is_own_text(name, split) and part.text.sha256 == train.text.sha256:
            yield f"{PART_NAMES[name]}: {part.text.name} is the text to train on: {NOT_NEW}"
        else:
            sampled[name] = _some_lines(part, item)
    found = _found(train, {line for _, lines in sampled.values() for line in lines}, item)
    for name, (num_lines, lines) in sampled.items():
        num_repeated = sum(line in found for line in lines)
        if num_repeated > MAX_REPEATED * len(lines):
            yield _about_repeated(name, split, num_repeated, len(lines), num_lines, item)
        elif _is_own_text(name, split) and _is_contained(train, parts[name]):
            yield f"{PART_NAMES[name]}: pieces from all over it occur in the text to train on, too: {NOT_NEW}"


def _is_own_text(name: str, split: ValidSplit) -> bool:
    """Whether a part is a text of its own, not taken from the training text."""
    return name == TEST or split == "given"


def _about_repeated(
    name: str, split: ValidSplit, num_repeated: int, num_sampled: int, num_lines: int, item: Item
) -> str:
    is_all = num_sampled == num_lines
    sampled = f"its {num_lines:,} {item}s" if is_all else f"the {num_sampled:,} {item}s looked at"
    share = num_repeated / num_sampled
    may_be_copied = _is_own_text(name, split) and share >= NEARLY_ALL
    more = f"; if they were taken from there, {NOT_NEW}" if may_be_copied else ""
    return (
        f"{PART_NAMES[name]}: {num_repeated:,} of {sampled} ({share:.1%}), blank ones left out, "
        f"occur word for word in the text to train on too{more}"
    )


def _is_contained(train: Part, part: Part) -> bool:
    """Whether a part looks copied from the training part though their lines differ: all of some pieces are found there.

    Any white space counts as one space in both.
    """
    size, start = len(part.span), part.span.start
    if size < NUM_PROBES * PROBE_SIZE:
        return False
    offsets = [start + (size - PROBE_SIZE) * index // (NUM_PROBES - 1) for index in range(NUM_PROBES)]
    probes = (b"".join(part.text.blocks(Span(offset, offset + PROBE_SIZE))) for offset in offsets)
    missing = {b" ".join(probe.split()) for probe in probes}
    overlap = b""
    for block in train.text.blocks(train.span):
        text = b" ".join((overlap + block).split())
        missing = {probe for probe in missing if probe not in text}
        if not missing:
            return True
        overlap = block[-2 * PROBE_SIZE :]
    return False


def _some_lines(part: Part, item: Item) -> tuple[int, list[int]]:
    """How many lines of a part are not blank, and hashes of all of them, or of about MAX_LINES from all over it."""
    num_lines = sum(map(len, map(_without_blank, _lines(part, item))))
    share, number = min(1.0, MAX_LINES / max(1, num_lines)), 0
    hashes: list[int] = []
    for lines in map(_without_blank, _lines(part, item)):
        hashes += map(hash, compress(lines, taken_lines(number, len(lines), share)))
        number += len(lines)
    return num_lines, hashes


def _without_blank(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line and not line.isspace()]


def _found(part: Part, wanted: set[int], item: Item) -> set[int]:
    """The hashes among `wanted` that lines of a part have."""
    found: set[int] = set()
    for lines in _lines(part, item) if wanted else ():
        found |= wanted.intersection(map(hash, lines))
        if len(found) == len(wanted):
            break
    return found


def _lines(part: Part, item: Item) -> Iterator[list[bytes]]:
    """The lines of a part, or its paragraphs, as many at a time as are read at once.

    A line that begins before the part is left out, and of a line longer than MAX_LINE_SIZE some bytes are.
    """
    first = max(part.span.start - 1, part.text.span.start)  # the byte before the part shows whether a line begins there
    at_line_start, rest, end = first == part.span.start, b"", b"\n" * NUM_ENDS[item]
    for block in part.text.blocks(Span(first, part.span.stop)):
        *lines, rest = (rest + block).split(end)
        yield lines if at_line_start else lines[1:]
        at_line_start, rest = at_line_start or bool(lines), rest[:MAX_LINE_SIZE]
    yield [rest] if at_line_start else []


def _unlike_end(train: Part, end: Part, unit: Unit) -> Iterator[str]:
    """A note where the end of a text costs many more nats than small pieces that were held out of the rest."""
    end_blocks = list(_codes(end, MAX_BLOCKS[VALID], unit))
    if sum(map(len, end_blocks)) < MIN_END_LENGTH:
        return
    model, train_blocks = _Sequences(), []
    for codes in _codes(train, MAX_BLOCKS[TRAIN], unit):
        pieces = taken_lines(0, len(codes) // HELD_OUT_LENGTH + 1, HELD_OUT_SHARE)
        is_held_out = np.repeat(pieces, HELD_OUT_LENGTH)[: len(codes)]
        model.add(codes, ~is_held_out)
        train_blocks.append((codes, is_held_out))
    rest_nats = np.concatenate([model.nats(codes)[is_held_out] for codes, is_held_out in train_blocks])
    if not len(rest_nats):
        return
    end_nats = np.concatenate([model.nats(codes) for codes in end_blocks])
    end_mean, rest_mean = float(end_nats.mean()), float(rest_nats.mean())
    if end_mean > MAX_RATIO * rest_mean:
        figures = f"by a quick count of letters it costs {end_mean:.2f} nats/char, the rest {rest_mean:.2f}"
        to_do = "if each line is independent, give --mode sentence, otherwise a text with --valid"
        yield f"{end.text.name}: its end, kept for validation, is unlike the rest ({figures}); {to_do}"


class _Sequences:
    """A quick model of a text: how often sequences of one, two and three characters occur."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, TABLE_SIZE), np.int64)

    def add(self, codes: Codes, chosen: NDArray[np.bool_]) -> None:
        """Count the sequences that end at the characters for which `chosen` is true."""
        for counts, indices in zip(self._counts, _table_indices(codes), strict=True):
            counts += np.bincount(indices[chosen], minlength=TABLE_SIZE)

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        """Nats (characters,) of each character after the two before it; long and short sequences are interpolated."""
        singles, pairs, triples = (
            counts[indices] for counts, indices in zip(self._counts, _table_indices(codes), strict=True)
        )
        probability = (singles + 0.5) / (self._counts[0].sum() + NUM_COMMON)
        for longer, shorter in ((pairs, singles), (triples, pairs)):
            before = np.concatenate([shorter[:1], shorter[:-1]])
            probability = (longer + PRIOR * probability) / (np.maximum(before, longer) + PRIOR)
        nats: NDArray[np.float64] = -np.log(probability)
        return nats


def _table_indices(codes: Codes) -> list[NDArray[np.int64]]:
    """Where the table counts the sequences of one, two and three characters that end at each character.

    Three arrays (characters,), one for each length.
    """
    hashes = np.zeros(len(codes), np.uint64)
    indices = []
    for length in range(3):
        shifted = np.zeros(len(codes), np.uint64)
        shifted[length:] = codes[: len(codes) - length]
        hashes = (hashes + shifted) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
        indices.append((hashes % np.uint64(TABLE_SIZE)).astype(np.int64))
    return indices


def _codes(part: Part, max_blocks: int, unit: Unit) -> Iterator[Codes]:
    """The characters (or bytes) of a part as numbers, in at most `max_blocks` blocks, spread evenly over the part."""
    start, stop = part.span.start, part.span.stop
    offsets = list(range(start, stop, BLOCK_SIZE))
    if len(offsets) > max_blocks:
        offsets = [start + (stop - BLOCK_SIZE - start) * index // (max_blocks - 1) for index in range(max_blocks)]
    for offset in offsets:
        block = b"".join(part.text.blocks(Span(offset, min(offset + BLOCK_SIZE, stop))))
        if unit == "byte":
            yield np.frombuffer(block, np.uint8).astype(np.uint32)
        else:
            yield np.frombuffer(block.decode("utf-8", "ignore").encode("utf-32-le"), np.uint32)
