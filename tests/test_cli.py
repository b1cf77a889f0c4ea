"""The commands as a person types them: what they print, where, and how they end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from charlm.cli.app import main
from tests.cases import slow
from tests.conftest import Once

LINES = ["the cat sat on the mat", "the cats, which already ate, were full", "a dog ran to the café", "who is there?"]
QUICK = ("--steps", "6", "--hidden-size", "9", "--embedding-size", "7", "--precision", "float32", "-q")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Charlm = Callable[..., Outcome]


@pytest.fixture
def charlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Charlm:
    """Run one command in an empty folder that has a corpus.txt, in this process."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(LINES[i % 4] for i in range(120)) + "\n", encoding="utf-8")

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["charlm", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def trained(charlm: Charlm, once: Once) -> Charlm:
    once("trained", lambda: succeed(charlm, "train", "corpus.txt", *QUICK))
    return charlm


def succeed(charlm: Charlm, *arguments: str) -> None:
    outcome = charlm(*arguments)
    assert outcome.code == 0, outcome.err


def records(outcome: Outcome) -> list[dict[str, object]]:
    return [json.loads(line) for line in outcome.out.splitlines()]


# The four commands, with nothing more than the mission says.


def test_train_ends_with_a_table_that_says_where_the_model_is(charlm: Charlm) -> None:
    outcome = charlm("train", "corpus.txt", *QUICK)
    assert outcome.code == 0
    assert "runs/corpus" in outcome.out
    for phrase in ("validation, streamed", "validation, cold", "nats/char", "bits/token", "perplexity", "parameters"):
        assert phrase in outcome.out


def test_sample_and_score_use_the_run_saved_last(trained: Charlm) -> None:
    assert len(trained("sample", "--temp", "0.8", "--length", "40").out) > 20
    outcome = trained("score", "a sentence")
    assert "log-probability" in outcome.out
    assert "runs/corpus" in outcome.err


def test_train_json_ends_with_the_names_that_scripts_rely_on(charlm: Charlm) -> None:
    last = records(charlm("train", "corpus.txt", "--json", *QUICK))[-1]
    names = [
        "run",
        "steps",
        "tokens_seen",
        "seconds",
        "train_nats_per_token",
        "valid_nats_per_token",
        "valid_nats_per_char",
        "valid_cold_nats_per_char",
        "test_nats_per_token",
        "num_params",
        "schema_version",
    ]
    assert set(names) <= set(last)
    assert last["test_nats_per_token"] is None
    assert last["steps"] == 6


def test_a_test_file_is_measured(charlm: Charlm) -> None:
    Path("test.txt").write_text("the dog sat\n")
    same = ("--test", "test.txt", "--valid", "test.txt", "--ngram", "none")
    last = records(charlm("train", "corpus.txt", *same, "--json", *QUICK))[-1]
    assert last["test_nats_per_token"] == last["valid_nats_per_token"]


# score


def test_score_json_has_the_names_that_scripts_rely_on(trained: Charlm) -> None:
    (record,) = records(trained("score", "the cat", "--json"))
    names = [
        "text",
        "logprob_nats",
        "logprob10",
        "tokens",
        "characters",
        "bytes",
        "unknown",
        "perplexity",
        "perplexity_without_unknown",
        "bits_per_char",
    ]
    assert set(names) <= set(record)
    assert (record["text"], record["tokens"], record["characters"]) == ("the cat", 8, 8)


def test_several_sentences_are_ranked(trained: Charlm) -> None:
    outcome = trained("score", "xqzw the zzz", "the cat sat")
    assert outcome.out.index("the cat sat") < outcome.out.index("xqzw")
    assert "times likelier" in outcome.out


def test_a_file_gives_a_line_each_and_a_total(trained: Charlm) -> None:
    Path("three.txt").write_text("the cat\n\na dog")
    scores = records(trained("score", "--file", "three.txt", "--json"))
    assert [score.get("text") for score in scores] == ["the cat", "", "a dog", None]
    assert scores[-1]["total"] is True
    assert scores[-1]["logprob_nats"] == pytest.approx(sum(float(str(s["logprob_nats"])) for s in scores[:-1]))
    (alone,) = records(trained("score", "the cat", "--json"))
    assert scores[0]["logprob_nats"] == pytest.approx(alone["logprob_nats"], rel=1e-5)


def test_stream_gives_what_the_final_validation_measured(charlm: Charlm) -> None:
    text = Path("corpus.txt").read_text()
    trained = records(charlm("train", "corpus.txt", "--json", *QUICK))[-1]
    Path("last-tenth.txt").write_text(text[int(0.9 * len(text)) :])
    (total,) = records(charlm("score", "--stream", "last-tenth.txt", "--json"))
    assert total["nats_per_char"] == pytest.approx(trained["valid_nats_per_char"], rel=1e-5)


def test_per_token_and_next(trained: Charlm) -> None:
    (record,) = records(trained("score", "the", "--per-token", "--json"))
    tokens = record["per_token"]
    assert isinstance(tokens, list)
    assert [token["symbol"] for token in tokens] == ["t", "h", "e", "<eos>"]
    assert sum(token["logprob_nats"] for token in tokens) == pytest.approx(record["logprob_nats"])
    (following,) = records(trained("score", "--context", "the ", "--next", "3", "--json"))
    assert isinstance(following["next"], list)
    assert len(following["next"]) == 3


def test_a_sentence_that_begins_with_a_dash(trained: Charlm) -> None:
    assert records(trained("score", "--json", "--", "- the cat"))[0]["text"] == "- the cat"


def test_symbols_never_seen_are_counted_and_finite(trained: Charlm) -> None:
    (record,) = records(trained("score", "Ω the 漢字", "--json"))
    assert record["unknown"] == 3
    assert float(str(record["perplexity"])) > float(str(record["perplexity_without_unknown"]))


# sample


def test_the_prompt_comes_first_unless_told_otherwise(trained: Charlm) -> None:
    same = ("sample", "--prompt", "the [bold]cat", "--seed", "3", "--length", "20", "-q")
    whole, rest = trained(*same).out, trained(*same, "--no-echo").out
    assert whole == "the [bold]cat" + rest


def test_an_unseen_prompt_warns(trained: Charlm) -> None:
    outcome = trained("sample", "--prompt", "Ω", "--length", "3")
    assert outcome.code == 0
    assert "never seen" in outcome.err


def test_until_eos_prints_one_a_line_and_the_first_of_n_is_the_only_one_of_1(trained: Charlm) -> None:
    same = ("sample", "--until-eos", "--seed", "5", "-q")
    several, one = trained(*same, "--num-samples", "4").out, trained(*same).out
    assert several.count("\n") == 4
    assert several.startswith(one)


def test_sample_json_agrees_with_score(trained: Charlm) -> None:
    (sample,) = records(trained("sample", "--until-eos", "--seed", "2", "--temp", "0.7", "--json"))
    assert sample["stopped_by"] == "eos"
    (score,) = records(trained("score", "--json", "--", str(sample["text"])))
    assert score["logprob_nats"] == pytest.approx(sample["logprob_nats"], abs=1e-4)


def test_argmax_is_temperature_zero(trained: Charlm) -> None:
    samples = {trained("sample", *how, "--length", "30").out for how in (("--argmax",), ("--temp", "0"))}
    assert len(samples) == 1


# info, and where runs go


def test_runs_are_numbered_and_listed(trained: Charlm) -> None:
    assert trained("train", "corpus.txt", *QUICK).code == 0
    runs = [record["run"] for record in records(trained("info", "--json"))]
    assert runs == ["runs/corpus-2", "runs/corpus"]
    assert "parameters" in trained("info", "corpus").out


def test_a_dry_run_leaves_nothing(charlm: Charlm) -> None:
    (found,) = records(charlm("train", "corpus.txt", "--dry-run", "--json", *QUICK))
    assert {"num_params", "memory_bytes", "seconds"} <= set(found)
    assert os.listdir() == ["corpus.txt"]


def test_interrupted_runs_go_on(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", *QUICK).code == 0
    last = records(charlm("train", "--resume", "--run", "corpus", "--steps", "9", "--json", "-q"))[-1]
    assert last["steps"] == 9


# Refused: each with its exit code, and nothing written.


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train",), 2, "no corpus"),
        (("train", "missing.txt"), 3, "no such file"),
        (("train", "empty.txt"), 3, "empty"),
        (("train", "one-symbol.txt"), 3, "symbol"),
        (("train", "."), 3, "latin.txt"),
        (("train", "latin.txt"), 3, "line 2, byte offset 8"),
        (("train", "corpus.txt", "--dropout", "1.5"), 2, "--dropout"),
        (("train", "corpus.txt", "--learning-rate", "nan"), 2, "--learning-rate"),
        (("train", "corpus.txt", "--time", "soon"), 2, "--time"),
        (("train", "corpus.txt", "--cell", "transformer"), 2, "cell"),
        (("train", "corpus.txt", "--encoding", "klingon"), 2, "--encoding"),
        (("train", "corpus.txt", "--preset", "huge"), 2, "preset"),
        (("train", "corpus.txt", "--steps", "5", "--time", "1m"), 2, "exclude each other"),
        (("train", "corpus.txt", "--run", "/proc/nowhere/x"), 6, "/proc/nowhere"),
        (("train", "--resume"), 4, "no trained model"),
        (("sample",), 4, "no trained model"),
        (("sample", "--temp", "-1"), 2, "--temp"),
        (("sample", "--top-p", "0"), 2, "--top-p"),
        (("sample", "--length", "0"), 2, "--length"),
        (("score",), 2, "sentences"),
        (("score", "x", "--run", "nothing"), 4, "nothing"),
        (("info", "nothing"), 4, "nothing"),
        (("tokenize", "missing.txt"), 3, "no such file"),
        (("tokenise", "corpus.txt"), 2, "tokenize"),
    ],
)
def test_refused_commands_say_why_and_write_nothing(
    charlm: Charlm, arguments: tuple[str, ...], code: int, message: str
) -> None:
    Path("empty.txt").touch()
    Path("one-symbol.txt").write_text("aaaaaaaaaaaaaaaa")
    Path("latin.txt").write_bytes(b"abc def\n\xe9t\xe9\n")
    before = sorted(os.listdir())
    outcome = charlm(*arguments)
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(os.listdir()) == before


