"""Promise 6: two at once."""

import platform
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.torture.injection import slow_steps
from tests.torture.processes import Running, run, start
from tests.torture.record import Missed, Record
from tests.torture.workshop import RUN, Workshop, announced, losses_after

SECOND = {
    "--resume": ("train", "--resume", "--run", "run"),
    "--force": ("train", "../corpus.txt", "--run", "run", "--force", "--steps", "3", "--hidden-size", "8"),
}
READERS = (("score", "the cat", "--run", "run"), ("sample", "--run", "run", "--length", "9"), ("info", "run", "--json"))


def two_at_once(shop: Workshop, record: Record) -> None:
    """A second writer is refused, readers never wait, and who died holds nothing."""
    for name in [*SECOND][: shop.times(2, 1)]:
        record.repeat(f"a second writer with {name}", shop.times(2, 1), partial(_refused, shop, name))
    for reader in READERS[: shop.times(3, 1)]:
        record.repeat(f"{reader[0]} while it is trained", shop.times(2, 1), partial(_read, shop, reader))
    record.repeat("the first one killed", shop.times(3, 1), partial(_taken_over, shop))


def _first(shop: Workshop, home: Path) -> Running:
    """A training that has saved, and then takes its time."""
    running = start(home, *shop.command(), setup=lambda: slow_steps(seconds=60.0, after=5))
    running.until(lambda: announced(running.out) > 0 and (home / RUN / "last.safetensors").exists())
    return running


def _refused(shop: Workshop, name: str) -> Iterator[str]:
    home = shop.home()
    first = _first(shop, home)
    second = run(home, *SECOND[name]) if not first.ended() else None
    if first.ended() or second is None:
        raise Missed
    first.send(9)
    first.wait()
    if second.code != 2 or str(first.pid) not in second.err or platform.node() not in second.err:
        yield f"wanted exit 2 with process {first.pid} on {platform.node()}: {second}"
    yield from losses_after(home, 3, shop.command(), shop.reference())


def _read(shop: Workshop, reader: tuple[str, ...]) -> Iterator[str]:
    home = shop.home()
    first = _first(shop, home)
    outcome = run(home, *reader)
    if first.ended():
        raise Missed
    first.send(9)
    first.wait()
    if outcome.code != 0 or outcome.seconds > 10:
        yield f"{reader[0]} was kept waiting: {outcome} after {outcome.seconds:.1f} s"


def _taken_over(shop: Workshop) -> Iterator[str]:
    home = shop.home()
    first = _first(shop, home)
    first.send(9)
    if first.wait().code != -9:
        raise Missed
    yield from losses_after(home, 3, shop.command(), shop.reference())
