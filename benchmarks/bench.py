"""How fast charlm is here: against the plain loop that a user would otherwise write, and against the machine's limits.

python -m benchmarks.bench [PART ...] [--quick] [--json FILE]      (make bench, make bench ARGS="sample --quick")

Parts: limits, train, sample, score, encode, start, memory; all of them unless some are named.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import encoding, limits, memory, sampling, scoring, starting, training
from benchmarks.measure import Row, Way, alternate, rates
from charlm.system.machine import cores

Part = Callable[[bool], Iterator[Row]]
HEADINGS = ("part", "what", "charlm", "from", "to", "plain loop", "ratio", "limit", "share", "target", "met")
err = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="the main rows, with fewer repeats: about a minute")
    parser.add_argument("--json", default="bench.json", help="where the figures are written (default: bench.json)")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    began, rows = time.perf_counter(), []
    machine = describe_machine()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n")
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)
    try:
        for name in options.parts or PARTS:
            part_began = time.perf_counter()
            for row in PARTS[name](options.quick):
                rows.append(row)
                print(line(row), flush=True)
            err.print(f"{name}: {time.perf_counter() - part_began:.0f} s", style="dim")
    finally:  # what was measured is kept, whatever became of the rest
        seconds, records = time.perf_counter() - began, [row.record() for row in rows]
        report = {"machine": machine, "quick": options.quick, "seconds": seconds, "rows": records}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        err.print(f"{seconds:.0f} s; written to {options.json}")


def describe_machine() -> dict[str, Any]:
    import numpy
    import torch

    from charlm.engine.compiled import has_bfloat16

    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "C library": " ".join(platform.libc_ver()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "bfloat16 in charlm's compiled code": has_bfloat16(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def limit_rows(quick: bool) -> Iterator[Row]:
    for precision, taken in limits.gemm_rates(quick).items():
        figures = rates(limits.GEMM_GFLOP, taken)
        yield Row("limits", f"GEMM, {precision}", unit="GFLOP/s", threads=cores(), **figures)
    ways = {
        "reading 13 MB again and again, one thread": Way("limits:reading", {"megabytes": 13}, threads=1),
        "the same, all threads": Way("limits:reading", {"megabytes": 13}),
    }
    for what, taken in alternate(ways, 3 if quick else 15).items():
        yield Row("limits", what, unit="GB/s", threads=ways[what].threads or cores(), **rates(1.0, taken))


ENCODE_TARGETS = {"char": 10.0, "byte": 10.0, "word": 2.0, "word-whitespace": 2.0, "char-cyrillic": 10.0}


def encode_rows(quick: bool) -> Iterator[Row]:
    """A file to ids on disk with a tokenizer that there is; the whole command's speed and memory beside it."""
    for case in encoding.rows(quick):
        plain, command = (statistics.median(case[f"{way}_mb_per_s"]) for way in ("plain", "command"))
        each, memory, target = case["encode_mb_per_s"], case["peak_rss_mb"], ENCODE_TARGETS.get(case["name"])
        what = f"{case['name']} (the whole command: {command:.0f} MB/s, at most {memory:.0f} MB resident)"
        value = statistics.median(each)
        row = Row("encode", what, value, "MB/s", max(each), min(each), len(each), plain, ratio=value / plain)
        row.target = "500 MB" if target is None else f"{target:.0f} x plain, 500 MB"
        row.met = memory < 500 and (target is None or value >= target * plain)
        yield row


PARTS: dict[str, Part] = {
    "limits": limit_rows,
    "train": training.rows,
    "sample": sampling.rows,
    "score": scoring.rows,
    "encode": encode_rows,
    "start": starting.rows,
    "memory": memory.rows,
}


def line(row: Row) -> str:
    """A row of the table, in Markdown."""
    cells = [row.part, row.what, f"{number(row.value)} {row.unit}", number(row.fastest), number(row.slowest)]
    cells += [number(row.plain), "" if row.ratio is None else f"{row.ratio:.2f}", number(row.limit)]
    cells += ["" if row.share is None else f"{row.share:.0%}", row.target]
    cells.append("" if row.met is None else "yes" if row.met else "**no**")
    return f"| {' | '.join(cells)} |"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
