"""Peak resident memory of training, in processes of their own."""

import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, Way, alternate_with_results

LSTM = {"vocab_size": 65, "embedding_size": 512, "hidden_size": 512, "num_layers": 2, "tied": False}
MANY_TYPES = {"vocab_size": 100_000, "embedding_size": 64, "hidden_size": 64, "num_layers": 1, "tied": True}
WINDOW = {"batch": 32, "bptt": 64}
STEPS = {65: 5, 100_000: 3}  # by the number of types: enough for the peak


def rows(quick: bool) -> Iterator[Row]:
    logits = MANY_TYPES["vocab_size"] * WINDOW["batch"] * WINDOW["bptt"] * 2 / 1e6  # in bfloat16, as they are made
    everything = (
        ("training, LSTM 2x512, 32 x 64, 65 symbols", LSTM, "1.1 x plain"),
        (f"training, 100,000 types (logits of a window whole: {logits:.0f} MB)", MANY_TYPES, "less than the logits"),
    )
    for what, sizes, target in everything[:1] if quick else everything:
        ways = {kind: Way("memory:peak", {"kind": kind, "sizes": {**sizes, **WINDOW}}) for kind in ("plain", "charlm")}
        plain, own = alternate_with_results(ways, repeats=0, warmup=0, ask=True)[1].values()
        met = own["peak"] <= 1.1 * plain["peak"] if sizes is LSTM else own["above_weights"] < logits
        row = Row("memory", what, own["peak"], "MB", plain=plain["peak"], ratio=own["peak"] / plain["peak"])
        row.target, row.met = target, met
        yield row


def peak(kind: str, sizes: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Megabytes at the most after some steps; and what of them is neither torch nor weights and their optimizer."""
    from benchmarks.plain import training_step
    from benchmarks.training import bare_step

    before = _peak()
    step = training_step(**sizes) if kind == "plain" else bare_step(**sizes)

    def measured() -> dict[str, float]:
        for _ in range(STEPS[sizes["vocab_size"]]):
            step()
        weights = sizes["vocab_size"] * sizes["embedding_size"]
        return {"peak": _peak(), "above_weights": _peak() - before - 16 * weights / 1e6}

    return measured


def _peak() -> float:
    """The largest memory of this process so far, in MB; that of getrusage includes the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
