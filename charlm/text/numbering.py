"""Numbers for the symbols of a text: each different piece of it is split once, and looked up when it comes again.

Most pieces are short and have been seen before. NumPy finds these all at once, in a hash table of pieces of at most 16
bytes, which are stored as two integers each. Only the others take time of their own, about 100 ns a piece.
"""

from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charlm.text.encoded import Ids
from charlm.text.splitting import Pieces, Splitting, segments
from charlm.text.vocabulary import EOS_ID

TYPICAL_LENGTH = 20  # bytes of a new piece; a longer piece takes as much room as several of these
TABLE_BITS = 20
INTEGER_BYTES = 8
MASKS = np.array([(1 << 8 * size) - 1 for size in range(INTEGER_BYTES + 1)], np.uint64)  # keep the first bytes
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd, with well mixed bits: for hashing
COUNT_BITS = 32
FIRST, SECOND, PLACE = range(3)  # columns of the table

Integers = NDArray[np.uint64]


class Numbering(dict[bytes, int]):
    """Maps each piece seen so far to the place of its symbols' numbers in a pool, where they stand before an `<eos>`.

    A place is the index of the first number, shifted by COUNT_BITS, plus how many there are. Symbols in `known` keep
    their ids, which are above 0. New symbols are numbered from `first_new` on in the order of `symbols`.

    Not for several threads at once: reading changes it.
    """

    def __init__(self, splitting: Splitting, known: Mapping[str, int], first_new: int, max_remembered: int) -> None:
        self.symbols: list[str] = []
        self._spell, self._divide, self._text_of = splitting.spell, splitting.divide, splitting.text_of
        self._known, self._first_new, self._max_remembered = known, first_new, max_remembered
        self.restart()

    def restart(self) -> None:
        """Forget all pieces and all new symbols."""
        self.clear()
        self.symbols.clear()
        self._characters, self._bytes = array("I"), array("I")  # lengths of the new symbols' texts
        self._numbers = dict(self._known)
        self._pool = array("I", [EOS_ID])
        self._length = 0
        self._table = np.zeros((1 << TABLE_BITS, 4), np.uint64)  # the fourth column aligns rows with cache lines

    @property
    def is_full(self) -> bool:
        """Whether more than `max_remembered` pieces or new symbols are stored, or as much text as these would have."""
        return max(len(self), len(self.symbols), self._length // TYPICAL_LENGTH) > self._max_remembered

    def number(self, data: bytes) -> Ids:
        """The numbers of all symbols of a text in UTF-8, with `<eos>` for line ends."""
        return np.concatenate([self.number_segment(segment) for segment in segments(data)])

    def number_segment(self, data: bytes) -> Ids:
        """What `number` returns for a text of some kilobytes, all of it at once."""
        pieces = self._divide(data)
        places = self._places(data, pieces)
        places[pieces.is_nothing] = 0  # no numbers; at index 0 of the pool is an `<eos>`
        counts = (places & ((1 << COUNT_BITS) - 1)) + pieces.ends_line
        starts_in_pool, ends = places >> COUNT_BITS, np.cumsum(counts)
        indices = np.repeat(starts_in_pool + counts - ends, counts)
        indices += np.arange(len(indices))
        return np.frombuffer(self._pool, np.uint32).take(indices)

    def _places(self, data: bytes, pieces: Pieces) -> NDArray[np.int64]:
        """The place of each piece: from the table, or from the dict if it is not there."""
        starts, sizes = pieces.starts, pieces.ends - pieces.starts
        first, second = _as_integers(data, starts, sizes)
        slots = ((first ^ second * FACTORS[1]) * FACTORS[0] >> np.uint64(64 - TABLE_BITS)).view(np.int64)
        found = self._table.take(slots, axis=0, mode="clip")
        places: NDArray[np.int64] = found[:, PLACE].astype(np.int64)
        fits = (sizes <= 2 * INTEGER_BYTES) & (b"\0" not in data)  # a zero byte would look like a shorter piece's end
        missed = np.flatnonzero((found[:, FIRST] != first) | (found[:, SECOND] != second) | (places == 0) | ~fits)
        bounds = zip(starts[missed].tolist(), pieces.ends[missed].tolist(), strict=True)
        places[missed] = [self[data[start:end]] for start, end in bounds]
        new = missed[fits[missed] & (found[missed, PLACE] == 0)]
        new = new[np.unique(slots[new], return_index=True)[1]]
        self._table[slots[new], :3] = np.stack([first[new], second[new], places[new].view(np.uint64)], axis=1)
        return places

    def symbols_of(self, numbers: Ids) -> list[str]:
        """The new symbols with these numbers."""
        return [self.symbols[index] for index in (numbers - self._first_new).tolist()]

    def lengths_of(self, numbers: Ids) -> tuple[int, int, int]:
        """How many numbers these are, and the characters and bytes of UTF-8 in the text of their new symbols."""
        indices = numbers.astype(np.int64) - self._first_new
        if not len(indices):
            return 0, 0, 0
        characters, sizes = (np.frombuffer(sizes, np.uint32).take(indices) for sizes in (self._characters, self._bytes))
        return len(indices), int(characters.sum()), int(sizes.sum())

    def __missing__(self, piece: bytes) -> int:
        known = self._numbers.get
        numbers = [known(symbol) or self._add(symbol) for symbol in self._spell(piece.decode())]
        place = self[piece] = len(self._pool) << COUNT_BITS | len(numbers)
        numbers.append(EOS_ID)
        self._pool.fromlist(numbers)
        self._length += len(piece)
        return place

    def _add(self, symbol: str) -> int:
        number = self._numbers[symbol] = self._first_new + len(self.symbols)
        self.symbols.append(symbol)
        text = self._text_of(symbol)
        self._characters.append(len(text))
        self._bytes.append(len(text.encode()))
        return number


def _as_integers(data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[Integers, Integers]:
    """The first eight bytes of each piece and the next eight, filled up with zeros."""
    padded = data + bytes(2 * INTEGER_BYTES)
    at_each_byte: Integers = np.ndarray((len(data) + INTEGER_BYTES,), np.uint64, padded, strides=(1,))
    first = at_each_byte[starts] & MASKS.take(sizes, mode="clip")
    second = np.zeros_like(first)
    longer = np.flatnonzero(sizes > INTEGER_BYTES)
    next_bytes = at_each_byte[starts[longer] + INTEGER_BYTES]
    second[longer] = next_bytes & MASKS.take(sizes[longer] - INTEGER_BYTES, mode="clip")
    return first, second
