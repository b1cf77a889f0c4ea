"""Pairs of a source and its target in batches: the examples of a translator.

A target is read up to its last token, and each of its tokens, the end included, is to be found:

    source:   <eos> H a u s <eos>
    inputs:   <eos> h o u s e
    targets:    h   o u s e <eos>
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length, spread
from charlm.corpus.examples import Examples
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.texts import TextColumn, Texts
from charlm.corpus.windows import IGNORED

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Some sources and their targets, both with both of their ends."""

    sources: Texts
    wanted: Texts

    def __len__(self) -> int:
        return len(self.sources)

    def rows(self, rows: slice) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.sources.rows(rows), self.wanted.rows(rows))

    @property
    def inputs(self) -> Numbers:
        """What the decoder reads (B, T)."""
        return self.wanted.ids[:, :-1]

    @property
    def targets(self) -> Numbers:
        """What it is to write (B, T); padding is IGNORED."""
        is_inside = np.arange(1, self.wanted.ids.shape[1]) < self.wanted.lengths[:, None]
        return np.where(is_inside, self.wanted.ids[:, 1:], IGNORED)

    @property
    def num_targets(self) -> int:
        return self.wanted.num_tokens

    @property
    def num_tokens(self) -> int:
        """The tokens of both, with one end of each."""
        return self.sources.num_tokens + self.wanted.num_tokens


@dataclass(frozen=True)
class PairColumns:
    """The pairs of labelled data."""

    sources: TextColumn
    targets: TextColumn

    @classmethod
    def of(cls, examples: Examples, corpus: LabelledCorpus, rare_seed: int | None = None) -> "PairColumns":
        """Those of a part of a corpus. With a seed rare symbols become `<unk>` now and then, for training."""
        sources = TextColumn.of(examples["source"], corpus.tokenizer, rare_seed)
        return cls(sources, TextColumn.of(examples["target"], corpus.second, rare_seed))

    @property
    def lengths(self) -> Numbers:
        """The tokens of each pair, with all ends."""
        return self.sources.lengths + self.targets.lengths

    @property
    def alike(self) -> Numbers:
        """Numbers that are close for pairs that waste little padding side by side: by target, then by source."""
        return self.targets.lengths * (1 + int(self.sources.lengths.max())) + self.sources.lengths

    def pairs(self, numbers: Numbers, pass_number: int = 0) -> Pairs:
        """The pairs with these numbers."""
        sources = self.sources.texts(numbers, pass_number)
        return Pairs(sources, self.targets.without_false_ends(numbers, pass_number))

    def spread(self, share: float, max_tokens: int) -> Iterator[tuple[Numbers, Pairs]]:
        """About a share (0 to 1) of the pairs, spread evenly over the data, in batches: their numbers, and the pairs.

        Every batch has up to `max_tokens` tokens.
        """
        chosen = spread(len(self.sources.column), share)
        for numbers in batches_by_length(self.lengths, max_tokens, chosen, self.alike):
            yield numbers, self.pairs(numbers)
