"""Tunes as a benchmark: their parts, whether their bars add up, their rhythms by n-grams; and the rows of all tasks."""

import shlex
from pathlib import Path

import pytest

from benchmarks.tasks import ROWS, Trial, sentences, summary
from benchmarks.tunes import classified, faults, part_of, prepare, read_tunes, tunes_in

JIG = """X: 1
T:Made up
M:6/8
K:D
P:A
|:A|"D"d2d "A7/c+"AGA|B>AB {c}c2d|(3efe d -[df]2[Af]|[1 d3 d2:|[2 d3 d2z||
P:B
f|g/f/e d c3/2B/A-|A2A ~B2c|!trill!d3 e3|\\
f3 d2|]
"""


def tune(bar: str, header: str = "M:4/4\nL:1/4") -> str:
    """A tune with this bar among others that are whole."""
    return f"X: 1\n{header}\nK:C\nC4|D4|{bar}|E4|F4|]"


def test_the_bars_of_a_tune_add_up() -> None:
    assert faults(JIG) == []


@pytest.mark.parametrize("bar", ["AGA", "B>AB", "(3efe", "g/f/e", "~B2c", "!d3 e3"])
def test_they_do_not_without_a_note_of_a_middle_bar(bar: str) -> None:
    (fault,) = faults(JIG.replace(bar, bar[:-2] if bar[-1].isdigit() else bar[:-1]))
    assert "instead of 3/4" in fault


@pytest.mark.parametrize(
    "bar",
    [
        "CDEF",
        "C2 z x",
        "C/D/ E/2F/2 G//A//B/4c/4 d",
        "C>D E<<F",
        "(3CDE (3:2:3FGA",
        "(3C/D/E/ DEF",
        "^C_D,=e'f''",
        "[CEG]2 [C2E2]",
        '[CE]/[CE]/ {cd}E2 "G7"F',
        "(CD-) +trill+E .F",
        "[M:3/4] CDE | [M:4/4] CDEF",
        "[L:1/8] CDEFCDEF [L:1/4]",
        "C4 |: D4 :: E4 :||: F4 |1 G4 :|2 A4 ||",
        "CD [1 EF :|[2 GA",
        "C4 |\nM:2/4\nCD |\nM:4/4\nC4",
        "CDE :| F | C4 | CDE |]",
    ],
)
def test_what_a_whole_bar_can_be(bar: str) -> None:
    assert faults(tune(bar)) == []


@pytest.mark.parametrize(
    "bar", ["CDE", "CDEFG", "C4/3 D", "(3CDE F", "C>D E", "[CEG]3", "C4 || CDE || C4", "CDE :| FG"]
)
def test_what_is_no_whole_bar(bar: str) -> None:
    assert any("instead of" in fault for fault in faults(tune(bar)))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (tune("CDE?"), "not understood: '?"),
        (tune("[CDE"), "not understood: '[CDE"),
        (tune("C4", header="M:none"), "not understood: 'none'"),
        (tune("C4", header="L:1/4"), "there is no metre"),
        (tune("C4/0"), "not understood: 'C4/0'"),
        ("X: 1\nM:4/4\nL:1/1\nK:C\nC|D|E|]", "fewer than 4 bars"),
        ("nonsense", "not understood: 'nonsense'"),
        ("", "fewer than 4 bars"),
    ],
)
def test_what_is_no_tune(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)


def test_the_metre_gives_the_length_of_a_note() -> None:
    assert faults("M:2/4\nCDEFGABc|CDEFGABc|CDEFGABc|CDEFGABc|") == []
    assert faults("M:C|\nCDEFGABc|CDEFGABc|CDEFGABc|CDEFGABc|") == []


def test_the_first_bar_alone_may_be_an_upbeat_to_nothing() -> None:
    assert faults("M:4/4\nL:1/4\nG|CDEF|CDEF|CDEF|CDEF|]") == []
    assert faults("M:4/4\nL:1/4\nCDEF|CDEF|CDEF||G|CDEF|CDEF|]") == ["bar 4 has 1/4 instead of 1"]


