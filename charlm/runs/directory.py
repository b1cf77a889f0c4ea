"""A run's folder on disk: paths, JSON, checksums. What the tokenizer and the tensors mean is not known here.

runs/stories/
    config.json, tokenizer.json [tokenizer.model]   written once; their sizes and checksums are in MANIFEST.json
    best.safetensors                                the weights used for sampling and scoring
    last.safetensors, previous.safetensors          the newest training state, and the one before it
    initial.safetensors                             the starting weights, when they come from another run
    ngram.safetensors                               the counts beside the network, if they help; holds its own checksum
    metrics.jsonl                                   one event per line, append-only
    corpus/                                         the text as ids, needed only for training
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charlm.errors import RunError
from charlm.runs.log import METRICS, RunLog, reason
from charlm.runs.weights import Weights, moment, packed, saved_at, unpacked
from charlm.system.files import MANIFEST, fingerprint, put_link, read_file, write_atomically
from charlm.system.folders import make_folder
from charlm.system.json_files import MAX_JSON, parse_json, write_json

RUNS = Path("runs")
FORMAT, OLDEST_FORMAT = 5, 1  # docs/run-directory.md describes each format
CONFIG, CORPUS = "config.json", "corpus"
BEST, LAST, PREVIOUS, INITIAL = "best", "last", "previous", "initial"
NGRAMS = "ngram.safetensors"
MAX_SEALED = 1 << 29  # bytes, of all files in the manifest together
MAX_FILES = 64  # in the manifest
MAX_WEIGHTS = 1 << 36  # bytes, of a weights file

Stamp = tuple[int, int]
"""A file's modification time in nanoseconds and its inode number."""


