"""`python -m tests.torture [PROMISE ...]`: try to break each promise; a line each of what came of it."""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.torture import damage, durable, learning, sharing, stopping, suites
from tests.torture.processes import warm_up
from tests.torture.record import Record
from tests.torture.sabotage import SABOTAGE
from tests.torture.workshop import Workshop

TESTS_OF_THEIR_OWN = {"untrusted", "any-input"}  # in short they are no more than a part of make test
MAX_LINE = 400  # characters
Promise = Callable[[Workshop, Record], None]
PROMISES: dict[str, tuple[str, Promise]] = {
    "kills": ("1 a kill at any instant loses nothing that was saved", durable.kills),
    "faults": ("1 a write, fsync or rename that fails loses nothing", durable.faults),
    "disk-full": ("1 a full disk is named with path and bytes", durable.disk_full),
    "power-loss": ("1 what was saved survives a loss of power", durable.power_loss),
    "resume": ("2 stopped and resumed equals never stopped", stopping.exact_resume),
    "signals": ("3 a signal saves, and ends within 5 s", stopping.signals),
    "divergence": ("4 nothing that is not finite is saved", learning.divergence),
    "memory": ("5 too little memory makes smaller pieces", learning.memory),
    "two-at-once": ("6 one writer a run, readers never wait", sharing.two_at_once),
    "corruption": ("7 damage is found and named", damage.corruption),
    "untrusted": ("8 untrusted models are safe to open", suites.untrusted),
    "any-input": ("9 any input is read, or refused with words", suites.any_input),
    "reproducible": ("10 one command, one result", suites.reproducible),
}


def main() -> int:
    arguments = _parse()
    warm_up()
    for name in arguments.sabotage:
        SABOTAGE[name]()
    records = []
    with tempfile.TemporaryDirectory(prefix="charlm-torture-", ignore_cleanup_errors=True) as folder:
        shop = Workshop(Path(folder), random.Random(arguments.seed), arguments.short)
        for name in arguments.promises:
            records.append(_tried(name, shop))
            print(f"{name}: {_in_short(records[-1])}", file=sys.stderr, flush=True)
    if arguments.json:
        pairs = zip(arguments.promises, records, strict=True)
        print(json.dumps([{"name": name, **vars(record), "kept": record.kept} for name, record in pairs]))
    else:
        _show(records)
    return 1 if any(record.lost for record in records) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("promises", nargs="*", metavar="PROMISE", choices=[*PROMISES, []], help=", ".join(PROMISES))
    parser.add_argument("--short", action="store_true", help="a few tries each")
    parser.add_argument("--seed", type=int, default=1, help="of the moments that are tried")
    parser.add_argument("--json", action="store_true", help="the records as JSON")
    parser.add_argument(
        "--sabotage",
        nargs="+",
        default=[],
        choices=list(SABOTAGE),
        help="break charlm first, to see that it is noticed",
    )
    arguments = parser.parse_args()
    arguments.promises = arguments.promises or [
        n for n in PROMISES if not (arguments.short and n in TESTS_OF_THEIR_OWN)
    ]
    return arguments


def _tried(name: str, shop: Workshop) -> Record:
    title, promise = PROMISES[name]
    record, began = Record(title), time.monotonic()
    promise(shop, record)
    if not record.tries:
        record.lost.append("nothing was tried")
    record.seconds = round(time.monotonic() - began, 1)
    return record


def _in_short(record: Record) -> str:
    return f"{record.survived} of {record.tries} faults survived in {record.seconds:.0f} s"


def _show(records: list[Record]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("promise", "tries", "survived", "lost", "seconds"):
        table.add_column(heading, justify="left" if heading in ("promise", "lost") else "right")
    for record in records:
        lost = f"{len(record.lost)}, see below" if record.lost else "nothing" if record.tries else "-"
        table.add_row(record.promise, str(record.tries), str(record.survived), lost, f"{record.seconds:.0f}")
    console = Console(highlight=False, soft_wrap=True, markup=False, width=160)
    console.print(table)
    for record in records:
        for line in [*_gathered(record.lost), *record.notes]:
            console.print(f"{record.promise}: {line[:MAX_LINE]}")


def _gathered(lost: list[str]) -> list[str]:
    """Each kind of loss once, the most frequent first."""
    kinds: dict[str, list[str]] = {}
    for line in lost:
        kinds.setdefault(_kind(line), []).append(line)
    return [f"{len(same)} x {same[0]}" for same in sorted(kinds.values(), key=len, reverse=True)]


def _kind(line: str) -> str:
    """What differs in numbers and chosen names is of one kind, and what a run lost is, whatever fault came before."""
    lost = re.search(r"\S+ differs|was saved, and .*|does not go on.*", line)
    return re.sub(r"\d+|\.\w{8}\b", "", lost[0] if lost else line)


if __name__ == "__main__":
    sys.exit(main())
