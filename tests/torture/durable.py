"""Promise 1: what was saved stays saved, whatever ends the process or the power."""

import errno
import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from tests.torture.disk import Disk, Tree, build, tree_number
from tests.torture.processes import Outcome, Setup, run, start
from tests.torture.record import Missed, Record
from tests.torture.watching import DieAtNth, FailAtNth, Observer, Operation, Recorder, read_recorded, watch
from tests.torture.workshop import (
    LENGTH,
    RESUME,
    RUN,
    Workshop,
    announced,
    differences,
    has_finished,
    losses_after,
    strays,
    training,
)

SHORT_RUN = 7  # steps: a run whose every operation is tried
# What may fail without a word, for nothing that was asked for is missing then. `previous` is linked where that can be:
# when link, rename or the fsync after them fails, it is copied, and the copy is synced. The holder's name is for
# people: the lock holds without it, and the next holder writes it again. A dead writer's file is swept by the next,
# and what is left of a run that was replaced.
DISPENSABLE = re.compile(
    r"(link \S+/last\.safetensors -> \S+/\.previous\.safetensors\.\w{8}\.charlm"
    r"|rename \S+/\.previous\.safetensors\.\w{8}\.charlm -> \S+/previous\.safetensors"
    r"|fsync \S+ after rename \S+ -> \S+/previous\.safetensors"
    r"|unlink \S+/\.lock\.holder"
    r"|(unlink|rmdir) \S+\.draft(/\S+)?"
    r"|unlink \S+\.\w{8}\.charlm)\b.*"
)


def kills(shop: Workshop, record: Record) -> None:
    """SIGKILL at random moments, between and within any two file operations, and of processes started afresh."""
    record.repeat("killed", shop.times(60, 2), lambda: _killed_at_random(shop))
    for n in _spread(shop, len(recorded(shop, LENGTH)), shop.times(40, 2)):
        record.attempt("killed", partial(_killed_at, shop, n))
    record.repeat("a fresh process killed", shop.times(5, 0), lambda: _killed_again_and_again(shop))
    for n in _spread(shop, len(recorded(shop, SHORT_RUN)), shop.times(20, 2)):
        record.attempt("killed while it replaces a run", partial(_replacing, shop, partial(DieAtNth, n)))
    # What a killed process left is removed when its run continues; a draft that was never a run may stay for a minute.
    left = [one for home in shop.folder.glob("try-*") for one in strays(home) if ".draft" not in one]
    record.lost += [f"still there after --resume: {one}" for one in left]


def _killed_at_random(shop: Workshop) -> Iterator[str]:
    home, command, reference = shop.home(), shop.command(), shop.reference()
    running = start(home, *command)
    running.until(lambda: False, shop.rng.uniform(0.0, shop.times(95, 70) / 100) * reference.outcome.seconds)
    running.send(9)
    outcome = running.wait()
    if outcome.code != -9 or has_finished(outcome.out):
        raise Missed
    yield from losses_after(home, announced(outcome.out), command, reference)


def _killed_at(shop: Workshop, n: int) -> Iterator[str]:
    home, command = shop.home(), shop.command()
    mark = home.with_suffix(".mark")
    outcome = run(home, *command, setup=lambda: watch(home, DieAtNth(n, mark)))
    if outcome.code != -9 or not mark.exists():
        raise Missed
    for lost in losses_after(home, announced(outcome.out), command, shop.reference()):
        yield f"{mark.read_text()}: {lost}"


def _killed_again_and_again(shop: Workshop) -> Iterator[str]:
    """A run that is killed three times, each time in a process that imported everything itself."""
    home, command = shop.home(), shop.command()
    promised, arguments = 0, command
    for _ in range(3):
        running = training(home, arguments, fresh=True)
        time.sleep(shop.rng.uniform(0.0, 0.1))
        running.send(9)
        outcome = running.wait()
        if outcome.code != -9:
            raise Missed
        promised = max(promised, announced(outcome.out))
        arguments = RESUME
    yield from losses_after(home, promised, command, shop.reference())


def faults(shop: Workshop, record: Record) -> None:
    """Each change of a file and each fsync fails in turn: with no space left, or with an error of the device."""
    if shop.short:
        for n in _spread(shop, len(recorded(shop, SHORT_RUN)), 3):
            record.attempt("a new run", partial(_failing_at, shop, n, None))
        return
    for name, begun in (("a new run", None), ("a resumed run", _begun(shop))):
        for n in count(1):
            if not record.attempt(name, partial(_failing_at, shop, n, begun)):
                break
    for n in count(1):
        fault = partial(FailAtNth, n, number=(errno.ENOSPC, errno.EIO)[n % 2])
        if not record.attempt("a run that replaces another", partial(_replacing, shop, fault)):
            break


def _replacing(shop: Workshop, fault: Callable[[Path], Observer]) -> Iterator[str]:
    """A fault while a new run is to replace an old one: either answers, and the next training leaves nothing else.

    A draft that nobody ever locked, or half of which is gone, may stay for a minute: it is made older than that.
    """
    home, mark = shop.copy(shop.reference()), shop.home().with_suffix(".mark")
    command = shop.command("--force", "--eval-every", "5", steps=SHORT_RUN)  # it takes its place before the first check
    outcome = run(home, *command, setup=lambda: watch(home, fault(mark)))
    if not mark.exists():
        raise Missed
    failed = mark.read_text()
    if outcome.code not in (-9, 6) and not (outcome.code == 0 and DISPENSABLE.fullmatch(failed)):
        yield f"{failed}: {outcome}"
    if outcome.code == 6 and (left := strays(home)):
        yield f"{failed} left {', '.join(left)}"
    for draft in (home / "runs").glob(".*.draft"):
        os.utime(draft, (0, 0))
    for following in (("score", "the cat", "--run", "run"), ("verify", "run"), command):
        if (then := run(home, *following)).code != 0:
            yield f"{failed}, and then {following[0]}: {then} {then.out[-300:]}"
    if left := strays(home):
        yield f"{failed}: still there after the next training: {', '.join(left)}"


