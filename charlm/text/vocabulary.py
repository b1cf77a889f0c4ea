"""The symbols of a tokenizer: `<eos>` is id 0, `<unk>` is id 1, then types by falling count, ties by code point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from charlm.text.interface import EOS, UNK
from charlm.text.surrogates import SURROGATE

EOS_ID = 0
UNK_ID = 1
SPECIALS = (EOS, UNK)
MAX_SYMBOLS = 1 << 24
MAX_SYMBOL_LENGTH = 1000  # characters


@dataclass(frozen=True)
class Vocabulary:
    """`symbols[id]`, and for all symbols but `<eos>` and `<unk>` the reverse, `ids[symbol]`."""

    symbols: tuple[str, ...]
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {symbol: id for id, symbol in enumerate(self.symbols) if id > UNK_ID})

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], size: int | None, min_count: int) -> Self:
        """The most frequent symbols that occur at least `min_count` times; at most `size` with the special ones."""
        frequent = [(-count, symbol) for symbol, count in counts.items() if count >= min_count]
        types = [symbol for _, symbol in sorted(frequent) if symbol not in SPECIALS]
        return cls(SPECIALS + tuple(types[: None if size is None else size - len(SPECIALS)]))

    @classmethod
    def from_json(cls, symbols: Any) -> Self:
        """The vocabulary whose symbols a file lists. Raises ValueError unless `from_counts` could have made it.

        The list is checked here because pydantic would nearly double the time to load a large file, and would make an
        error for each of perhaps millions of wrong symbols.
        """
        if not isinstance(symbols, list) or set(map(type, symbols)) != {str}:
            raise ValueError("the symbols are not a list of texts")
        if len(symbols) > MAX_SYMBOLS or max(map(len, symbols)) > MAX_SYMBOL_LENGTH:
            raise ValueError("there are too many symbols, or too long ones")
        joined = "".join(symbols)
        if "\n" in joined or SURROGATE.search(joined):
            raise ValueError("a symbol contains a line end or a lone surrogate")
        if tuple(symbols[:2]) != SPECIALS or len(set(symbols)) != len(symbols):
            raise ValueError("the symbols do not begin with <eos> and <unk>, or one of them occurs twice")
        return cls(tuple(symbols))

    def grown(self, other: Self) -> Self:
        """This vocabulary with the symbols that only `other` has appended."""
        return type(self)(self.symbols + tuple(symbol for symbol in other.ids if symbol not in self.ids))
