"""Sums and counts of scored text. A figure is divided only when it is read, and has its unit in its name."""

from dataclasses import astuple, dataclass
from math import exp, inf, log, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tally:
    """Sums over scored text. A scored `<eos>` counts as one token, one character and one byte.

    `total_nats` is -log p of everything, with the cost of spelling unknown symbols; `unknown_nats` is the part of it
    that unknown symbols contribute. A ratio to a count of 0 is 0.
    """

    total_nats: float = 0.0
    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    unknown: int = 0
    unknown_nats: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def logprob_nats(self) -> float:
        return -self.total_nats

    @property
    def logprob10(self) -> float:
        return -self.total_nats / log(10)

    @property
    def nats_per_token(self) -> float:
        return _ratio(self.total_nats, self.tokens)

    @property
    def nats_per_char(self) -> float:
        return _ratio(self.total_nats, self.characters)

    @property
    def bits_per_token(self) -> float:
        return self.nats_per_token / log(2)

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / log(2)

    @property
    def bits_per_byte(self) -> float:
        return _ratio(self.total_nats, self.bytes) / log(2)

    @property
    def perplexity(self) -> float:
        """exp of the nats per token, with the cost of spelling unknown symbols."""
        return perplexity(self.nats_per_token)

    @property
    def perplexity_without_unknown(self) -> float:
        """Perplexity over the known tokens only, still conditioned on the unknown ones; nan if all are unknown."""
        return perplexity(self.nats_per_known_token)

    @property
    def nats_per_known_token(self) -> float:
        """Nats per token over the known tokens only; nan if all are unknown."""
        if self.unknown and self.unknown == self.tokens:
            return nan
        return _ratio(self.total_nats - self.unknown_nats, self.tokens - self.unknown)


@dataclass
class Sums:
    """Sums of the log-probabilities of a text's tokens, added up block by block."""

    logprob_nats: float = 0.0
    tokens: int = 0
    logprob_nats_at_unk: float = 0.0
    tokens_at_unk: int = 0

    def add(self, logprobs: NDArray[np.float64], ids: NDArray[Any], unk_id: int | None) -> None:
        """Add some tokens: their log p in nats (N,) and their ids (N,)."""
        at_unk = ids == unk_id
        self.logprob_nats += float(logprobs.sum())
        self.tokens += len(ids)
        self.logprob_nats_at_unk += float(logprobs[at_unk].sum())
        self.tokens_at_unk += int(at_unk.sum())

    def unknown_nats(self, num_unknown: int) -> float:
        """-log p of the unknown symbols among the tokens that are `<unk>`.

        A literal `<unk>` in a text has the same id, but is not unknown, so the sum is divided in
        proportion to their numbers.
        """
        if not (num_unknown and self.tokens_at_unk):
            return 0.0
        return -self.logprob_nats_at_unk * num_unknown / self.tokens_at_unk


def perplexity(nats_per_token: float) -> float:
    """exp of the nats per token; inf from 700 nats on, where exp would soon overflow."""
    return inf if nats_per_token >= 700 else exp(nats_per_token)


def _ratio(total: float, count: int) -> float:
    return total / count if count else 0.0
