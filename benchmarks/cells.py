"""Every recurrent cell against the others: how fast it trains, and what it learns.

python benchmarks/cells.py speed [--bptt 256]       tokens/s of a training step, cells taken in turn; ratios to lstm
python benchmarks/cells.py time corpus.txt          equal parameters (about 1 million), equal time (2 minutes each)
python benchmarks/cells.py tokens corpus.txt        equal parameters, equal tokens seen
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch

from charlm.cells import CELLS
from charlm.model import kernels
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture, cell_sizes
from charlm.training.defaults import suitable_layers

CHARLM = str(Path(sys.executable).with_name("charlm"))
EMBEDDING, PARAMETERS = 128, 1_000_000
AT_EQUAL_TOKENS = ("rnn_tanh", "gru", "lstm", "minlstm")
# What a cell's own way of running is held against: the kernel that torch has, and the plain loop under autograd.
OTHER_WAYS: dict[str, tuple[str, kernels.Kernel]] = {
    "gru, by torch.nn.GRU's kernel": ("gru", kernels.TORCH_LOOPS["gru"]),
    "lstm, unrolled by autograd": ("lstm", kernels.unroll),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "time", "tokens"))
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--cells", default=None, help="a comma-separated choice")
    parser.add_argument("--seconds", type=int, default=120, help="training time of each cell (time)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each cell (tokens)")
    parser.add_argument("--bptt", type=int, default=64, help="time steps (speed)")
    parser.add_argument("--rounds", type=int, default=15, help="repeats (speed)")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="(speed)")
    options = parser.parse_args()
    chosen = options.cells.split(",") if options.cells else None
    if options.part == "speed":
        measure_speed(chosen or list(CELLS), options.bptt, options.rounds, options.precision == "bfloat16")
        return
    if options.corpus is None:
        parser.error("a corpus is needed")
    vocab_size = count_types(options.corpus)
    print("| cell | layers x units | parameters | nats/char | tokens/s | tokens seen | sampling, tokens/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for cell in chosen or (AT_EQUAL_TOKENS if options.part == "tokens" else CELLS):
        length = ("--time", f"{options.seconds}s") if options.part == "time" else ("--steps", str(options.steps))
        print(train(options.corpus, widest(cell, vocab_size), length), flush=True)


# Quality


def count_types(corpus: str) -> int:
    done = subprocess.run([CHARLM, "tokenize", corpus, "--json"], check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout)["types"])


def widest(cell: str, vocab_size: int) -> Architecture:
    """The widest network of this cell with at most PARAMETERS parameters."""
    narrow, wide = 1, 65536
    while wide - narrow > 1:
        middle = (narrow + wide) // 2
        is_within = of_size(cell, middle, vocab_size).num_params <= PARAMETERS
        narrow, wide = (middle, wide) if is_within else (narrow, middle)
    return of_size(cell, narrow, vocab_size)


def of_size(cell: str, hidden_size: int, vocab_size: int) -> Architecture:
    return Architecture(
        cell=cell,
        num_layers=suitable_layers(cell),
        hidden_size=hidden_size,
        embedding_size=EMBEDDING,
        tie_embeddings=False,
        initial_state="zero",
        vocab_size=vocab_size,
        **cell_sizes(cell, hidden_size, {}),
    )


def train(corpus: str, architecture: Architecture, length: tuple[str, str]) -> str:
    """Train by the command, and one line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [CHARLM, "train", corpus, "--cell", architecture.cell]
        command += ["--hidden-size", str(architecture.hidden_size)]
        command += ["--embedding-size", str(EMBEDDING), *length, "--run", f"{folder}/run", "--json", "-q"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        sampled = sampling_speed(f"{folder}/run")
    return (
        f"| `{architecture.cell}` | {architecture.num_layers} x {architecture.hidden_size} "
        f"| {result['num_params']:,} "
        f"| {result['valid_nats_per_char']:.4f} | {result['tokens_seen'] / result['training_seconds']:,.0f} "
        f"| {result['tokens_seen'] / 1e6:.2f} M | {sampled:,.0f} |"
    )


def sampling_speed(run: str, tokens: int = 10_000) -> float:
    """Tokens per second, from how much longer 10,001 tokens take than one; starting does not count.

    Each time is the median of three.
    """
    medians = []
    for length in (1, tokens + 1):
        command = [CHARLM, "sample", "--run", run, "--length", str(length), "-q"]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        medians.append(statistics.median(seconds))
    return tokens / (medians[1] - medians[0])


# Speed


def measure_speed(cells: list[str], bptt: int, rounds: int, bfloat16: bool, hidden: int = 512, batch: int = 32) -> None:
    """Whole training steps: forward, loss, backward, clipping, AdamW; all ways in turn, then again."""
    ways: dict[str, tuple[str, kernels.Kernel | None]] = {cell: (cell, None) for cell in cells}
    ways |= {name: way for name, way in OTHER_WAYS.items() if way[0] in cells}
    steps = {name: training_step(cell, hidden, batch, bptt, bfloat16) for name, (cell, _) in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):  # the first two are not counted
        for name, (cell, kernel) in ways.items():
            with patch.dict(kernels.KERNELS, {cell: kernel} if kernel else {}):
                began = time.perf_counter()
                steps[name]()
            if number > 1:
                seconds[name].append(time.perf_counter() - began)
    tokens, reference = batch * bptt, statistics.median(seconds.get("lstm", seconds[cells[0]]))
    print(f"{hidden} units, {batch} x {bptt} tokens, {torch.get_num_threads()} threads, medians of {rounds}\n")
    print("| cell | ms a step | fastest | tokens/s | against lstm |\n| --- | --- | --- | --- | --- |")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        row = f"{1000 * median:.1f} | {1000 * min(taken):.1f} | {tokens / median:,.0f} | {reference / median:.2f}"
        print(f"| {name} | {row} |")


def training_step(cell: str, hidden: int, batch: int, bptt: int, bfloat16: bool) -> Callable[[], None]:
    vocab_size = 65
    sizes = cell_sizes(cell, hidden, {})
    network = TorchNetwork(Architecture(cell, 1, hidden, EMBEDDING, False, "zero", vocab_size, **sizes))
    network.initialise(torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(vocab_size, (batch, bptt + 1), generator=torch.Generator().manual_seed(1))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total, _ = network.total_nats(ids[:, :-1], ids[:, 1:], network.initial_state(batch))
        (total / (batch * bptt)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
