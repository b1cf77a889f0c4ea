"""Lines with masked tokens, in batches of similar length: the examples of a cloze network.

An example is a line with both of its ends, `<eos> x1 ... xn <eos>`. A share of its tokens, never an end, is replaced by
`<mask>`, and the network is to find them. Which ones follows from (seed, pass) alone; every pass has masks of its own.

    inputs:   <eos> T h <mask> <mask> a t <eos>
    targets:     -  - -   e      <space> - -   -

A line that is too long for a batch is cut into pieces, whose ends are the tokens beside them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length
from charlm.corpus.hashing import hash_uniform
from charlm.corpus.windows import IGNORED, POOL_BATCHES, RareTypes, next_position, pass_and_step

Ids = NDArray[Any]

MASKED_SHARE = 0.15  # of the tokens
MAX_PIECE_WINDOWS = 4  # windows of `bptt` tokens in the longest piece of a line
FIXED_MASKS = -1  # the pass whose masks are those of the validation part


@dataclass(frozen=True)
class MaskedLines:
    """Inputs and targets (B, T) of lines of these `lengths` (B,), ends included; padded with `<eos>` and IGNORED."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, rows: slice) -> "MaskedLines":
        """Some of the lines."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        return MaskedLines(self.inputs[rows, :longest], self.targets[rows, :longest], lengths)

    @property
    def num_masked(self) -> int:
        return int((self.targets != IGNORED).sum())

    @property
    def num_tokens(self) -> int:
        """The tokens between the ends."""
        return int(self.lengths.sum()) - 2 * len(self.lengths)


class LineMasks:
    """Cuts a text into lines and masks them. `ids` begin with an `<eos>`; empty lines are left out."""

    def __init__(self, ids: Ids, eos_id: int, mask_id: int, max_piece: int, seed: int, rare: RareTypes | None) -> None:
        self._ids, self._eos_id, self._mask_id, self._seed, self._rare = ids, eos_id, mask_id, seed, rare
        ends = np.append(np.flatnonzero(ids == eos_id), len(ids))
        self.starts, self.lengths = _pieces(ends[:-1] + 1, np.diff(ends) - 1, max_piece)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_tokens(self) -> int:
        """The tokens of all lines, without their ends."""
        return int(self.lengths.sum())

    def masked(self, lines: NDArray[np.int64], pass_number: int) -> MaskedLines:
        """The lines with these numbers, with the masks of a pass; at least one token is masked."""
        starts, lengths = self.starts[lines], self.lengths[lines]
        places = starts[:, None] - 1 + np.arange(lengths.max() + 2)  # an end, the tokens, an end
        inside = np.arange(places.shape[1]) <= lengths[:, None] + 1
        is_end_of_text = places >= len(self._ids)
        tokens = self._ids[np.where(inside & ~is_end_of_text, places, 0)].astype(np.int64)
        tokens[is_end_of_text] = self._eos_id
        if self._rare is not None:
            tokens = self._rare.replace(tokens, places, max(0, pass_number))
        can_be_masked = inside & (np.arange(places.shape[1]) > 0) & (np.arange(places.shape[1]) <= lengths[:, None])
        chance = np.where(can_be_masked, hash_uniform(places, self._seed + 0x20003 * (pass_number + 1)), np.inf)
        is_masked = chance < max(MASKED_SHARE, np.nextafter(chance.min(), np.inf))
        inputs = np.where(is_masked, self._mask_id, np.where(inside, tokens, self._eos_id))
        return MaskedLines(inputs, np.where(is_masked, tokens, IGNORED), lengths + 2)

    def batches(self, lines: NDArray[np.int64], max_tokens: int) -> Iterator[NDArray[np.int64]]:
        """The numbers of lines in batches of similar length, of up to `max_tokens` tokens with padding."""
        return batches_by_length(self.lengths, max_tokens, lines)


class MaskedBatches:
    """An endless source of batches with masked tokens, which can be moved to a position."""

    def __init__(
        self, ids: Ids, eos_id: int, mask_id: int, batch_size: int, bptt: int, seed: int, rare: RareTypes
    ) -> None:
        self._max_tokens, self._seed = batch_size * bptt, seed
        self._lines = LineMasks(ids, eos_id, mask_id, min(MAX_PIECE_WINDOWS * bptt, self._max_tokens), seed, rare)
        self._pass, self._step = 0, 0
        self._plan = self._plan_pass()
        self.batches_per_pass = len(self._plan)
        self.masked_per_batch = MASKED_SHARE * self._lines.num_tokens / len(self._plan)

    def next(self) -> MaskedLines:
        """The batch at the current position; moves the position to the next one."""
        batch = self._lines.masked(self._plan[self._step], self._pass)
        self._pass, self._step = next_position(self._pass, self._step, len(self._plan))
        if self._step == 0:
            self._plan = self._plan_pass()
        return batch

    def position(self) -> NDArray[np.int64]:
        """The pass, and the step in it."""
        return np.array([self._pass, self._step])

    def restore(self, position: NDArray[np.int64]) -> None:
        """Move to a position from `position`. Raises ValueError for one that this text does not have."""
        self._pass = pass_and_step({"pass_and_step": position})[0]
        self._plan = self._plan_pass()
        self._step = pass_and_step({"pass_and_step": position}, len(self._plan))[1]

    def _plan_pass(self) -> list[NDArray[np.int64]]:
        """The lines of each batch of one pass, in random order."""
        rng = np.random.default_rng([self._seed, self._pass])
        order = rng.permutation(len(self._lines))
        pool = max(1, POOL_BATCHES * self._max_tokens // max(1, int(self._lines.lengths.mean())))
        batches = [
            batch
            for first in range(0, len(order), pool)
            for batch in self._lines.batches(order[first : first + pool], self._max_tokens)
        ]
        return [batches[n] for n in rng.permutation(len(batches))]


def _pieces(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], max_piece: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lines, without empty ones and with long ones cut into pieces of about equal length: starts and lengths."""
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    counts = -(-lengths // max_piece)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    whole, pieces = np.repeat(lengths, counts), np.repeat(counts, counts)
    first, last = number * whole // pieces, (number + 1) * whole // pieces
    return np.repeat(starts, counts) + first, last - first
