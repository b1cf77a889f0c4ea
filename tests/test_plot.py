"""`charlm plot`: what stands in the log is what is drawn, in every form, for every run and every terminal."""

import json
import math
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charlm import api
from charlm.errors import RunError, UsageError
from charlm.inspection.axis import axes_of, number
from charlm.inspection.chart import Chart, Line, thinned
from charlm.inspection.curves import QUANTITIES, charts_of, chosen, plot, read_history
from charlm.inspection.following import follow
from charlm.inspection.page import charts_page
from charlm.inspection.svg import to_svg, to_svg_of_all
from charlm.inspection.terminal import to_text
from charlm.inspection.writing import write_charts
from tests.logs import FINISHED, Record, a_run, check, step, write_log
from tests.test_cli import Charlm, charlm, process, records
from tests.test_layers import RUN, loaded_by

__all__ = ["charlm"]  # a fixture

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [*(step(n, 4 / n, gradient_norm=1 / n) for n in range(1, 9)), check(4, 1.25), check(8, 0.75), FINISHED]
AWKWARD_NAMES = ("two words", "<script>alert(1)</script>", 'quote" & amp;', "日本語 ünï", "$x^2$", "_hidden")


@pytest.fixture
def a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_loss(records: Sequence[Record], path: Path) -> Chart:
    return plot([a_run(path, records)])[0]


def by_name(chart: Chart) -> dict[str, tuple[list[float], list[float]]]:
    """The figures of each line by the end of its name, behind the run's."""
    return {line.name.rpartition(", ")[2]: (list(line.x), list(line.y)) for line in chart.lines}


# From the log to a chart


def test_a_chart_has_the_figures_of_the_log(tmp_path: Path) -> None:
    chart = a_loss(FALLING, tmp_path / "run")
    assert by_name(chart) == {
        "training": ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [4 / n for n in range(1, 9)]),
        "validation": ([4.0, 8.0], [1.25, 0.75]),
    }
    assert chart.y_label == "loss (nats per token)"


def test_each_quantity_has_its_figures_and_its_unit(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [step(1, tokens=10, seconds=0.0), step(11, tokens=10, seconds=4.0)])
    _, rate, norm, speed = plot([run], QUANTITIES)
    assert [list(rate.lines[0].y), list(norm.lines[0].y)] == [[0.01, 0.01], [0.5, 0.5]]
    assert list(speed.lines[0].y) == [25.0]  # ten steps of ten tokens in four seconds
    assert speed.y_label == "tokens per second"


@pytest.mark.parametrize(("seconds", "unit", "last"), [(120, "s", 120.0), (1200, "min", 20.0), (7 * 3600, "h", 7.0)])
def test_time_has_a_unit_that_suits_it(tmp_path: Path, seconds: int, unit: str, last: float) -> None:
    chart = plot([a_run(tmp_path / "run", [step(1, seconds=0.0), step(9, seconds=seconds)])], over="time")[0]
    assert chart.x_label == f"time of training ({unit})"
    assert chart.lines[0].x[-1] == last


def test_what_was_undone_is_not_drawn(tmp_path: Path) -> None:
    """Neither what came before a rollback nor steps that a resumed training has done again."""
    back = {"event": "RolledBack", "step": 20, "diverged_at": 30, "learning_rate_scale": 0.5, "seconds": 9.0}
    first = [step(10, 3.0), step(20, 2.0), check(20, 2.5), step(30, 99.0), check(30, 98.0), back]
    again = [step(30, 1.5), check(30, 1.7), step(40, 1.0), step(40, 0.9)]
    chart = a_loss([*first, *again], tmp_path / "run")
    assert by_name(chart) == {
        "training": ([10.0, 20.0, 30.0, 40.0], [3.0, 2.0, 1.5, 0.9]),
        "validation": ([20.0, 30.0], [2.5, 1.7]),
    }
    assert "diverged at step 30 and went back to step 20" in chart.notes[0]


def test_skipped_steps_are_told(tmp_path: Path) -> None:
    skipped = {"event": "Skipped", "step": 2, "nats_per_token": None, "gradient_norm": None, "seconds": 1.0}
    assert "1 step was skipped" in a_loss([step(1), skipped, step(3)], tmp_path / "run").notes[0]


