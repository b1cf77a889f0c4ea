"""Ids -> windows for truncated back-propagation through time.

Stream mode reads B places of one long text side by side, T tokens at a time, each place going on where it stopped:

    text:  a b c d e f g h i j k l        B = 2 streams, T = 3
    stream 0:  a b c | d e f              window 1 is (a b c; g h i), window 2 is (d e f; j k l)
    stream 1:  g h i | j k l              and the state of window 1 is carried into window 2

Sentence mode shuffles lines, puts lines of like length together, and starts every line from the initial state.
Ids begin with one `<eos>`, the first input; a line's inputs begin at the `<eos>` before it.
All that is random follows from (seed, pass, step), so a position is all that resuming needs.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]

IGNORED = -100  # a target that is padding
RESTART_RATE = 0.05  # share of windows, stream by stream, that start over at a line start
LINE_SEARCH = 4096  # tokens searched for a line start
POOL_BATCHES = 50  # sentence mode: batches' worth of lines that are sorted by length together


@dataclass(frozen=True)
class Window:
    """Inputs and targets (B, T); `reset` (B,) says which sequences begin from the initial state."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    reset: NDArray[np.bool_]


class Windows(Protocol):
    """An endless source of windows that can be put back to a position."""

    windows_per_pass: int

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
        chance = _hash_uniform(places, self._seed + 0x10001 * pass_number)
        return np.where(chance < self._rates[ids], np.int64(self._unk_id or 0), ids)


