"""How often a run fills a blank with the word that stood there: by each direction, by both, or by a cloze network.

    python -m benchmarks.filling blanks TEXT RUN ...     1,000 blanks of known words in the lines of TEXT
    python -m benchmarks.filling teddy RUN ...           the held-out sentences of data/teddy-blanks.tsv

A pair is asked for each of its directions and for their mean. Intervals are Wilson's, of 95 %.
For `blanks` a run picks a word from its whole vocabulary, for `teddy` from the two that the sentence allows; there each
network is asked for what it expects in the blank when it has read one side of it (a cloze network: both sides). There a
forward model can only guess; how it does with whole sentences is shown beside.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm.api import load, load_filler
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run
from charlm.settings import FillBy, OneDirection
from charlm.tasks.blanks import Gap, Sentence
from charlm.tasks.fill import Filler
from charlm.tasks.fill import fill as fill_with
from charlm.tasks.fill_cloze import ClozeFiller
from charlm.text.tokenizer import Tokenizer

TEDDY = Path(__file__).parents[1] / "data" / "teddy-blanks.tsv"
NUM_BLANKS = 1000
SEED = 20261127
Z = 1.959964  # of the normal distribution, for 95 %


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("blanks", "teddy"))
    parser.add_argument("paths", nargs="+", metavar="TEXT or RUN")
    parser.add_argument("--count", type=int, default=NUM_BLANKS, help="how many blanks (default: 1,000)")
    options = parser.parse_args()
    if options.what == "teddy":
        show_teddy(options.paths)
    else:
        text, *runs = options.paths
        show_blanks(Path(text), runs, options.count)


def show_blanks(text: Path, runs: list[str], count: int) -> None:
    print("| run | by | parameters | right | 95 % | s a blank |\n| --- | --- | --- | --- | --- | --- |")
    for run in runs:
        blanks = list(known_blanks(text, run, count))
        config = read_config(RunDirectory(find_run(run)))
        for by in ways(run):
            filler, began = load_filler(run, by)[0], time.perf_counter()
            right = [fill_with(filler, sentence, top=1)[0].texts[0] == word for sentence, word in blanks]
            seconds = (time.perf_counter() - began) / len(blanks)
            shown = f"{config.architecture.num_params:,} | {sum(right)} of {len(right)} | {interval(right)}"
            print(f"| {run} | {by} | {shown} | {seconds:.3f} |", flush=True)


def known_blanks(text: Path, run: str, count: int) -> Iterator[tuple[str, str]]:
    """Sentences with one word left out, and that word; always the same ones for the same text and vocabulary."""
    tokenizer = load_filler(run)[0].tokenizer
    lines = [line.strip() for line in text.read_text(encoding="utf-8").split("\n") if len(line.split()) > 1]
    rng, made = np.random.default_rng(SEED), 0
    while made < count:
        words = lines[int(rng.integers(len(lines)))].split(" ")
        place = int(rng.integers(len(words)))
        choices = (words[place], words[place].strip(".,;:!?`'\""))  # without punctuation, where that is a token itself
        word = next((word for word in choices if _is_known(tokenizer, word)), None)
        if word is None:
            continue
        blank = words[place].replace(word, "___", 1)
        yield " ".join([*words[:place], blank, *words[place + 1 :]]), word
        made += 1


def _is_known(tokenizer: Tokenizer, word: str) -> bool:
    """Whether this is one word of the vocabulary."""
    encoded = tokenizer.encode_detailed(word)
    return len(encoded.ids) == 1 and not encoded.unknown and int(encoded.ids[0]) != tokenizer.unk_id


def ways(run: str) -> tuple[FillBy, ...]:
    """All that this run can fill by."""
    architecture = read_config(RunDirectory(find_run(run))).architecture
    if architecture.kind == "cloze":
        return ("cloze",)
    if architecture.is_pair:
        return ("forward", "backward", "mean")
    return ("backward",) if architecture.direction == "backward" else ("forward",)


@dataclass(frozen=True)
class Item:
    """A sentence with a blank, the right word and the wrong one, and how many words stand before what decides."""

    sentence: str
    right: str
    wrong: str
    distance: int

    @property
    def candidates(self) -> list[str]:
        return sorted((self.right, self.wrong))


def show_teddy(runs: list[str]) -> None:
    with TEDDY.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    items = [Item(row["sentence"], row["right"], row["wrong"], int(row["distance"])) for row in rows]
    print("| run | by | what it has read | right | 95 % |\n| --- | --- | --- | --- | --- |")
    for run in runs:
        for by in ways(run):
            filler = load_filler(run, by)[0]
            if by != "mean":
                side = {"forward": "what stands before", "backward": "what follows"}.get(by, "both sides")
                expects = one_side(run, by, filler)
                print_row(run, by, side, [expects(item) == item.right for item in items])
            if by != "cloze":
                found = [fill_with(filler, item.sentence, item.candidates, top=1)[0].texts[0] for item in items]
                print_row(
                    run, by, "whole sentences", [text == item.right for text, item in zip(found, items, strict=True)]
                )


def print_row(run: str, by: str, read: str, right: list[bool]) -> None:
    print(f"| {run} | {by} | {read} | {sum(right)} of {len(right)} | {interval(right)} |", flush=True)


def one_side(run: str, by: FillBy, filler: Filler) -> Callable[[Item], str]:
    """What a network expects in the blank of an item, of its two words, from what it has read when it comes to it."""
    if isinstance(filler, ClozeFiller):
        return lambda item: fill_with(filler, item.sentence, item.candidates, top=1)[0].texts[0]
    direction: OneDirection = "backward" if by == "backward" else "forward"
    lm = load(run, direction=direction)

    def expected(item: Item) -> str:
        gap = Gap(lm.tokenizer, *Sentence.parsed(item.sentence).texts)
        read = gap.ids_after[::-1] if direction == "backward" else gap.ids_before
        ids = [int(lm.tokenizer.encode(word)[0]) for word in item.candidates]
        state = lm.predictor.initial_state()
        for id in [lm.tokenizer.eos_id, *read.tolist()]:
            logits, state = lm.predictor.step(np.array([id]), state)
        return item.candidates[int(np.argmax(logits[0, ids]))]

    return expected


def interval(right: list[bool]) -> str:
    """The share that is right, and Wilson's interval of 95 % around it (Wilson 1927)."""
    n, p = len(right), sum(right) / len(right)
    centre, width = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = ((centre + sign * width) / (1 + Z * Z / n) for sign in (-1, 1))
    return f"{p:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    sys.exit(main())
