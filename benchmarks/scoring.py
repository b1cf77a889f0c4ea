"""Scoring many sentences: against one `nn.LSTM` call a sentence, with the same weights, and to the same result."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import limits
from benchmarks.measure import Row, Way, alternate_with_results, rates
from benchmarks.sampling import precisions
from benchmarks.texts import SENTENCES, sentences, word_run
from charlm.system.machine import cores

PLAIN_SENTENCES = 100  # a repeat of the plain loop: its speed is the same for all
WEIGHTS_READ = 12 * 512 * 512 + 10_000 * 512  # by a token, the lowest layer's input left out
TARGETS = {"float32": 5, "bfloat16": 8}


def rows(quick: bool) -> Iterator[Row]:
    repeats, count = (1, 200) if quick else (3, SENTENCES)
    run = word_run(512)
    ways = {"plain": Way("scoring:plain", {"run": run, "count": count})}
    ways |= {name: Way("scoring:own", {"run": run, "precision": name, "count": count}) for name in precisions()}
    seconds, found = alternate_with_results(ways, repeats, warmup=0, ask=True)
    for precision in precisions():
        target, gflops = TARGETS[precision], limits.gemm_gigaflops(precision, quick)
        difference, per_token = _differences(found["plain"], found[precision])
        what = f"{count:,} sentences, LSTM 2x512, 10,000 types, {precision}"
        what += f" (at most {difference:.1e} nats a sentence from plain, {per_token:+.1e} nats a token in all)"
        row = Row("score", what, unit="sentences/s", threads=cores(), **rates(count, seconds[precision]))
        row.compare(PLAIN_SENTENCES, seconds["plain"])
        row.limit = 1e9 * gflops * count / (2 * WEIGHTS_READ * sum(tokens for _, tokens in found[precision]))
        row.share, row.target, row.met = row.value / row.limit, f"{target} x plain", (row.ratio or 0) >= target
        if precision == "float32":
            row.target, row.met = row.target + ", 1e-4 nats", row.met and difference <= 1e-4
        yield row


def _differences(plain: list[list[float]], own: list[list[float]]) -> tuple[float, float]:
    """The largest difference of a sentence's nats, and the mean one of a token's."""
    pairs = list(zip(plain, own, strict=False))  # the plain loop did fewer
    differences = [ours[0] - theirs[0] for theirs, ours in pairs]
    return max(map(abs, differences)), -sum(differences) / sum(theirs[1] for theirs, _ in pairs)


# What is timed; it gives back each sentence's log-probability and tokens


def plain(run: str, count: int) -> Callable[[], list[list[float]]]:
    import torch

    import charlm
    from benchmarks.plain import PlainModel
    from charlm.runs.directory import BEST, RunDirectory

    lm, tensors = charlm.load(run), RunDirectory(Path(run)).load(BEST).tensors
    model = PlainModel(*tensors["embedding.weight"].shape, 512, 2, tied=False)
    model.load_state_dict(_as_torch_names(tensors))
    eos = lm.tokenizer.eos_id
    encoded = [[eos, *lm.tokenizer.encode(line).tolist(), eos] for line in sentences(count)[:PLAIN_SENTENCES]]

    @torch.no_grad()
    def score() -> list[list[float]]:
        results = []
        for ids in encoded:
            tokens = torch.tensor([ids])
            logits, _ = model(tokens[:, :-1], None)
            logprobs = torch.log_softmax(logits, dim=-1).gather(2, tokens[:, 1:, None])
            results.append([float(logprobs.sum()), len(ids) - 1])
        return results

    return score


def own(run: str, precision: str, count: int) -> Callable[[], list[list[float]]]:
    import charlm

    lm = charlm.load(run, precision=precision)  # type: ignore[arg-type]
    lines = sentences(count)
    return lambda: [[score.logprob_nats, score.tally.tokens] for score in lm.score_lines(lines)]


def _as_torch_names(tensors: Any) -> dict[str, Any]:
    import torch

    named = {"embedding.weight": "embedding.weight", "head.weight": "output.weight", "head.bias": "output.bias"}
    for layer in range(2):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            named[f"layers.{layer}.{name}"] = f"lstm.{name}_l{layer}"
    return {theirs: torch.from_numpy(tensors[own].copy()) for own, theirs in named.items()}
