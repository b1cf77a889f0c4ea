"""What a newcomer reads at 80 columns: help, progress and results fit, say what they mean and what to do next."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import charlm
from charlm.cli.app import app_with, main
from charlm.cli.progress import Figures
from charlm.settings import SETTINGS
from charlm.text.visible import visible, visible_symbol
from charlm.training.defaults import MAX_PASSES
from charlm.training.events import Evaluated, Sampled, StepDone
from tests.cases import slow
from tests.conftest import TINY, english
from tests.sessions import open_session

ROOT = Path(__file__).parents[1]
COMMANDS = ("tokenize", "train", "sample", "score", "info", "verify", "cells")
TINY_FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ODD = ["\xa0", "\u200b", "\ufeff", "\xad", "\u200f", "\u3000", "\t", "\x07", "\u2028"]


def page(*arguments: str, columns: int = 80) -> str:
    result = CliRunner().invoke(app_with(), list(arguments), env={"COLUMNS": str(columns), "TERM": "dumb"})
    assert result.exit_code == (0 if arguments else 2)
    return result.output


def on_a_terminal(
    *arguments: str, columns: int = 80, folder: Path | None = None, **environment: str
) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it writes to a terminal of that width, a bar's versions too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "charlm", *arguments]
    written = b""
    environment = {**kept, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment) as process:
        os.close(theirs)
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # the other end was closed
            pass
    os.close(ours)
    text = ESCAPES.sub("", written.decode(environment.get("PYTHONIOENCODING", "utf-8")))
    return process.returncode, [line.rstrip() for line in re.split("[\r\n]+", text)]


def widest(lines: list[str]) -> int:
    return max(cell_len(line) for line in lines)


# Help


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=str)
def test_help_fits_its_columns_without_cutting_a_word(command: tuple[str, ...], columns: int) -> None:
    shown = page(*command, "--help", columns=columns)
    assert widest([line.rstrip() for line in shown.splitlines()]) <= columns
    assert "…" not in shown
    assert not re.search(r"<(bool|int|str|float|path|list|name)", shown)


def test_every_option_of_train_is_whole_and_described_at_80_columns() -> None:
    shown = " ".join(page("train", "--help").split())
    for kind in SETTINGS:
        for name, field in kind.__dataclass_fields__.items():
            assert f" --{name.replace('_', '-')} " in shown
            assert " ".join(field.metadata["doc"].split()) in shown


def test_train_help_explains_the_words_that_a_newcomer_does_not_know() -> None:
    lines = page("train", "--help").splitlines()
    for word, meaning in (
        ("--bptt", "gradient"),
        ("--epochs", "a pass reads the whole text once"),
        ("--time", f"at most {MAX_PASSES} passes"),
        ("streamed:", "read as one"),
        ("cold:", "each of its lines"),
    ):
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(word))
        assert meaning in " ".join(" ".join(lines[at : at + 2]).split())


def test_charlm_alone_is_one_screen_that_ends_with_three_commands_to_try() -> None:
    lines = page().splitlines()
    assert len(lines) < 24
    assert widest(lines) <= 80
    assert [line.split()[:2] for line in lines[-3:]] == [["charlm", name] for name in ("train", "sample", "score")]
    assert all(any(line.split()[:1] == [name] for line in lines) for name in COMMANDS)


# Progress


def followed(run: Path, corpus: Path, **settings: Any) -> tuple[Figures, list[Any], Any]:
    """A training to its end: its figures as they were at last, its events, its result."""
    session = open_session(corpus, {**TINY, **settings}, run=str(run))
    figures, events = Figures(session), []
    for event in session.events():
        figures.take(event)
        events.append(event)
    return figures, events, session.measure()


@pytest.mark.parametrize("settings", [{}, {"unit": "byte"}, {"unit": "word", "vocab_size": 30}, {"mode": "sentence"}])
def test_the_bar_measures_as_the_result_does(settings: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    figures, _, result = followed(tmp_path / "run", corpus, steps=30, ngram="none", **settings)
    assert result.best_step == result.steps
    assert "nats/char" in figures.line(80)
    assert f"valid {result.valid.nats_per_char:.3f}" in figures.line(80)


@pytest.mark.parametrize("steps", [1, 99, 12_345, 123_456_789])
def test_what_is_said_of_a_training_fits_whatever_the_numbers(steps: int, corpus: Path, tmp_path: Path) -> None:
    session = open_session(corpus, {**TINY, "steps": 9}, run=str(tmp_path / "run"))
    times = iter([0.0, *[steps * 0.9] * 99])
    figures = Figures(session, clock=lambda: next(times))
    session.trainer.progress.tokens_seen = steps * 1234
    figures.take(StepDone(steps, steps * 2, 12.3456, 1.0, 0.1, 1234))
    figures.take(Evaluated(steps, 12.3456, True))
    for columns in (51, 60, 71, 80, 100):
        assert len(figures.line(columns)) <= columns
        assert "nats/char" in figures.line(columns)
    assert " 1,371 tokens/s " in figures.line(100)


@pytest.mark.parametrize("columns", [60, slow(80), slow(100)])
def test_a_training_and_its_result_fit_the_terminal(columns: int, corpus: Path, tmp_path: Path) -> None:
    length = ("--steps", "30", "--sample-every", "25")
    code, lines = on_a_terminal(
        "train", str(corpus), "--run", str(tmp_path / "r"), *length, *TINY_FLAGS, columns=columns
    )
    assert code == 0
    assert widest([line for line in lines if str(tmp_path) not in line]) <= columns
    assert not any("…" in line for line in lines)
    assert any("nats/char" in line and "step" in line for line in lines)


def test_a_shown_sample_is_wrapped_at_words(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.cli import progress

    monkeypatch.setattr(progress.err, "width", 40)
    text = "the quick brown fox [bold]jumps[/] over the lazy dog and goes on for a while " * 2
    progress.show_what_happened(Sampled(3, text))
    lines = capfd.readouterr().err.splitlines()[1:-1]
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


@pytest.mark.parametrize(("steps", "most"), [(5, 0), (19, 0), (40, 2), (150, 5)])
def test_a_short_training_shows_few_samples(steps: int, most: int, corpus: Path, tmp_path: Path) -> None:
    _, events, _ = followed(tmp_path / "run", corpus, steps=steps)
    assert sum(isinstance(event, Sampled) for event in events) == most


# The result


class Outcome(NamedTuple):
    out: str
    err: str


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`charlm train` with a tiny model, in an empty folder."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["charlm", "train", *arguments, *TINY_FLAGS])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return Outcome(*capfd.readouterr())

    return run


def test_the_result_says_where_to_look_and_what_is_next(train: Callable[..., Outcome], corpus: Path) -> None:
    done = train(str(corpus), "--run", "a run", "--steps", "8")
    assert "Look at nats/char of validation, streamed: lower is better." in done.out
    assert "cold: each line on its own" in done.out
    assert "All steps done." in done.out
    assert "charlm sample --run 'runs/a run'" in done.err
    assert "charlm score --run 'runs/a run'" in done.err
    assert len(done.out.splitlines()) <= 12


def test_in_sentence_mode_the_cold_figure_is_the_one_to_look_at(train: Callable[..., Outcome], corpus: Path) -> None:
    done = train(str(corpus), "--mode", "sentence", "--steps", "8", "-q")
    assert "Look at nats/char of validation, cold: lower is better." in done.out
    assert "next:" not in done.err


def test_patience_that_ended_a_training_is_said_and_which_weights_were_kept(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "train.txt").write_text("abcabcabc\n" * 60)
    (tmp_path / "valid.txt").write_text("cbacba acbacb\n" * 20)  # gets worse the more is learned
    length = ("--steps", "4000", "--eval-every", "10", "--patience", "3")
    shown = " ".join(train("train.txt", "--valid", "valid.txt", "--run", "run", *length, "-q").out.split())
    last = json.loads((tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["best_step"] < last["steps"] < 4000
    assert "No improvement in 3 evaluations." in shown
    assert f"Kept: step {last['best_step']} of {last['steps']}, the best in validation." in shown


def test_the_ceiling_of_passes_that_ended_a_training_is_said(tmp_path: Path) -> None:
    (tmp_path / "little.txt").write_text(english(9))
    result = charlm.train(tmp_path / "little.txt", run=str(tmp_path / "run"), time="10m", patience=0, **TINY)
    assert f"{MAX_PASSES} passes are done" in result.ended
    assert "--epochs" in result.ended


# info


@pytest.mark.parametrize("columns", [60, 80])
def test_info_fits_and_ends_with_the_checksums(columns: int, trained: Callable[[str], Path]) -> None:
    code, lines = on_a_terminal("info", str(trained("word")), columns=columns)
    assert code == 0
    assert widest(lines) <= columns
    names = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert names[:2] == ["run", "validation"]
    assert names[-2:] == ["sha256", "seal"]
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_list_of_runs_fits_and_cuts_no_name(columns: int, trained: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    names = [trained("char").name, "a-rather-long-name-for-a-run-of-a-careful-person-2026-11-26"]
    for name in names:
        shutil.copytree(trained("char"), tmp_path / "runs" / name)
    code, lines = on_a_terminal("info", columns=columns, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert code == 0
    assert widest(lines) <= columns
    first_column = "".join(line.split("  ")[0] for line in lines)
    assert all(name in first_column for name in names)
    assert "validation" in lines[0]
    assert any("nats/char" in line for line in lines)


@pytest.mark.parametrize("command", ["cells", "verify"])
def test_other_pages_wrap_at_words(command: str, trained: Callable[[str], Path]) -> None:
    arguments = (command, "char") if command == "verify" else (command,)
    code, lines = on_a_terminal(*arguments, folder=trained("char").parents[1], PYTHONPATH=str(ROOT))
    assert code == 0
    piped = subprocess.run(
        [sys.executable, "-m", "charlm", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=trained("char").parents[1],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert widest(lines) <= 80
    assert " ".join(lines).split() == piped.stdout.split()


# What is not seen, and other encodings


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_seen_is_shown_the_same_way_by_every_table(
    odd: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.txt").write_text(f"ab{odd}cd\n" * 60, newline="")
    run = str(tmp_path / "run")
    charlm.train(tmp_path / "odd.txt", run=run, **{**TINY, "steps": 3, "bptt": 5})
    shown = f"'{odd.encode('unicode_escape').decode()}'"
    tables = (
        ("score", "--run", run, "--per-token", f"b{odd}c"),
        ("score", "--run", run, "--next", "9"),
        ("tokenize", "--run", run, "--text", f"b{odd}c"),
        ("tokenize", str(tmp_path / "odd.txt")),
    )
    for arguments in tables:
        sys.argv = ["charlm", *arguments]
        with pytest.raises(SystemExit):
            main()
        out = capfd.readouterr().out
        assert re.search(rf"(^|\s){re.escape(shown)}(\s|$)", out), arguments


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("e\u0301", "e\u0301"),
        ("\u0301", "'\u25cc\u0301'"),  # a mark on nothing
        (" \u0301", "' \u25cc\u0301'"),
        ("\ufe0f", r"'\ufe0f'"),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("\u3164", r"'\u3164'"),
        (" the", "' the'"),
        ("a b", "a b"),
        ("it\xads", r"'it\xads'"),
        ("", "''"),
        ("<eos>", "<eos>"),
        ("[bold]", "[bold]"),
        ("\\", "\\"),
    ],
)
def test_a_symbol_is_quoted_where_something_in_it_is_not_seen(symbol: str, shown: str) -> None:
    assert visible_symbol(symbol) == shown


def test_running_text_shows_what_has_no_width_and_keeps_what_shapes_letters() -> None:
    assert visible("so\xadft \ufeff\u200b\u200f\n\t\xa0") == "so\\xadft \\ufeff\\u200b\\u200f\n\t\xa0"
    assert (
        visible("\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f467")
        == "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f467"
    )


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FLAG = "caf\xe9 \U0001f1eb\U0001f1f7"


def elsewhere(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "LANG", "LC_CTYPE")}
    command = [sys.executable, "-m", "charlm", *arguments]
    return subprocess.run(command, capture_output=True, env={**kept, **ASCII, **environment}, check=False)


def test_files_and_pipes_get_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "flag.txt").write_text(f"{FLAG}\n" * 30, encoding="utf-8")
    done = elsewhere("tokenize", str(tmp_path / "flag.txt"))
    for character in FLAG.replace(" ", ""):
        assert f" {character} " in done.stdout.decode("utf-8")
    record = json.loads(elsewhere("tokenize", str(tmp_path / "flag.txt"), "--json").stdout.decode("utf-8"))
    assert {character for character, _ in record["frequent"]} >= set(FLAG)
    trained = elsewhere("train", str(tmp_path / "flag.txt"), "--run", str(tmp_path / "r"), "--steps=20", *TINY_FLAGS)
    assert "sample at step 20" in trained.stderr.decode("utf-8")
    assert set(FLAG) & set("\xe9\U0001f1eb\U0001f1f7") & set(trained.stderr.decode("utf-8"))


def test_an_encoding_that_was_asked_for_goes_before(tmp_path: Path) -> None:
    (tmp_path / "flag.txt").write_text(f"{FLAG}\n" * 30, encoding="utf-8")
    done = elsewhere("tokenize", str(tmp_path / "flag.txt"), PYTHONIOENCODING="latin-1")
    assert " \xe9 " in done.stdout.decode("latin-1")
    assert r"\U0001f1eb" in done.stdout.decode("latin-1")


def test_a_terminal_gets_what_its_encoding_has(tmp_path: Path) -> None:
    (tmp_path / "flag.txt").write_text(f"{FLAG}\n" * 30, encoding="utf-8")
    _, lines = on_a_terminal("tokenize", str(tmp_path / "flag.txt"), **ASCII)
    assert any(r"\U0001f1eb" in line for line in lines)


def test_info_says_how_the_text_was_read(
    train: Callable[..., Outcome], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "windows.txt").write_bytes(english(60).replace("\n", "\r\n").encode())
    train("windows.txt", "--mode", "sentence", "--steps", "3", "-q")
    assert "line ends lf, validation on lines from all over it" in page("info", "windows")
