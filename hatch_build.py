"""Compiles charlm/engine/lstm.c with an ordinary C compiler. Where there is none, charlm works all the same, slower."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path(__file__).parent / "charlm" / "engine" / "lstm.c"
LIBRARY = SOURCE.with_suffix(".so")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-Wno-psabi", "-shared", "-fPIC")
# Some C libraries cannot choose between versions of a function when a program starts.
ATTEMPTS: tuple[tuple[str, ...], ...] = ((), ("-DCHARLM_ONE_TARGET",))


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled code to the wheel, which is then one for this kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if not compiled():
            self.app.display_warning("charlm: no C compiler that works here; sampling will be slower")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(Path(self.root).resolve()).as_posix()}")


def compiled() -> bool:
    """Whether some compiler could do it; the library is put in place whole, or not at all."""
    draft = LIBRARY.with_suffix(f".{os.getpid()}")
    named = os.environ.get("CC")
    try:
        for compiler in [named] if named else filter(shutil.which, COMPILERS):
            for attempt in ATTEMPTS:
                command = [*str(compiler).split(), *FLAGS, *attempt, "-o", str(draft), str(SOURCE), "-lm"]
                if _succeeds(command):
                    draft.replace(LIBRARY)
                    return True
    finally:
        draft.unlink(missing_ok=True)
    LIBRARY.unlink(missing_ok=True)
    return False


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
