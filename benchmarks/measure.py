"""Two ways of doing the same, each in a process of its own, in turn: A, B, A, B ..., so that both see the same machine.

A way is a function that prepares something and gives back what is then timed, again and again.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Way:
    """`module:function` under `benchmarks`, what it is called with, and its threads (0: its own choice)."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 0


@dataclass
class Row:
    """One line of the table. Times and rates are medians; `fastest` and `slowest` are of the same kind as `value`."""

    part: str
    what: str
    value: float
    unit: str
    fastest: float | None = None
    slowest: float | None = None
    repeats: int = 1
    plain: float | None = None
    plain_fastest: float | None = None
    plain_slowest: float | None = None
    ratio: float | None = None
    limit: float | None = None
    share: float | None = None
    target: str = ""
    met: bool | None = None
    threads: int | str = ""

    def compare(self, amount: float, plain_seconds: list[float]) -> None:
        """Put beside it what the plain loop did."""
        plain = rates(amount, plain_seconds)
        self.plain, self.plain_fastest, self.plain_slowest = plain["value"], plain["fastest"], plain["slowest"]
        self.ratio = self.value / plain["value"]

    def record(self) -> dict[str, Any]:
        return asdict(self)


def alternate(ways: Mapping[str, Way], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each repeat of each way, taken in turn."""
    seconds, _ = alternate_with_results(ways, repeats, warmup)
    return seconds


def alternate_with_results(
    ways: Mapping[str, Way], repeats: int, warmup: int = 2, ask: bool = False
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """The same, and what each way comes to, if that is asked for."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(way)) for name, way in ways.items()}
        for worker in workers.values():
            worker.wait_until_ready()
        results = {name: worker.answer_to("call") for name, worker in workers.items() if ask}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(warmup + repeats):
            for name, worker in workers.items():
                taken = worker.run()
                if number >= warmup:
                    seconds[name].append(taken)
    return seconds, results


class Worker:
    """A way in a process of its own. A context manager."""

    def __init__(self, way: Way) -> None:
        command = [sys.executable, "-m", "benchmarks.measure", way.function, json.dumps(dict(way.arguments))]
        threads = {name: str(way.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if way.threads}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env={**os.environ, **threads}
        )

    def wait_until_ready(self) -> None:
        """Until the way is prepared; several can prepare themselves at the same time."""
        self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which closes its input, and waits for its end
            pass

    def run(self) -> float:
        """Seconds of one more repeat."""
        return float(self.answer_to("run"))

    def answer_to(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        """The first line that is one of ours: libraries may print, too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise RuntimeError("a measurement failed: see above")


def serve(function: str, arguments: Mapping[str, Any]) -> None:
    """The worker's side: `run` times the prepared function, `call` gives back what it returns."""
    module, name = function.split(":")
    timed: Callable[[], Any] = getattr(importlib.import_module(f"benchmarks.{module}"), name)(**arguments)
    _say(None)
    for line in sys.stdin:
        began = time.perf_counter()
        result = timed()
        _say(time.perf_counter() - began if line == "run\n" else result)


def _say(answer: Any) -> None:
    print("answer", json.dumps(answer), flush=True)


def rates(amount: float, seconds: list[float]) -> dict[str, Any]:
    """A row's value, fastest, slowest and repeats, as amounts per second."""
    each = [amount / one for one in seconds]
    return {"value": statistics.median(each), "fastest": max(each), "slowest": min(each), "repeats": len(each)}


def times(seconds: list[float]) -> dict[str, Any]:
    """A row's value, fastest, slowest and repeats, in seconds."""
    return {
        "value": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "repeats": len(seconds),
    }


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
