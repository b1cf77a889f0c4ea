"""Ids -> windows for truncated back-propagation through time.

Stream mode reads B places of one long text side by side, T tokens at a time, each place going on where it stopped:

    text:  a b c d e f g h i j k l        B = 2 streams, T = 3
    stream 0:  a b c | d e f              window 1 is (a b c; g h i), window 2 is (d e f; j k l)
    stream 1:  g h i | j k l              and the state of window 1 is carried into window 2

Beside every few windows stand the beginnings of some lines, read from the initial state, as a sentence is scored and a
sample begun. Lines are dealt for that like cards, so each is met equally often, whatever its length.

Sentence mode shuffles lines, puts lines of like length together, and starts every line from the initial state.
Ids begin with one `<eos>`, the first input; a line's inputs begin at the `<eos>` before it.
All that is random follows from (seed, pass, step), so a position is all that resuming needs.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from math import ceil, gcd
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.hashing import hash_uniform

Ids = NDArray[Any]

LAYOUT = 2  # how windows follow from a text; a position is of no use to windows that are laid in another way
IGNORED = -100  # a target that is padding
STARTS_SHARE = 0.05  # stream mode: tokens of beginnings beside a window, for each of its own
START_TOKENS = 16  # of each beginning
NEAR = 4  # windows: how far from its place a stream looks for a line to begin with
POOL_BATCHES = 50  # sentence mode: batches' worth of lines that are sorted by length together
SHORT = 4  # sentence mode: times that a short line goes into the others
UNEVEN = 1.25  # sentence mode: times the mean of the lines beside it, from which on a line is cut
COUNTED = 1 << 16  # tokens whose line ends are counted as one


@dataclass(frozen=True)
class Window:
    """Inputs and targets (B, T); `reset` (B,) says which sequences begin from the initial state.

    What stands `beside` it is read for the same update, from the initial state, and leaves no state.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    reset: NDArray[np.bool_]
    beside: "Window | None" = None
    is_repeated: bool = False
    """Whether its tokens stand in other windows of the pass, too, so that they are not counted as seen."""

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, rows: slice) -> "Window":
        """Some of the sequences, without what stands beside them."""
        return Window(self.inputs[rows], self.targets[rows], self.reset[rows])

    @property
    def num_tokens(self) -> int:
        return int((self.targets != IGNORED).sum()) + (self.beside.num_tokens if self.beside else 0)

    @property
    def num_seen(self) -> int:
        return self.num_tokens - (self.beside.num_tokens if self.beside and self.beside.is_repeated else 0)


class Windows(Protocol):
    """An endless source of windows that can be put back to a position."""

    windows_per_pass: int
    tokens_per_window: float
    """The mean; each window's loss is divided by it, so that every token has the same weight."""

    def next(self) -> Window: ...

    def position(self) -> dict[str, NDArray[np.int64]]: ...

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        """Raises ValueError for a position that this text does not have."""


class RareTypes:
    """Makes rare types `<unk>` now and then, so that `<unk>` gets a trained probability.

    Each type is expected to be replaced 0.1 times in a pass, whatever its count, and never more often than every
    other time. The choice follows from the token's place and the pass, so overlapping windows agree.
    """

    def __init__(self, ids: Ids, vocab_size: int, eos_id: int, unk_id: int | None, seed: int) -> None:
        self._unk_id, self._seed = unk_id, seed
        counts = _count(ids, vocab_size)
        rates = np.minimum(0.5, 0.1 / np.maximum(counts, 1))
        rates[eos_id] = 0.0
        # A text that has <unk> in it by itself, as prepared ones do, teaches its probability already.
        learned_already = unk_id is None or counts[unk_id] > 0.1 * vocab_size
        self._rates = None if learned_already else rates

    def replace(self, ids: NDArray[np.int64], places: NDArray[np.int64], pass_number: int) -> NDArray[np.int64]:
        if self._rates is None:
            return ids
        chance = hash_uniform(places, self._seed + 0x10001 * pass_number)
        return np.where(chance < self._rates[ids], np.int64(self._unk_id or 0), ids)


