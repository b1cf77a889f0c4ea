"""The benchmarks run: a broken one would be found too late."""

from typing import Any

import pytest

from benchmarks import bench
from benchmarks.bench import PARTS, line
from benchmarks.measure import Row, Way, alternate, rates
from benchmarks.texts import SYMBOLS, WORDS, characters, sentences


def test_ways_are_timed_in_turn_in_processes_of_their_own() -> None:
    ways = {"small": Way("limits:reading", {"megabytes": 0.1, "gigabytes": 0.001}, threads=1)}
    ways["large"] = Way("limits:reading", {"megabytes": 0.1, "gigabytes": 0.5}, threads=1)
    seconds = alternate(ways, repeats=3, warmup=1)
    assert [len(each) for each in seconds.values()] == [3, 3]
    assert min(seconds["large"]) > min(seconds["small"])


def test_a_way_that_fails_is_said_to(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        alternate({"wrong": Way("limits:no_such_thing")}, repeats=1)
    assert "no_such_thing" in capfd.readouterr().err


def test_a_row_shows_whether_its_target_is_met() -> None:
    row = Row("train", "something", unit="tokens/s", target="2 x plain", met=False, **rates(100, [2.0, 1.0, 4.0]))
    assert (row.value, row.fastest, row.slowest, row.repeats) == (50, 100, 25, 3)
    assert line(row).split(" | ")[2:5] == ["50 tokens/s", "100", "25"]
    assert "**no**" in line(row)


def test_what_was_measured_is_written_even_if_a_part_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def part(quick: bool) -> Any:
        yield Row("limits", "one", 1.0, "s")
        raise RuntimeError("the second fails")

    monkeypatch.setitem(PARTS, "limits", part)
    monkeypatch.setattr("sys.argv", ["bench", "limits", "--json", str(tmp_path / "figures.json")])
    with pytest.raises(RuntimeError, match="second"):
        bench.main()
    assert '"what": "one"' in (tmp_path / "figures.json").read_text()


def test_the_texts_have_the_types_that_the_targets_name() -> None:
    assert set(characters(10_000)) == {*SYMBOLS, "\n"}
    assert len(SYMBOLS) + 2 == 65  # with <eos>, which the line end is, and <unk>
    lines = sentences(500)
    assert len(lines) == 500
    assert {word for line in lines for word in line.split()} <= {f"w{number}" for number in range(WORDS - 2)}
