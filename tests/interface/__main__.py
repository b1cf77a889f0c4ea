"""`python -m tests.interface` writes down what scripts rely on, for `tests/test_interface.py`. Say in the log why.

`commands.txt` has every option and argument, `exit_codes.txt` the exit codes, `json.txt` the keys that `--json` writes,
and `extras.txt` the optional dependencies.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import typer.main

from charlm import errors
from charlm.cli.app import EXIT_CODES, app_with
from charlm.cli.app import main as charlm_main
from charlm.errors import CharlmError
from tests.conftest import TINY, english

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KINDS = {bool: "flag", str: "text", Path: "path", int: "integer", float: "number"}
JSON_TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", dict: "object", list: "array"}
TINY_FLAGS = tuple(f"--{name.replace('_', '-')}={value}" for name, value in TINY.items())
EVERY = ("--eval-every=2", "--save-every=2", "--sample-every=2", "--hidden-size=8")
# What is run for its JSON: a title, and the commands whose records belong together.
JSON_COMMANDS: dict[str, Sequence[Sequence[str]]] = {
    "train --dry-run": [["train", "corpus.txt", "--dry-run", "--steps=2", *TINY_FLAGS]],
    "train": [
        ["train", "corpus.txt", "--run=chars", "--steps=4", *TINY_FLAGS],
        ["train", "corpus.txt", "--run=words", "--unit=word", "--mode=sentence", "--steps=4", *TINY_FLAGS],
        ["train", "corpus.txt", "--run=further", "--init-from=chars", "--test=corpus.txt", "--steps=4"],
        ["train", "corpus.txt", "--run=unchecked", "--valid-fraction=0", "--epochs=0.1", "--clip-value=1", *EVERY],
    ],
    "sample": [["sample", "--run=chars", "--length=9", "--num-samples=2"], ["sample", "--run=chars", "--until-eos"]],
    "sample --per-token": [["sample", "--run=chars", "--length=9", "--per-token"]],
    "score SENTENCES": [["score", "The cat", "the ☃", "--run=chars"], ["score", "The cat", "--run=words"]],
    "score SENTENCES, several runs": [["score", "The cat", "--run=chars", "--run=words"]],
    "score SENTENCES --per-token": [["score", "The ☃", "--per-token", "--run=chars"]],
    "score SENTENCES with bytes that are no UTF-8": [["score", "caf\udce9", "--run=chars"]],
    "score --file": [["score", "--file=lines.txt", "--run=chars"]],
    "score --file, several files and runs": [
        ["score", "--file=lines.txt", "--file=more.txt", "--run=chars", "--run=words"]
    ],
    "score --stream": [["score", "--stream=corpus.txt", "--run=chars"]],
    "score --next": [["score", "--next=3", "--context=The", "--run=chars"]],
    "info": [["info"], ["info", "chars"]],
    "verify": [["verify", "chars"]],
    "inspect --gradients": [["inspect", "chars", "words", "--gradients=The cat sees it."]],
    "inspect --clipping": [["inspect", "chars", "unchecked", "--clipping"]],
    "inspect --states": [["inspect", "chars", "--states=The cat", "--neuron=1"]],
    "inspect --states --find": [["inspect", "chars", "--states=The cat sees the sea and the pear.", "--find"]],
    "inspect --agreement": [["inspect", "chars", "--agreement=pairs.tsv"]],
    "inspect --embeddings": [["inspect", "words", "--embeddings", "--symbol=the"]],
    "plot": [["plot", "chars", "--what=all"], ["plot", "chars", "words", "--over=time"]],
    "plot --follow": [["plot", "chars", "--follow"]],
    "report": [["report", "chars", "--output=report.html"]],
    "tokenize": [["tokenize", "corpus.txt"], ["tokenize", "corpus.txt", "-o", "tokens"]],
    "tokenize --text": [["tokenize", "--run=chars", "--text=The ☃"]],
    "cells": [["cells"]],
}
DIVERGING = ("--cell=rnn_relu", "--learning-rate=10000", "--clip-norm=1000000", "--optimizer=sgd", "--num-layers=2")
# Commands that end in another way than with 0, in the folder of `a_place`.
FAILING: Sequence[Sequence[str]] = (
    ["--version"],
    ["train"],
    ["train", "corpus.txt", "--dropout=1.5"],
    ["train", "corpus.txt", "--colour=red"],
    ["train", "missing.txt"],
    ["train", "one-symbol.txt"],
    ["train", "latin-1.txt"],
    ["train", "corpus.txt", "--run=diverges", "--steps=99", "--hidden-size=8", *DIVERGING],
    ["train", "corpus.txt", "--run=/proc/nowhere/x"],
    ["sample", "--run=nowhere"],
    ["score", "The cat", "--run=damaged"],
    ["verify", "damaged"],
    ["plot", "nowhere"],
    ["plot", "damaged", "--output=chart.pdf"],
    ["report", "damaged", "--output=report.html"],
)
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Ended(NamedTuple):
    code: int
    out: str


def charlm(*arguments: str) -> Ended:
    """Run one command in this process."""
    out = io.StringIO()
    with mock.patch.object(sys, "argv", ["charlm", *arguments]), redirect_stdout(out), redirect_stderr(io.StringIO()):
        try:
            charlm_main()
        except SystemExit as ended:
            return Ended(int(ended.code or 0), out.getvalue())
    return Ended(0, out.getvalue())


@contextmanager
def a_place() -> Iterator[None]:
    """A folder of its own with some small texts, and no settings in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHARLM_")}
    with (
        tempfile.TemporaryDirectory() as folder,
        chdir(folder),
        mock.patch.dict(os.environ, {**kept, "CHARLM_THREADS": "1"}, clear=True),
    ):
        Path("corpus.txt").write_text(english(210), encoding="utf-8")
        Path("lines.txt").write_text("The cat\na dog\n", encoding="utf-8")
        Path("more.txt").write_text("the sea\n", encoding="utf-8")
        Path("pairs.tsv").write_text("good\tbad\tdistance\nthe cat\tthe cta\t0\n", encoding="utf-8")
        Path("one-symbol.txt").write_text("aaaaaaaaaaaaaaaa", encoding="utf-8")
        Path("latin-1.txt").write_bytes(b"abc def\n\xe9t\xe9\n")
        yield


