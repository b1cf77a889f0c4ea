"""`charlm plot`: what stands in the log is what is drawn, in every form, for every run and every terminal."""

import json
import math
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from charlm import api
from charlm.errors import RunError, UsageError
from charlm.inspection.chart import Chart
from charlm.inspection.curves import QUANTITIES, charts_of, chosen, plot, read_history
from charlm.inspection.following import follow
from charlm.inspection.svg import to_svg
from charlm.inspection.terminal import to_text
from charlm.inspection.writing import write_charts
from charlm.runs.lock import HOLDER, is_held, writing
from tests.logs import AWKWARD_NAMES, FALLING, FINISHED, Record, a_run, check, step, write_log
from tests.test_cli import Charlm, charlm, process, records
from tests.test_layers import RUN, loaded_by

__all__ = ["charlm"]  # a fixture


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


def test_who_holds_a_run_is_seen_without_asking_for_its_lock(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with writing(tmp_path):
        assert is_held(tmp_path)
        note = (tmp_path / HOLDER).read_text()
    assert not is_held(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for left_behind, is_believed in (
        (note.replace(str(os.getpid()), str(ended.pid)), False),
        (f"process {ended.pid} on another machine", True),
        (f"process {10**17} on {socket.gethostname()}", False),
        ("nonsense", False),
    ):
        (tmp_path / HOLDER).write_text(left_behind)
        assert is_held(tmp_path) == is_believed, left_behind


@pytest.mark.parametrize("what", ["loss", "all"])
def test_following_draws_on_a_terminal(a_place: Path, what: str) -> None:
    a_run(Path("runs/a"), FALLING)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charlm", "plot", "a", "--follow", "--what", what]
    environment = {**os.environ, "COLUMNS": "60", "LINES": "40", "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment) as following:
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # which a terminal raises at its end
            while block := os.read(ours, 4096):
                printed += block
        assert following.wait(timeout=60) == 0
        assert following.stderr
        assert b"all steps done" in following.stderr.read()
    os.close(ours)
    redrawn = re.sub(r"\x1b\[2K|\x1b\[1A", "\n", printed.decode())
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", redrawn)
    assert "Loss (nats per token)" in text
    assert ("Speed" in text) == (what == "all")
    assert max(map(cell_len, text.split("\n"))) <= 60


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


@pytest.mark.slow
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
