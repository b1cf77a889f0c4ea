"""How the lines of a chart are told apart, in every form: by colour, and without colour by dashes, marks or letters."""

from typing import NamedTuple

DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (7, 3),
    (2, 2.5),
    (9, 3, 2, 3),
    (4, 2),
    (12, 3),
    (1, 2),
    (6, 2, 1, 2, 1, 2),
)
"""Lengths of dash and gap in pixels; the first line is drawn through."""


class Color(NamedTuple):
    """One colour on a light and on a dark background, as #rrggbb, and on a terminal.

    A terminal's background can be either, so the colour there has a contrast of about 3 or more to black and to white.
    """

    light: str
    dark: str
    terminal: str


# The colours of Okabe and Ito, "Color Universal Design" (2008), which can be told apart with every kind of colour
# vision. Some are lighter on black or darker on white, so that thin lines of them can be seen.
COLORS = (
    Color("#0072b2", "#4aa8e0", "#1f6feb"),  # blue
    Color("#d55e00", "#e8762c", "#d03c1c"),  # vermillion
    Color("#009e73", "#1fbf94", "#009e73"),  # bluish green
    Color("#b5558f", "#cc79a7", "#cc79a7"),  # reddish purple
    Color("#b87f00", "#e69f00", "#b87f00"),  # orange
    Color("#2f93cc", "#56b4e9", "#2f93cc"),  # sky blue
    Color("#000000", "#ffffff", "default"),  # black
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def color_of(style: int) -> Color:
    return COLORS[style % len(COLORS)]


def dashes_of(style: int) -> tuple[float, ...]:
    return DASHES[style % len(DASHES)]


def letter_of(place: int) -> str:
    """The letter of the line at this place in a chart."""
    return LETTERS[place % len(LETTERS)]