def test_each_direction_of_a_pair_has_a_line(tmp_path: Path) -> None:
    both = [step(n, 2.0 if way == "forward" else 3.0, direction=way) for way in ("forward", "backward") for n in (1, 9)]
    chart = a_loss([*both, check(9, 1.0, direction="backward")], tmp_path / "run")
    names = [line.name.removeprefix(f"{tmp_path / 'run'}, ") for line in chart.lines]
    assert names == ["forward, training", "backward, training", "backward, validation"]
    assert list(chart.lines[0].y) == [2.0, 2.0]
    assert [style for style, _ in chart.styled_lines] == [0, 1, 1]


@pytest.mark.parametrize(
    "damage", [None, "NaN", [], True, float("nan"), float("inf"), -float("inf"), 10**400, 1e301], ids=repr
)
def test_what_is_no_figure_is_a_gap(tmp_path: Path, damage: Any) -> None:
    run = a_run(tmp_path / "run", [step(1, 3.0), step(2, damage, gradient_norm=damage, tokens=damage), step(3, 2.0)])
    charts = plot([run], QUANTITIES)
    assert math.isnan(charts[0].lines[0].y[1])
    for chart in charts:
        assert "nan" not in to_text(chart, 80, 20).plain
        assert "nan" not in to_svg(chart)
        assert "inf" not in re.sub("<desc>.*?</desc>", "", to_svg(chart))


@pytest.mark.parametrize("damage", [None, "1", 1.5, -1, True, 10**400])
def test_a_record_without_a_step_counts_as_nothing(tmp_path: Path, damage: Any) -> None:
    chart = a_loss([step(1), {**step(2), "step": damage}, {"event": "New"}, step(3)], tmp_path / "run")
    assert list(chart.lines[0].x) == [1.0, 3.0]


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    log = a_run(tmp_path / "run", FALLING) / "metrics.jsonl"
    log.write_bytes(log.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_history(tmp_path / "run").curves[""].steps) == 8


def test_a_line_that_is_cut_short_is_ignored(tmp_path: Path) -> None:
    log = a_run(tmp_path / "run", FALLING) / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + b'{"event": "Ste')
    assert len(read_history(tmp_path / "run").curves[""].steps) == 8


def test_runs_whose_losses_cannot_be_compared_say_so(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / unit, FALLING, unit) for unit in ("char", "word")]
    assert "different tokens (char, word)" in plot(runs)[0].notes[0]
    assert plot(runs[:1])[0].notes == ()


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
    svg = to_svg(a_loss(FALLING, tmp_path / "run"))
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
    chart = a_loss(FALLING, folder)
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
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", to_text(chart, width, 10).plain)


def test_a_chart_without_points_is_empty_but_whole() -> None:
    chart = Chart("Loss", "step", "loss", (Line("a", [1], [math.nan]), Line("b", [], [])))
    assert "Loss" in to_text(chart, 60, 12).plain
    ElementTree.fromstring(to_svg(chart))


# The command


@pytest.mark.parametrize("what", [[], ["--what", "all"], ["--what", "speed", "--what", "loss"]])
@pytest.mark.parametrize("over", ["steps", "time"])
def test_it_prints_charts(charlm: Charlm, what: list[str], over: str) -> None:
    a_run(Path("runs/a"), FALLING)
    outcome = charlm("plot", "a", *what, "--over", over)
    assert outcome.code == 0
    assert "Loss (nats per token)" in outcome.out
    assert ("Speed" in outcome.out) == bool(what)
    assert ("step" if over == "steps" else "time of training (s)") in outcome.out


@pytest.mark.parametrize("ending", ["svg", "html", "png", "SVG"])
def test_it_writes_files(charlm: Charlm, ending: str) -> None:
    if ending == "png":
        pytest.importorskip("matplotlib", reason="needs the extra plot")
    for name in ("a", "b c"):
        a_run(Path("runs") / name, FALLING)
    outcome = charlm("plot", "a", "runs/b c", "--what", "all", "-o", f"F.{ending}")
    assert outcome.code == 0
    assert (outcome.out, outcome.err) == ("", f"written: F.{ending}\n")
    begin = {"svg": b"<svg ", "html": b"<!doctype html>", "png": b"\x89PNG"}[ending.lower()]
    assert Path(f"F.{ending}").read_bytes().startswith(begin)
    assert sorted(Path().glob(".F*")) == []


