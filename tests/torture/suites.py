"""Promises 8, 9 and 10: what their own tests show, run with all that is slow; and one seed, one result."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.torture.processes import run
from tests.torture.record import Record
from tests.torture.workshop import RUN, SETTINGS, Workshop, differences

ROOT = Path(__file__).parents[2]


def untrusted(shop: Workshop, record: Record) -> None:
    """Models made to harm."""
    _tests(record, "tests/test_untrusted.py")


def any_input(shop: Workshop, record: Record) -> None:
    """Texts that nobody expects. A gigabyte of subwords takes four minutes and is left to `make test-all`."""
    names = ("any_input", "cli_input", "corpus_sources", "long_lines")
    _tests(record, *(f"tests/test_{name}.py" for name in names), "-k", "not (gigabyte and subword)")


def reproducible(shop: Workshop, record: Record) -> None:
    """Run each command twice; compare what a run says about itself, and the loss curves with older ones."""
    for more in ((), ("--unit", "word"), ("--cell", "gru", "--mode", "sentence"))[: shop.times(3, 1)]:
        record.attempt(f"the same command twice {' '.join(more)}", partial(_twice, shop, more))
    record.attempt("what the run says of itself", partial(_described, shop))
    if not shop.short:
        _tests(record, "tests/test_golden.py", "tests/test_formats.py")


def _tests(record: Record, *arguments: str) -> None:
    """Each test that pytest finds is a try."""
    options = ("-o", "addopts=", "-q", "-rfE", "--hypothesis-show-statistics")  # the slow ones too, one at a time
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = sum(int(number) for number in re.findall(r"(\d+) passed", done.stdout))
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    record.tries += passed + len(failed)
    record.survived += passed
    record.lost += failed or (
        [] if done.returncode == 0 and passed else [f"{arguments[0]}: pytest's exit {done.returncode}"]
    )
    examples = sum(int(number) for number in re.findall(r"(\d+) passing examples", done.stdout))
    record.notes += [f"{examples:,} generated examples"] if examples else []


def _twice(shop: Workshop, more: tuple[str, ...]) -> Iterator[str]:
    home, reference = shop.home(), shop.reference(*more)
    outcome = run(home, *shop.command(*more), fresh=not shop.short)
    if outcome.code != 0:
        yield str(outcome)
    yield from differences(home / RUN, reference.run)


def _described(shop: Workshop) -> Iterator[str]:
    """The names are not for this to say: the values are to be there."""
    outcome = run(shop.copy(shop.reference()), "info", "run", "--json")
    record = json.loads(outcome.out) if outcome.code == 0 else {}
    found = json.dumps(record)
    if hashlib.sha256(shop.corpus.read_bytes()).hexdigest() not in found:
        yield "info has no sha256 of the corpus"
    if not all(setting in found for setting in SETTINGS):
        yield "info has no command line"
    if record.get("training", {}).get("seed") != 7:
        yield "info has no seed"
    if not {"charlm", "python", "torch", "numpy"} <= set(record.get("versions", {})):
        yield "info has no versions"
