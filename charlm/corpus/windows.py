"""Ids -> windows for truncated back-propagation through time.

Stream mode reads one long text at B positions side by side, T tokens at a time, each continuing where it stopped:

    text:  a b c d e f g h i j k l        B = 2 streams, T = 3
    stream 0:  a b c | d e f              window 1 is (a b c; g h i), window 2 is (d e f; j k l)
    stream 1:  g h i | j k l              and the state of window 1 is carried into window 2

Every few windows come with a second one beside them, for the same update: beginnings, the first tokens of some lines,
read from the initial state as in scoring a sentence or starting a sample. Each line is chosen equally often, whatever
its length.

Sentence mode shuffles the lines, groups lines of similar length, and starts every line from the initial state. What is
said of lines there is true of paragraphs where these are the items (`text/items.py`).
Ids begin with one `<eos>`, the first input; a line's inputs begin at the `<eos>` before it.
All random choices follow from (seed, pass, step), so a position is all that is needed to resume.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, gcd
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.hashing import hash_uniform
from charlm.settings import Item
from charlm.text.items import ends_of_items

Ids = NDArray[Any]

LAYOUT = 2  # version of the rules that cut a text into windows; a saved position is valid only for the same rules
IGNORED = -100  # marks a target that is padding
COUNTED = 1 << 16  # tokens per block in which line ends are counted
# Stream mode
BEGINNINGS_SHARE = 0.05  # tokens of beginnings beside windows, per token in the windows
BEGINNING_TOKENS = 16  # tokens of each beginning
MAX_SHIFT_WINDOWS = 4  # windows by which the start of a stream may move to reach a line start
# Sentence mode
POOL_BATCHES = 50  # batches of lines that are sorted by length together
SHORT_FACTOR = 4  # a line is short if this many of it fit into a typical one
MAX_LENGTH_FACTOR = 1.25  # a line longer than this times the mean of its window is cut


@dataclass(frozen=True)
class Window:
    """Inputs and targets (B, T); `reset` (B,) is true for sequences that start from the initial state.

    The window `beside` it belongs to the same update; it starts from the initial state, and its final state is dropped.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    reset: NDArray[np.bool_]
    beside: "Window | None" = None
    is_repeated: bool = False
    """Whether its tokens are in other windows of the pass too, so that they do not count as seen."""

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, rows: slice) -> "Window":
        """Some of the sequences, without the window beside them."""
        return Window(self.inputs[rows], self.targets[rows], self.reset[rows])

    @property
    def num_tokens(self) -> int:
        """Targets without padding, with those of the window beside it."""
        return int((self.targets != IGNORED).sum()) + (self.beside.num_tokens if self.beside else 0)

    @property
    def num_seen(self) -> int:
        """Targets without padding that no other window of the pass has."""
        return self.num_tokens - (self.beside.num_tokens if self.beside and self.beside.is_repeated else 0)


class Windows(Protocol):
    """An endless source of windows, which can be moved to a position."""

    windows_per_pass: int
    tokens_per_window: float
    """The mean number. Every window's loss is divided by it, so that all tokens have the same weight."""

    def next(self) -> Window:
        """The window at the current position; moves the position to the next one."""

    def position(self) -> dict[str, NDArray[np.int64]]:
        """The current position, as named arrays: the pass and the step in it."""

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        """Move to a position from `position`. Raises ValueError for one that this text does not have."""


class RareTypes:
    """Sometimes replaces rare types by `<unk>`, so that the network learns a probability for `<unk>`.

    Each type is expected to be replaced 0.1 times per pass, whatever its count, but with a probability of at most 0.5.
    The choice depends only on the token's position and the pass, so overlapping windows agree.
    """

    def __init__(self, ids: Ids, vocab_size: int, eos_id: int, unk_id: int | None, seed: int) -> None:
        self._unk_id, self._seed = unk_id, seed
        counts = _count(ids, vocab_size)
        rates = np.minimum(0.5, 0.1 / np.maximum(counts, 1))
        rates[eos_id] = 0.0
        # A text that contains <unk> itself, as some data sets do, already teaches its probability.
        is_learned_already = unk_id is None or counts[unk_id] > 0.1 * vocab_size
        self._rates = None if is_learned_already else rates

    def replace(self, ids: NDArray[np.int64], places: NDArray[np.int64], pass_number: int) -> NDArray[np.int64]:
        """The ids with some replaced by `<unk>`; `places` are their positions in the text, of the same shape."""
        if self._rates is None:
            return ids
        chance = hash_uniform(places, self._seed + 0x10001 * pass_number)
        return np.where(chance < self._rates[ids], np.int64(self._unk_id or 0), ids)


