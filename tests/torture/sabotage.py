"""Ways to break charlm on purpose: a torture that finds nothing then proves nothing."""

import os
from collections.abc import Callable
from typing import Any

from charlm.system import files


def _torn_replace() -> None:
    """A rename that copies: half of the bytes, then the rest, as a write in place does."""
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        if os.path.isdir(source):
            original(source, target)
            return
        with open(source, "rb") as old, open(target, "wb", buffering=0) as new:
            data = old.read()
            new.write(data[: len(data) // 2])
            new.write(data[len(data) // 2 :])
        os.unlink(source)

    _put_in_place(replace, "replace", "rename")


def _stale_replace() -> None:
    """A rename that does nothing where there is a file already: the first state saved is the last."""
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        if os.path.exists(target):
            os.unlink(source)
        else:
            original(source, target)

    _put_in_place(replace, "replace", "rename")


class _WithoutFsync:
    """The module `os` as it is at the time, but that nothing is made safe."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """Who watches `os` sees nothing of this, as it sees nothing of a call that was forgotten."""


def _no_fsync() -> None:
    """charlm forgets to make anything safe."""
    setattr(files, "os", _WithoutFsync())  # noqa: B010 (mypy knows it as a module)


def _put_in_place(function: Callable[..., None], *names: str) -> None:
    for name in names:
        setattr(os, name, function)


SABOTAGE = {"torn": _torn_replace, "stale": _stale_replace, "fsync": _no_fsync}
