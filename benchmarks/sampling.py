"""Sampling: one text against the plain loop and the bandwidth of memory, many texts against the GEMM rate."""

from collections.abc import Callable, Iterator

from benchmarks import limits
from benchmarks.measure import Row, Way, alternate, rates
from benchmarks.texts import character_run
from charlm.engine.compiled import has_bfloat16
from charlm.system.machine import cores, one_thread_for_numpy

TARGETS = {128: 5, 256: 15, 512: 30}  # times the plain loop
TOKENS, PLAIN_TOKENS, TEXTS = 500, 100, 32
VOCAB_SIZE = 65


def rows(quick: bool) -> Iterator[Row]:
    repeats = 2 if quick else 21
    for hidden_size, target in list(TARGETS.items())[-1:] if quick else TARGETS.items():
        yield from _one_text(hidden_size, target, repeats)
    yield from _many_texts(min(repeats, 9), quick)


def precisions() -> list[str]:
    """Those that this machine has."""
    return ["float32", "bfloat16"] if has_bfloat16() else ["float32"]


def _one_text(hidden_size: int, target: int, repeats: int) -> Iterator[Row]:
    run = character_run(hidden_size)
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": hidden_size, "num_layers": 2, "tokens": PLAIN_TOKENS}
    megabytes = 4 * _weights_read(hidden_size) / 1e6
    ways = {
        "plain": Way("plain:sampling", sizes),
        **{name: Way("sampling:one_text", {"run": run, "precision": name}) for name in precisions()},
        "reading": Way("limits:reading", {"megabytes": megabytes, "gigabytes": 0.5}, threads=1),
    }
    seconds = alternate(ways, repeats, warmup=1)
    tokens_read = rates(500 / megabytes, seconds["reading"])["value"]
    for precision in precisions():
        times_faster = 2 if precision == "bfloat16" else 1
        figures, limit = rates(TOKENS, seconds[precision]), times_faster * tokens_read
        row = Row("sample", f"one text, LSTM 2x{hidden_size}, {precision}", unit="tokens/s", threads=1, **figures)
        row.compare(PLAIN_TOKENS, seconds["plain"])
        row.limit, row.share = limit, row.value / limit
        if precision == "float32":
            row.target, row.met = f"{target} x plain", (row.ratio or 0) >= target
            if hidden_size == 512:
                row.target, row.met = row.target + ", 67 % of reading", row.met and row.share >= 1 / 1.5
        yield row


def _many_texts(repeats: int, quick: bool) -> Iterator[Row]:
    run = character_run(512)
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": 512, "num_layers": 2, "tokens": PLAIN_TOKENS}
    ways = {"plain": Way("plain:sampling", sizes)}
    for precision in precisions():
        ways[precision] = Way("sampling:many_texts", {"run": run, "precision": precision})
    seconds = alternate(ways, repeats, warmup=1)
    for precision in precisions():
        figures = rates(TEXTS * TOKENS, seconds[precision])
        limit = 1e9 * limits.gemm_gigaflops(precision, quick) / (2 * _weights_read(512))
        share = figures["value"] / limit
        what = f"{TEXTS} texts at once, LSTM 2x512, {precision}"
        row = Row("sample", what, unit="tokens/s", limit=limit, share=share, threads=cores(), **figures)
        row.compare(PLAIN_TOKENS, seconds["plain"])
        row.target, row.met = "55 % of GEMM", share >= 0.55
        yield row


def _weights_read(hidden_size: int) -> int:
    """Weights that a token needs: the input of the first layer is looked up."""
    return 12 * hidden_size * hidden_size + VOCAB_SIZE * hidden_size


# What is timed


def one_text(run: str, precision: str) -> Callable[[], object]:
    """Sample one text as `charlm sample` does, without loading."""
    one_thread_for_numpy(None)
    import charlm
    from charlm.sampling.generate import Ending
    from charlm.sampling.strategies import Strategy

    lm = charlm.load(run, precision=precision)  # type: ignore[arg-type]
    return lambda: list(lm.sample_tokens("", Strategy(temperature=0.8), Ending(length=TOKENS), seed=1))


def many_texts(run: str, precision: str) -> Callable[[], object]:
    """Sample texts as `charlm sample --num-samples 32` does, without loading."""
    one_thread_for_numpy(None)
    import charlm
    from charlm.sampling.generate import Ending
    from charlm.sampling.strategies import Strategy

    lm = charlm.load(run, precision=precision)  # type: ignore[arg-type]
    return lambda: list(lm.sample_many("", Strategy(temperature=0.8), Ending(length=TOKENS), TEXTS, seed=1))
