"""How well a model knows the grammar behind data/agreement.txt: the right verb, and nats against the truth.

    python benchmarks/agreement.py [RUN]

Nats are those of the run's validation part of agreement.txt, line by line, and of fresh draws from the
grammar; the truth is the mean of -log p of the very same sentences under the grammar.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import charlm
from charlm.corpus.parts import taken_lines
from charlm.inspection.agreement import measure_agreement, read_pairs
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.metrics import Tally

DATA = Path(__file__).parents[1] / "data"
FRESH = 1000  # sentences
FRESH_SEED = 20261120


def main() -> None:
    lm = charlm.load(sys.argv[1] if len(sys.argv) > 1 else None)
    grammar = load_grammar()
    show_pairs(lm)
    show_nats(lm, grammar, "validation part", validation_lines(lm))
    show_nats(lm, grammar, "fresh draws", list(grammar.sentences(FRESH_SEED, FRESH)))


def validation_lines(lm: charlm.LanguageModel) -> list[str]:
    """The tenth of the lines that the run kept: from all over the text, or in runs of an older format the last ones."""
    text = (DATA / "agreement.txt").read_text()
    lines = text.split("\n")[:-1]
    if read_config(RunDirectory(lm.path)).corpus.split == "lines":
        return [line for line, is_taken in zip(lines, taken_lines(0, len(lines), 0.1), strict=True) if is_taken]
    return text[text.index("\n", int(0.9 * len(text))) + 1 :].split("\n")[:-1]


def load_grammar() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agreement", DATA / "agreement.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["agreement"] = module
    spec.loader.exec_module(module)
    return module


def show_pairs(lm: charlm.LanguageModel) -> None:
    """Accuracy by the number of words between noun and verb."""
    pairs = read_pairs(DATA / "agreement-pairs.tsv")
    (found,) = measure_agreement([lm], pairs)
    print(f"the right verb: {sum(found.num_right.values())} of {len(pairs)} pairs, {found.accuracy:.2%}")
    print("by distance: " + ", ".join(f"{distance}: {share:.1%}" for distance, share in found.accuracies.items()))


def show_nats(lm: charlm.LanguageModel, grammar: ModuleType, name: str, sentences: list[str]) -> None:
    tally = sum((score.tally for score in lm.score_lines(sentences)), Tally())
    truth = -sum(map(grammar.log_probability, sentences))
    print(
        f"{name}, {len(sentences):,} sentences: {tally.nats_per_token:.4f} nats/token, "
        f"the grammar itself {truth / tally.tokens:.4f}: {tally.total_nats / truth - 1:+.2%}"
    )


if __name__ == "__main__":
    main()
