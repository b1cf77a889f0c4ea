"""Charts in every form: what they show lies where it belongs, can be read, and nothing in a name can break it."""

import math
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, thinned
from charlm.inspection.curves import QUANTITIES, plot
from charlm.inspection.page import charts_page
from charlm.inspection.svg import to_svg, to_svg_of_all
from charlm.inspection.terminal import to_text
from tests.logs import AWKWARD_NAMES, FALLING, a_run, step

SVG = "{http://www.w3.org/2000/svg}"


# Axes


finite = st.floats(-1e15, 1e15, allow_subnormal=False)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20), st.integers(2, 10), st.booleans(), st.booleans())
def test_every_point_lies_between_the_ends_and_has_numbers_around(
    points: list[tuple[float, float]], num_ticks: int, is_log: bool, starts_at_zero: bool
) -> None:
    line = Line("a", *([point[axis] for point in points] for axis in (0, 1)))
    chart = Chart("", "", "", (line,), is_log_y=is_log, starts_at_zero=starts_at_zero)
    x_axis, y_axis = axes_of(chart, num_ticks, num_ticks)
    for axis, values in ((x_axis, line.x), (y_axis, line.y)):
        assert list(axis.ticks) == sorted(axis.ticks)
        assert len(axis.ticks) <= 3 * num_ticks
        assert all(-1e-6 <= axis.place(tick) <= 1 + 1e-6 for tick in axis.ticks)
        drawn = [value for value, (_, y) in zip(values, points, strict=True) if y > 0 or not is_log]
        assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in drawn)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1500, ["0", "500", "1,000", "1,500"]),
        (0, 0.006, ["0.000", "0.002", "0.004", "0.006"]),
        (0.9, 1.3, ["0.9", "1.0", "1.1", "1.2", "1.3"]),
        (1, 3, ["1", "2", "3"]),
        (0, 3e9, ["0", "1e9", "2e9", "3e9"]),
    ],
)
def test_numbers_on_an_axis_are_round(low: float, high: float, labels: list[str]) -> None:
    axis, _ = axes_of(Chart("", "", "", (Line("", [low, high], [0, 1]),)), 4, 4)
    assert list(axis.labels) == labels