class StreamWindows:
    """Stream mode: `batch_size` places of the text, `bptt` tokens at a time."""

    def __init__(self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes) -> None:
        self._ids, self._eos_id, self._batch_size, self._bptt = ids, eos_id, batch_size, bptt
        self._seed, self._rare = seed, rare
        self._length = len(ids) - 1
        self.windows_per_pass = -(-self._length // (batch_size * bptt))
        self._pass, self._step = 0, 0
        self._places, self._steps = self._plan_pass()

    def next(self) -> Window:
        rng = np.random.default_rng([self._seed, self._pass, self._step])
        reset = np.ones(self._batch_size, np.bool_) if self._step == 0 else self._restart_some(rng)
        index = self._places[:, None] + np.arange(self._bptt + 1)
        index = np.where(index > self._length, index - self._length, index)  # the text goes round
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        self._places = (self._places + self._bptt) % self._length
        self._step += 1
        if self._step == self._steps:
            self._pass, self._step = self._pass + 1, 0
            self._places, self._steps = self._plan_pass()
        return Window(tokens[:, :-1], tokens[:, 1:], reset)

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"places": self._places.copy(), "pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass, self._step = _pass_and_step(position)
        _, self._steps = self._plan_pass()
        self._places = position["places"].copy()
        if self._step >= self._steps or not ((self._places >= 0) & (self._places < self._length)).all():
            raise ValueError("has a place that is not in the text")

    def _plan_pass(self) -> tuple[NDArray[np.int64], int]:
        """Spread the streams evenly, each at a line start; every pass but the first is turned by a random amount.

        The pass lasts until each stream has come to where the next one began.
        """
        stride = self._length / self._batch_size
        offset = np.random.default_rng([self._seed, self._pass]).random() * stride if self._pass else 0.0
        wanted = (np.arange(self._batch_size) * stride + offset).astype(np.int64)
        starts = np.array([self._line_start_after(place) for place in wanted.tolist()])
        stretches = np.diff(np.append(starts, starts[0] + self._length))
        return starts % self._length, max(1, -(-int(stretches.max()) // self._bptt))

    def _restart_some(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """A stream that restarts goes back to the start of the line that it is in, so no text is skipped."""
        reset = np.zeros(self._batch_size, np.bool_)
        for stream in np.flatnonzero(rng.random(self._batch_size) < RESTART_RATE).tolist():
            start = self._line_start_before(int(self._places[stream]))
            if start is not None:
                self._places[stream], reset[stream] = start, True
        return reset

    def _line_start_after(self, place: int) -> int:
        found = np.flatnonzero(self._ids[place : place + LINE_SEARCH] == self._eos_id)
        if len(found):
            return place + int(found[0])
        return place if place + LINE_SEARCH < len(self._ids) else self._length

    def _line_start_before(self, place: int) -> int | None:
        first = max(0, place + 1 - 4 * self._bptt)
        found = np.flatnonzero(self._ids[first : place + 1] == self._eos_id)
        return first + int(found[-1]) if len(found) else None


class SentenceWindows:
    """Sentence mode: each line on its own. A window holds up to batch_size * bptt tokens; longer lines take several."""

    def __init__(self, ids: Ids, eos_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes) -> None:
        self._ids, self._eos_id, self._bptt, self._seed, self._rare = ids, eos_id, bptt, seed, rare
        self._tokens_at_once = batch_size * bptt
        bounds = np.flatnonzero(ids == eos_id)
        self._bounds = bounds if bounds[-1] == len(ids) - 1 else np.append(bounds, len(ids) - 1)
        self._pass, self._step = 0, 0
        self._plan = self._plan_pass()
        self.windows_per_pass = len(self._plan)

    def next(self) -> Window:
        lines, start = self._plan[self._step]
        window = self._window(lines, start)
        self._step += 1
        if self._step == len(self._plan):
            self._pass, self._step = self._pass + 1, 0
            self._plan = self._plan_pass()
        return window

    def position(self) -> dict[str, NDArray[np.int64]]:
        return {"pass_and_step": np.array([self._pass, self._step])}

    def restore(self, position: dict[str, NDArray[np.int64]]) -> None:
        self._pass, self._step = _pass_and_step(position)
        self._plan = self._plan_pass()
        if self._step >= len(self._plan):
            raise ValueError("has a place that is not in the text")

    def _plan_pass(self) -> list[tuple[NDArray[np.int64], int]]:
        """The windows of one pass: which lines, and from which of their tokens."""
        rng = np.random.default_rng([self._seed, self._pass])
        lengths = np.diff(self._bounds)
        order = rng.permutation(len(lengths))
        pool = max(1, POOL_BATCHES * self._tokens_at_once // max(1, int(lengths.mean())))
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(order), pool):
            lines = order[first : first + pool]
            batches += self._cut(lines[np.argsort(lengths[lines], kind="stable")], lengths)
        plan = []
        for batch in (batches[i] for i in rng.permutation(len(batches))):
            plan += [(batch, start) for start in range(0, int(lengths[batch].max()), self._bptt)]
        return plan

    def _cut(self, lines: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Lines in order of length -> batches that hold, padding and all, what fits at once."""
        batches, first = [], 0
        for i in range(1, len(lines) + 1):
            full = i < len(lines) and (i - first + 1) * min(int(lengths[lines[i]]), self._bptt) > self._tokens_at_once
            if full or i == len(lines):
                batches.append(lines[first:i])
                first = i
        return batches

    def _window(self, lines: NDArray[np.int64], start: int) -> Window:
        begin, length = self._bounds[lines], np.diff(self._bounds)[lines]
        width = min(self._bptt, int(length.max()) - start)
        index = begin[:, None] + start + np.arange(width + 1)
        inside = np.arange(start, start + width + 1) <= length[:, None]
        index = np.where(inside, index, 0)
        tokens = self._rare.replace(self._ids[index].astype(np.int64), index, self._pass)
        tokens[~inside] = self._eos_id
        targets = np.where(inside[:, 1:], tokens[:, 1:], IGNORED)
        return Window(tokens[:, :-1], targets, np.full(len(lines), start == 0))


def _pass_and_step(position: dict[str, NDArray[np.int64]]) -> tuple[int, int]:
    number, step = (int(n) for n in position["pass_and_step"])
    if min(number, step) < 0:
        raise ValueError("has a place that is before the text")
    return number, step


def _count(ids: Ids, vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), 2**24):
        counts += np.bincount(ids[start : start + 2**24], minlength=vocab_size)
    return counts


def _hash_uniform(places: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each place: the mixing function of splitmix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = places.astype(np.uint64) + np.uint64(seed % 2**63) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) / float(2**53)
