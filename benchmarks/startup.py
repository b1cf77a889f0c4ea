"""Whole-process times of the commands that a person waits for: median of several runs.

python benchmarks/startup.py [RUN]
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 11
CHARLM = str(Path(sys.executable).with_name("charlm"))


def main() -> None:
    run = ("--run", sys.argv[1]) if len(sys.argv) > 1 else ()
    commands = {
        "charlm --help": ("--help",),
        "charlm score": ("score", "a sentence", *run),
        "charlm sample, 100 tokens": ("sample", "--length", "100", *run),
    }
    for name, arguments in commands.items():
        times = sorted(seconds(arguments) for _ in range(RUNS))
        print(f"{name}: median {statistics.median(times):.2f} s, from {times[0]:.2f} to {times[-1]:.2f} s")


def seconds(arguments: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([CHARLM, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