class RunDirectory:
    """One run's folder. Whatever is read from it is checked, and every write is atomic.

    The folder itself may be a symbolic link. A link, pipe or device inside it raises a RunError naming it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config: dict[str, Any] | None = None
        self.sealed: frozenset[str] = frozenset()
        """Names of the files whose checksums were found right. Filled when `config` is first read."""
        self._last_is_bad = False

    @property
    def log(self) -> RunLog:
        return RunLog(self.path / METRICS)

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> "RunDirectory":
        """Make the folder with config.json, the tokenizer's `files` (name to content) and their manifest."""
        make_folder(path)
        write_json(path / CONFIG, {"format": FORMAT, **config})
        for name, data in files.items():
            write_atomically(path / name, data)
        sealed = (CONFIG, *files)
        write_json(path / MANIFEST, {name: fingerprint((path / name).read_bytes()) for name in sealed})
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json. Raises RunError for a wrong checksum or an unknown format."""
        if self._config is None:
            self._check_manifest()
            config = self._read_json(CONFIG)
            self._check_format(config)
            self._config = config
        return self._config

    @property
    def corpus(self) -> Path:
        """The path of the corpus folder, which may be missing. Raises RunError when it is a link."""
        path = self.path / CORPUS
        if path.is_symlink():
            raise self.damaged(CORPUS, "is a link")
        return path

    def has(self, kind: str) -> bool:
        """Whether the run has weights of this kind: BEST, LAST, PREVIOUS or INITIAL."""
        return os.path.lexists(self._weights_path(kind))

    def weights_bytes(self) -> int:
        """The size of all weights files together, in bytes."""
        return sum(path.lstat().st_size for path in self.path.glob("*.safetensors"))

    def stamp(self, kind: str) -> Stamp | None:
        """A value that changes whenever this weights file is replaced; None if there is no such file."""
        with suppress(FileNotFoundError):
            found = self._weights_path(kind).lstat()
            return found.st_mtime_ns, found.st_ino
        return None

    @property
    def saved_at(self) -> datetime | None:
        """When `best` or `last` was saved, as written there; else the time of creation; None if neither is known."""
        times = [time for kind in (BEST, LAST) if (time := saved_at(self._weights_path(kind)))]
        return max(times, default=self._created())

    def save(self, kind: str, weights: Weights, at: datetime | None = None) -> None:
        """Write one weights file, with the time of saving (`at`, or now) and a checksum.

        Before a new `last` is written, the log is flushed to disk and the old `last` becomes `previous`.
        Raises ResourceError; the newest undamaged state is kept then.
        """
        data = packed(weights, self.config["run_id"], at or datetime.now(UTC))
        if kind == LAST:
            self._before_saving_last()
        write_atomically(self._weights_path(kind), data)

    def load(self, kind: str, max_bytes: int = MAX_WEIGHTS) -> Weights:
        """Read one weights file. Raises RunError when it is missing, damaged, too large, or from another run."""
        name = self._weights_path(kind).name
        data = self._read(name, min(max_bytes, MAX_WEIGHTS))
        try:
            return unpacked(data, self.config["run_id"])
        except ValueError as error:
            raise self.damaged(name, str(error)) from error

    def load_newest(self, max_bytes: int = MAX_WEIGHTS) -> tuple[Weights, str]:
        """The newest undamaged training state, and a note that is empty when this is `last`.

        When `last` is missing, damaged or larger than `max_bytes`, `previous` is read, and the note says what was
        wrong. Nothing is written; the next `save` of `last` repairs the run, or `recover` does it at once.
        Raises RunError when neither can be read.
        """
        try:
            return self.load(LAST, max_bytes), ""
        except RunError as error:
            if not self.has(PREVIOUS):
                raise
            newest = self.load(PREVIOUS, max_bytes)
            self._last_is_bad = True
            return newest, f"{error.what}; previous.safetensors is taken, of step {newest.step:,}"

    def recover(self) -> None:
        """Replace a damaged `last` by the good `previous`, in one step. The caller must hold the run's lock.

        `save` calls this after `load_newest` had to read `previous`, which the damaged `last` would otherwise replace.
        Raises ResourceError.
        """
        put_link(self._weights_path(PREVIOUS), self._weights_path(LAST))
        self._last_is_bad = False

    def damaged(self, name: str, why: str) -> RunError:
        """A RunError about one of the run's files.

        `why` completes the sentence that begins with the file's name, as in "config.json is cut short".
        """
        return RunError(f"damaged run: {name} {why}", str(self.path / name), "train again, or restore it from a copy")

    def _created(self) -> datetime | None:
        with suppress(ValueError, TypeError):
            return moment(unchecked_config(self.path).get("created", ""))
        return None

    def _before_saving_last(self) -> None:
        self.log.sync()  # first: `last` says how long the log is
        if self._last_is_bad:
            self.recover()
        elif self.has(LAST):
            put_link(self._weights_path(LAST), self._weights_path(PREVIOUS))

    def _check_manifest(self) -> None:
        manifest = {CONFIG: None, **self._read_json(MANIFEST)}
        if len(manifest) > MAX_FILES or not all(map(is_plain_name, manifest)):
            raise self.damaged(MANIFEST, "names something that is not a file of a run")
        room = MAX_SEALED
        for name, expected in manifest.items():
            data = self._read(name, room)
            room -= len(data)
            if fingerprint(data) != expected:
                raise self.damaged(name, "does not match its checksum")
        self.sealed = frozenset(manifest)

    def _check_format(self, config: Mapping[str, Any]) -> None:
        version = config.get("format")
        if type(version) is not int or version < OLDEST_FORMAT:
            raise self.damaged(CONFIG, f"has a format that charlm never writes: {_brief(version)}")
        if version > FORMAT:
            what = f"this run was written by charlm {_brief(config.get('charlm'))} in format {_brief(version)}"
            raise RunError(f"{what}; this charlm reads up to {FORMAT}", str(self.path / CONFIG), "use a newer charlm")
        if not isinstance(config.get("run_id"), str):
            raise self.damaged(CONFIG, "has no run_id")

    def _weights_path(self, kind: str) -> Path:
        return self.path / f"{kind}.safetensors"

    def _read(self, name: str, max_bytes: int) -> bytes:
        try:
            return read_file(self.path / name, max_bytes)
        except (OSError, ValueError) as error:
            raise self.damaged(name, reason(error)) from error

    def _read_json(self, name: str) -> dict[str, Any]:
        data = self._read(name, MAX_JSON)
        if not data.endswith(b"\n"):  # JSON can be complete without it
            raise self.damaged(name, "is cut short")
        try:
            value = parse_json(data)
        except ValueError as error:
            raise self.damaged(name, "is not JSON") from error
        if not isinstance(value, dict):
            raise self.damaged(name, "is not a JSON object")
        return value


def is_plain_name(name: str) -> bool:
    """Whether this is the name of a file inside a folder, not a path that could lead out of it."""
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0"} and name.isprintable()


def unchecked_config(path: Path) -> dict[str, Any]:
    """The unchecked content of config.json, only for finding runs; {} if it cannot be read."""
    with suppress(OSError, ValueError):
        config = parse_json(read_file(path / CONFIG, MAX_JSON))
        return config if isinstance(config, dict) else {}
    return {}


def _brief(value: object) -> str:
    """A value from a file, shortened for a message."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return text if len(text) <= 100 else text[:97] + "..."
