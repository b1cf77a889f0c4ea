"""The figures that tell how good a run on labelled data is, as `charlm info` shows them."""

from collections.abc import Mapping
from typing import Any

FIGURES: dict[str, tuple[tuple[str, str], ...]] = {
    "classify": (("accuracy", "accuracy"), ("macro_f1", "macro F1")),
    "tag": (("entity_f1", "entity F1"), ("token_accuracy", "token accuracy")),
    "translate": (("exact_match", "exactly right"),),
    "generate": (("accuracy", "accuracy by Bayes"),),
}
"""By kind of network: the figures of a part by their names in the log, the first one for the list of runs."""


def shares_of(kind: str, part: str, measured: Mapping[str, Any] | None) -> list[str]:
    """The shares that were measured of a part ("valid" or "test"), such as "76.0% accuracy", the main one first."""
    found = []
    for key, name in FIGURES.get(kind, ()):
        value = (measured or {}).get(f"{part}_{key}")
        if isinstance(value, (int, float)) and 0 <= value <= 1:
            found.append(f"{value:.1%} {name}")
    return found
