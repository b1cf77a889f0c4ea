"""Where a new run goes, and what it may replace there: never a file that somebody could miss."""

import os
from pathlib import Path

from charlm.corpus.labelled import EXAMPLES_FILES
from charlm.corpus.parts import TEST, VALID
from charlm.corpus.sources import TRAIN
from charlm.corpus.vocabularies import LABELS_FILE, SECOND
from charlm.errors import ResourceError, UsageError
from charlm.network.architecture import BACKWARD
from charlm.runs.directory import BEST, CONFIG, CORPUS, INITIAL, LAST, NGRAMS, PREVIOUS, RUNS
from charlm.runs.lock import HOLDER, LOCK
from charlm.runs.log import METRICS
from charlm.system.files import MANIFEST, TEMPORARY
from charlm.text.interface import MODEL_FILE, TOKENIZER_FILE

TOKENIZER_FILES = {TOKENIZER_FILE, MODEL_FILE, SECOND + TOKENIZER_FILE, SECOND + MODEL_FILE, LABELS_FILE}
WEIGHTS_FILES = {f"{kind}.safetensors" for kind in (BEST, LAST, PREVIOUS, INITIAL, BACKWARD + BEST, BACKWARD + INITIAL)}
RUN_FILES = {CONFIG, MANIFEST, METRICS, NGRAMS, LOCK, HOLDER, *TOKENIZER_FILES, *WEIGHTS_FILES}
CORPUS_FILES = {MANIFEST, TRAIN, VALID, TEST, *EXAMPLES_FILES, *TOKENIZER_FILES}


def new_run_path(name: str | None, corpus_name: str, force: bool) -> Path:
    """The folder for a new run: the given path or name; without one runs/CORPUS, or runs/CORPUS-2, -3 ...

    Raises UsageError when the path is taken. With `force` it may be taken by a run, even a damaged one, as long as its
    folder holds no other files.
    """
    if name is None:
        return _free_path(corpus_name)
    path = Path(name) if os.sep in name else RUNS / name
    _refuse_parent_folders(path, name)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        refuse_what_is_there(path, force)
    return path


def _free_path(corpus_name: str) -> Path:
    candidates = (RUNS / (corpus_name if n == 1 else f"{corpus_name}-{n}") for n in range(1, 10_000))
    free = next((path for path in candidates if not path.exists()), None)
    if free is None:
        raise ResourceError("too many runs of this name", str(RUNS / corpus_name), "name this one with --run")
    return free


def _refuse_parent_folders(path: Path, name: str) -> None:
    """Raise UsageError for a folder that is not for one run, such as `--run ..`."""
    folder, runs, working = (Path(os.path.realpath(given)) for given in (path, RUNS, Path()))
    if folder in {runs, *runs.parents, working, *working.parents}:
        what = f"--run {name!r} cannot be the folder of a run: it is {RUNS}/, the working directory, or above it"
        raise UsageError(what, str(folder), f"give a name, and the run will be {RUNS}/NAME")


def refuse_what_is_there(path: Path, force: bool) -> None:
    """Raise UsageError unless `path` is the folder of a run without other files in it, and `force` is given."""
    taken = "this path is taken already"
    if not path.is_dir() or not any(os.path.lexists(path / name) for name in (CONFIG, MANIFEST)):
        raise UsageError(taken, str(path), "choose another name")
    if not force:
        raise UsageError(taken, str(path), "--resume continues it, --force replaces it")
    if (foreign := _first_foreign(path)) is not None:
        what = "--force would delete more than a run"
        raise UsageError(what, str(foreign), "move it elsewhere, or choose another name")


def _first_foreign(path: Path) -> Path | None:
    """The first path in a run's folder that charlm does not write, or None. Links are judged by name, not followed."""
    for entry in sorted(path.iterdir()):
        if entry.name == CORPUS and entry.is_dir() and not entry.is_symlink():
            foreign = [inner for inner in sorted(entry.iterdir()) if not _is_file_in(inner, CORPUS_FILES)]
        else:
            foreign = [] if _is_file_in(entry, RUN_FILES) else [entry]
        if foreign:
            return foreign[0]
    return None


def _is_file_in(path: Path, names: set[str]) -> bool:
    """Whether a path is a file, or a link, that has one of these names or that of a temporary file of charlm's."""
    is_known = path.name in names or TEMPORARY.fullmatch(path.name) is not None
    return is_known and (path.is_symlink() or not path.is_dir())
