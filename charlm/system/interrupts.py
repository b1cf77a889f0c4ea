"""Ctrl-C and other signals to stop: the first one asks the training loop to end, the second ends the process."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """The first signal came while something was done that can be interrupted at any time."""


class StopRequest:
    """Remembers the first signal; as a signal handler it is called with each one."""

    signal: int | None = None
    _is_interruptible: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)  # a third signal works even while torch does not return to Python
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.signal = number
        if self._is_interruptible:
            raise Interrupted

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """End this block at the first signal; it must be one that leaves nothing half done. Raises Interrupted."""
        self._is_interruptible = True
        try:
            if self.signal is not None:
                raise Interrupted
            yield
        finally:
            self._is_interruptible = False


@contextmanager
def catching_signals() -> Iterator[StopRequest]:
    """Remember the first signal in this block instead of raising it. Outside the main thread nothing is caught."""
    request = StopRequest()
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    try:
        old = {number: signal.signal(number, request) for number in caught}
    except ValueError:  # not the main thread
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
