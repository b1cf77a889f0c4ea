"""Commands on labelled data as people have it: folders, pairs in two files, other line ends, other columns."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charlm.api import evaluate_run, train
from charlm.corpus.examples import Ragged
from charlm.corpus.texts import MAX_READ_TOKENS, TextColumn
from charlm.errors import UsageError
from charlm.tasks.classification import Classification
from tests.conftest import Once
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command

__all__ = ["charlm_command"]  # a fixture

QUICK = ("--steps", "5", "--hidden-size", "9", "--embedding-size", "7", "--threads", "1", "-q")
ROWS = [(("fish", "an eel {}"), ("bird", "a robin {}"), ("tree", "two oaks {}"))[n % 3] for n in range(60)]
TEXTS = [(label, text.format(n)) for n, (label, text) in enumerate(ROWS)]


def write_folder() -> None:
    Path("animals").mkdir()
    for label in ("fish", "bird", "tree"):
        lines = [f"{text}\n" for own, text in TEXTS if own == label]
        Path("animals", f"{label}.txt").write_text("".join(lines))


def write_table(path: str, line_end: str = "\n", separator: str = "\t", header: str = "") -> None:
    rows = [f"{label}{separator}{text}{line_end}" for label, text in TEXTS]
    Path(path).write_bytes("".join([header + line_end if header else "", *rows]).encode())


def write_pairs(line_end: str = "\n") -> None:
    Path("train.de").write_text("".join(f"{text}\n" for _, text in TEXTS))
    Path("train.en").write_bytes("".join(f"{text[::-1]}{line_end}" for _, text in TEXTS).encode())


def write_two_tables() -> None:
    write_table("one.tsv")
    Path("two.tsv").write_text("fish\ta pike\nbird\ta wren\n")


COMMANDS: dict[str, tuple[Callable[[], None], tuple[str, ...], str]] = {
    "folder": (write_folder, ("animals", "--task", "classify"), "animals/fish.txt"),
    "pairs": (write_pairs, ("train.de", "--target", "train.en", "--task", "translate"), "train.en"),
    "files": (write_two_tables, ("one.tsv", "two.tsv", "--task", "classify"), "two.tsv"),
    "paragraphs": (write_folder, ("animals", "--task", "generate", "--item", "paragraph"), "animals/bird.txt"),
}
"""What writes the data, the arguments, and a file of it."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_command_resumes_unless_its_data_has_changed(charlm_command: Charlm, name: str) -> None:
    write, arguments, changed = COMMANDS[name]
    write()
    succeed(charlm_command, "train", *arguments, "--run", "r", *QUICK)
    again = ("train", *arguments, "--run", "r", "--resume", "--steps", "7", "-q")
    succeed(charlm_command, *again)
    with Path(changed).open("a") as file:
        file.write("an oak\n" if name != "files" else "fish\ta carp\n")
    outcome = charlm_command(*again)
    assert (outcome.code, "or it has changed since" in outcome.err) == (2, True), outcome.err


def test_targets_do_not_belong_to_a_run_of_a_text(charlm_command: Charlm) -> None:
    succeed(charlm_command, "train", "corpus.txt", "--run", "r", *QUICK)
    outcome = charlm_command("train", "corpus.txt", "--target", "corpus.txt", "--resume", "--run", "r")
    assert (outcome.code, "--target" in outcome.err) == (2, True)


@pytest.mark.parametrize("own", ["\n", "\r\n"])
def test_line_ends_of_another_kind_change_no_figure(charlm_command: Charlm, own: str) -> None:
    write_table("own.tsv", own)
    write_table("lf.tsv")
    write_table("crlf.tsv", "\r\n")
    succeed(charlm_command, "train", "own.tsv", "--task", "classify", "--run", "r", *QUICK)
    figures = [records(charlm_command("evaluate", "r", name, "--json", "-q"))[0] for name in ("lf.tsv", "crlf.tsv")]
    assert figures[0] == figures[1]
    assert set(figures[0]["labels"]) == {"fish", "bird", "tree"}  # type: ignore[call-overload]


def test_columns_of_the_run_are_used_where_the_data_has_them(charlm_command: Charlm) -> None:
    rows = "".join(f"{n},{text},{label}\n" for n, (label, text) in enumerate(TEXTS))
    Path("three.csv").write_text("id,words,kind\n" + rows)
    write_table("two.tsv")
    Path("fast.txt").write_text("".join(f"__label__{label} {text}\n" for label, text in TEXTS))
    columns = ("--columns", "kind,words")
    succeed(charlm_command, "train", "three.csv", "--task", "classify", *columns, "--run", "r", *QUICK)
    found = {name: charlm_command("evaluate", "r", name, "--json") for name in ("three.csv", "two.tsv", "fast.txt")}
    figures = [json.loads(outcome.out) for outcome in found.values()]
    assert figures[0] == figures[1] == figures[2]
    assert ["--columns" in outcome.err for outcome in found.values()] == [False, True, True]
    assert charlm_command("evaluate", "r", "two.tsv", "--columns", "1,7").code == 2


@pytest.fixture
def charlm_runs(charlm_command: Charlm, once: Once) -> Charlm:
    """With a classifier of several labels, "m", and a translator, "t"."""
    write_table("rows.tsv")
    write_pairs()
    once(
        "several",
        lambda: succeed(charlm_command, "train", "rows.tsv", "--task", "classify", "--multi", "--run", "m", *QUICK),
    )
    pairs = ("train.de", "--target", "train.en", "--task", "translate")
    once("reversed", lambda: succeed(charlm_command, "train", *pairs, "--run", "t", *QUICK))
    return charlm_command


