"""Numbers for the symbols of a text: a piece is taken apart when it is first seen, and looked up from then on.

Most pieces are short and have been seen before. They are found all at once, by NumPy, in a table of the pieces of at
most 16 bytes, whose bytes are two whole numbers; a hundred nanoseconds a word are left for what is not there.
"""

from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charlm.text.interface import Ids
from charlm.text.splitting import Pieces, Splitting, segments
from charlm.text.vocabulary import EOS_ID

USUAL_LENGTH = 20  # bytes of a new piece; a few very long ones fill a numbering as many usual ones do
TABLE_BITS = 20
WORD = 8  # bytes in a whole number
MASKS = np.array([(1 << 8 * size) - 1 for size in range(WORD + 1)], np.uint64)  # its first bytes
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd, their bits as if by chance
COUNT_BITS = 32
FIRST, SECOND, PLACE = range(3)  # columns of the table

Numbers = NDArray[np.uint64]


class Numbering(dict[bytes, int]):
    """The places of all pieces seen in a pool of numbers, where each piece's stand together, `<eos>` behind them.

    A place is its start, and in the lower COUNT_BITS bits how many numbers there are. Known symbols have their ids,
    which are above 0; others are numbered from `first` on in the order in which they come, that of `symbols`.
    """

    def __init__(self, splitting: Splitting, known: Mapping[str, int], first: int, most: int) -> None:
        self.symbols: list[str] = []
        self._spell, self._divide, self._text_of = splitting.spell, splitting.divide, splitting.text_of
        self._known, self._first, self._most = known, first, most
        self.restart()

    def restart(self) -> None:
        """Forget what was numbered."""
        self.clear()
        self.symbols.clear()
        self._characters, self._bytes = array("I"), array("I")
        self._numbers = dict(self._known)
        self._pool = array("I", [EOS_ID])
        self._length = 0
        self._table = np.zeros((1 << TABLE_BITS, 4), np.uint64)  # one column more, to lie well in the cache

    @property
    def is_full(self) -> bool:
        """Whether it holds `most` pieces or new symbols, or as much text as so many would have: time to start anew."""
        return max(len(self), len(self.symbols), self._length // USUAL_LENGTH) > self._most

    def of(self, data: bytes) -> Ids:
        """The numbers of all symbols in a text of UTF-8, `<eos>` for its line ends."""
        return np.concatenate([self.of_segment(segment) for segment in segments(data)])

    def of_segment(self, data: bytes) -> Ids:
        """The same for a text of some kilobytes."""
        pieces = self._divide(data)
        places = self._places(data, pieces)
        places[pieces.is_nothing] = 0  # no numbers, and then that of `<eos>`
        counts = (places & ((1 << COUNT_BITS) - 1)) + pieces.ends_line
        behind = np.cumsum(counts)
        at = np.repeat((places >> COUNT_BITS) + counts - behind, counts)
        at += np.arange(len(at))
        return np.frombuffer(self._pool, np.uint32).take(at)

    def _places(self, data: bytes, pieces: Pieces) -> NDArray[np.int64]:
        starts, sizes = pieces.starts, pieces.ends - pieces.starts
        first, second = _first_bytes(data, starts, sizes)
        slots = ((first ^ second * FACTORS[1]) * FACTORS[0] >> np.uint64(64 - TABLE_BITS)).view(np.int64)
        found = self._table.take(slots, axis=0, mode="clip")
        places: NDArray[np.int64] = found[:, PLACE].astype(np.int64)
        is_short = (sizes <= 2 * WORD) & (b"\0" not in data)  # a zero would look like the end of a shorter piece
        missed = np.flatnonzero((found[:, FIRST] != first) | (found[:, SECOND] != second) | (places == 0) | ~is_short)
        bounds = zip(starts[missed].tolist(), pieces.ends[missed].tolist(), strict=True)
        places[missed] = [self[data[start:end]] for start, end in bounds]
        new = missed[is_short[missed] & (found[missed, PLACE] == 0)]
        new = new[np.unique(slots[new], return_index=True)[1]]
        self._table[slots[new], :3] = np.stack([first[new], second[new], places[new].view(np.uint64)], axis=1)
        return places

    def texts(self, numbers: Ids) -> list[str]:
        """The new symbols of these numbers."""
        return [self.symbols[at] for at in (numbers - self._first).tolist()]

    def lengths(self, numbers: Ids) -> tuple[int, int]:
        """How many characters and bytes of UTF-8 the text has for those."""
        at = numbers.astype(np.int64) - self._first
        if not len(at):
            return 0, 0
        characters, sizes = (np.frombuffer(lengths, np.uint32).take(at) for lengths in (self._characters, self._bytes))
        return int(characters.sum()), int(sizes.sum())

    def __missing__(self, piece: bytes) -> int:
        known = self._numbers.get
        numbers = [known(symbol) or self._new(symbol) for symbol in self._spell(piece.decode())]
        place = self[piece] = len(self._pool) << COUNT_BITS | len(numbers)
        numbers.append(EOS_ID)
        self._pool.fromlist(numbers)
        self._length += len(piece)
        return place

    def _new(self, symbol: str) -> int:
        number = self._numbers[symbol] = self._first + len(self.symbols)
        self.symbols.append(symbol)
        text = self._text_of(symbol)
        self._characters.append(len(text))
        self._bytes.append(len(text.encode()))
        return number


def _first_bytes(data: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """The first eight bytes of each piece, and the eight after them, zeros for what is not there."""
    padded = data + bytes(2 * WORD)
    at_each_byte: Numbers = np.ndarray((len(data) + WORD,), np.uint64, padded, strides=(1,))
    first = at_each_byte[starts] & MASKS.take(sizes, mode="clip")
    second = np.zeros_like(first)
    longer = np.flatnonzero(sizes > WORD)
    second[longer] = at_each_byte[starts[longer] + WORD] & MASKS.take(sizes[longer] - WORD, mode="clip")
    return first, second
