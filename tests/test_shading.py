"""Texts coloured by a number for each token: wrapped, readable, escaped, and clear without colour too."""

import math
from xml.etree import ElementTree

import numpy as np

from charlm.inspection import shading
from charlm.inspection.shading import Shaded

HOSTILE = Shaded(
    ("a", "<b>", "\x1b[2J", " $x$\n", "&\t", "\ud800"), (-1.0, -0.2, 0.0, 0.6, 1.0, 0.3), "what <it> is", -1, 1
)


def test_a_coloured_text_is_wrapped_at_the_width_and_at_line_ends() -> None:
    shaded = Shaded(("abc", " def", "\n", "g" * 7), (0.1, 0.2, 0.3, 0.4), "x", 0, 1)
    rows = [[cell.text for cell in row] for row in shading.rows(shaded, 5)]
    assert rows == [["abc"], [" def", "↵"], ["ggggg"], ["gg"]]
    for width in (80, 20):
        for has_color in (False, True):
            text = shading.to_text(shaded, width, has_color)
            assert all(len(line) <= 80 for line in text.plain.split("\n"))


def test_without_colour_a_row_of_bars_tells_the_values() -> None:
    shaded = Shaded(("ab", "c", "\n"), (0.0, 1.0, 0.5), "x", 0, 1)
    assert shading.to_text(shaded, 80, has_color=False).plain.split("\n")[1:] == ["abc↵", "▁▁█▅"]
    assert shading.to_text(shaded, 80, has_color=False, is_ascii=True).plain.split("\n")[1:] == ["abc\\n", "00955"]


def test_what_the_text_has_is_never_markup_or_a_control_character() -> None:
    svg, page = shading.to_svg(HOSTILE, "<t>"), shading.to_html(HOSTILE, "<t>")
    for drawn in (svg, page):
        assert "<b>" not in drawn
        assert "\x1b" not in drawn
        assert "&lt;b&gt;" in drawn
        drawn.encode()
    ElementTree.fromstring(svg)
    assert "\x1b" not in shading.to_text(HOSTILE, 80, has_color=True).plain
    assert shading.to_png(HOSTILE, "t").startswith(b"\x89PNG")


def test_colours_go_from_blue_over_white_to_orange_and_low_values_are_underlined() -> None:
    assert [HOSTILE.color(value) for value in (-1.0, 0.0, 1.0)] == ["#56b4e9", "#fafaf6", "#e69f00"]
    gate = Shaded(("a",), (0.2,), "x", 0, 1)
    assert [gate.color(value) for value in (0.0, 1.0, 2.0)] == ["#fafaf6", "#e69f00", "#e69f00"]
    assert [HOSTILE.is_low(value) for value in (-0.9, -0.1, 0.5)] == [True, False, False]
    assert not gate.is_low(0.0)
    assert math.isclose(HOSTILE.place(0.0), 0.5)


def test_black_can_be_read_on_every_colour() -> None:
    """WCAG asks for a contrast of 4.5."""

    def luminance(color: str) -> float:
        channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert all((luminance(HOSTILE.color(value)) + 0.05) / 0.05 > 7 for value in np.linspace(-1, 1, 21))
