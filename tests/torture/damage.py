"""Promise 7: a run whose bytes are not those that were written is found out, by name."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.torture.processes import Outcome, run
from tests.torture.record import Missed, Record
from tests.torture.workshop import RESUME, RUN, Reference, Workshop, differences

Damage = Callable[[Workshop, Path, Path], None]
HARMLESS = {("previous.safetensors", "missing")}  # after the first state there is none
SCORED = ("best.safetensors", "config.json", "tokenizer.json", "MANIFEST.json")  # what a load reads


def _flip(shop: Workshop, path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[shop.rng.randrange(len(data))] ^= 1 << shop.rng.randrange(8)
    path.write_bytes(data)


def _cut(shop: Workshop, path: Path, other: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: shop.rng.randrange(len(data))])


def _lose(shop: Workshop, path: Path, other: Path) -> None:
    path.unlink()


def _mix(shop: Workshop, path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


DAMAGES: dict[str, Damage] = {"a bit flipped": _flip, "cut short": _cut, "missing": _lose, "of another run": _mix}


def corruption(shop: Workshop, record: Record) -> None:
    """Each file of a run damaged in each way: found by every load that reads it and by `charlm verify`."""
    reference, other = shop.reference(), shop.reference("--seed", "8", "--dropout", "0.1", "--valid-fraction", "0.2")
    names = sorted(str(path.relative_to(reference.run)) for path in reference.run.rglob("*") if _is_sealed(path))
    cases = [(name, how) for name in names for how in DAMAGES if (name, how) not in HARMLESS]
    for name, how in cases if not shop.short else shop.rng.sample(cases, 4):
        try_it = partial(_loaded, shop, reference, other, name, how)
        if name in SCORED:
            record.repeat(f"{name} {how}", shop.times(3, 1), try_it)
    for how in [*DAMAGES][: shop.times(4, 1)]:
        record.repeat(f"last.safetensors {how}", shop.times(2, 1), partial(_fallen_back, shop, reference, other, how))
    sound = run(shop.copy(reference), "verify", "run")
    if sound.code != 0:
        raise RuntimeError(f"charlm verify refuses a sound run: {sound}")
    for name, how in cases if not shop.short else shop.rng.sample(cases, 4):
        record.repeat(f"verify: {name} {how}", 1, partial(_verified, shop, reference, other, name, how))


def _is_sealed(path: Path) -> bool:
    """The end of metrics.jsonl is not covered by any state; the lock's files say nothing of the run."""
    return path.is_file() and not path.name.startswith(".lock") and path.name != "metrics.jsonl"


def _damaged(shop: Workshop, reference: Reference, other: Reference, name: str, how: str) -> Path:
    home = shop.copy(reference)
    path = home / RUN / name
    DAMAGES[how](shop, path, other.run / name)
    if path.exists() and path.read_bytes() == (reference.run / name).read_bytes():
        raise Missed
    return home


def _loaded(shop: Workshop, reference: Reference, other: Reference, name: str, how: str) -> Iterator[str]:
    home = _damaged(shop, reference, other, name, how)
    yield from _unnamed(run(home, "score", "the cat", "--run", "run"), name)


def _verified(shop: Workshop, reference: Reference, other: Reference, name: str, how: str) -> Iterator[str]:
    home = _damaged(shop, reference, other, name, how)
    yield from _unnamed(run(home, "verify", "run"), name)


def _unnamed(outcome: Outcome, name: str) -> Iterator[str]:
    """A damage that was not found, or whose file was not named."""
    if outcome.code != 4:
        yield f"wanted exit 4: {outcome}"
    elif name == "config.json" and "no run" in outcome.err:
        return  # without it a folder is no run
    elif name == "MANIFEST.json" and "damaged run" in outcome.err:
        return  # what it says of the others is not so: it is its word against theirs
    elif name not in outcome.err + outcome.out:
        yield f"the file is not named: {outcome}"


def _fallen_back(shop: Workshop, reference: Reference, other: Reference, how: str) -> Iterator[str]:
    home = _damaged(shop, reference, other, "last.safetensors", how)
    outcome = run(home, *RESUME)
    if outcome.code != 0:
        yield f"it does not go on from the state before: {outcome}"
        return
    if "previous" not in outcome.err or "last" not in outcome.err:
        yield f"it does not say that it went back to previous.safetensors: {outcome}"
    yield from differences(home / RUN, reference.run)
