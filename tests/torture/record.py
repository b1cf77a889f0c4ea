"""What came of trying to break one promise. A try counts only when its fault is known to have happened."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MAX_MISSES = 4  # for each try that is wanted


class Missed(Exception):
    """The fault did not happen, so nothing was shown: the try is repeated, and never counted as survived."""


@dataclass
class Record:
    """One promise: how often it was tried, and what was lost."""

    promise: str
    tries: int = 0
    survived: int = 0
    missed: int = 0
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether faults were survived, and nothing else."""
        return not self.lost and self.survived > 0

    def attempt(self, name: str, attempt: Callable[[], Iterable[str]]) -> bool:
        """One try, which yields what it lost. False when its fault did not happen."""
        try:
            lost = list(attempt())
        except Missed:
            self.missed += 1
            return False
        self.tries += 1
        self.survived += not lost
        self.lost += [f"{name}: {what}" for what in lost]
        return True

    def repeat(self, name: str, times: int, attempt: Callable[[], Iterable[str]]) -> None:
        """Try until the fault has happened so many times; one that will not happen is a loss too."""
        happened = 0
        if times == 0:
            return
        for _ in range(times * (1 + MAX_MISSES)):
            happened += self.attempt(name, attempt)
            if happened == times:
                return
        self.lost.append(f"{name}: the fault happened {happened} times of {times}")
