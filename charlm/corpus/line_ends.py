"""Line ends as they come from Unix (LF), Windows (CRLF) and old Macs (CR alone): counted, and made one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from charlm.settings import LineEnds

NEARLY_ALL = 0.98  # of the line ends: a text with so many CRLF has come from Windows


@dataclass(frozen=True)
class LineEndCounts:
    """How often each line end occurs: LF, CRLF, and CR alone."""

    lf: int = 0
    crlf: int = 0
    cr: int = 0

    @classmethod
    def of(cls, blocks: Iterable[bytes]) -> Self:
        lf = crlf = cr = 0
        last = b""
        for block in blocks:
            newlines, returns = block.count(b"\n"), block.count(b"\r")
            pairs = (block.count(b"\r\n") if returns else 0) + (last == b"\r" and block[:1] == b"\n")
            lf, crlf, cr = lf + newlines - pairs, crlf + pairs, cr + returns - pairs
            last = block[-1:]
        return cls(lf, crlf, cr)

    def best(self) -> LineEnds:
        """`lf` where nearly all are CRLF, or where CR alone ends the lines."""
        from_windows = self.crlf > 0 and self.crlf >= NEARLY_ALL * (self.lf + self.crlf + self.cr)
        return "lf" if from_windows or (self.cr and not self.lf and not self.crlf) else "keep"

    def __str__(self) -> str:
        named = ((self.crlf, "CRLF"), (self.lf, "LF"), (self.cr, "CR alone"))
        return ", ".join(f"{count:,} {name}" for count, name in named if count)


def with_lf(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Every CRLF, and every CR alone, as a newline."""
    held = b""
    for block in blocks:
        whole = held + block
        held = b"\r" if whole.endswith(b"\r") else b""
        yield whole.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"
