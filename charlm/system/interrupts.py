"""Ctrl-C and its kin: the first signal asks the loop to end, the second ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """The first signal came while something was done that may be broken off."""


class StopRequest:
    """Remembers the first signal."""

    signal: int | None = None
    _may_break: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)  # a third one does not even wait for torch to come back to Python
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.signal = number
        if self._may_break:
            raise Interrupted

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within this block, which leaves nothing half done, the first signal ends at once. Raises Interrupted."""
        self._may_break = True
        try:
            if self.signal is not None:
                raise Interrupted
            yield
        finally:
            self._may_break = False


@contextmanager
def catching_signals() -> Iterator[StopRequest]:
    """Within this block the first signal is remembered, not raised. Outside the main thread nothing is caught."""
    request = StopRequest()
    wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    try:
        old = {number: signal.signal(number, request) for number in wanted}
    except ValueError:  # not the main thread
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