def test_a_label_that_is_never_found_costs_no_number(charlm_runs: Charlm) -> None:
    Path("new.tsv").write_text("whale\tan orca\nfish\tan eel 3\n")
    (found,) = records(charlm_runs("evaluate", "m", "new.tsv", "--errors", "2", "--json"))
    assert found["errors"][0]["cost"] is None  # type: ignore[index]
    assert "never" in charlm_runs("evaluate", "m", "new.tsv", "--errors", "2").out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("evaluate", "t", "train.de", "--target", "train.en", "--threshold", "0.5"), "--threshold"),
        (("evaluate", "t", "missing.de", "-o", "matrix.svg"), "confusion"),
        (("evaluate", "m", "missing.tsv", "-o", "matrix.svg"), "confusion"),
        (("train", "rows.tsv", "--task", "classify", "--direction", "backward"), "--direction"),
        (("train", "rows.tsv", "--task", "classify", "--sample-every", "3"), "--sample-every"),
        (("train", "rows.tsv", "--task", "classify", "--tie-embeddings"), "--tie-embeddings"),
        (("train", "rows.tsv", "--task", "classify", "--multi", "--balance"), "--balance"),
        (("train", "rows.tsv", "--task", "tag", "--tie-embeddings"), "--tie-embeddings"),
        (("train", "--target", "train.en", "--task", "translate", "--resume", "--run", "t"), "--target"),
    ],
)
def test_options_that_would_do_nothing_are_refused(charlm_runs: Charlm, arguments: tuple[str, ...], named: str) -> None:
    outcome = charlm_runs(*arguments)
    assert (outcome.code, named in outcome.err) == (2, True), outcome.err


def test_lines_of_answers_have_three_columns_whatever_the_labels(charlm_command: Charlm) -> None:
    labels = ["fish", "bi\x1b[31mrd", "tr\u202eee"]
    rows = [f"{labels[n % 3]}\ta text {n % 3}\n" for n in range(30)]
    Path("rows.tsv").write_text("".join(rows))
    Path("texts.txt").write_text("a text 0\na text 1\na text 2\n")
    train = ("train", "rows.tsv", "--task", "classify", "--multi", "--steps", "60", "--dropout", "0")
    succeed(charlm_command, *train, "--run", "r", "--hidden-size", "9", "--threads", "1", "-q")
    for options in ((), ("--top", "3"), ("--threshold", "1"), ("--threshold", "0")):
        lines = charlm_command("classify", "--file", "texts.txt", *options, "-q").out.splitlines()
        assert [len(line.split("\t")) for line in lines] == [3, 3, 3]
        assert not {"\x1b", "\u202e"} & set("".join(lines))


def test_the_end_of_what_is_cut_is_not_to_be_written() -> None:
    lengths = np.array([5, MAX_READ_TOKENS + 3, MAX_READ_TOKENS])
    column = TextColumn(Ragged(np.ones(int(lengths.sum()), np.int32), lengths.cumsum()), eos_id=0)
    whole, written = column.texts(np.arange(3)), column.without_false_ends(np.arange(3))
    assert whole.lengths.tolist() == [7, MAX_READ_TOKENS + 2, MAX_READ_TOKENS + 2]
    assert (whole.lengths - written.lengths).tolist() == [0, 1, 0]


def test_texts_that_are_cut_in_training_are_counted_in_a_note(charlm_command: Charlm) -> None:
    rows = [f"{label}\t{'long ' * 900 if n < 2 else ''}{text}\n" for n, (label, text) in enumerate(TEXTS)]
    Path("rows.tsv").write_text("".join(rows))
    outcome = charlm_command("train", "rows.tsv", "--task", "classify", "--valid", "rows.tsv", "--steps", "1")
    assert f"only the first {MAX_READ_TOKENS:,} tokens of 2 texts" in " ".join(outcome.err.split())


def test_python_has_files_of_targets_and_checks_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs("\r\n")
    files = {"target": "train.en", "valid": "train.de", "valid_target": "train.en"}
    result = train("train.de", task="translate", run="r", steps=1, hidden_size=9, embedding_size=7, threads=1, **files)
    found = evaluate_run(result.run, "train.de", target="train.en")
    assert found.num_examples == len(TEXTS)
    with pytest.raises(UsageError, match="xml"):
        evaluate_run(result.run, "train.de", data_format="xml")


def test_a_balanced_training_is_judged_by_balanced_costs(tmp_path: Path) -> None:
    data = tmp_path / "rows.tsv"
    data.write_text("".join(f"{'rare' if n % 9 == 0 else 'often'}\ttext {n}\n" for n in range(90)))
    costs = {}
    for balance in (False, True):
        run = tmp_path / str(balance)
        train(data, run=run, task="classify", steps=4, hidden_size=9, threads=1, balance=balance, valid=data)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        costs[balance] = [line.get("cost") for line in lines if line["event"] == "Evaluated"]
    assert all(cost is None or math.isfinite(cost) for values in costs.values() for cost in values)
    assert costs[True] != costs[False]


def test_the_cost_of_several_labels_is_infinite_for_an_unknown_one() -> None:
    found = Classification("a text", (("fish", 0.5), ("bird", 0.2)), several_labels=True)
    assert found.surprise(["whale"]) == math.inf
    assert found.surprise(["fish"]) == pytest.approx(-math.log(0.5 * 0.8))
