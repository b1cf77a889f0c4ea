"""What people ask of `score` and `sample`: several runs, several files, texts as they type them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.cli.typed import read_escapes
from tests.conftest import english
from tests.test_cli import Outcome, records
from tests.test_cli import charlm as charlm
from tests.test_terminal import on_a_terminal

Asking = Callable[..., Outcome]
TEXTS = ["The cat sees the sea.", "sea the sees cat The.", "I like it"]


@pytest.fixture
def ask(charlm: Asking, trained: Callable[[str], Path]) -> Asking:
    """Run a command where the models are runs/char and so on."""
    Path("runs").mkdir()
    for unit in ("char", "word", "byte"):
        Path("runs", unit).symlink_to(trained(unit))
    return charlm


@pytest.fixture
def type_in(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command with these bytes on standard input, a pipe."""

    def run(data: bytes, *arguments: str) -> Outcome:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with os.fdopen(reading) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            return ask(*arguments)

    return run


# An option that takes one value


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sample", "--run", "char", "--run", "word"), "--run"),
        (("sample", "--temp", "0.5", "--temperature", "2"), "--temp"),
        (("sample", "--seed=1", "--seed=2"), "--seed"),
        (("score", "x", "--eos", "--no-eos"), "--no-eos"),
        (("score", "--stream", "a", "--stream", "b"), "--stream"),
        (("train", "corpus.txt", "--unit", "char", "--unit", "word"), "--unit"),
        (("train", "corpus.txt", "--tie-embeddings", "--no-tie-embeddings"), "--tie-embeddings"),
        (("tokenize", "corpus.txt", "-o", "a", "--output", "b"), "--output"),
        (("cells", "--hidden-size", "3", "--hidden-size", "4"), "--hidden-size"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_two_values_for_one_are_refused(charlm: Asking, arguments: tuple[str, ...], named: str) -> None:
    outcome = charlm(*arguments)
    assert (outcome.code, named in outcome.err, len(outcome.err.splitlines())) == (2, True, 2), outcome.err
    assert os.listdir() == ["corpus.txt"]


def test_the_same_value_twice_is_one(ask: Asking) -> None:
    once = ask("sample", "--run", "char", "--temp", "0.5", "--seed", "1", "-q")
    assert ask("sample", "--run", "char", "--temp", ".5", "--temp", "0.50", "--seed", "1", "-q", "-q") == once


# Several runs, several files


def test_several_runs_give_each_run_s_own_scores_and_mark_the_likeliest(ask: Asking) -> None:
    both = records(ask("score", *TEXTS, "--run", "char", "--run", "word", "--json"))
    assert [(record["text"], record["run"]) for record in both] == [
        (t, f"runs/{r}") for t in TEXTS for r in ("char", "word")
    ]
    for run in ("char", "word"):
        alone = records(ask("score", *TEXTS, "--run", run, "--json"))
        assert alone == [record for record in both if record["run"] == f"runs/{run}"]
    table = ask("score", *TEXTS, "--run", "char", "--run", "word").out.splitlines()
    for text, by_char, by_word in zip(TEXTS, both[::2], both[1::2], strict=True):
        (line,) = (line for line in table if text in line)
        best = max(float(str(record["logprob_nats"])) for record in (by_char, by_word))
        assert f"{best:.2f} *" in line
        assert line.count("*") == 1


def test_a_file_by_several_runs_has_their_scores_a_line_and_their_totals(ask: Asking) -> None:
    Path("lines.txt").write_text("\n".join(TEXTS) + "\n")
    found = records(ask("score", "--file", "lines.txt", "--run", "char", "--run", "word", "--json"))
    for run in ("runs/char", "runs/word"):
        *lines, total = (record for record in found if record["run"] == run)
        assert [record.get("text") for record in lines] == TEXTS
        assert total["total"] is True
        assert total["logprob_nats"] == pytest.approx(sum(float(str(record["logprob_nats"])) for record in lines))
    shown = ask("score", "--file", "lines.txt", "--run", "char", "--run", "word").out
    assert all(f"{record['logprob_nats']:.2f}" in shown for record in found)


@pytest.mark.parametrize("option", [("x", "--per-token"), ("--next", "3"), ("--stream", "corpus.txt")], ids=" ".join)
def test_what_takes_one_run_says_so(ask: Asking, option: tuple[str, ...]) -> None:
    outcome = ask("score", *option, "--run", "char", "--run", "word")
    assert (outcome.code, "takes one --run" in outcome.err) == (2, True)


def test_a_run_by_two_names_is_one(ask: Asking) -> None:
    assert len(records(ask("score", "x", "--run", "char", "--run", "runs/char", "--json"))) == 1


def test_several_files_are_scored_each_and_together(ask: Asking) -> None:
    Path("a.txt").write_text("The cat\nsees it\n")
    Path("b.txt").write_text("the sea\n")
    found = records(ask("score", "--run", "char", "--file", "a.txt", "--file", "b.txt", "--json"))
    assert [(record.get("text"), record.get("file")) for record in found] == [
        ("The cat", "a.txt"),
        ("sees it", "a.txt"),
        (None, "a.txt"),
        ("the sea", "b.txt"),
        (None, "b.txt"),
        (None, None),
    ]
    assert found[-1]["logprob_nats"] == pytest.approx(sum(float(str(found[i]["logprob_nats"])) for i in (2, 4)))
    shown = ask("score", "--run", "char", "--file", "a.txt", "--file", "b.txt").out
    assert [title in shown for title in ("total of a.txt", "total of b.txt", "total of all files")] == [True] * 3


# The ranking


def test_per_token_tables_have_their_sentences_above_them_in_the_ranking_s_order(ask: Asking) -> None:
    outcome = ask("score", "xqzw ☃☃", "The cat", "--run", "char", "--per-token")
    lines = outcome.out.splitlines()
    first, second = lines.index("1. The cat"), lines.index("2. xqzw ☃☃")
    symbols = [line.split()[0] for line in lines[first + 2 : second - 1]]
    assert symbols == ["T", "h", "e", "'", "c", "a", "t", "<eos>"]


def test_times_likelier_is_per_character_too_unless_all_are_of_one_length(ask: Asking) -> None:
    same = ask("score", "The cat", "eTh cat", "--run", "char").out
    other = ask("score", "The cat", "The cats", "--run", "char").out
    assert ("per" in same.replace("perplexity", ""), "character" in other) == (False, True)
    first, second = records(ask("score", "The cat", "The cats", "--run", "char", "--json"))
    likelier, less = sorted((first, second), key=lambda score: -float(str(score["logprob_nats"])))
    ratio = 2.718281828 ** (float(str(less["nats_per_char"])) - float(str(likelier["nats_per_char"])))
    assert f"{ratio:,.2f}" in other


# Texts as they are typed


@given(st.text("\\nt\n\tab"))
def test_escapes_are_three_and_all_else_stays(text: str) -> None:
    written = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert read_escapes(written) == text
    assert read_escapes(r"\q\x41\"\ ") == r"\q\x41\"\ "
    assert "\\" in text or read_escapes(text) == text


def test_escapes_are_read_where_they_are_asked_for(ask: Asking) -> None:
    texts = [r"a\nb", r"a\tb\\n"]
    literal = records(ask("score", *texts, "--run", "char", "--json"))
    assert [record["text"] for record in literal] == texts
    read = records(ask("score", *texts, "--run", "char", "--escapes", "--json"))
    assert [record["text"] for record in read] == ["a\nb", "a\tb\\n"]
    sample = ("sample", "--run", "char", "--length", "1", "--json", "--prompt", r"a\nb")
    assert [records(ask(*sample, *more))[0]["prompt"] for more in ((), ("--escapes",))] == [r"a\nb", "a\nb"]


@pytest.mark.parametrize(
    ("data", "prompt"),
    [(b"The cat\n", "The cat"), (b"The cat", "The cat"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b"\n", ""), (b"", "")],
)
def test_a_prompt_on_standard_input_goes_on_from_its_last_line(
    type_in: Callable[..., Outcome], data: bytes, prompt: str
) -> None:
    piped = type_in(data, "sample", "--run", "char", "--prompt", "-", "--seed", "1", "--length", "9", "--json")
    typed = type_in(b"", "sample", "--run", "char", "--prompt", prompt, "--seed", "1", "--length", "9", "--json")
    assert records(piped)[0]["prompt"] == prompt
    assert piped.out == typed.out


def test_a_context_on_standard_input(type_in: Callable[..., Outcome]) -> None:
    piped = type_in(b"The cat\n", "score", "--context", "-", " sees", "--run", "char", "--json")
    assert piped.out == type_in(b"", "score", "--context", "The cat", " sees", "--run", "char", "--json").out
    assert type_in(b"x\n", "score", "--context", "-", "-", "--run", "char").code == 2


IDS = [
    ["utt1-1 The cat", "utt1-2 The cats", "utt2-1 a dog"],
    ["spk3_07\tThe cat", "spk3_08\ta dog"],
    ["0 ||| The cat ||| -3.1 ||| 2", "0 ||| a dog ||| -9"],
    ["1 The cat", "2 a dog", "10 she"],
    ["The cat (utt-1)", "a dog (utt-2)"],
]
NO_IDS = [
    ["The cat", "a dog"],
    ["utt1-1 The cat", "a dog"],
    ["7 cats", "5 dogs"],
    ["utt1-1", "utt1-2"],
    ["I like it"],
    ["The cat (who sees)", "a dog (utt-2)"],
    english(20).splitlines(),
]


@pytest.mark.parametrize("lines", [*IDS, *NO_IDS], ids=lambda lines: lines[0][:9])
def test_lines_with_ids_are_scored_as_they_are_and_that_is_said(
    type_in: Callable[..., Outcome], lines: list[str]
) -> None:
    data = "".join(line + "\n" for line in lines)
    outcomes = [
        type_in(data.encode(), "score", "-", "--run", "char", "--json"),
        type_in(b"", "score", *lines, "--run", "char", "--json"),
    ]
    for outcome in outcomes:
        assert [record["text"] for record in records(outcome) if "text" in record] == lines
        assert ("scored as text" in outcome.err) == (lines in IDS)


# Stop texts


def test_of_several_stop_texts_the_first_that_comes_stops(ask: Asking) -> None:
    same = ("sample", "--run", "char", "--seed", "3", "--length", "120", "--json")
    free = str(records(ask(*same))[0]["text"])
    stops = [free[40:42], free[25:28], "\n"]
    stopped = records(ask(*same, *(part for stop in stops for part in ("--stop", stop))))[0]
    assert stopped["text"] == min((free.split(stop)[0] for stop in stops), key=len)
    assert stopped["stopped_by"] == "stop"


def test_a_typed_line_end_stops_at_a_line_end(ask: Asking) -> None:
    same = ("sample", "--run", "char", "--seed", "3", "--json")
    stopped = records(ask(*same, "--stop", r"\n"))[0]
    assert (stopped["stopped_by"], stopped["text"]) == ("stop", records(ask(*same, "--until-eos"))[0]["text"])


@pytest.mark.parametrize(
    "arguments", [("--stop", "☃"), ("--stop", r"\n", "--until-eos"), ("--stop", r"\n", "--no-escapes")], ids=" ".join
)
def test_a_stop_text_that_cannot_come_is_named_once(ask: Asking, arguments: tuple[str, ...]) -> None:
    outcome = ask("sample", "--run", "char", "--length", "9", "--seed", "1", "--stop", "e", *arguments)
    assert (outcome.code, outcome.err.count("can never come")) == (0, 1)


def test_an_empty_stop_text_is_refused(ask: Asking) -> None:
    assert ask("sample", "--run", "char", "--stop", "a", "--stop", "").code == 2


# What a sample looks like


def test_tokens_of_a_sample_are_in_its_json_where_they_are_asked_for(ask: Asking) -> None:
    same = ("sample", "--run", "char", "--length", "9", "--seed", "1")
    (plain,), (detailed,) = records(ask(*same, "--json")), records(ask(*same, "--json", "--per-token"))
    tokens: Any = detailed.pop("per_token")
    assert plain == detailed
    assert [token["id"] for token in tokens] == plain["ids"]
    assert ask(*same, "--per-token").code == 2


def test_a_sample_wraps_at_words_on_a_terminal_and_nowhere_else(ask: Asking) -> None:
    same = (
        "sample",
        "--run",
        "word",
        "--length",
        "200",
        "--seed",
        "1",
        "--temp",
        "0.5",
        "-q",
        "--prompt",
        "the cat " * 30,
    )
    piped, shown, raw = ask(*same).out, on_a_terminal(*same), on_a_terminal(*same, "--raw")
    assert raw.replace("\r\n", "\n") == piped
    lines = shown.replace("\r\n", "\n").split("\n")
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).split() == piped.split()
    assert max(map(len, piped.split("\n"))) > 80
