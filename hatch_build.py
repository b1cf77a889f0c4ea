"""Compiles the C code of charlm with an ordinary C compiler. Where there is none, charlm works all the same, slower."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path(__file__).resolve().parent / "charlm"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-Wno-psabi", "-shared", "-fPIC")


@dataclass(frozen=True)
class Library:
    """A library, and the sources whose fingerprint it holds, of which the first one is compiled."""

    path: Path
    sources: tuple[Path, ...]

    def source_number(self) -> int:
        """The same as that of `charlm.system.libraries`."""
        return int(hashlib.sha256(b"".join(source.read_bytes() for source in self.sources)).hexdigest()[:15], 16)


LSTM = Library(PACKAGE / "engine" / "lstm.so", (PACKAGE / "engine" / "lstm.c", PACKAGE / "engine" / "kernels.h"))
NGRAM = Library(PACKAGE / "ngram" / "ngram.so", (PACKAGE / "ngram" / "ngram.c",))


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled code to the wheel, which is then one for this kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        failures = [failure for library in (LSTM, NGRAM) for failure in compile_library(library)]
        built = [library.path for library in (LSTM, NGRAM) if library.path.exists()]
        if not built:
            self.app.display_warning(f"charlm: no working C compiler was found, so sampling will be slower {failures}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        root = Path(self.root).resolve()
        build_data["artifacts"].extend(f"/{path.relative_to(root).as_posix()}" for path in built)


def compile_library(library: Library) -> list[str]:
    """Put the library in place, whole, or leave none there; what each compiler had to say that failed."""
    draft, failures = library.path.with_suffix(f".{os.getpid()}"), []
    library.path.unlink(missing_ok=True)
    try:
        for compiler in _compilers():
            failure = _compile(library, compiler, draft)
            if failure is None:
                draft.replace(library.path)
                break
            failures.append(failure)
    finally:
        draft.unlink(missing_ok=True)
    return failures


def _compilers() -> Iterator[list[str]]:
    named = os.environ.get("CC")
    yield from [shlex.split(named)] if named else ([name] for name in COMPILERS if shutil.which(name))


def _compile(library: Library, compiler: list[str], draft: Path) -> str | None:
    """None, or why this compiler makes nothing that can be used here."""
    named = f"-DCHARLM_SOURCE={library.source_number()}"
    command = [*compiler, *FLAGS, named, "-o", str(draft), str(library.sources[0]), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{compiler[0]}: {done.stderr.strip()[-200:]}"
        ctypes.CDLL(str(draft)).charlm_source()
    except (OSError, AttributeError) as error:
        return f"{compiler[0]}: {error}"
    return None
