"""Confusion matrices as pictures and as tables: every count in its place, readable, and safe with any labels."""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.cells import cell_len

from charlm.errors import UsageError
from charlm.evaluation.classification import Confusion, confusion
from charlm.inspection.confusion import (
    MAX_ROWS,
    Shown,
    most_confused,
    most_frequent,
    short_count,
    to_svg,
    to_text,
    write_confusion,
)
from charlm.inspection.grid import MIN_SHADE, STYLES

SVG = "{http://www.w3.org/2000/svg}"


def of_matrix(labels: Sequence[str], matrix: NDArray[np.int64]) -> Confusion:
    true, predicted = np.nonzero(matrix)
    return Confusion(tuple(labels), true, predicted, matrix[true, predicted])


PETS = of_matrix(("cat", "dog", "<b>"), np.array([[1200, 30, 0], [4, 50, 6], [0, 0, 0]]))


def many(num_labels: int, num_examples: int = 4000) -> Confusion:
    rng = random.Random(num_labels)
    labels = [f"label-{place}" for place in range(num_labels)]
    weights = [1 / (1 + (place * 7) % num_labels) for place in range(num_labels)]
    truth = rng.choices(labels, weights, k=num_examples)
    predicted = [label if rng.random() < 0.7 else rng.choice(labels) for label in truth]
    return confusion(truth, predicted, labels)


# Fewer labels


@pytest.mark.parametrize("choose", [most_frequent, most_confused])
@pytest.mark.parametrize("max_rows", [2, 7, 39])
def test_no_prediction_is_lost_when_labels_are_put_together(
    choose: Callable[[Confusion, int], Shown], max_rows: int
) -> None:
    whole = many(40)
    shown = choose(whole, max_rows)
    assert shown.matrix.shape == (max_rows, max_rows)
    assert shown.matrix.sum() == whole.num_examples
    assert (len(shown.labels), shown.num_others) == (max_rows - 1, 41 - max_rows)
    places = [whole.labels.index(label) for label in shown.labels]
    assert places == sorted(places)
    assert (shown.matrix[:-1, :-1] == whole.matrix()[np.ix_(places, places)]).all()


def test_the_labels_that_matter_are_kept() -> None:
    matrix = np.diag([5, 100, 50, 3])
    matrix[0, 3] = 2
    counted = of_matrix("abcd", matrix)
    assert most_frequent(counted, 3).labels == ("b", "c")
    assert most_confused(counted, 3).labels == ("a", "d")
    assert most_frequent(counted, 4).num_others == 0


def test_others_are_neither_right_nor_wrong_among_themselves() -> None:
    shown = most_frequent(many(50), 40)
    assert shown.kind(3, 3) == "right"
    assert shown.kind(3, 39) == shown.kind(39, 3) == "wrong"
    assert shown.kind(39, 39) == "both"


# The picture


def cells(svg: str) -> dict[str, tuple[str, float]]:
    """What the cells tell when the mouse is over them, each with its class and its shade."""
    return {
        title.text or "": (rect.get("class", ""), float(rect.get("fill-opacity", "nan")))
        for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if (title := rect.find(f"{SVG}title")) is not None
    }


def test_every_count_is_in_the_picture_with_its_share_of_the_row() -> None:
    found = cells(to_svg(PETS, "pets"))
    expected = {
        "true cat, predicted cat: 1,200 (97.6%)": ("right", 1200 / 1230),
        "true cat, predicted dog: 30 (2.4%)": ("wrong", 30 / 1230),
        "true dog, predicted cat: 4 (6.7%)": ("wrong", 4 / 60),
        "true dog, predicted dog: 50 (83.3%)": ("right", 50 / 60),
        "true dog, predicted <b>: 6 (10.0%)": ("wrong", 6 / 60),
    }
    assert found.keys() == expected.keys()
    for told, (kind, share) in expected.items():
        assert found[told] == (kind, pytest.approx(MIN_SHADE + (1 - MIN_SHADE) * share, abs=1e-3))


def test_the_picture_says_what_is_what() -> None:
    texts = [text.text or "" for text in ElementTree.fromstring(to_svg(PETS, "pets")).iter(f"{SVG}text")]
    assert [texts.count(word) for word in ("pets", "true", "predicted", "cat", "dog", "<b>")] == [1, 1, 1, 2, 2, 2]
    notes = " ".join(texts[-3:])
    assert "1,290 predictions, 96.9% of them right" in notes
    assert "each row is a true label, each column a predicted one" in notes


