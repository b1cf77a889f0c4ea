"""Promises 4 and 5: numbers that are not finite, and memory that does not suffice."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from operator import eq
from pathlib import Path

from tests.torture.injection import Decide, little_memory, poison_gradients, poison_loss
from tests.torture.processes import Setup, run
from tests.torture.record import Record
from tests.torture.workshop import RUN, Workshop, read_log

Poison = Callable[[Decide], None]
POISONS: dict[str, Poison] = {"loss": poison_loss, "gradient": poison_gradients}


def divergence(shop: Workshop, record: Record) -> None:
    """A few bad steps are skipped; many cost half of the learning rate; without end, they are the end."""
    for name, poison in POISONS.items():
        for step in (1, 5, 14)[: shop.times(3, 1)]:
            record.attempt(f"one bad {name} at step {step}", partial(_skipped, shop, partial(eq, step), poison))
        if shop.short and name == "gradient":
            continue
        record.attempt(f"every bad {name} from step 9", partial(_given_up, shop, poison))
        record.attempt(f"a bad {name} until the learning rate is halved", partial(_recovered, shop, poison))


def _skipped(shop: Workshop, when: Decide, poison: Poison) -> Iterator[str]:
    home = shop.home()
    outcome = run(home, *shop.command(), setup=_marked(home, when, poison))
    if not _mark(home).exists():
        yield "the step was never reached"
    if outcome.code != 0:
        yield f"one bad step ended the training: {outcome}"
    yield from _not_finite(home)


def _given_up(shop: Workshop, poison: Poison) -> Iterator[str]:
    home = shop.home()
    outcome = run(home, *shop.command(steps=400), setup=_marked(home, lambda n: n >= 9, poison))
    if outcome.code != 5:
        yield f"wanted exit 5: {outcome}"
    if "halv" not in outcome.err:
        yield f"no word of a halved learning rate before the end: {outcome}"
    yield from _not_finite(home)
    scored = run(home, "score", "the cat", "--run", "run")
    if scored.code != 0:
        yield f"the weights from before cannot be used: {scored}"


def _recovered(shop: Workshop, poison: Poison) -> Iterator[str]:
    """The fault lasts until charlm says that it halved the learning rate."""
    home = shop.home()
    said = home.with_suffix(".err")
    when = lambda n: n >= 9 and "halv" not in said.read_text()  # noqa: E731
    outcome = run(home, *shop.command(steps=60), setup=_marked(home, when, poison))
    if outcome.code != 0:
        yield f"it did not recover: {outcome}"
        return
    rates = [one["learning_rate"] for one in read_log(home / RUN) if one["event"] == "StepDone"]
    if max(rates[2:]) > 0.6 * 0.02:
        yield f"the learning rate was not halved: {rates}"
    yield from _not_finite(home)


def _marked(home: Path, when: Decide, poison: Poison) -> Setup:
    """Poison, and leave word that a step was poisoned."""

    def decide(step: int) -> bool:
        if decided := when(step):
            _mark(home).touch()
        return decided

    return lambda: poison(decide)


def _mark(home: Path) -> Path:
    return home.with_suffix(".mark")


def _not_finite(home: Path) -> Iterator[str]:
    """What was saved although it is not a number."""
    import numpy as np
    from safetensors.numpy import load_file

    for path in home.rglob("*.safetensors"):
        for name, array in load_file(path).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                yield f"{path.name} has a {name} that is not finite"
    if re.search(r"\bNaN\b|Infinity", "".join(path.read_text() for path in home.rglob("metrics.jsonl"))):
        yield "metrics.jsonl has a number that is no JSON"


def memory(shop: Workshop, record: Record) -> None:
    """Less memory than a batch needs: smaller pieces with the same result; not even for one sequence: exit 6."""
    for most in (3, 2, 1)[: shop.times(3, 1)]:
        record.attempt(f"room for {most} of 4 sequences", partial(_smaller, shop, most))
    record.attempt("room for none", partial(_no_room, shop))


def _smaller(shop: Workshop, most: int) -> Iterator[str]:
    home, without_dropout = shop.home(), ("--dropout", "0")
    reference = shop.reference(*without_dropout)
    outcome = run(home, *shop.command(*without_dropout), setup=lambda: little_memory(most))
    if outcome.code != 0:
        yield f"wanted smaller pieces: {outcome}"
        return
    if not re.search(r"micro|half|halv", outcome.err):
        yield f"no word of it: {outcome}"
    losses, expected = (_losses(run) for run in (home / RUN, reference.run))
    if len(losses) != len(expected) or any(abs(a - b) > 1e-3 * b for a, b in zip(losses, expected, strict=True)):
        yield f"the losses are others than with room enough: {losses} for {expected}"


def _losses(run: Path) -> list[float]:
    return [one["nats_per_token"] for one in read_log(run) if one["event"] in ("StepDone", "Evaluated")]


def _no_room(shop: Workshop) -> Iterator[str]:
    outcome = run(shop.home(), *shop.command(), setup=lambda: little_memory(0))
    if outcome.code != 6 or "memory" not in outcome.err:
        yield f"wanted exit 6 and a word on memory: {outcome}"
