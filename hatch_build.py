"""Compiles charlm/engine/lstm.c with an ordinary C compiler. Where there is none, charlm works all the same, slower."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).resolve().parent / "charlm" / "engine"
SOURCES = ("lstm.c", "kernels.h")  # their fingerprint is `charlm.engine.compiled.source_number`
LIBRARY = FOLDER / "lstm.so"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-Wno-psabi", "-shared", "-fPIC")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled code to the wheel, which is then one for this kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        failures = compile_library()
        if not LIBRARY.exists():
            self.app.display_warning(f"charlm: no working C compiler was found, so sampling will be slower {failures}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(Path(self.root).resolve()).as_posix()}")


def compile_library() -> list[str]:
    """Put the library in place, whole, or leave none there; what each compiler had to say that failed."""
    draft, failures = LIBRARY.with_suffix(f".{os.getpid()}"), []
    LIBRARY.unlink(missing_ok=True)
    try:
        for compiler in _compilers():
            failure = _compile(compiler, draft)
            if failure is None:
                draft.replace(LIBRARY)
                break
            failures.append(failure)
    finally:
        draft.unlink(missing_ok=True)
    return failures


def _compilers() -> Iterator[list[str]]:
    named = os.environ.get("CC")
    yield from [shlex.split(named)] if named else ([name] for name in COMPILERS if shutil.which(name))


def _compile(compiler: list[str], draft: Path) -> str | None:
    """None, or why this compiler makes nothing that can be used here."""
    number = int(hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in SOURCES)).hexdigest()[:15], 16)
    command = [*compiler, *FLAGS, f"-DCHARLM_SOURCE={number}", "-o", str(draft), str(FOLDER / SOURCES[0]), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{compiler[0]}: {done.stderr.strip()[-200:]}"
        ctypes.CDLL(str(draft)).charlm_panel()
    except (OSError, AttributeError) as error:
        return f"{compiler[0]}: {error}"
    return None
