"""The real commands, each in a process of its own.

Importing torch takes seconds, so one process imports everything once and forks the others, before any thread was made;
some are quite fresh all the same.
"""

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120.0  # seconds until a command counts as hung
HUNG = -1000
IMPORTED = (
    "charlm.cli.app",
    "charlm.cli.train",
    "charlm.cli.score",
    "charlm.api",
    "charlm.lifecycle.creation",
    "charlm.lifecycle.resuming",
    "charlm.scoring.loading",
    "charlm.cli.progress",
    "safetensors.numpy",
    "filelock",
    "pydantic",
    "torch._dynamo",  # the optimizer imports it at its first step
)
Setup = Callable[[], object]


def warm_up() -> None:
    """Import what the commands will."""
    os.environ.update(OMP_NUM_THREADS="1", CHARLM_THREADS="1")
    os.environ.pop("CHARLM_DEBUG", None)
    for name in IMPORTED:
        importlib.import_module(name)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, or minus the signal that killed it."""

    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"exit {self.code}: {' / '.join(self.err.strip().splitlines()[-3:])}"


class Running:
    """A command that was started."""

    def __init__(self, pid: int, said: Path) -> None:
        self.pid, self._said, self._began = pid, said, time.monotonic()
        self._code: int | None = None

    @property
    def out(self) -> str:
        return self._said.with_suffix(".out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._said.with_suffix(".err").read_text(errors="replace")

    def ended(self) -> bool:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None

    def send(self, number: int) -> None:
        if not self.ended():
            os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Outcome:
        if not self.until(self.ended, patience):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._code = HUNG
        assert self._code is not None
        return Outcome(self._code, self.out, self.err, time.monotonic() - self._began)

    def until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Wait for something, or for the command's end; whether it came about."""
        deadline = time.monotonic() + patience
        while not (met := condition()) and time.monotonic() < deadline and not self.ended():
            time.sleep(0.003)
        return met or condition()


def start(home: Path, *arguments: str, setup: Setup | None = None, fresh: bool = False, number: int = 0) -> Running:
    """Start `charlm ARGUMENTS` in the folder `home`; `setup` is called in its process first, unless that is fresh.

    Of several commands at a time in one home, each has a `number`: what it says is kept apart by that.
    """
    said = home.with_name(f"{home.name}-{number}.said") if number else home.with_suffix(".said")
    for suffix in (".out", ".err"):
        said.with_suffix(suffix).write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(home, said, arguments, setup, fresh)
    return Running(pid, said)


def run(home: Path, *arguments: str, setup: Setup | None = None, fresh: bool = False) -> Outcome:
    return start(home, *arguments, setup=setup, fresh=fresh).wait()


def _become(home: Path, said: Path, arguments: tuple[str, ...], setup: Setup | None, fresh: bool) -> None:
    """In the child: be that command, and end."""
    code = 1
    try:
        for descriptor, path in enumerate((Path(os.devnull), said.with_suffix(".out"), said.with_suffix(".err"))):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
        os.chdir(home)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and what it starts inherits that
        if fresh:
            os.execv(sys.executable, [sys.executable, "-m", "charlm", *arguments])
        if setup is not None:
            setup()
        code = _command(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(arguments: tuple[str, ...]) -> int:
    from charlm.cli.app import main

    sys.argv = ["charlm", *arguments]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