# Parts


def write_tunes(folder: Path, rhythm: str, count: int) -> None:
    made = (f"X: {number}\nT:{rhythm}\nM:4/4\nK:C\nS:me\nP:A\nC8|" for number in range(1, count + 1))
    (folder / f"tunes.{rhythm}.abc").write_text("\n\n\n".join(made) + "\n\n", encoding="utf-8")


def test_every_tenth_tune_of_a_file_is_held_out(tmp_path: Path) -> None:
    for rhythm, count in (("jig", 25), ("reel", 9)):
        write_tunes(tmp_path, rhythm, count)
    prepare(tmp_path, tmp_path / "out")
    train, test = (read_tunes(tmp_path / "out" / part) for part in ("train", "test"))
    assert [tune.split("\n")[0] for tune in test["jig"]] == ["X: 10", "X: 20"]
    assert test["reel"] == []
    assert (len(train["jig"]), len(train["reel"])) == (23, 9)
    assert "X: 20\n" not in "".join(train["jig"])


def test_a_choice_does_not_see_the_test_part() -> None:
    parts = {
        part: [n for n in range(1, 21) if part_of(n, "valid") == part] for part in ("train", "valid", "test", None)
    }
    assert (parts["valid"], parts["test"], parts[None]) == ([5, 15], [], [10, 20])
    assert len(parts["train"]) == 16


def test_headers_are_left_out(tmp_path: Path) -> None:
    write_tunes(tmp_path, "jig", 10)
    prepare(tmp_path, tmp_path / "out", is_bare=True)
    assert read_tunes(tmp_path / "out" / "test") == {"jig": ["X: 10\nK:C\nP:A\nC8|"]}


def test_tunes_stand_between_blank_lines() -> None:
    assert tunes_in("\n\na\nb\n \t\n\nc\n") == ["a\nb", "c"]


def test_ngrams_tell_what_is_different() -> None:
    train = [
        (label, f"{word} and more {number}") for label, word in (("x", "abc"), ("y", "bcd")) for number in range(5)
    ]
    assert classified(train, ["so abc", "then bcd"], [1e-3]) == {1e-3: ["x", "y"]}


# The rows of all tasks

ALLOWED = {
    "task",
    "target",
    "valid",
    "valid-target",
    "unit",
    "target-unit",
    "split",
    "target-split",
    "item",
    "init-from",
}
ALLOWED |= {"direction", "run", "time", "seed", "json", "q"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_only_the_options_that_all_may_have(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    for rhythm in ("jig", "reel"):
        write_tunes(tmp_path, rhythm, 20)
    for part in ("train", "valid"):
        (tmp_path / row.data.format(part=part)).write_text("a\tb\n\n", encoding="utf-8")
    *before, command = Trial(name, row, tmp_path, "test", tmp_path / "runs", seed=2, rate=16_000).training()
    assert len(before) == (row.language_model is not None)
    assert {word.lstrip("-") for each in (*before, command) for word in each if word.startswith("-")} <= ALLOWED
    line = shlex.join(command)
    assert f"--task {row.task} " in line
    assert f"--time {120 * row.minutes}s --seed 2 " in line
    assert ("--init-from" in line) == bool(before)


def test_the_line_of_a_row_has_the_interval_of_its_median() -> None:
    done = [
        {"value": value, "interval": [value - 0.1, value + 0.1], "count": 1000, "remark": ""}
        for value in (0.5, 0.7, 0.6)
    ]
    assert summary("a", "accuracy", done) == "a: accuracy 0.5, 0.7, 0.6; median 0.6 (0.5 to 0.7) of 1,000"


def test_tagged_sentences_are_read_as_text() -> None:
    assert list(sentences(["a\tO", "b\tB-x", "\t", "", "c\tO", ""])) == ["a b", "c"]
