"""Which functions of charlm are on the call stack when something happens for the first time in a command.

The commands run in a checkout of any age, each in a process of its own, on a small corpus in a temporary folder; the
checkout is not changed. There this same file is the program: it patches what the moment is recognised by (the
backward pass of torch, writing to stdout), runs the command, and leaves the process at that moment.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

LINE = "The cat, which saw the dogs, was asleep, and the dogs were not.\n"
NUM_LINES = 300
# Where a network is computed, and the two methods that do it
NETWORK_ROOMS, NETWORK_CALLS = ("engine/", "model/"), ("step", "logprobs")
TRAINED_ROOMS = ("model/", "network/", "cells/")
# Python 3.11 gives comprehensions a frame of their own and later versions do not: they count as their function.
COMPREHENSIONS = re.compile(r"(\.<(locals|listcomp|setcomp|dictcomp|genexpr)>)+$")


@dataclass(frozen=True)
class Moment:
    """What is waited for (one of `WATCHES`) in which command."""

    name: str
    watch: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """The functions of charlm on a call stack, outermost first, each as `file:function` and only once."""

    moment: str
    functions: list[str]

    @property
    def files(self) -> list[str]:
        """Each file once, in the order in which the stack first comes to it."""
        return list(dict.fromkeys(function.split(":")[0] for function in self.functions))


MOMENTS = (
    Moment("first backward pass of `charlm train`", "backward", ("train", "corpus.txt")),
    Moment("deepest call of the network before that pass", "network before backward", ("train", "corpus.txt")),
    Moment("first character of `charlm sample`", "character", ("sample",)),
    Moment("last call of the network before that character", "network before character", ("sample",)),
    Moment('number of `charlm score "a sentence"`', "number", ("score", "a sentence")),
    Moment("last call of the network before that number", "network before number", ("score", "a sentence")),
)
MAKE_RUN = ("train", "corpus.txt", "--steps", "1")


def read_stacks(checkout: Path) -> list[Stack]:
    """The stack at each of `MOMENTS`. Raises RuntimeError if a command fails or its moment never comes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus.txt").write_text(LINE * NUM_LINES, encoding="utf-8")
        _run(checkout, folder, "nothing", MAKE_RUN)
        return [_read_stack(checkout, folder, moment) for moment in MOMENTS]


def read_training_stacks(checkout: Path, *options: str) -> list[Stack]:
    """The stacks of the moments of `charlm train`, which need no run. Raises RuntimeError as `read_stacks` does.

    `options` are further ones of the command, such as those that make a network small.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus.txt").write_text(LINE * NUM_LINES, encoding="utf-8")
        return [_read_stack(checkout, folder, moment, options) for moment in MOMENTS if moment.command[0] == "train"]


def _read_stack(checkout: Path, folder: Path, moment: Moment, options: tuple[str, ...] = ()) -> Stack:
    return Stack(moment.name, _run(checkout, folder, moment.watch, (*moment.command, *options)))


def _run(checkout: Path, folder: Path, watch: str, command: tuple[str, ...]) -> list[str]:
    result = folder / "stack.json"
    result.write_text("[]", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHARLM_")}
    environment |= {"PYTHONPATH": str(checkout.resolve()), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, __file__, watch, result, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    functions: list[str] = json.loads(result.read_text(encoding="utf-8"))
    if done.returncode or not (functions or watch == "nothing"):
        raise RuntimeError(f"charlm {' '.join(command)} in {checkout}: no {watch} came\n{done.stderr}")
    return functions


# In the process of the command


@dataclass
class Recorder:
    """Writes the functions of the package on the stack to a file, and ends the process."""

    package: Path
    result: Path

    def leave(self, functions: list[str]) -> None:
        self.result.write_text(json.dumps(functions), encoding="utf-8")
        os._exit(0)

    def functions(self, frame: FrameType | None) -> list[str]:
        found: list[str] = []
        while frame is not None:
            if file := self.file(frame):
                found.append(f"{file}:{COMPREHENSIONS.sub('', frame.f_code.co_qualname)}")
            frame = frame.f_back
        return list(dict.fromkeys(reversed(found)))

    def file(self, frame: FrameType) -> str | None:
        """The frame's file within the package, if it is there."""
        return _file_within(self.package, frame.f_code.co_filename)


@cache  # asked at every call of every function
def _file_within(package: Path, name: str) -> str | None:
    path = Path(name)
    return path.relative_to(package).as_posix() if path.is_relative_to(package) else None


def watch_nothing(_: Recorder) -> None:
    """Let the command run to its end."""


def watch_backward(recorder: Recorder) -> None:
    """Leave at the first backward pass."""
    call_at_backward(lambda: recorder.leave(recorder.functions(sys._getframe())))


def watch_network_before_backward(recorder: Recorder) -> None:
    """Leave at the first backward pass, with the deepest stack of the network before that."""
    deepest: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest
        if event == "call" and (recorder.file(frame) or "").startswith(TRAINED_ROOMS):
            deepest = max(deepest, recorder.functions(frame), key=len)

    call_at_backward(lambda: recorder.leave(deepest))
    sys.setprofile(profile)


def call_at_backward(leave: Callable[[], None]) -> None:
    """Call `leave` at a backward pass: `Tensor.backward` calls the function that is replaced here."""
    import torch

    def backward(*_: Any, **__: Any) -> None:
        leave()

    torch.autograd.backward = backward


def watch_writing(pattern: str, leave: Callable[[], None]) -> None:
    """Call `leave` when something is written to stdout, as text or as bytes, in which the pattern is found."""

    def watched(write: Callable[[Any], int]) -> Callable[[Any], int]:
        def watching(text: Any) -> int:
            if re.search(pattern, text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")):
                leave()
            return write(text)

        return watching

    for stream in (sys.stdout, sys.stdout.buffer):
        stream.write = watched(stream.write)  # type: ignore[method-assign]


def watch_text(pattern: str) -> Callable[[Recorder], None]:
    """Leave when the pattern is written."""

    def watch(recorder: Recorder) -> None:
        watch_writing(pattern, lambda: recorder.leave(recorder.functions(sys._getframe())))

    return watch


def watch_network(pattern: str) -> Callable[[Recorder], None]:
    """Leave when the pattern is written, with the stack of the last call of the network before that."""

    def watch(recorder: Recorder) -> None:
        last: list[str] = []

        def profile(frame: FrameType, event: str, _: object) -> None:
            nonlocal last
            is_call = event == "call" and frame.f_code.co_name in NETWORK_CALLS
            if is_call and (recorder.file(frame) or "").startswith(NETWORK_ROOMS):
                last = recorder.functions(frame)

        watch_writing(pattern, lambda: recorder.leave(last))
        sys.setprofile(profile)

    return watch


WATCHES: dict[str, Callable[[Recorder], None]] = {
    "nothing": watch_nothing,
    "backward": watch_backward,
    "network before backward": watch_network_before_backward,
    "character": watch_text("(?s)."),
    "number": watch_text(r"\d"),
    "network before character": watch_network("(?s)."),
    "network before number": watch_network(r"\d"),
}


def main() -> None:
    _, watch, result, *command = sys.argv
    import charlm
    from charlm.cli.app import main as run_command

    package, checkout = Path(charlm.__file__).parent, Path(os.environ["PYTHONPATH"])
    if package.parent != checkout:
        sys.exit(f"charlm was imported from {package.parent}, not from {checkout}")
    sys.argv = ["charlm", *command]
    WATCHES[watch](Recorder(package, Path(result)))
    run_command()


if __name__ == "__main__":
    main()