def test_a_logarithmic_axis_has_powers_of_ten() -> None:
    chart = Chart("", "", "", (Line("", [0, 1, 2], [0.01, 100.0, -5.0]),), is_log_y=True)
    assert axes_of(chart, 4, 6)[1].labels == ("0.01", "0.1", "1", "10", "100")


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (1500, "1,500"), (0.00012346, "0.0001235"), (2e-9, "2e-9"), (1.5e12, "1.5e12")]
)
def test_numbers_as_people_read_them(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_long_line_keeps_its_peaks_and_its_gaps() -> None:
    y = [1.0] * 100_000
    y[54_321], y[77_777] = 9.0, math.nan
    thin = thinned(Line("", range(100_000), y), 1000)
    assert len(thin.x) <= 1100
    assert 9.0 in thin.y
    assert any(map(math.isnan, thin.y))
    assert len(to_svg(Chart("", "step", "loss", (Line("", range(100_000), y),)))) < 50_000


def test_a_long_noisy_line_is_drawn_as_means(tmp_path: Path) -> None:
    chart = plot([a_run(tmp_path / "run", [step(n, 2.0 + n % 2) for n in range(1, 2001)])])[0]
    assert len(chart.lines[0].y) == 2000
    thin = thinned(chart.lines[0], 1000)
    assert len(thin.y) == 400
    assert max(thin.y) - min(thin.y) < 0.5
    assert "means of neighbouring steps" in chart.notes[0]


# SVG and HTML


def drawn(svg: str) -> dict[str, ElementTree.Element]:
    """The group of each line of a chart, by the line's name."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return {title.text or "": group for group in groups if (title := group.find(f"{SVG}title")) is not None}


def places(group: ElementTree.Element) -> list[tuple[float, float]]:
    """The points of a line, in pixels."""
    path = next(path for path in group.iter(f"{SVG}path") if path.get("class", "").startswith("line"))
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path.get("d", ""))]


def test_each_run_is_one_line_that_lies_where_its_figures_are(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, [step(n, slope * n) for n in (2, 4, 8)]) for name, slope in (("a", 1), ("b", 2))]
    groups = drawn(to_svg(plot(runs)[0]))
    assert list(groups) == [f"{run}, training" for run in runs]
    (first, second) = (places(group) for group in groups.values())
    assert [x for x, _ in first] == [x for x, _ in second]
    rises = [[before[1] - after[1] for before, after in pairwise(points)] for points in (first, second)]
    assert rises[0][1] == pytest.approx(2 * rises[0][0], abs=0.3)  # 2, 4, 8
    assert rises[1] == pytest.approx([2 * rise for rise in rises[0]], abs=0.3)


def test_marks_tell_their_figures(tmp_path: Path) -> None:
    svg = to_svg(plot([a_run(tmp_path / "run", FALLING)])[0])
    assert "<title>step 4: 1.25</title>" in svg
    assert "<title>step 8: 0.75</title>" in svg


def test_lines_differ_without_colour() -> None:
    lines = tuple(Line(str(place), [0, 1], [place, place], has_marks=True) for place in range(6))
    paths = [path for group in drawn(to_svg(Chart("", "", "", lines))).values() for path in group.iter(f"{SVG}path")]
    assert len({path.get("class") for path in paths if path.get("class", "").startswith("line")}) == 6
    marks = {re.sub(r"^M[\d. ]+", "", path.get("d", "")) for path in paths if path.get("class") == "mark"}
    assert len(marks) == 5


def test_a_gap_divides_a_line() -> None:
    line = Line("a", [1, 2, 3, 4, 5], [1.0, 2.0, math.nan, 2.0, 1.0])
    (group,) = drawn(to_svg(Chart("", "", "", (line,)))).values()
    assert [path.get("d", "").count("M") for path in group.iter(f"{SVG}path")] == [2]


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=20))
def test_any_text_makes_a_well_formed_picture(text: str) -> None:
    line = Line(text, [1, 2], [1, 2], has_marks=True)
    chart = Chart(text, text, text, (line,), thresholds=((text, 1.5),), notes=(text,))
    ElementTree.fromstring(to_svg_of_all([chart, chart], text).encode())
    page = charts_page([chart], text)
    assert "<script" not in page.lower()
    page.encode()


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_names_of_runs_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name.replace("/", "∕")
    chart = plot([a_run(folder, FALLING)])[0]
    assert f"{folder}, training" in drawn(to_svg(chart))
    page = charts_page([chart], "title")
    assert "<script" not in page
    assert not re.search(r"https?:|src=|url\(|@import", page)


def test_a_picture_can_be_read_on_dark_and_light() -> None:
    svg = to_svg(Chart("", "", "", (Line("a", [0, 1], [0, 1]),)))
    assert "prefers-color-scheme:dark" in svg
    assert 'class="paper"' in svg


# Text


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("is_ascii", [False, True])
def test_text_fits_into_a_terminal(tmp_path: Path, width: int, is_ascii: bool) -> None:
    runs = [
        a_run(tmp_path / name, FALLING) for name in ("one", "two", "three with a long name, longer than a terminal")
    ]
    for chart in plot([Path(run) for run in runs], QUANTITIES):
        text = to_text(chart, width, 20, is_ascii).plain
        rows = text.split("\n")
        assert max(map(cell_len, rows)) <= width
        assert not is_ascii or text.isascii()
        assert chart.title in text
        assert chart.x_label in text


def test_a_curve_falls_from_the_upper_left_to_the_lower_right() -> None:
    text = to_text(Chart("t", "x", "y", (Line("a", range(100), range(100, 0, -1)),)), 60, 20, is_ascii=True).plain
    columns = [row.index("a") for row in text.split("\n") if re.match(r"[\d ]*[|+].*a", row)]
    assert len(columns) > 10
    assert columns == sorted(columns)


def test_lines_of_a_terminal_are_told_apart_by_letters() -> None:
    lines = tuple(Line(f"run {place}", range(100), [place] * 100) for place in range(3))
    text = to_text(Chart("t", "x", "y", lines), 80, 20).plain
    assert "a run 0   b run 1   c run 2" in text
    plot_rows = [row for row in text.split("\n") if "│" in row or "┤" in row]
    assert all(any(letter in row for row in plot_rows) for letter in "abc")


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=30), st.integers(20, 90))
def test_no_text_controls_a_terminal(text: str, width: int) -> None:
    chart = Chart(text, text, text, (Line(text, [1, 2], [1, 2]),), thresholds=((text, 1.5),), notes=(text,))
    shown = to_text(chart, width, 10).plain
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert max(map(cell_len, shown.split("\n"))) <= width


@pytest.mark.parametrize("level", [0.5, 0.0, -1.0, 99.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("is_log", [False, True])
def test_a_level_is_drawn_if_it_can_be(level: float, is_log: bool) -> None:
    line = Line("a", [1, 2], [0.25, 0.75])
    chart = Chart("t", "x", "y", (line,), is_log_y=is_log, thresholds=(("best", level),))
    can_be = math.isfinite(level) and (level > 0 or not is_log)
    assert ("best: " in to_svg(chart)) == can_be
    assert ("╌╌╌" in to_text(chart, 60, 12).plain) == can_be


def test_a_chart_without_points_is_empty_but_whole() -> None:
    chart = Chart("Loss", "step", "loss", (Line("a", [1], [math.nan]), Line("b", [], [])))
    assert "Loss" in to_text(chart, 60, 12).plain
    ElementTree.fromstring(to_svg(chart))
