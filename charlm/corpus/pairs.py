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

from charlm.corpus.batching import batches_of
from charlm.corpus.examples import Examples
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.texts import TextColumn, Texts
from charlm.corpus.windows import IGNORED, RareTypes
from charlm.text.tokenizer import Tokenizer

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

        def column(name: str, tokenizer: Tokenizer) -> TextColumn:
            rare = None
            if rare_seed is not None:
                sizes = tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id
                rare = RareTypes(examples[name].values, *sizes, rare_seed)
            return TextColumn(examples[name], tokenizer.eos_id, rare)

        return cls(column("source", corpus.tokenizer), column("target", corpus.second))

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
        return Pairs(self.sources.texts(numbers, pass_number), self.targets.texts(numbers, pass_number))

    def spread(self, share: float, max_tokens: int) -> Iterator[tuple[Numbers, Pairs]]:
        """About a share (0 to 1) of the pairs, spread evenly over the data, in batches: their numbers, and the pairs.

        Every batch has up to `max_tokens` tokens.
        """
        count = len(self.sources.column)
        every = np.unique(np.linspace(0, count - 1, max(1, round(share * count))).astype(np.int64))
        ordered = every[np.argsort(-self.alike[every], kind="stable")]
        for numbers in batches_of(ordered, self.lengths, max_tokens, max_tokens):
            yield numbers, self.pairs(numbers)
