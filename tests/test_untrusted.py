"""A run from anybody: whatever its files hold, charlm says what is wrong, or does what they say; nothing else."""

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import charlm
from charlm.cli.verify import verify
from charlm.errors import CharlmError
from tests import mutations
from tests.mutations import Forgery, Mutation

FEW, MANY = 60, 2000
MOST_SECONDS, MOST_MEMORY = 1.0, 300 << 20
FILES: dict[str, tuple[str, str, Mutation]] = {
    "config": ("char", "config.json", mutations.mutate_json),
    "characters": ("char", "tokenizer.json", mutations.mutate_json),
    "words": ("word", "tokenizer.json", mutations.mutate_json),
    "weights": ("char", "best.safetensors", mutations.mutate_weights),
    "state": ("char", "last.safetensors", mutations.mutate_weights),
    "ids": ("char", "corpus/train.ids", mutations.mutate_ids),
    "log": ("char", "metrics.jsonl", mutations.mutate_bytes),
}
each_file = pytest.mark.parametrize("what", list(FILES))


def use(run: Path) -> str:
    """What everybody does with a run: the kind of error it gives, or nothing."""
    verify(run)
    try:
        lm = charlm.load(run)
        lm.score("the sea\nis \x00 ￭, wide")
        lm.sample("a", length=8, seed=1)
    except CharlmError as error:
        assert error.exit_code in (4, 5)  # 5: numbers beyond all bounds
        return error.what
    return ""


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def check(forgery: Forgery, file: str, mutation: Mutation, seeds: range) -> None:
    """Each mutation in turn is refused or used, soon and in little memory."""
    before = memory()
    whole = (forgery.run / file).read_bytes()
    for seed in seeds:
        run = forgery.with_file(file, mutation(random.Random(seed), whole))
        start = time.process_time()
        try:
            use(run)
        except Exception as error:
            raise AssertionError(f"{file}, mutation {seed}") from error
        assert time.process_time() - start < MOST_SECONDS, f"{file}, mutation {seed}"
        forgery.restore()
    assert memory() - before < MOST_MEMORY
    assert use(forgery.run) == ""


@each_file
def test_no_mutation_of_a_file_breaks_anything(what: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    unit, file, mutation = FILES[what]
    check(Forgery(trained(unit), tmp_path / "run"), file, mutation, range(FEW))


@pytest.mark.slow
@each_file
def test_no_mutation_of_thousands_breaks_anything(what: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    unit, file, mutation = FILES[what]
    check(Forgery(trained(unit), tmp_path / "run"), file, mutation, range(FEW, FEW + MANY))
