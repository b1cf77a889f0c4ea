"""Line ends of Unix (LF), Windows (CRLF) and old Macs (CR alone): counted, and turned into LF."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from charlm.settings import LineEnds

NEARLY_ALL = 0.98  # of the line ends: a text with such a share of CRLF comes from Windows


@dataclass(frozen=True)
class LineEndCounts:
    """How often each line end occurs: LF, CRLF, and CR alone."""

    lf: int = 0
    crlf: int = 0
    cr: int = 0

    @classmethod
    def from_blocks(cls, blocks: Iterable[bytes]) -> Self:
        """Count the line ends of a text; a CRLF may be cut in two."""
        lf = crlf = cr = 0
        last = b""
        for block in blocks:
            num_lf, num_cr = block.count(b"\n"), block.count(b"\r")
            num_pairs = block.count(b"\r\n") if num_cr else 0
            if last == b"\r" and block.startswith(b"\n"):
                num_pairs += 1
            lf, crlf, cr = lf + num_lf - num_pairs, crlf + num_pairs, cr + num_cr - num_pairs
            last = block[-1:]
        return cls(lf, crlf, cr)

    def __add__(self, other: "LineEndCounts") -> "LineEndCounts":
        return LineEndCounts(self.lf + other.lf, self.crlf + other.crlf, self.cr + other.cr)

    def best(self) -> LineEnds:
        """How to read such a text: `lf` where nearly all line ends are CRLF, or all are CR alone; otherwise `keep`."""
        from_windows = self.crlf > 0 and self.crlf >= NEARLY_ALL * (self.lf + self.crlf + self.cr)
        from_old_mac = self.cr > 0 and not self.lf and not self.crlf
        return "lf" if from_windows or from_old_mac else "keep"

    def __str__(self) -> str:
        named = ((self.crlf, "CRLF"), (self.lf, "LF"), (self.cr, "CR alone"))
        return ", ".join(f"{count:,} {name}" for count, name in named if count)


def with_lf(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A text in which every CRLF, and every CR alone, has become an LF."""
    held = b""
    for block in blocks:
        whole = held + block
        held = b"\r" if whole.endswith(b"\r") else b""
        yield whole.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"
