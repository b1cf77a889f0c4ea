"""What counts beside a network cost: counting a text, and sampling and scoring with a mixture instead of the network.

    python -m benchmarks.counting RUN TEXT

RUN has counts. Counted is its own training part, at the order 8; TEXT is scored as a running text. Sampling and scoring
take turns with both predictors; medians are shown.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import charlm
from charlm.corpus.prepare import PreparedCorpus, open_prepared
from charlm.ngram.counting import Text
from charlm.ngram.estimation import build
from charlm.settings import PredictorName

ORDER = 8
REPEATS = 5
SAMPLED = 2000  # tokens
PREDICTORS: tuple[PredictorName, ...] = ("network", "mixture")


def main() -> None:
    run, text = Path(sys.argv[1]), Path(sys.argv[2])
    corpus = open_prepared(run / "corpus")
    seconds = median(seconds_of(lambda: build(counted_text(corpus))) for _ in range(REPEATS))
    trie = build(counted_text(corpus))
    num_bytes = corpus.train.header.num_bytes
    print(f"counting {num_bytes / 1e6:.2f} MB at order {ORDER}: {seconds:.2f} s, {trie.num_ngrams:,} n-grams")
    models = {name: charlm.load(run, predictor=name, threads=1) for name in PREDICTORS}
    uses: dict[str, Callable[[charlm.LanguageModel], object]] = {
        f"sampling {SAMPLED:,} tokens": lambda lm: lm.sample(length=SAMPLED, seed=1),
        f"scoring {text.stat().st_size / 1e6:.2f} MB": lambda lm: lm.score_stream(text),
    }
    for what, use in uses.items():
        network, mixture = in_turn(models, use)
        print(f"{what}: network {network:.2f} s, mixture {mixture:.2f} s, {mixture / network:.2f} times as long")


def counted_text(corpus: PreparedCorpus) -> Text:
    return Text(corpus.train.ids, corpus.tokenizer.vocab_size, corpus.tokenizer.eos_id, ORDER)


def in_turn(
    models: dict[PredictorName, "charlm.LanguageModel"], use: Callable[["charlm.LanguageModel"], object]
) -> list[float]:
    """The median seconds that each of the models takes, in turn, after a first time that does not count."""
    taken = [[seconds_of(lambda lm=lm: use(lm)) for lm in models.values()] for _ in range(REPEATS + 1)]  # type: ignore[misc]
    return [median(own) for own in zip(*taken[1:], strict=True)]


def seconds_of(use: Callable[[], object]) -> float:
    began = time.perf_counter()
    use()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