def test_png_takes_names_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    runs = [a_run(tmp_path / name.replace("/", "∕"), FALLING) for name in AWKWARD_NAMES if name.isascii()]
    write_charts(plot(runs, QUANTITIES), tmp_path / "F.png", "title")
    assert (tmp_path / "F.png").stat().st_size > 10_000


def test_without_matplotlib_png_is_refused_with_the_command(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(Path("runs/a"), FALLING)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = charlm("plot", "a", "-o", "F.png")
    assert outcome.code == 2
    assert "pip install 'charlm[plot]'" in outcome.err
    assert charlm("plot", "a", "-o", "F.svg").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a", "-o", "F.pdf"], 2, "give a name that ends with .svg or .html or .png"),
        (["a", "-o", "F"], 2, "charlm cannot tell from this name what to write"),
        (["a", "--what", "colour"], 2, "choose from loss, learning-rate, gradient-norm, speed, all"),
        (["a", "--over", "days"], 2, "steps"),
        (["nowhere"], 4, "no run 'nowhere'"),
        (["a", "nowhere"], 4, "no run 'nowhere'"),
        (["empty"], 4, "no step has been logged yet"),
        (["no-log"], 4, "no step has been logged yet"),
        (["damaged"], 4, "has no JSON object in line 2"),
        (["a", "-o", "/proc/nowhere/F.svg"], 6, "cannot write"),
        ([], 2, "run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_drawn_is_refused(charlm: Charlm, arguments: list[str], code: int, message: str) -> None:
    for name in ("a", "empty", "no-log", "damaged"):
        a_run(Path("runs") / name, FALLING if name == "a" else [])
    Path("runs/no-log/metrics.jsonl").unlink()
    Path("runs/damaged/metrics.jsonl").write_text(f"{json.dumps(step(1))}\nnonsense\n")
    outcome = charlm("plot", *arguments)
    assert outcome.code == code
    assert message in outcome.err
    assert outcome.out == ""
    assert list(Path().glob("F*")) == []


def test_one_step_is_enough(charlm: Charlm) -> None:
    a_run(Path("runs/a"), [step(1)])
    assert charlm("plot", "a", "--what", "all").code == 0
    assert charlm("plot", "a", "--what", "all", "-o", "F.svg").code == 0
    assert "dot" in Path("F.svg").read_text()


def test_a_run_without_steps_beside_others_is_no_obstacle(charlm: Charlm) -> None:
    a_run(Path("runs/a"), FALLING)
    a_run(Path("runs/new"))
    assert charlm("plot", "new", "a", "--what", "all").code == 0


def test_json_has_the_figures(charlm: Charlm) -> None:
    a_run(Path("runs/a"), [step(1, 3.0), step(2, None), step(3, 2.0)])
    (chart,) = records(charlm("plot", "a", "--json"))
    assert chart["lines"] == [{"name": "runs/a, training", "x": [1.0, 2.0, 3.0], "y": [3.0, None, 2.0]}]
    assert (chart["x_label"], chart["y_label"]) == ("step", "loss (nats per token)")


def test_a_terminal_without_braille_gets_ascii(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(Path("runs/a"), FALLING)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    drawing = process("plot", "a", text=True)
    printed, _ = drawing.communicate(timeout=60)
    assert drawing.returncode == 0
    assert printed.isascii()
    assert "\\u" not in printed
    assert "a runs/a, training" in printed


def test_python_draws_the_same(a_place: Path) -> None:
    a_run(Path("runs/a"), FALLING)
    charts = api.plot("a", "F.svg", what=["all"])
    assert [chart.title for chart in charts] == ["Loss", "Learning rate", "Gradient norm", "Speed"]
    assert "Training of runs/a" in Path("F.svg").read_text()
    with pytest.raises(UsageError, match="no such quantity"):
        api.plot("a", what=["colour"])
    with pytest.raises(RunError):
        api.plot(["a", "nowhere"])


def test_no_torch_is_loaded(a_place: Path) -> None:
    a_run(a_place / "a", FALLING)
    _, loaded = loaded_by(RUN, "plot", str(a_place / "a"), "--what", "all", "-o", str(a_place / "F.html"))
    assert "torch" not in loaded


def test_quantities_come_in_their_order() -> None:
    assert chosen(["speed", "loss", "speed"]) == ("loss", "speed")
    assert [chart.title for chart in charts_of([], chosen(["all"]), "steps")][-1] == "Speed"


# Following


class Training:
    """A training in steps of a fake clock: at each sleep, the next log is written."""

    def __init__(self, path: Path, logs: Sequence[Sequence[Record]]) -> None:
        self.path, self.logs, self.now = path, iter(logs), 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if (log := next(self.logs, None)) is not None:
            write_log(self.path, log)

    def clock(self) -> float:
        return self.now

    def seen(self) -> Iterator[int]:
        """The last step that each look finds."""
        for histories in follow([self.path], self.sleep, self.clock):
            steps = [step for history in histories for curve in history.curves.values() for step in curve.steps]
            yield steps[-1].step if steps else 0


def test_following_sees_each_change_and_ends_with_the_training(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [])
    logs = [[step(1)], [step(1)], [step(1), step(2)], [step(1), step(2), FINISHED], [step(1), step(2), step(3)]]
    assert list(Training(run, logs).seen()) == [0, 1, 1, 2, 2]


def test_following_sees_a_log_that_is_cut(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [step(1), step(2), step(3)])
    assert list(Training(run, [[step(1)], [step(1), step(2, 9.0), FINISHED]]).seen()) == [3, 1, 2]


def test_following_ends_when_nobody_trains(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [step(1)])
    training = Training(run, [])
    assert list(training.seen()) == [1]
    assert 20 < training.now < 40


@pytest.mark.parametrize("options", [[], ["--json"], ["-o", "F.svg"]], ids=" ".join)
def test_following_prints_new_figures_line_by_line(charlm: Charlm, options: list[str]) -> None:
    a_run(Path("runs/a"), FALLING)
    outcome = charlm("plot", "a", "--follow", *options)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 10  # eight steps and two checks
    assert "runs/a: all steps done" in outcome.err
    if "--json" in options:
        assert records(outcome)[0]["nats_per_token"] == 4.0
    else:
        assert "runs/a  step 1  0.5 s  loss 4.0000 nats/token" in outcome.out
    assert Path("F.svg").exists() == ("-o" in options)


def test_following_a_real_training(charlm: Charlm) -> None:
    quick = ("--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "--threads", "1", "-q")
    training = process("train", "corpus.txt", "--steps", "60", "--patience", "0", *quick)
    deadline = time.monotonic() + 60
    while not Path("runs/corpus/config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    following = process("plot", "corpus", "--follow", text=True)
    printed, said = following.communicate(timeout=120)
    training.communicate(timeout=60)
    assert following.returncode == 0
    assert "step 60 " in printed
    assert "all steps done" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_following_quietly(charlm: Charlm, number: signal.Signals) -> None:
    from charlm.runs.lock import writing

    a_run(Path("runs/a"), [step(1)])
    with writing(Path("runs/a")):  # as a training does
        following = process("plot", "a", "--follow", text=True)
        assert following.stdout is not None
        following.stdout.readline()
        following.send_signal(number)
        _, said = following.communicate(timeout=60)
    assert following.returncode == 128 + number
    assert "Traceback" not in said


def test_a_resumed_training_is_told(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.inspection import following

    def looks(paths: Sequence[Path]) -> Iterator[Any]:
        for log in ([step(1), step(2), step(3)], [step(1)], [step(1), step(2)]):
            write_log(paths[0], log)
            yield [read_history(paths[0])]

    a_run(Path("runs/a"))
    monkeypatch.setattr(following, "follow", looks)
    outcome = charlm("plot", "a", "--follow")
    assert "runs/a: back to step 1" in outcome.err
    assert [line.split("  ")[1] for line in outcome.out.splitlines()] == ["step 1", "step 2", "step 3", "step 2"]
