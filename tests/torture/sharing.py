"""Promise 6: two at once."""

import platform
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from tests.torture.injection import slow_steps
from tests.torture.processes import Outcome, Running, run, start
from tests.torture.record import Missed, Record
from tests.torture.workshop import RUN, Workshop, announced, losses_after

SECOND = {
    "--resume": ("train", "--resume", "--run", "run"),
    "--force": ("train", "../corpus.txt", "--run", "run", "--force", "--steps", "3", "--hidden-size", "8"),
}
READERS = (("score", "the cat", "--run", "run"), ("sample", "--run", "run", "--length", "9"), ("info", "run", "--json"))
AT_ONCE = 6
QUICK = ("--steps", "4", "--hidden-size", "8", "--save-every", "1", "--device", "cpu", "--threads", "1", "-q")


def two_at_once(shop: Workshop, record: Record) -> None:
    """A second writer is refused, readers never wait, and who died holds nothing."""
    for name in [*SECOND][: shop.times(2, 1)]:
        record.repeat(f"a second writer with {name}", shop.times(2, 1), partial(_refused, shop, name))
    for reader in READERS[: shop.times(3, 1)]:
        record.repeat(f"{reader[0]} while it is trained", shop.times(2, 1), partial(_read, shop, reader))
    record.repeat("the first one killed", shop.times(3, 1), partial(_taken_over, shop))
    record.repeat(f"{AT_ONCE} started at once", shop.times(5, 1), partial(_started_at_once, shop))
    record.repeat("two with --force at once", shop.times(20, 2), partial(_forced_at_once, shop))


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


def _started_at_once(shop: Workshop) -> Iterator[str]:
    """Trainings on one text, started at once without a name: each makes a run of its own."""
    home = shop.home()
    outcomes = _together(shop, home, AT_ONCE, "train", "../corpus.txt", *QUICK)
    yield from (f"did not end well: {outcome}" for outcome in outcomes if outcome.code != 0)
    names = sorted(path.name for path in (home / "runs").iterdir())
    if names != ["corpus", *(f"corpus-{n}" for n in range(2, AT_ONCE + 1))]:
        yield f"{AT_ONCE} trainings left {', '.join(names)}"
    yield from _unsound(home, names)


def _forced_at_once(shop: Workshop) -> Iterator[str]:
    """Both replace one run: one of them is refused, or they do so in turn, and what is left is one run, whole."""
    home = shop.copy(shop.reference())
    outcomes = _together(shop, home, 2, "train", "../corpus.txt", "--run", "run", "--force", *QUICK)
    if sorted(outcome.code for outcome in outcomes) not in ([0, 0], [0, 2]):
        yield f"neither one nor both in turn: {' and '.join(map(str, outcomes))}"
    names = sorted(path.name for path in (home / "runs").iterdir())
    if names != ["run"]:
        yield f"they left {', '.join(names)}"
    yield from _unsound(home, names)


def _together(shop: Workshop, home: Path, count: int, *arguments: str) -> list[Outcome]:
    """So many of one command, a few milliseconds apart."""
    running = []
    for number in range(1, count + 1):
        running.append(start(home, *arguments, number=number))
        time.sleep(shop.rng.uniform(0.0, 0.02))
    return [one.wait() for one in running]


def _unsound(home: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if (verified := run(home, "verify", name)).code != 0:
            yield f"{name} is damaged: {verified} {verified.out}"
