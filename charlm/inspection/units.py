"""Units that follow something simple in a text: quotes, brackets, the place in the line, words, the subject's number.

A feature is a number for each character of the text, and nan where it says nothing. A token has the feature of its last
character. How well a unit follows it is Pearson's correlation between the two, over the tokens that have the feature.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError
from charlm.inspection.inspected import Inspected
from charlm.inspection.states import unit_values

Values = NDArray[np.float64]
MAX_TOKENS = 100_000  # of a text; the rest is left out
MIN_TOKENS = 20  # that have a feature; a correlation over fewer says nothing
OPENING, CLOSING = "([{", ")]}"
QUOTES = '"“”«»„'
SINGULAR = frozenset(("is", "was", "has", "does"))
PLURAL = frozenset(("are", "were", "have", "do"))
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Found:
    """How a unit follows a feature; `unit` counts from 1, and `correlation` is between -1 and 1."""

    feature: str
    unit: int
    correlation: float
    num_tokens: int


def find_units(
    run: Inspected, text: str, layer: int | None = None, gate: str | None = None, count: int = 5
) -> list[Found]:
    """For each feature that the text has, the `count` units that follow it best, the best feature and unit first.

    The units are those of a layer's output, or of a gate; see `unit_values`. Raises TextError when no feature can be
    measured.
    """
    read = run.tokens(text)
    last = np.array([token.end for token in read.tokens[:MAX_TOKENS]]) - 1
    features = {name: compute(read.text)[last] for name, compute in FEATURES.items()}
    measurable = {name: values for name, values in features.items() if _varies(values)}
    if not measurable:
        what = "the text is too short, or has nothing to follow: quotes, brackets, words, singular and plural verbs"
        raise TextError(what, to_do=f"give a longer one; a feature needs {MIN_TOKENS} tokens")
    units = unit_values(run, read.ids[:MAX_TOKENS], layer, gate)
    found = [list(_best(name, values, units, count)) for name, values in measurable.items()]
    return [unit for best in sorted(found, key=lambda best: -abs(best[0].correlation)) for unit in best]


def _best(feature: str, values: Values, units: Values, count: int) -> Iterator[Found]:
    """The units that follow a feature best: values (T,) and units (T, H)."""
    has_feature = np.isfinite(values)
    correlations = correlate(values[has_feature], units[has_feature])
    for unit in np.argsort(-np.abs(correlations), kind="stable")[:count]:
        yield Found(feature, int(unit) + 1, float(correlations[unit]), int(has_feature.sum()))


def correlate(values: Values, units: Values) -> Values:
    """Pearson's correlation of values (T,) with each unit (T, H) -> (H,); 0 for a unit that never changes."""
    centred, units = values - values.mean(), units - units.mean(axis=0)
    norms = np.linalg.norm(centred) * np.linalg.norm(units, axis=0)
    result: Values = np.divide(centred @ units, norms, out=np.zeros_like(norms), where=norms > 1e-12)
    return result


def _varies(values: Values) -> bool:
    known = values[np.isfinite(values)]
    return len(known) >= MIN_TOKENS and bool(known.min() < known.max())


# The features


def inside_quotes(text: str) -> Values:
    """1 from an opening quotation mark on, 0 from the closing one on. Each line begins outside."""
    return _inside(text, lambda character, depth: 1 - depth if character in QUOTES else depth)


def inside_brackets(text: str) -> Values:
    """1 from an opening bracket on, 0 from the one that closes it on. Each line begins outside."""

    def change(character: str, depth: int) -> int:
        return max(0, depth + (character in OPENING) - (character in CLOSING))

    return np.minimum(1, _inside(text, change))


def place_in_line(text: str) -> Values:
    """How many characters of its line have been read; 0 at a line's end."""
    return _inside(text, lambda character, depth: depth + 1)


def word_starts(text: str) -> Values:
    """1 at the first character of a word, else 0."""
    values = np.zeros(len(text))
    values[[found.start() for found in WORD.finditer(text)]] = 1
    return values


def number_of_subject(text: str) -> Values:
    """1 for a plural subject and 0 for a singular one, from the line's third word to its verb; nan elsewhere.

    The number is read off the verb: is, was, has and does are singular, are, were, have and do plural. A line has the
    feature if all such verbs in it have the same number; it ends before the last of them. English only.
    """
    values, start = np.full(len(text), np.nan), 0
    for line in text.split("\n"):
        words = list(WORD.finditer(line))
        verbs = [word for word in words if word[0].lower() in SINGULAR | PLURAL]
        numbers = {word[0].lower() in PLURAL for word in verbs}
        if len(numbers) == 1 and len(words) > 2:
            values[start + words[2].start() : start + verbs[-1].start()] = float(numbers.pop())
        start += len(line) + 1
    return values


def _inside(text: str, change: Callable[[str, int], int]) -> Values:
    """A count that starts at 0 in each line and changes with each character."""
    values, depth = np.zeros(len(text)), 0
    for place, character in enumerate(text):
        depth = 0 if character == "\n" else change(character, depth)
        values[place] = depth
    return values


FEATURES: dict[str, Callable[[str], Values]] = {
    "inside quotes": inside_quotes,
    "inside brackets": inside_brackets,
    "place in the line": place_in_line,
    "start of a word": word_starts,
    "number of the subject": number_of_subject,
}
