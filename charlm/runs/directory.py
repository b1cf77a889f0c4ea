"""A trained model on disk: paths, JSON, checksums. It knows no tokenizer and no tensor's meaning.

runs/stories/
    config.json, tokenizer.json [tokenizer.model]   written once; MANIFEST.json has their sizes and checksums
    best.safetensors                                the weights that the model is used with
    last.safetensors, previous.safetensors          the newest state of training, and the one before it
    initial.safetensors                             the weights that it began with, where they are another run's
    metrics.jsonl                                   a line an event, append-only
    corpus/                                         the text as ids; only training needs it
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
from charlm.system.files import fingerprint, put_link, read_file, write_atomically
from charlm.system.folders import make_folder
from charlm.system.json_files import MAX_JSON, parse_json, write_json

RUNS = Path("runs")
FORMAT, OLDEST_FORMAT = 5, 1  # docs/run-directory.md says what each has
CONFIG, MANIFEST, CORPUS = "config.json", "MANIFEST.json", "corpus"
BEST, LAST, PREVIOUS, INITIAL = "best", "last", "previous", "initial"
MAX_SEALED = 1 << 29  # bytes of all files that the manifest names
MAX_FILES = 64  # that a manifest names
MAX_WEIGHTS = 1 << 36  # bytes of a weights file

Stamp = tuple[int, int]
"""When a file was written, and its number in the file system."""


class RunDirectory:
    """One run's folder. Every read checks what it reads; every write is atomic.

    The folder itself may be a link; what it holds may not, nor be a pipe or a device: RunError names such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config: dict[str, Any] | None = None
        self.sealed: frozenset[str] = frozenset()
        """The files that the manifest vouches for, once `config` has been read."""
        self._last_is_bad = False

    @property
    def log(self) -> RunLog:
        return RunLog(self.path / METRICS)

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> "RunDirectory":
        """Make the folder with its configuration and the tokenizer's files, sealed by the manifest."""
        make_folder(path)
        write_json(path / CONFIG, {"format": FORMAT, **config})
        for name, data in files.items():
            write_atomically(path / name, data)
        sealed = (CONFIG, *files)
        write_json(path / MANIFEST, {name: fingerprint((path / name).read_bytes()) for name in sealed})
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """config.json as it stands, once the manifest has vouched for it and its format is known. Raises RunError."""
        if self._config is None:
            self._check_manifest()
            config = self._read_json(CONFIG)
            self._check_format(config)
            self._config = config
        return self._config

    @property
    def corpus(self) -> Path:
        """The folder of the ids, which need not be there. Raises RunError when it is a link."""
        path = self.path / CORPUS
        if path.is_symlink():
            raise self.damaged(CORPUS, "is a link")
        return path

    def has(self, kind: str) -> bool:
        return os.path.lexists(self._weights_path(kind))

    def weights_bytes(self) -> int:
        """What all weights files take now."""
        return sum(path.lstat().st_size for path in self.path.glob("*.safetensors"))

    def stamp(self, kind: str) -> Stamp | None:
        """What is another one whenever this weights file is; None where there is none."""
        with suppress(FileNotFoundError):
            found = self._weights_path(kind).lstat()
            return found.st_mtime_ns, found.st_ino
        return None

    @property
    def saved_at(self) -> datetime | None:
        """When it was saved last, by what its weights say; when it was begun, where they do not; None for neither."""
        found = [one for kind in (BEST, LAST) if (one := saved_at(self._weights_path(kind)))]
        return max(found, default=self._created())

    def save(self, kind: str, weights: Weights, at: datetime | None = None) -> None:
        """Write one weights file; the moment (`at`, or now) and the arrays' sha256 go with them.

        Before a new `last`, what the log holds is made durable, and the one that was there becomes `previous`.
        Raises ResourceError; the newest whole state is then still there.
        """
        data = packed(weights, self.config["run_id"], at or datetime.now(UTC))
        if kind == LAST:
            self._before_saving_last()
        write_atomically(self._weights_path(kind), data)

    def load(self, kind: str, max_bytes: int = MAX_WEIGHTS) -> Weights:
        """Read one weights file. Raises RunError when it is missing, torn, altered, of another run, or too large."""
        name = self._weights_path(kind).name
        data = self._read(name, min(max_bytes, MAX_WEIGHTS))
        try:
            return unpacked(data, self.config["run_id"])
        except ValueError as error:
            raise self.damaged(name, str(error)) from error

    def load_newest(self, max_bytes: int = MAX_WEIGHTS) -> tuple[Weights, str]:
        """The newest state of training that is whole, and a sentence when that is not `last`.

        When `last` is missing, damaged or larger than `max_bytes`, `previous` is taken, and the sentence says what was
        wrong. Nothing is written: who goes on training calls `recover`. Raises RunError when neither is whole.
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
        """Make `last` the good `previous` again, in one step; only for the holder of the lock.

        `save` does it by itself when `load_newest` fell back: else the damaged `last` would replace the good
        `previous`. Raises ResourceError.
        """
        put_link(self._weights_path(PREVIOUS), self._weights_path(LAST))
        self._last_is_bad = False

    def damaged(self, name: str, why: str) -> RunError:
        """The error about one of the run's files, for those who know what has to be in it."""
        return RunError(f"damaged run: {name} {why}", str(self.path / name), "train again, or restore it from a copy")

    def _created(self) -> datetime | None:
        with suppress(ValueError, TypeError):
            return moment(unchecked_config(self.path).get("created", ""))
        return None

    def _before_saving_last(self) -> None:
        """What `last` will say of the log is durable before it says so; the state before it is kept."""
        self.log.sync()
        if self._last_is_bad:
            self.recover()
        elif self.has(LAST):
            put_link(self._weights_path(LAST), self._weights_path(PREVIOUS))

    def _check_manifest(self) -> None:
        manifest = {CONFIG: None, **self._read_json(MANIFEST)}
        if len(manifest) > MAX_FILES or not all(map(is_plain_name, manifest)):
            raise self.damaged(MANIFEST, "names what is no file of a run")
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
            raise self.damaged(CONFIG, f"has a format that no charlm writes: {_brief(version)}")
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
        if not data.endswith(b"\n"):  # without which JSON can be whole
            raise self.damaged(name, "is cut short")
        try:
            value = parse_json(data)
        except ValueError as error:
            raise self.damaged(name, "is not JSON") from error
        if not isinstance(value, dict):
            raise self.damaged(name, "is not a JSON object")
        return value


def is_plain_name(name: str) -> bool:
    """Whether this names a file in a folder, and cannot lead out of it."""
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0"} and name.isprintable()


def unchecked_config(path: Path) -> dict[str, Any]:
    """config.json as it stands, for finding a run; {} where it cannot be read. Who uses the run has it checked."""
    with suppress(OSError, ValueError):
        config = parse_json(read_file(path / CONFIG, MAX_JSON))
        return config if isinstance(config, dict) else {}
    return {}


def _brief(value: object) -> str:
    """A value from a file, for a message."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return text if len(text) <= 100 else text[:97] + "..."
