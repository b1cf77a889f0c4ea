"""What comes from a text, a run or a path is shown as it is, and steers no terminal."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.cli.app import main
from charlm.cli.console import literal
from charlm.errors import RunError
from charlm.text.visible import visible
from tests.conftest import TINY
from tests.mutations import reseal

MARKUP = "[bold]x[/] [/] :smile: [link=file:///]y"
STEERING = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08\u202eevil\u2066"
ESCAPED = r"\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08\u202eevil\u2066"


@pytest.fixture
def charlm(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    def run(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["charlm", *arguments])
        with pytest.raises(SystemExit):
            main()
        captured = capfd.readouterr()
        return captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a text of control characters and markup, in a folder with such a name."""
    import charlm as package

    folder = tmp_path_factory.mktemp("odd")
    (folder / f"{MARKUP.replace('/', '|')}.txt").write_text(f"{STEERING}\n{MARKUP}\n" * 60, newline="")
    corpus = next(folder.glob("*.txt"))
    name = str(folder / f"run {STEERING} {MARKUP.replace('/', '|')}")
    return Path(package.train(corpus, run=name, **{**TINY, "steps": 30, "bptt": 9}).run)


def steers(text: str) -> bool:
    return any(c in text for c in "\x1b\x07\x08\r\x7f\x9b\u202e\u2066")


def test_what_steers_a_terminal_is_shown_by_its_escape() -> None:
    assert visible(STEERING) == ESCAPED
    assert visible("é\t\n東 \ud800\u202a\u2069\u2028") == "é\t\n東 \\ud800\\u202a\\u2069\u2028"
    assert "\\[bold]" in literal(MARKUP)


@pytest.mark.parametrize(
    "arguments",
    [
        ("info",),
        ("info", "RUN"),
        ("verify", "RUN"),
        ("plot", "RUN", "--what", "all"),
        ("plot", "RUN", "--follow"),
        ("score", "--run", "RUN", MARKUP, STEERING),
        ("score", "--run", "RUN", "--per-token", STEERING + MARKUP),
        ("score", "--run", "RUN", "--next", "20"),
        ("tokenize", "--run", "RUN", "--text", MARKUP + STEERING),
        ("tokenize", "CORPUS"),
        ("info", "no such " + STEERING + MARKUP),
        ("tokenize", "no such " + STEERING + MARKUP),
    ],
    ids=lambda arguments: " ".join(arguments)[:24],
)
def test_no_command_interprets_what_it_shows(
    arguments: tuple[str, ...],
    odd_run: Path,
    charlm: Callable[..., tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(odd_run, tmp_path / "runs" / odd_run.name)
    corpus = next(odd_run.parent.glob("*.txt"))
    out, err = charlm(*(str(odd_run) if a == "RUN" else str(corpus) if a == "CORPUS" else a for a in arguments))
    assert not steers(out + err)
    if arguments[0] == "info" or MARKUP in arguments:
        assert "[bold]x[" in out + err
        assert ":smile:" in out + err


@pytest.mark.parametrize("command", ["info", "verify", "tokenize"])
def test_json_has_no_control_character_as_it_stands(
    command: str, odd_run: Path, charlm: Callable[..., tuple[str, str]]
) -> None:
    arguments = ("--run", str(odd_run), "--text", STEERING) if command == "tokenize" else (str(odd_run),)
    out, _ = charlm(command, *arguments, "--json")
    assert not set(out) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    assert STEERING in str(json.loads(out)) or STEERING in json.loads(out).get("text", json.loads(out).get("run"))


def test_an_error_s_text_is_no_markup(capfd: pytest.CaptureFixture[str]) -> None:
    from charlm.cli.console import say, show_error

    show_error(RunError(MARKUP, STEERING, MARKUP))
    say(STEERING + MARKUP)
    shown = capfd.readouterr().err
    assert shown.count(MARKUP) == 3
    assert shown.count(ESCAPED) == 2


def test_names_and_versions_of_a_run_are_no_markup(
    trained: Callable[[str], Path], tmp_path: Path, charlm: Callable[..., tuple[str, str]]
) -> None:
    run = Path(shutil.copytree(trained("char"), tmp_path / "run"))
    config = json.loads((run / "config.json").read_bytes())
    config |= {"charlm": MARKUP, "created": STEERING, "command": "charlm train [bold]", "versions": {MARKUP: STEERING}}
    config["corpus"] |= {"name": MARKUP + STEERING, "sha256": "5ea1" * 16}
    (run / "config.json").write_text(json.dumps(config) + "\n")
    reseal(run)
    out, err = charlm("info", str(run))
    assert not steers(out + err)
    for shown in (MARKUP, ESCAPED, "charlm train [bold]", "sha256 5ea15ea1", "seed"):
        assert "".join(shown.split()) in "".join(out.split())


# On a terminal


def on_a_terminal(*arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charlm", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"}):
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # the other end was closed
            pass
    os.close(ours)
    return written.decode()


def test_a_sample_is_escaped_on_a_terminal_unless_it_is_to_be_raw(
    odd_run: Path, charlm: Callable[..., tuple[str, str]]
) -> None:
    arguments = ("sample", "--run", str(odd_run), "--prompt", STEERING, "--length", "5", "--seed", "1", "-q")
    piped, _ = charlm(*arguments)
    assert piped.startswith(STEERING)
    assert on_a_terminal(*arguments).startswith(ESCAPED)
    assert on_a_terminal(*arguments, "--raw").startswith(STEERING)
