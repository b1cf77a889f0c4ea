"""Which runs there are, and which one answers where none is named."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from charlm.errors import RunError
from charlm.runs.directory import BEST, CONFIG, RUNS, RunDirectory, unchecked_config


def find_run(name: str | None, *, saved: bool = True) -> Path:
    """The folder of the run `name` (a path, or a name under runs/), or the first of `list_runs`. Raises RunError."""
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
    """All usable runs under runs/, the one saved last first; hidden folders are drafts, and no runs yet.

    What counts is the moment that is written inside; of those of one moment, copies, the first by name comes first.
    Without `saved` those that have saved nothing are there, too, and first is the one that began or saved last.
    """
    found = [RunDirectory(path) for path in sorted(RUNS.glob("[!.]*")) if _has_config(path)]
    found = [run for run in found if run.has(BEST) or not saved]
    earliest = datetime.min.replace(tzinfo=UTC)
    return [run.path for run in sorted(found, key=lambda run: run.saved_at or earliest, reverse=True)]


def about_copies(path: Path) -> Iterator[str]:
    """What is to be said of a run that answers without being named: others under runs/ can be the same, by their id."""
    run_id = unchecked_config(path).get("run_id")
    for other in sorted(list_runs()):
        if other != path and run_id and unchecked_config(other).get("run_id") == run_id:
            yield f"{other} is a copy of the same run; {path} answers, --run names another"


def _has_config(path: Path) -> bool:
    """Whether there is a config.json, of whatever kind; reading it finds out."""
    return os.path.lexists(path / CONFIG)
