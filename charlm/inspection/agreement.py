"""Whether a model prefers the right verb, against how far the verb is from its subject."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.corpus.sources import cannot_read
from charlm.errors import TextError
from charlm.inspection.chart import Chart, Line
from charlm.runs.finding import short_names
from charlm.scoring.language_model import LanguageModel

COLUMNS = ("good", "bad", "distance")
HOW_TO_MAKE = "give a table with a heading and the columns good, bad and distance, separated by tabs"


@dataclass(frozen=True)
class Pair:
    """Two sentences of which only `good` is right, and the words between the subject's noun and its verb."""

    good: str
    bad: str
    distance: int


@dataclass(frozen=True)
class Agreement:
    """For each distance, how many pairs there are, and in how many of them the run finds the good sentence likelier."""

    run: str
    num_right: dict[int, int]
    num_pairs: dict[int, int]

    @property
    def accuracy(self) -> float:
        return sum(self.num_right.values()) / sum(self.num_pairs.values())

    @property
    def accuracies(self) -> dict[int, float]:
        return {distance: self.num_right[distance] / count for distance, count in self.num_pairs.items()}


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a table of tab-separated columns. Quotation marks are characters. Raises TextError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise cannot_read(error, str(path)) from error
    rows = csv.DictReader(text.split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise TextError(f"the table has no column {missing[0]!r}", str(path), HOW_TO_MAKE)
    pairs = [_pair(row, f"{path}, line {rows.line_num}") for row in rows]
    if not pairs:
        raise TextError("the table has no pairs", str(path), HOW_TO_MAKE)
    return pairs


def measure_agreement(models: Sequence[LanguageModel], pairs: Sequence[Pair]) -> list[Agreement]:
    """For each model, in how many pairs of each distance the good sentence is likelier. Equally likely is not right.

    The models' predictors for sentences are used, which never load torch.
    """
    names = short_names([lm.path for lm in models])
    light = [LanguageModel(lm.tokenizer, lm.predictor, None, lm.reading, lm.path) for lm in models]
    return [_measure(name, lm, pairs) for name, lm in zip(names, light, strict=True)]


def chart(results: Sequence[Agreement]) -> Chart:
    """The share of right verbs against the distance, one line for each run."""
    num_pairs = results[0].num_pairs
    return Chart(
        "How often the right verb is likelier",
        "words between the subject's noun and its verb",
        "right (%)",
        tuple(
            Line(result.run, list(result.accuracies), [100 * share for share in result.accuracies.values()])
            for result in results
        ),
        thresholds=(("by chance", 50.0),),
        notes=(f"{sum(num_pairs.values()):,} pairs, {min(num_pairs.values())} or more at each distance",),
    )


def _pair(row: dict[str, str], where: str) -> Pair:
    good, bad, distance = (row.get(name) for name in COLUMNS)
    if not good or not bad or not (distance or "").isdecimal():
        raise TextError("a row of the table lacks a sentence, or its distance is no number", where, HOW_TO_MAKE)
    return Pair(good, bad, int(distance or ""))


def _measure(name: str, lm: LanguageModel, pairs: Sequence[Pair]) -> Agreement:
    good = [score.logprob_nats for score in lm.score_lines(pair.good for pair in pairs)]
    bad = [score.logprob_nats for score in lm.score_lines(pair.bad for pair in pairs)]
    num_right = dict.fromkeys(sorted({pair.distance for pair in pairs}), 0)
    num_pairs = dict(num_right)
    for pair, better, worse in zip(pairs, good, bad, strict=True):
        num_right[pair.distance] += better > worse
        num_pairs[pair.distance] += 1
    return Agreement(name, num_right, num_pairs)
