"""Write whole sequences, such as translations, several at once: each token is the likeliest one, or drawn.

Shapes: N sequences, B of them still being written; V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import DivergedError
from charlm.probability import NOT_FINITE, log_sum_exp
from charlm.sampling.strategies import Strategy, choose

LENGTH_ALPHA = 1.0  # how much long sequences are favoured; 0: not at all


class Writer(Protocol):
    """A network that writes sequences, one token at a time. The type of its states is its own."""

    def step(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        """Read one token of each of B sequences: ids (B,) -> logits (B, V) of the next one, and the new state."""

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""


@dataclass(frozen=True)
class Ends:
    """Where sequences begin and end: both are `eos_id`, and the largest lengths (N,) count it.

    The ids `forbidden` are never written.
    """

    eos_id: int
    max_lengths: NDArray[np.int64]
    forbidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of ids, the `<eos>` at its end included, and its log-probability.

    It lacks its end, and is not `is_complete`, if it reached the largest length before.
    """

    ids: tuple[int, ...]
    logprob_nats: float
    is_complete: bool = True

    @property
    def without_end(self) -> tuple[int, ...]:
        return self.ids[:-1] if self.is_complete else self.ids

    @property
    def score(self) -> float:
        """The log-probability, divided for its length, by which hypotheses are compared."""
        return self.logprob_nats / float(length_penalty(len(self.ids)))


def length_penalty(lengths: Any) -> NDArray[np.float64]:
    """((5 + n) / 6) ** alpha for n tokens (Wu et al. 2016, "Google's Neural Machine Translation System")."""
    return np.asarray(((5.0 + np.asarray(lengths)) / 6.0) ** LENGTH_ALPHA)


def scored(logits: NDArray[Any], ends: Ends) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The logits (B, V), -inf for what may not be written, and how much log-probabilities are smaller (B,).

    Raises DivergedError if a logit is not a number, or none is finite.
    """
    smaller = log_sum_exp(logits)
    if not np.isfinite(smaller).all():
        raise DivergedError(NOT_FINITE, to_do="train it again")
    if ends.forbidden:
        logits = logits.copy()
        logits[:, list(ends.forbidden)] = -np.inf
    return logits, smaller


def write(
    network: Writer, state: Any, ends: Ends, strategy: Strategy, rngs: Sequence[np.random.Generator] = ()
) -> list[Hypothesis]:
    """Write N sequences; `state` has a row for each. At temperature 0, arg max, no random generators are needed."""
    num_texts = len(ends.max_lengths)
    texts, ids = np.arange(num_texts), np.full(num_texts, ends.eos_id)
    written, totals = [list[int]() for _ in texts], np.zeros(num_texts)
    while len(texts):
        logits, state = network.step(ids, state)
        allowed, smaller = scored(logits, ends)
        draws = np.array([rngs[text].random() if rngs else 0.0 for text in texts.tolist()])
        ids = choose(allowed, strategy, (), draws)
        totals[texts] += allowed[np.arange(len(ids)), ids] - smaller
        for text, id in zip(texts.tolist(), ids.tolist(), strict=True):
            written[text].append(id)
        is_cut = np.array([len(written[text]) for text in texts.tolist()]) >= ends.max_lengths[texts]
        goes_on = (ids != ends.eos_id) & ~is_cut
        if not goes_on.all():
            texts, ids = texts[goes_on], ids[goes_on]
            state = network.select(state, np.flatnonzero(goes_on).tolist())
    return [
        Hypothesis(tuple(own), float(total), own[-1] == ends.eos_id) for own, total in zip(written, totals, strict=True)
    ]