# Commands


def commands() -> list[str]:
    """A line for each command, and one for each of its arguments and options: names, kind, choices, repeated or not."""
    group = typer.main.get_command(app_with())
    assert isinstance(group, typer.core.TyperGroup)
    context = group.make_context("charlm", ["info"], resilient_parsing=True)
    lines = _parameters("charlm", group, context)
    for name, command in group.commands.items():
        lines.append(f"charlm {name}")
        lines += _parameters(f"charlm {name}", command, command.make_context(name, [], context, resilient_parsing=True))
    return lines


def _parameters(title: str, command: Any, context: Any) -> list[str]:
    hints = typing.get_type_hints(command.callback)
    return sorted(f"{title} {_parameter(each, hints.get(each.name, bool))}" for each in command.get_params(context))


def _parameter(parameter: Any, hint: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    names = parameter.name.upper() if is_argument else ", ".join(sorted([*parameter.opts, *parameter.secondary_opts]))
    notes = ["required"] if parameter.required else []
    if parameter.nargs != 1 or getattr(parameter, "multiple", False):
        notes.append("may be repeated")
    return f"{names}: {', '.join([_kind(hint), *notes])}"


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list:
        (hint,) = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {' | '.join(typing.get_args(hint))}"
    return KINDS[hint]


# Exit codes


def exit_codes() -> list[str]:
    """What each code means by `--help`, which error has it, and what commands that can be tried quickly end with."""
    meanings = re.search(r"^(0 .*)\.$", EXIT_CODES, re.MULTILINE)
    assert meanings
    lines = [f"--help: {meaning}" for meaning in meanings[1].split("; ")]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CharlmError)]
    lines += [f"{kind.__name__}: {kind.exit_code}" for kind in kinds]
    with a_place():
        charlm("train", "corpus.txt", "--run=damaged", "--steps=2", *TINY_FLAGS)
        lines += [f"{_signalled(number)}: {number.name} while charlm score - waits" for number in SIGNALS]
        Path("runs/damaged/best.safetensors").write_bytes(b"damaged")
        lines += [f"{charlm(*arguments).code}: charlm {' '.join(arguments)}" for arguments in FAILING]
        with mock.patch("charlm.cli.cells.out.print", side_effect=ZeroDivisionError):  # any fault will do
            lines.append(f"{charlm('cells').code}: a fault in charlm itself")
    return lines


def _signalled(number: signal.Signals) -> int:
    """The exit code of a command that waits for standard input when the signal comes, as a shell gives it."""
    command = [sys.executable, "-m", "charlm", "score", "-", "--run=damaged", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # which nohup and a shell's `&` would have ignored
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"The cat\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(number)
        return process.wait(timeout=60)


# JSON


def json_keys() -> list[str]:
    """Each key that a command writes with `--json`, with those around it, and the types of its values.

    A question mark stands behind a key that only some of the objects have, `[]` for the items of an array.
    """
    lines = []
    with a_place():
        for title, runs in JSON_COMMANDS.items():
            records = [json.loads(line) for run in runs for line in _written(run)]
            lines += [f"{title}: {line}" for line in _by_event(records)]
    return lines


def _written(arguments: Sequence[str]) -> list[str]:
    ended = charlm(*arguments, "--json")
    assert ended.code == 0, (arguments, ended)
    return ended.out.splitlines()


def _by_event(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The keys of some objects; those of events, totals and scores apart."""
    groups = defaultdict(list)
    for record in records:
        kind = f"event {record['event']}: " if "event" in record else "total: " if "total" in record else ""
        groups[kind].append(record)
    for kind, alike in groups.items():
        yield from (f"{kind}{line}" for line in _keys(alike))


def _keys(objects: Sequence[dict[str, Any]], around: str = "") -> Iterator[str]:
    names = dict.fromkeys(name for each in objects for name in each)
    for name in names:
        values = [each[name] for each in objects if name in each]
        yield from _describe(values, f"{around}{name}{'?' if len(values) < len(objects) else ''}")


def _describe(values: Sequence[Any], path: str) -> Iterator[str]:
    kinds = sorted({JSON_TYPES[type(value)] for value in values if value is not None})
    kinds += ["null"] if None in values else []
    yield f"{path}: {' or '.join(kinds)}"
    if inner := [value for value in values if isinstance(value, dict)]:
        yield from _keys(inner, f"{path}.")
    if items := [item for value in values if isinstance(value, list) for item in value]:
        yield from _describe(items, f"{path}[]")


# Extras


def extras() -> list[str]:
    """The names that `pip install 'charlm[...]'` knows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["optional-dependencies"])


FILES: dict[str, Callable[[], list[str]]] = {
    "commands": commands,
    "exit_codes": exit_codes,
    "json": json_keys,
    "extras": extras,
}


def read(name: str) -> list[str]:
    """The lines of one of the files."""
    return (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def main() -> None:
    for name, gather in FILES.items():
        (HERE / f"{name}.txt").write_text("".join(f"{line}\n" for line in gather()), encoding="utf-8")


if __name__ == "__main__":
    main()