class StreamWindows:
    """Stream mode: windows of `batch_size` streams and `bptt` tokens.

    The streams start evenly spread over the text, at a line start if one is near, and run on in a circle: after the end
    of the text they continue at its beginning.
    """

    def __init__(self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes) -> None:
        self._ids, self._bptt, self._rare = ids, bptt, rare
        self._length = len(ids) - 1
        self._starts = _stream_starts(ids, eos_id, batch_size, bptt)
        distances = np.diff(np.append(self._starts, self._starts[0] + self._length))
        self.windows_per_pass = ceil(int(distances.max()) / bptt)
        self._lines = LineStarts(ids, eos_id)
        self._line_order = _SpreadOrder(self._lines.count, seed)
        self._beginning_tokens = min(BEGINNING_TOKENS, bptt)
        wanted = ceil(BEGINNINGS_SHARE * self.windows_per_pass * batch_size * bptt / self._beginning_tokens)
        # As many rows as streams beside every few windows, not a few beside each: a few rows take nearly as long.
        self._at_once = min(batch_size, self._lines.count)
        # Each beginning at most once per pass: a text of a single line must not be read from its start over and over.
        self._groups_per_pass = max(1, min(wanted, self._lines.count) // self._at_once)
        beginnings_per_window = self._groups_per_pass * self._at_once / self.windows_per_pass
        self.tokens_per_window = batch_size * bptt + beginnings_per_window * self._beginning_tokens
        self._pass, self._step = 0, 0

    def next(self) -> Window:
        number = self._pass * self.windows_per_pass + self._step
        window = self._window((self._starts + self._bptt * number) % self._length, self._bptt, is_first=number == 0)
        turns = range(self._beginnings_before(number), self._beginnings_before(number + 1))
        if turns:
            positions = np.array([self._lines.place(self._line_order.item(turn)) for turn in turns])
            beginnings = replace(self._window(positions, self._beginning_tokens, is_first=True), is_repeated=True)
            window = replace(window, beside=beginnings)
        self._pass, self._step = next_position(self._pass, self._step, self.windows_per_pass)
        return window

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass, self._step = pass_and_step(position, self.windows_per_pass)

    def _beginnings_before(self, number: int) -> int:
        """How many beginnings were beside the windows before the one with this number, counted over all passes."""
        return self._at_once * (number * self._groups_per_pass // self.windows_per_pass)

    def _window(self, starts: NDArray[np.int64], width: int, is_first: bool) -> Window:
        """The window whose rows begin at `starts`; the text is read in a circle."""
        index = starts[:, None] + np.arange(width + 1)
        index = np.where(index > self._length, index - self._length, index)
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        return Window(tokens[:, :-1], tokens[:, 1:], np.full(len(starts), is_first))


class LineStarts:
    """Finds the line starts of a text: each `<eos>` except a final one. It keeps only a count per COUNTED tokens."""

    def __init__(self, ids: Ids, eos_id: int) -> None:
        self._ids, self._eos_id = ids[:-1], eos_id
        blocks = range(0, len(self._ids), COUNTED)
        counts = [np.count_nonzero(self._ids[start : start + COUNTED] == eos_id) for start in blocks]
        self._before = np.concatenate([[0], np.cumsum(counts)])
        self.count = int(self._before[-1])

    def place(self, number: int) -> int:
        """The position of the line start with this number, counted from 0."""
        block = int(np.searchsorted(self._before, number, side="right")) - 1
        ends: NDArray[np.int64] = np.flatnonzero(self._ids[block * COUNTED : (block + 1) * COUNTED] == self._eos_id)
        return block * COUNTED + int(ends[number - self._before[block]])


class _SpreadOrder:
    """An endless order of the items 0 to count - 1: each once per round, and successive ones far apart.

    The stride is about 0.618 (the golden ratio) times the count and has no common divisor with it.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._first = int(np.random.default_rng([seed]).integers(count))
        self._stride = next(n for n in range(round(count * 0.618), 2 * count + 1) if gcd(n, count) == 1)

    def item(self, turn: int) -> int:
        return (self._first + turn * self._stride) % self._count


def _stream_starts(ids: Ids, eos_id: int, batch_size: int, bptt: int) -> NDArray[np.int64]:
    """Where the streams start (B,): evenly spread, moved to the next line start if it is near, else within a line."""
    stride = (len(ids) - 1) / batch_size
    near = 1 + min(MAX_SHIFT_WINDOWS * bptt, int(stride / 16))
    even = (np.arange(batch_size) * stride).astype(np.int64)
    ends = [np.flatnonzero(ids[start : min(start + near, len(ids) - 1)] == eos_id) for start in even.tolist()]
    return even + np.array([shifts[0] if len(shifts) else 0 for shifts in ends], np.int64)


@dataclass(frozen=True)
class _Lines:
    """Lines, or pieces of long lines: the position `start` (B,) of each first input, and `length` (B,) in tokens."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: Any) -> "_Lines":
        return _Lines(self.start[rows], self.length[rows])

    @property
    def longest(self) -> int:
        return int(self.length.max())


@dataclass(frozen=True)
class _PlannedWindow:
    """A window that is not read yet: tokens `offset` to `offset + width` of some lines, and short lines beside it."""

    lines: _Lines
    offset: int
    width: int
    short: _Lines


class SentenceWindows:
    """Sentence mode: every line separately. A window holds up to batch_size * bptt tokens; longer lines take several.

    Lines of similar length share a window, so that there is little padding. Short lines are distributed evenly over the
    windows of longer ones, beside them; otherwise some updates would see only short lines, and most updates none.
    A line that is much longer than the others in its window is cut into pieces that are read side by side, all but the
    first starting within the line; otherwise its end would fill windows alone.
    """

    def __init__(
        self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes, item: Item = "line"
    ) -> None:
        self._ids, self._eos_id, self._batch_size, self._bptt = ids, eos_id, batch_size, bptt
        self._seed, self._rare = seed, rare
        self._tokens_at_once = batch_size * bptt
        bounds = np.append(0, ends_of_items(ids[1:], eos_id, item))
        bounds[1:] += 1
        bounds = bounds if bounds[-1] == len(ids) - 1 else np.append(bounds, len(ids) - 1)
        self._lines = _Lines(bounds[:-1], np.diff(bounds))
        self._pass, self._step = 0, 0
        self._plan = self._plan_pass()
        self.windows_per_pass, self.tokens_per_window = len(self._plan), (len(ids) - 1) / len(self._plan)

    def next(self) -> Window:
        planned = self._plan[self._step]
        window = self._window(planned.lines, planned.offset, planned.width)
        if len(planned.short):
            window = replace(window, beside=self._window(planned.short, 0, planned.short.longest))
        self._pass, self._step = next_position(self._pass, self._step, len(self._plan))
        if self._step == 0:
            self._plan = self._plan_pass()
        return window

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass = pass_and_step(position)[0]
        self._plan = self._plan_pass()
        self._step = pass_and_step(position, len(self._plan))[1]

    def _plan_pass(self) -> list[_PlannedWindow]:
        """The windows of one pass, in random order; windows that continue the same lines stay together."""
        rng = np.random.default_rng([self._seed, self._pass])
        order = rng.permutation(len(self._lines))
        pool = max(1, POOL_BATCHES * self._tokens_at_once // max(1, int(self._lines.length.mean())))
        sequences: list[list[_PlannedWindow]] = []
        for first in range(0, len(order), pool):
            sequences += self._plan_pool(self._lines[order[first : first + pool]], rng)
        return [planned for i in rng.permutation(len(sequences)) for planned in sequences[i]]

    def _plan_pool(self, lines: _Lines, rng: np.random.Generator) -> list[list[_PlannedWindow]]:
        """The windows of some lines: a list of windows that continue each other for each group of lines."""
        is_short = SHORT_FACTOR * lines.length <= min(self._bptt, _typical(lines.length))
        short, others = lines[is_short], lines[~is_short]
        room = max(self._bptt, int(self._tokens_at_once * others.length.sum() / lines.length.sum()))
        groups = [(group, width, range(0, group.longest, width)) for group, width in self._groups(others, room)]
        num_windows = sum(len(offsets) for _, _, offsets in groups)
        beside = iter(np.array_split(rng.permutation(len(short)), num_windows))
        return [
            [_PlannedWindow(group, offset, width, short[next(beside)]) for offset in offsets]
            for group, width, offsets in groups
        ]

    def _groups(self, lines: _Lines, room: int) -> Iterator[tuple[_Lines, int]]:
        """Groups of lines of similar length, longest first, with the width of their windows of up to `room` tokens."""
        left = lines[np.argsort(-lines.length, kind="stable")]
        while len(left):
            longest, mean = int(left.length[0]), int(left.length[: self._batch_size].sum()) / self._batch_size
            if longest > max(self._bptt, MAX_LENGTH_FACTOR * mean):
                left = _with_first_cut(left, min(max(self._bptt, ceil(mean)), longest - 1))
                continue
            width = ceil(longest / ceil(longest / self._bptt))  # as few windows as possible, all of equal width
            yield left[: room // width], width
            left = left[room // width :]

    def _window(self, lines: _Lines, offset: int, width: int) -> Window:
        """Tokens `offset` to `offset + width` of the lines, with shorter lines padded."""
        width = min(width, lines.longest - offset)
        index = lines.start[:, None] + offset + np.arange(width + 1)
        inside = np.arange(offset, offset + width + 1) <= lines.length[:, None]
        index = np.where(inside, index, 0)
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        tokens[~inside] = self._eos_id
        targets = np.where(inside[:, 1:], tokens[:, 1:], IGNORED)
        return Window(tokens[:, :-1], targets, np.full(len(lines), offset == 0))


def _typical(lengths: NDArray[np.int64]) -> int:
    """The typical length of a line: half of all tokens are in lines of at least this length."""
    ordered = np.sort(lengths)
    return int(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)])


def _with_first_cut(lines: _Lines, at: int) -> _Lines:
    """Lines in descending order of length, with the first one cut in two after `at` tokens."""
    first, others = lines[:1], lines[1:]
    pieces = _Lines(np.array([first.start[0], first.start[0] + at]), np.array([at, first.longest - at]))
    pieces = pieces[np.argsort(-pieces.length)]
    rows = np.searchsorted(-others.length, -pieces.length)
    return _Lines(np.insert(others.start, rows, pieces.start), np.insert(others.length, rows, pieces.length))


def next_position(pass_number: int, step: int, num_steps: int) -> tuple[int, int]:
    """The pass and step that follow, in passes of `num_steps` steps."""
    return (pass_number, step + 1) if step + 1 < num_steps else (pass_number + 1, 0)


def pass_and_step(position: dict[str, NDArray[np.int64]], num_steps: int | None = None) -> tuple[int, int]:
    """The pass and step of a position. Raises ValueError if the text has no such position."""
    pass_number, step = (int(number) for number in position["pass_and_step"])
    if min(pass_number, step) < 0 or (num_steps is not None and step >= num_steps):
        raise ValueError("has a position that is not in the text")
    return pass_number, step


def _count(ids: Ids, vocab_size: int) -> NDArray[np.int64]:
    """How often each type occurs (vocab_size,), counted in blocks to save memory."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), 2**24):
        counts += np.bincount(ids[start : start + 2**24], minlength=vocab_size)
    return counts