def test_a_damaged_run_is_refused(trained: Charlm) -> None:
    Path("runs/corpus/best.safetensors").write_bytes(b"damaged")
    outcome = trained("score", "x")
    assert (outcome.code, "best.safetensors" in outcome.err) == (4, True)


# Real processes: what only they can show.


def process(*arguments: str, **options: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "charlm", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


def test_a_closed_pipe_ends_quietly(trained: Charlm) -> None:
    sampling = process("sample", "--length", "100000", "-q")
    assert sampling.stdout is not None
    sampling.stdout.read(1)
    sampling.stdout.close()
    assert sampling.stderr is not None
    assert sampling.stderr.read() == b""
    sampling.stderr.close()
    assert sampling.wait(timeout=60) == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, slow(signal.SIGTERM)])
def test_a_signal_saves_and_says_how_to_go_on(charlm: Charlm, number: signal.Signals) -> None:
    training = process("train", "corpus.txt", "--steps", "1000000", "--hidden-size", "8", "--save-every", "5")
    deadline = time.monotonic() + 60
    while not Path("runs/corpus/last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    training.send_signal(number)
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 128 + number
    assert b"charlm train --resume --run runs/corpus" in errors
    assert charlm("score", "the cat").code == 0


@pytest.mark.parametrize("every", ["5", slow("1000000")])
def test_after_a_signal_the_run_to_go_on_with_is_there(charlm: Charlm, every: str) -> None:
    assert charlm("train", "corpus.txt", "--run", "old", *QUICK).code == 0
    more = ("--hidden-size", "8", "--save-every", every, "--eval-every", every)
    training = process("train", "corpus.txt", "--run", "old", "--force", "--steps", "1000000", *more)
    deadline = time.monotonic() + 60
    steps = ""
    while '"step": 20,' not in steps and time.monotonic() < deadline:
        time.sleep(0.1)
        with suppress(FileNotFoundError):  # it moves to its place meanwhile
            steps = "".join(log.read_text() for log in Path("runs").glob("*/metrics.jsonl"))
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=60)
    found = re.search(r"charlm train --resume --run (\S+)", errors.decode())
    assert found is not None
    assert found[1] == ("runs/old" if every == "5" else "runs/old-2")
    assert Path(found[1]).is_dir()
    assert charlm("score", "the cat", "--run", "old").code == 0


def test_stdout_that_is_only_ascii(trained: Charlm) -> None:
    scoring = process("score", "the café Ω", "the cat", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, errors = scoring.communicate(timeout=60)
    assert (scoring.returncode, errors.count(b"Traceback")) == (0, 0)
    assert b"caf\\xe9" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train", "corpus.txt", "--hidden-size", "many"), "'--hidden-size': it should be a valid integer"),
        (("train", "corpus.txt", "--cell", "transformer"), "'--cell': 'transformer' is not one of"),
        (("sample", "--temp", "hot"), "it should be a valid number"),
        (("train", "corpus.txt", "--color", "red"), "no such option: --color"),
        (("sampel",), "did you mean 'sample'"),
        (("sample", "--run"), "'--run' requires an argument"),
    ],
    ids=str,
)
def test_a_command_line_that_is_not_understood_is_an_error_as_others_are(
    charlm: Charlm, arguments: tuple[str, ...], named: str
) -> None:
    outcome = charlm(*arguments)
    assert outcome.code == 2
    assert named.lower() in outcome.err.lower()
    assert [line.partition(":")[0] for line in outcome.err.splitlines()] == ["error", "to do"]
