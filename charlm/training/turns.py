"""Train several networks of one run in turns: each one trains until it has saved its state, then the next."""

import signal
from collections.abc import Callable, Generator, Mapping

from charlm.system.interrupts import StopRequest
from charlm.training.events import Event, Saved
from charlm.training.trainer import Trainer


class Stopwatch:
    """A clock for a trainer that takes turns: it stops while another trainer has its turn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._seconds, self._since = clock, 0.0, 0.0
        self._is_running = False

    def __call__(self) -> float:
        return self._seconds + (self._clock() - self._since if self._is_running else 0.0)

    def start(self) -> None:
        self._since, self._is_running = self._clock(), True

    def stop(self) -> None:
        self._seconds, self._is_running = self(), False


def in_turns(
    trainers: Mapping[str, Trainer], watches: Mapping[str, Stopwatch], stop: StopRequest
) -> Generator[tuple[str, Event], None, None]:
    """Train all networks to their ends; yields each event with the name of its network.

    A turn ends when the network's state is saved, so that a saved state has nothing left to do for any of the networks.
    Then it is the turn of the first one that has saved least often, which follows from their steps alone: a resumed
    training continues in the same order. Each network is trained exactly as it would be alone. A caller that leaves the
    loop ends all trainings as a signal does.
    """
    events = {name: trainer.events(stop) for name, trainer in trainers.items()}
    try:
        while events:
            name = min(events, key=lambda name: trainers[name].progress.step // trainers[name].save_interval)
            while (event := _next(events[name], watches.get(name))) is not None:
                yield name, event
                if isinstance(event, Saved):
                    break
            else:
                del events[name]
    except GeneratorExit:
        stop.signal = stop.signal or signal.SIGINT
        for name, generator in events.items():  # also those that have not begun, which `close` would not end
            while _next(generator, watches.get(name)) is not None:
                pass
        raise
    finally:
        for generator in events.values():
            generator.close()


def _next(events: Generator[Event, None, None], watch: Stopwatch | None) -> Event | None:
    """The next event, None after the last one. The stopwatch runs while it is computed."""
    if watch:
        watch.start()
    try:
        return next(events, None)
    finally:
        if watch:
            watch.stop()
