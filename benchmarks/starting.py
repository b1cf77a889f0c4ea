"""Whole processes that a person waits for."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Row, Way, alternate, times
from benchmarks.texts import character_run, word_run

CHARLM = str(Path(sys.executable).with_name("charlm"))


def rows(quick: bool) -> Iterator[Row]:
    run = ("--run", character_run(512))
    words = () if quick else ("--run", word_run(512))
    commands = {
        "`python -c 'import torch'`": ([sys.executable, "-c", "import torch"], None),
        "`charlm --help`": ([CHARLM, "--help"], 0.25),
        '`charlm score "a sentence"`, 2x512': ([CHARLM, "score", "a sentence", *run], 0.6),
        "first character of `charlm sample`, 2x512": ([CHARLM, "sample", "--length", "1", *run], 0.6),
        **({} if quick else {"`charlm fill`, 2x512, 10,000 words": ([CHARLM, "fill", "w1 w2 ___ w3", *words], 1.0)}),
    }
    ways = {what: Way("starting:process", {"command": command}) for what, (command, _) in commands.items()}
    seconds = alternate(ways, 2 if quick else 15, warmup=1)
    torch = None
    for what, (_, target) in commands.items():
        row = Row("start", what, unit="s", **times(seconds[what]))
        if target is None:
            torch = row.value
        else:
            row.plain, row.target, row.met = torch, f"{target} s", row.value <= target
        yield row


def process(command: list[str]) -> Callable[[], None]:
    """Run the command once, as somebody who has used it before: its modules are then compiled to bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    return run