@pytest.mark.parametrize("num_labels", [1, 2, 13, 40, 41, 130])
def test_names_and_numbers_have_room(num_labels: int) -> None:
    counted = many(num_labels)
    svg = ElementTree.fromstring(to_svg(counted, "many"))
    width, height = float(svg.get("width", "")), float(svg.get("height", ""))
    boxes = [rect for rect in svg.iter(f"{SVG}rect") if rect.get("fill-opacity")]
    assert all(float(box.get("x", "")) + float(box.get("width", "")) < width for box in boxes)
    numbers = [text.text or "" for text in svg.iter(f"{SVG}text") if text.get("class") == "number"]
    assert len(numbers) == len(boxes)
    assert max(map(len, numbers)) * 6.6 < float(boxes[0].get("width", ""))
    assert all(float(text.get("y", "")) < height for text in svg.iter(f"{SVG}text"))
    names = {text.text for text in svg.iter(f"{SVG}text") if (text.text or "").startswith("label-")}
    assert len(names) == (num_labels if num_labels <= MAX_ROWS else MAX_ROWS - 1)
    assert (f"{num_labels - MAX_ROWS + 1} others" in ElementTree.tostring(svg, "unicode")) == (num_labels > MAX_ROWS)


def test_numbers_can_be_read_on_every_shade_on_light_and_dark() -> None:
    """WCAG asks for a contrast of 4.5."""

    def luminance(channels: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def color(styles: str, name: str) -> list[float]:
        digits = re.search(rf"\.{name}\{{[^}}]*fill:#(\w+)", styles)[1]  # type: ignore[index]
        pairs = [digit * 2 for digit in digits] if len(digits) == 3 else re.findall("..", digits)
        return [int(pair, 16) / 255 for pair in pairs]

    for styles in STYLES.split("@media"):
        ink = luminance(color(styles, "number"))
        for kind in ("right", "wrong", "both"):
            for share in (0.0, MIN_SHADE, 0.3, 0.6, 1.0):
                ends = zip(color(styles, "empty"), color(styles, kind), strict=True)
                light, dark = sorted([luminance([low + share * (high - low) for low, high in ends]), ink], reverse=True)
                assert (light + 0.05) / (dark + 0.05) > 4.5


def test_the_picture_is_written_as_svg_only(tmp_path: Path) -> None:
    write_confusion(PETS, tmp_path / "F.svg", "pets")
    assert (tmp_path / "F.svg").read_text(encoding="utf-8") == to_svg(PETS, "pets")
    with pytest.raises(UsageError, match=r"\.svg"):
        write_confusion(PETS, tmp_path / "F.pdf", "pets")
    assert not (tmp_path / "F.pdf").exists()


# The table


def test_the_table_has_every_count() -> None:
    lines = to_text(PETS, 80).plain.split("\n")
    assert lines[:4] == ["      cat  dog  <b>", "cat  1200   30    ·", "dog     4   50    6", "<b>     ·    ·    ·"]
    assert " ".join(lines[4:]).startswith("1,290 predictions, 96.9% of them right")


def test_right_predictions_are_bold() -> None:
    text = to_text(PETS, 80)
    bold = [text.plain[span.start : span.end].strip() for span in text.spans if "bold" in str(span.style)]
    assert bold[-3:] == ["1200", "50", "·"]


def test_a_narrow_table_has_the_labels_that_are_confused_most() -> None:
    counted = many(30)
    text = to_text(counted, 60).plain
    errors = counted.errors.matrix()
    true, predicted = divmod(int(errors.argmax()), 30)
    assert f"label-{true} taken for label-{predicted}: {errors.max()}" in text
    most_errors = int((errors.sum(axis=0) + errors.sum(axis=1)).argmax())
    assert re.search(rf"^ *\d+ label-{most_errors} ", text, re.MULTILINE)
    assert re.search(r"most often confused of 30 labels", " ".join(text.split()))


@given(
    st.lists(st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=30), unique=True, max_size=12),
    st.integers(24, 100),
    st.booleans(),
)
@settings(deadline=None)
def test_any_labels_make_a_table_that_fits_and_a_picture_that_is_whole(
    labels: list[str], width: int, is_ascii: bool
) -> None:
    counted = confusion([*labels, "a"], [*reversed(labels), "b"])
    text = to_text(counted, width, is_ascii).plain
    assert max(map(cell_len, text.split("\n"))) <= width
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    ElementTree.fromstring(to_svg(counted, "".join(labels)).encode())


def test_ascii_is_enough_where_labels_are_ascii() -> None:
    for width in (30, 80, 160):
        assert to_text(many(50), width, is_ascii=True).plain.isascii()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9949, "9.9k"),
        (9951, "10k"),
        (999_600, "1.0M"),
        (15551, "16k"),
        (2_300_000, "2.3M"),
    ],
)
def test_large_counts_are_shortened(count: int, expected: str) -> None:
    assert short_count(count) == expected