def _begun(shop: Workshop) -> Path:
    """The home of a run that was killed after two states were saved, a third one on its way."""
    home, command = shop.home(), shop.command(steps=SHORT_RUN)
    saving = [n for n, done in enumerate(recorded(shop, SHORT_RUN), 1) if done.target.endswith("last.safetensors")]
    run(home, *command, setup=lambda: watch(home, DieAtNth(saving[2], home.with_suffix(".mark"))))
    return home


def _failing_at(shop: Workshop, n: int, begun: Path | None) -> Iterator[str]:
    home, command, reference = shop.home(), shop.command(steps=SHORT_RUN), shop.reference(steps=SHORT_RUN)
    mark, promised, arguments = home.with_suffix(".mark"), 0, command
    if begun is not None:
        shutil.copytree(begun, home, dirs_exist_ok=True)
        promised, arguments = announced(begun.with_suffix(".out").read_text()), RESUME
    number = (errno.ENOSPC, errno.EIO)[n % 2]
    there = strays(home)
    outcome = run(home, *arguments, setup=lambda: watch(home, FailAtNth(n, mark, number)))
    if not mark.exists():
        raise Missed
    promised = max(promised, announced(outcome.out))
    losses = losses_after(home, promised, command, reference)
    failed = mark.read_text()
    if outcome.code == 0:  # what failed was done in another way, or did not matter
        losses = differences(home / RUN, reference.run)
    for lost in [*_told(outcome, home, there, failed), *losses]:
        yield f"{errno.errorcode[number]} at {failed}: {lost}"


def _told(outcome: Outcome, home: Path, there: Sequence[str] = (), failed: str = "") -> Iterator[str]:
    """What a command did not say of an operation that failed, and what it left."""
    if outcome.code != 6 and not (outcome.code == 0 and DISPENSABLE.fullmatch(failed)):
        yield f"not exit 6: {outcome}"
    if outcome.code == 6 and "runs" not in outcome.err:
        yield f"the message has no path: {outcome}"
    if left := set(strays(home)) - set(there):
        yield f"left behind: {', '.join(left)}"


def disk_full(shop: Workshop, record: Record) -> None:
    """No file may grow beyond a limit that the system sets: what a quota or a full disk does to a large write."""
    reference = shop.reference(steps=SHORT_RUN)
    sizes = sorted({path.stat().st_size for path in reference.run.rglob("*") if path.is_file()})
    limits = [size * 9 // 10 for size in sizes if size > 4096]
    for limit in limits[-shop.times(len(limits), 1) :]:
        record.attempt(f"no file above {limit:,} bytes", partial(_limited, shop, limit))


def _limited(shop: Workshop, limit: int) -> Iterator[str]:
    home, command = shop.home(), shop.command(steps=SHORT_RUN)
    limited: Setup = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
    outcome = run(home, *command, setup=limited)
    if outcome.code == 0:
        raise Missed
    if not re.search(r"[\d,]+ bytes", outcome.err):
        yield f"the message has no number of bytes: {outcome}"
    yield from _told(outcome, home)
    yield from losses_after(home, announced(outcome.out), command, shop.reference(steps=SHORT_RUN))


def power_loss(shop: Workshop, record: Record) -> None:
    """The power goes after any operation: what no fsync had made safe may be gone, or half there."""
    home, steps = shop.home(), SHORT_RUN
    operations = recorded(shop, steps, home)
    out = home.with_suffix(".out").read_text()
    states = list(_states(operations))
    for n in _spread(shop, len(states), shop.times(len(states), 3)):
        after, said, tree = states[n - 1]
        record.attempt(f"power lost after {after}", partial(_rebuilt, shop, tree, announced(out[:said])))


def _rebuilt(shop: Workshop, tree: Tree, promised: int) -> Iterator[str]:
    home = shop.home()
    home.rmdir()
    build(tree, home)
    yield from losses_after(home, promised, shop.command(steps=SHORT_RUN), shop.reference(steps=SHORT_RUN))


def _states(operations: list[Operation]) -> Iterator[tuple[str, int, Tree]]:
    """Every different state of the disk that a loss of power may leave, and what had been said by then."""
    disk, seen = Disk(), set[str]()
    for operation, following in zip(operations, [*operations[1:], operations[-1]], strict=True):
        disk.apply(operation)
        for tree in disk.after_power_loss():
            if (number := tree_number(tree)) not in seen:
                seen.add(number)
                yield str(operation), following.said, tree


def recorded(shop: Workshop, steps: int, home: Path | None = None) -> list[Operation]:
    """The operations of an undisturbed training in a new home."""
    home = home or shop.home()
    trace = home.with_suffix(".trace")
    outcome = run(home, *shop.command(steps=steps), setup=lambda: watch(home, Recorder(trace)))
    if outcome.code != 0:
        raise RuntimeError(f"a watched training failed: {outcome}")
    return read_recorded(trace)


def _spread(shop: Workshop, most: int, wanted: int) -> list[int]:
    """So many numbers of 1 to `most`, one at random in each stretch of equal length; or all there are."""
    wanted = min(wanted, most)
    return [shop.rng.randint(i * most // wanted + 1, (i + 1) * most // wanted) for i in range(wanted)]
