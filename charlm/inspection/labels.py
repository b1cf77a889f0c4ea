"""Which labels of a chart have room: where two would overlap, the second is left out, and a dot marks its point."""

from collections.abc import Iterable

from rich.cells import cell_len

from charlm.text.visible import visible

LETTER_WIDTH = 6.6  # pixels of a letter of 12 pixels, on average
LINE_HEIGHT = 14  # pixels
GAP = 5  # pixels beside a label

Label = tuple[str, float, float]
"""A text and the place (x, y) of its middle."""


def divided(labels: Iterable[Label]) -> tuple[list[int], list[int]]:
    """The numbers of the labels that have room, and of those others whose points can be seen beside them.

    The places are in pixels.
    """
    numbered = list(enumerate(labels))
    shown: dict[int, Label] = {}
    for number, label in numbered:
        if not any(_overlap(label, other) for other in shown.values()):
            shown[number] = label
    points = {number: ("", x, y) for number, (_, x, y) in numbered if number not in shown}
    seen = [number for number, point in points.items() if not any(_overlap(point, label) for label in shown.values())]
    return list(shown), seen


def _overlap(label: Label, other: Label) -> bool:
    is_beside = abs(label[1] - other[1]) >= (_width(label[0]) + _width(other[0])) / 2 + GAP
    return not is_beside and abs(label[2] - other[2]) < LINE_HEIGHT


def _width(text: str) -> float:
    return LETTER_WIDTH * cell_len(visible(text))
