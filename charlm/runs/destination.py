"""Where a new run goes, and what it may replace there: nothing that a person could miss."""

import os
from pathlib import Path

from charlm.errors import ResourceError, UsageError
from charlm.runs.directory import BEST, CONFIG, CORPUS, INITIAL, LAST, MANIFEST, PREVIOUS, RUNS
from charlm.runs.log import METRICS
from charlm.system.files import TEMPORARY

TOKENIZER = {"tokenizer.json", "tokenizer.model"}
WEIGHTS = {f"{kind}.safetensors" for kind in (BEST, LAST, PREVIOUS, INITIAL)}
OF_A_RUN = {CONFIG, MANIFEST, METRICS, ".lock", ".lock.holder", *TOKENIZER, *WEIGHTS}
OF_A_CORPUS = {MANIFEST, "train.ids", "valid.ids", "test.ids", *TOKENIZER}


def new_run_path(name: str | None, corpus_name: str, force: bool) -> Path:
    """Where a new run goes: the path given, or runs/<corpus name>, -2, -3 ...

    Raises UsageError when it is taken: unless with `force` by a run, damaged or not, that nothing else is kept in.
    """
    if name is None:
        return _free_path(corpus_name)
    path = Path(name) if os.sep in name else RUNS / name
    _refuse_containing_folders(path, name)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        refuse_what_is_there(path, force)
    return path


def _free_path(corpus_name: str) -> Path:
    candidates = (RUNS / (corpus_name if n == 1 else f"{corpus_name}-{n}") for n in range(1, 10_000))
    free = next((path for path in candidates if not path.exists()), None)
    if free is None:
        raise ResourceError("too many runs of this name", str(RUNS / corpus_name), "name this one with --run")
    return free


def _refuse_containing_folders(path: Path, name: str) -> None:
    """A run takes the whole of its folder, so that may not be one that others live in: `--run ..` is a slip."""
    place, runs, here = (Path(os.path.realpath(one)) for one in (path, RUNS, Path()))
    if place in {runs, *runs.parents, here, *here.parents}:
        what = f"--run {name!r} is no place for a run: it is {RUNS}/, the working directory, or above it"
        raise UsageError(what, str(place), f"give a name, and the run will be {RUNS}/NAME")


def refuse_what_is_there(path: Path, force: bool) -> None:
    """Raise UsageError unless a run is there, and nothing else, and it may be replaced."""
    taken = "there is something at this place already"
    if not path.is_dir() or not any(os.path.lexists(path / one) for one in (CONFIG, MANIFEST)):
        raise UsageError(taken, str(path), "choose another name")
    if not force:
        raise UsageError(taken, str(path), "--resume goes on with it, --force replaces it")
    if (foreign := _first_foreign(path)) is not None:
        what = "--force would delete more than a run"
        raise UsageError(what, str(foreign), "move it elsewhere, or choose another name")


def _first_foreign(path: Path) -> Path | None:
    """The first thing in a run's folder that charlm did not put there. Links count by their name: none is followed."""
    for one in sorted(path.iterdir()):
        if one.name == CORPUS and not one.is_symlink() and one.is_dir():
            foreign = next((inner for inner in sorted(one.iterdir()) if not _is_file_of(OF_A_CORPUS, inner)), None)
        else:
            foreign = None if _is_file_of(OF_A_RUN, one) else one
        if foreign is not None:
            return foreign
    return None


def _is_file_of(names: set[str], path: Path) -> bool:
    known = path.name in names or TEMPORARY.fullmatch(path.name) is not None
    return known and (path.is_symlink() or not path.is_dir())