class StreamWindows:
    """Stream mode: `batch_size` places of the text, `bptt` tokens at a time.

    The streams begin evenly spread, at line starts where these are near, and follow each other round the text.
    """

    def __init__(self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes) -> None:
        self._ids, self._bptt, self._rare = ids, bptt, rare
        self._length = len(ids) - 1
        self._starts = _spread(ids, eos_id, batch_size, bptt)
        stretches = np.diff(np.append(self._starts, self._starts[0] + self._length))
        self.windows_per_pass = -(-int(stretches.max()) // bptt)
        self._lines = LineStarts(ids, eos_id)
        self._deal = _Deal(self._lines.count, seed)
        self._start_tokens = min(START_TOKENS, bptt)
        wanted = ceil(STARTS_SHARE * self.windows_per_pass * batch_size * bptt / self._start_tokens)
        # As many at once as there are streams, beside every few windows: a step costs nearly the same for few rows.
        self._at_once = min(batch_size, self._lines.count)
        # Few lines are met once a pass at most: a text of one line is not to be read over and over from its start.
        self._groups_per_pass = max(1, min(wanted, self._lines.count) // self._at_once)
        starts_per_window = self._groups_per_pass * self._at_once / self.windows_per_pass
        self.tokens_per_window = batch_size * bptt + starts_per_window * self._start_tokens
        self._pass, self._step = 0, 0

    def next(self) -> Window:
        time = self._pass * self.windows_per_pass + self._step
        window = self._window((self._starts + self._bptt * time) % self._length, self._bptt, is_first=time == 0)
        cards = range(self._dealt_before(time), self._dealt_before(time + 1))
        if cards:
            places = np.array([self._lines.place(self._deal.card(number)) for number in cards])
            beginnings = replace(self._window(places, self._start_tokens, is_first=True), is_repeated=True)
            window = replace(window, beside=beginnings)
        self._pass, self._step = _following(self._pass, self._step, self.windows_per_pass)
        return window

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass, self._step = _pass_and_step(position, self.windows_per_pass)

    def _dealt_before(self, time: int) -> int:
        """How many beginnings of lines stood beside the windows before this one."""
        return self._at_once * (time * self._groups_per_pass // self.windows_per_pass)

    def _window(self, places: NDArray[np.int64], width: int, is_first: bool) -> Window:
        index = places[:, None] + np.arange(width + 1)
        index = np.where(index > self._length, index - self._length, index)  # the text goes round
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        return Window(tokens[:, :-1], tokens[:, 1:], np.full(len(places), is_first))


class LineStarts:
    """The places of a text where lines start: at each `<eos>` but one that ends the text. In constant memory."""

    def __init__(self, ids: Ids, eos_id: int) -> None:
        self._ids, self._eos_id = ids[:-1], eos_id
        blocks = range(0, len(self._ids), COUNTED)
        counts = [np.count_nonzero(self._ids[start : start + COUNTED] == eos_id) for start in blocks]
        self._before = np.concatenate([[0], np.cumsum(counts)])
        self.count = int(self._before[-1])

    def place(self, number: int) -> int:
        """Of the line with this number, from 0."""
        block = int(np.searchsorted(self._before, number, side="right")) - 1
        found: NDArray[np.int64] = np.flatnonzero(self._ids[block * COUNTED : (block + 1) * COUNTED] == self._eos_id)
        return block * COUNTED + int(found[number - self._before[block]])


class _Deal:
    """Cards 0 to count - 1, each once in a round, neighbours far apart: steps of about the golden section."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._first = int(np.random.default_rng([seed]).integers(count))
        self._stride = next(n for n in range(round(count * 0.618), 2 * count + 1) if gcd(n, count) == 1)

    def card(self, number: int) -> int:
        return (self._first + number * self._stride) % self._count


def _spread(ids: Ids, eos_id: int, batch_size: int, bptt: int) -> NDArray[np.int64]:
    """Where the streams begin: evenly spread, each at the next line start if it is near, else within a line."""
    stride = (len(ids) - 1) / batch_size
    near = 1 + min(NEAR * bptt, int(stride / 16))
    wanted = (np.arange(batch_size) * stride).astype(np.int64)
    found = [np.flatnonzero(ids[place : min(place + near, len(ids) - 1)] == eos_id) for place in wanted.tolist()]
    return wanted + np.array([places[0] if len(places) else 0 for places in found], np.int64)


@dataclass(frozen=True)
class _Group:
    """Lines, or pieces of long ones, that are read side by side.

    `begin` (B,) is the place of each one's first input, `length` (B,) its tokens.
    """

    begin: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, rows: Any) -> "_Group":
        return _Group(self.begin[rows], self.length[rows])

    @property
    def longest(self) -> int:
        return int(self.length.max())


@dataclass(frozen=True)
class _Planned:
    """A window to come: a group from its token `start` on, `width` tokens of it, and short lines beside it."""

    group: _Group
    start: int
    width: int
    short: _Group


class SentenceWindows:
    """Sentence mode: each line on its own. A window holds up to batch_size * bptt tokens; longer lines take several.

    Lines of like length share a window, for little padding. But short lines are dealt out among the windows of longer
    ones, and stand beside these: else some updates would see nothing but short lines, and most none. A line that is
    far longer than those it shares a window with is cut into pieces that are read side by side, each but the first
    beginning within the line: no window has its end for itself.
    """

    def __init__(self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes) -> None:
        self._ids, self._eos_id, self._batch_size, self._bptt = ids, eos_id, batch_size, bptt
        self._seed, self._rare = seed, rare
        self._tokens_at_once = batch_size * bptt
        bounds = np.flatnonzero(ids == eos_id)
        bounds = bounds if bounds[-1] == len(ids) - 1 else np.append(bounds, len(ids) - 1)
        self._lines = _Group(bounds[:-1], np.diff(bounds))
        self._pass, self._step = 0, 0
        self._plan = self._plan_pass()
        self.windows_per_pass, self.tokens_per_window = len(self._plan), (len(ids) - 1) / len(self._plan)

    def next(self) -> Window:
        planned = self._plan[self._step]
        window = self._window(planned.group, planned.start, planned.width)
        if len(planned.short):
            window = replace(window, beside=self._window(planned.short, 0, planned.short.longest))
        self._pass, self._step = _following(self._pass, self._step, len(self._plan))
        if self._step == 0:
            self._plan = self._plan_pass()
        return window

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass = _pass_and_step(position)[0]
        self._plan = self._plan_pass()
        self._step = _pass_and_step(position, len(self._plan))[1]

    def _plan_pass(self) -> list[_Planned]:
        """The windows of one pass, in random order, but that windows which go on with the same lines stay together."""
        rng = np.random.default_rng([self._seed, self._pass])
        order = rng.permutation(len(self._lines))
        pool = max(1, POOL_BATCHES * self._tokens_at_once // max(1, int(self._lines.length.mean())))
        runs: list[list[_Planned]] = []
        for first in range(0, len(order), pool):
            runs += self._plan_pool(self._lines[order[first : first + pool]], rng)
        return [planned for i in rng.permutation(len(runs)) for planned in runs[i]]

    def _plan_pool(self, lines: _Group, rng: np.random.Generator) -> list[list[_Planned]]:
        """The windows of some lines, those that go on with the same ones together."""
        is_short = SHORT * lines.length <= min(self._bptt, _typical(lines.length))
        short, others = lines[is_short], lines[~is_short]
        room = max(self._bptt, int(self._tokens_at_once * others.length.sum() / lines.length.sum()))
        found = [(group, width, range(0, group.longest, width)) for group, width in self._groups(others, room)]
        turns = np.array_split(rng.permutation(len(short)), sum(len(starts) for _, _, starts in found))
        beside = iter(turns)
        return [
            [_Planned(group, start, width, short[next(beside)]) for start in starts] for group, width, starts in found
        ]

    def _groups(self, lines: _Group, room: int) -> Iterator[tuple[_Group, int]]:
        """Lines in groups of like length, the longest first, and the width of windows that hold no more than `room`."""
        left = lines[np.argsort(-lines.length, kind="stable")]
        while len(left):
            longest, mean = int(left.length[0]), int(left.length[: self._batch_size].sum()) / self._batch_size
            if longest > max(self._bptt, UNEVEN * mean):
                left = _with_first_cut(left, min(max(self._bptt, ceil(mean)), longest - 1))
                continue
            width = -(-longest // -(-longest // self._bptt))  # of as few windows as can be, all alike
            yield left[: room // width], width
            left = left[room // width :]

    def _window(self, group: _Group, start: int, width: int) -> Window:
        width = min(width, group.longest - start)
        index = group.begin[:, None] + start + np.arange(width + 1)
        inside = np.arange(start, start + width + 1) <= group.length[:, None]
        index = np.where(inside, index, 0)
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        tokens[~inside] = self._eos_id
        targets = np.where(inside[:, 1:], tokens[:, 1:], IGNORED)
        return Window(tokens[:, :-1], targets, np.full(len(group), start == 0))


def _typical(lengths: NDArray[np.int64]) -> int:
    """Half of all tokens stand in lines of at least this length."""
    ordered = np.sort(lengths)
    return int(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)])


def _with_first_cut(lines: _Group, at: int) -> _Group:
    """Lines in order of length, the first of them cut in two after `at` tokens."""
    first, others = lines[:1], lines[1:]
    pieces = _Group(np.array([first.begin[0], first.begin[0] + at]), np.array([at, first.longest - at]))
    pieces = pieces[np.argsort(-pieces.length)]
    places = np.searchsorted(-others.length, -pieces.length)
    return _Group(*(np.insert(one, places, new) for one, new in zip(astuple(others), astuple(pieces), strict=True)))


def _following(number: int, step: int, steps: int) -> tuple[int, int]:
    """The pass and the step after a step, in passes of so many steps."""
    return (number, step + 1) if step + 1 < steps else (number + 1, 0)


def _pass_and_step(position: dict[str, NDArray[np.int64]], steps: int | None = None) -> tuple[int, int]:
    """A position in passes of so many steps. Raises ValueError for one that is not in the text."""
    number, step = (int(n) for n in position["pass_and_step"])
    if min(number, step) < 0 or (steps is not None and step >= steps):
        raise ValueError("has a place that is not in the text")
    return number, step


def _count(ids: Ids, vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), 2**24):
        counts += np.bincount(ids[start : start + 2**24], minlength=vocab_size)
    return counts
