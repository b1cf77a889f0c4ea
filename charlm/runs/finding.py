"""Which runs exist, and which of them is used when none is named."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from charlm.errors import RunError
from charlm.runs.directory import BEST, CONFIG, RUNS, RunDirectory, unchecked_config


def find_run(name: str | None, *, saved: bool = True) -> Path:
    """The folder of the run `name` (a path, or a name under runs/); without a name, the run saved last.

    Without `saved`, runs that have not saved anything yet count too. Raises RunError when there is no such run.
    """
    if name is None:
        found = list_runs(saved=saved)
        if not found:
            raise RunError("there is no trained model yet", f"{RUNS}/", "train one: charlm train corpus.txt")
        return found[0]
    for path in (Path(name), RUNS / name):
        if _has_config(path):
            return path
    known = ", ".join(path.name for path in list_runs()[:5])
    raise RunError(f"no run {name!r}", f"neither {name} nor {RUNS / name}", f"runs here: {known or 'none'}")


def list_runs(*, saved: bool = True) -> list[Path]:
    """All usable runs under runs/, the run saved last first. Hidden folders are left out: they are unfinished drafts.

    The order follows the time written in the weights files; copies of a run have equal times and are sorted by name.
    Without `saved`, runs that have not saved anything yet are listed too, ordered by the time when they were created.
    """
    found = [RunDirectory(path) for path in sorted(RUNS.glob("[!.]*")) if _has_config(path)]
    found = [run for run in found if run.has(BEST) or not saved]
    earliest = datetime.min.replace(tzinfo=UTC)
    return [run.path for run in sorted(found, key=lambda run: run.saved_at or earliest, reverse=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The names of the runs' folders, or their whole paths when two of the names are equal."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def about_copies(path: Path) -> Iterator[str]:
    """Notes for a run that was chosen without being named: which other folders under runs/ hold a copy of it."""
    run_id = unchecked_config(path).get("run_id")
    for other in sorted(list_runs()):
        if other != path and run_id and unchecked_config(other).get("run_id") == run_id:
            yield f"{other} is a copy of the same run; using {path}; choose the other with --run"


def _has_config(path: Path) -> bool:
    """Whether there is a config.json; that it can be read is checked later."""
    return os.path.lexists(path / CONFIG)
