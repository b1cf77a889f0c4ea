"""Batches of examples of similar length, in an order that is drawn anew for each pass and can be resumed."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.windows import next_position, pass_and_step

SORTED_TOGETHER = 1000  # examples of an endless stream that are sorted by length together

Numbers = NDArray[np.int64]
Item = TypeVar("Item")


class ExampleBatches:
    """An endless source of the numbers of examples, a batch at a time; all choices follow from (seed, pass).

    A batch has up to `max_tokens` tokens, padding included, and at most `max_examples` examples. What is side by side
    is similar in `lengths`, or in `alike` if that is given.
    """

    def __init__(
        self, lengths: Numbers, max_tokens: int, max_examples: int, seed: int, alike: Numbers | None = None
    ) -> None:
        self._lengths, self._max_tokens, self._max_examples, self._seed = lengths, max_tokens, max_examples, seed
        self._alike = lengths if alike is None else alike
        self.pass_number, self._step = 0, 0
        self._plan = self._plan_pass()
        self.batches_per_pass = len(self._plan)

    def next(self) -> Numbers:
        """The examples at the current position; moves the position to the next batch."""
        batch = self._plan[self._step]
        self.pass_number, self._step = next_position(self.pass_number, self._step, len(self._plan))
        if self._step == 0:
            self._plan = self._plan_pass()
        return batch

    def position(self) -> Numbers:
        """The pass, and the step in it."""
        return np.array([self.pass_number, self._step])

    def restore(self, position: Numbers) -> None:
        """Move to a position from `position`. Raises ValueError for one that this data does not have."""
        self.pass_number = pass_and_step({"pass_and_step": position})[0]
        self._plan = self._plan_pass()
        self._step = pass_and_step({"pass_and_step": position}, len(self._plan))[1]

    def _plan_pass(self) -> list[Numbers]:
        """The examples of each batch of one pass, in random order; examples of the same length are mixed.

        The lengths in each batch, and so the number of batches, are the same in every pass.
        """
        rng = np.random.default_rng([self._seed, self.pass_number])
        order = rng.permutation(len(self._lengths))
        ordered = order[np.argsort(-self._alike[order], kind="stable")]
        batches = list(batches_of(ordered, self._lengths, self._max_tokens, self._max_examples))
        return [batches[n] for n in rng.permutation(len(batches))]


def batches_by_length(
    lengths: Numbers, max_tokens: int, numbers: Numbers | None = None, alike: Numbers | None = None
) -> Iterator[Numbers]:
    """Examples in batches of up to `max_tokens` tokens, padding included: all, or those with these numbers.

    The longest come first. What is side by side is similar in `lengths`, or in `alike` if that is given.
    """
    chosen = np.arange(len(lengths)) if numbers is None else numbers
    by = lengths if alike is None else alike
    return batches_of(chosen[np.argsort(-by[chosen], kind="stable")], lengths, max_tokens, max_tokens)


def spread(count: int, share: float) -> Numbers:
    """The numbers of about a `share` (0 to 1) of `count` examples, spread evenly over them; at least one, if any."""
    wanted = min(count, max(1, round(share * count)))
    return np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))


def batches_of(numbers: Numbers, lengths: Numbers, max_tokens: int, max_examples: int) -> Iterator[Numbers]:
    """Examples in batches of up to `max_tokens` tokens: as many as if each were as long as the first of them."""
    start = 0
    while start < len(numbers):
        size = max(1, min(max_examples, max_tokens // max(1, int(lengths[numbers[start]]))))
        yield numbers[start : start + size]
        start += size


def in_groups(items: Iterable[Item], size: int = SORTED_TOGETHER) -> Iterator[list[Item]]:
    """Items in lists of `size`, each as soon as it is complete; the last one may be shorter."""
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group
