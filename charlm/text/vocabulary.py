"""Symbols with ids: `<eos>` is 0, `<unk>` is 1, then the types by falling count, equal counts by code point."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from charlm.text.interface import EOS, UNK

SURROGATES = re.compile("[\ud800-\udfff]")
EOS_ID = 0
UNK_ID = 1
SPECIALS = (EOS, UNK)
MAX_SYMBOLS = 1 << 24
MAX_SYMBOL_LENGTH = 1000  # characters


@dataclass(frozen=True)
class Vocabulary:
    """`symbols[id]` and, for all but the two special symbols, `ids[symbol]`."""

    symbols: tuple[str, ...]
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {symbol: id for id, symbol in enumerate(self.symbols) if id > UNK_ID})

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], size: int | None, min_count: int) -> Self:
        """The most frequent types: at most `size` symbols, special ones counted, each seen `min_count` times."""
        seen = [(-count, symbol) for symbol, count in counts.items() if count >= min_count and symbol not in SPECIALS]
        kept = sorted(seen)[: None if size is None else size - len(SPECIALS)]
        return cls(SPECIALS + tuple(symbol for _, symbol in kept))

    def grown(self, other: Self) -> Self:
        """This vocabulary, and behind it the symbols of another that it lacks."""
        return type(self)(self.symbols + tuple(symbol for symbol in other.ids if symbol not in self.ids))

    @classmethod
    def of_json(cls, symbols: Any) -> Self:
        """From a list read from a file. Raises ValueError unless it is one that `of_counts` could have made."""
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError("the symbols are not a list of texts")
        if len(symbols) > MAX_SYMBOLS or max(map(len, symbols), default=0) > MAX_SYMBOL_LENGTH:
            raise ValueError("there are too many symbols, or too long ones")
        together = "".join(symbols)
        if "\n" in together or SURROGATES.search(together):
            raise ValueError("a symbol has a line end, or what is no character")
        if tuple(symbols[:2]) != SPECIALS or len(set(symbols)) != len(symbols):
            raise ValueError("the symbols lack <eos> or <unk>, or one is there twice")
        return cls(tuple(symbols))
