"""A trained model on disk: paths, JSON, checksums. It knows no tokenizer and no tensor's meaning.

runs/stories/
    config.json, tokenizer.json [tokenizer.model]   written once; MANIFEST.json has their sizes and checksums
    best.safetensors                                the weights that the model is used with
    last.safetensors, previous.safetensors          the newest state of training, and the one before it
    initial.safetensors                             the weights that it began with, where they are another run's
    metrics.jsonl                                   a line an event, append-only
    corpus/                                         the text as ids; only training needs it
"""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from charlm.errors import RunError
from charlm.runs.weights import checksum, header_of, moment, saved_at, written
from charlm.system.files import (
    append_line,
    fingerprint,
    open_file,
    put_link,
    read_file,
    sync_file,
    truncate,
    write_atomically,
)
from charlm.system.folders import make_folder
from charlm.system.json_files import MAX_JSON, parse_json, write_json

RUNS = Path("runs")
FORMAT, OLDEST_FORMAT = 4, 1  # docs/run-directory.md says what each has
CONFIG, MANIFEST, METRICS, CORPUS = "config.json", "MANIFEST.json", "metrics.jsonl", "corpus"
BEST, LAST, PREVIOUS, INITIAL = "best", "last", "previous", "initial"
MAX_SEALED = 1 << 29  # bytes of all files that the manifest names
MAX_FILES = 64  # that a manifest names
MAX_WEIGHTS = 1 << 36  # bytes of a weights file
MAX_LINE = 1 << 24  # bytes of a line of metrics.jsonl
MAX_STEPS = 1 << 62
BLOCK = 1 << 20  # bytes read at a time

Stamp = tuple[int, int]  # when a file was written, and its number in the file system


@dataclass(frozen=True)
class Weights:
    """The content of a weights file: named arrays, the step they are of, and scalars that belong to them."""

    tensors: Mapping[str, Any]
    step: int
    scalars: Mapping[str, Any]


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

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> "RunDirectory":
        """Make the folder with its configuration and the tokenizer's files, sealed by the manifest."""
        make_folder(path)
        write_json(path / CONFIG, {"format": FORMAT, "run_id": uuid.uuid4().hex, **config})
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

        Before a new `last`, what metrics.jsonl holds is made durable, and the one that was there becomes `previous`.
        Raises ResourceError; the newest whole state is then still there.
        """
        from safetensors.numpy import save

        tensors = dict(weights.tensors)
        metadata = {"run_id": self.config["run_id"], "step": str(weights.step), "scalars": json.dumps(weights.scalars)}
        metadata["saved_at"] = written(at or datetime.now(UTC))
        metadata["sha256"] = checksum(save(tensors, metadata))
        data = save(tensors, metadata)
        if kind == LAST:
            self._before_saving_last()
        write_atomically(self._weights_path(kind), data)

    def load(self, kind: str, most_bytes: int = MAX_WEIGHTS) -> Weights:
        """Read one weights file. Raises RunError when it is missing, torn, altered, of another run, or too large."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        name = self._weights_path(kind).name
        data = self._read(name, min(most_bytes, MAX_WEIGHTS))
        try:
            metadata = header_of(data)["__metadata__"]
            tensors = load(data)
            scalars, step = parse_json(metadata["scalars"]), int(metadata["step"])
            if "saved_at" in metadata:  # which older versions did not write
                moment(metadata["saved_at"])
            sha256 = checksum(data)
        except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self.damaged(name, f"cannot be read: {_brief(error)}") from error
        if sha256 != metadata.get("sha256"):
            raise self.damaged(name, "does not match its checksum")
        if metadata.get("run_id") != self.config["run_id"]:
            raise self.damaged(name, "belongs to another run")
        if not isinstance(scalars, dict) or not 0 <= step <= MAX_STEPS:
            raise self.damaged(name, "has scalars that charlm never wrote")
        return Weights(tensors, step, scalars)

    def load_newest(self, most_bytes: int = MAX_WEIGHTS) -> tuple[Weights, str]:
        """The newest state of training that is whole, and a sentence when that is not `last`.

        When `last` is missing, damaged or larger than `most_bytes`, `previous` is taken, and the sentence says what was
        wrong. Nothing is written: who goes on training calls `recover`. Raises RunError when neither is whole.
        """
        try:
            return self.load(LAST, most_bytes), ""
        except RunError as error:
            if not self.has(PREVIOUS):
                raise
            newest = self.load(PREVIOUS, most_bytes)
            self._last_is_bad = True
            return newest, f"{error.what}; previous.safetensors is taken, of step {newest.step:,}"

    def recover(self) -> None:
        """Make `last` the good `previous` again, in one step; only for the holder of the lock.

        `save` does it by itself when `load_newest` fell back: else the damaged `last` would replace the good
        `previous`. Raises ResourceError.
        """
        put_link(self._weights_path(PREVIOUS), self._weights_path(LAST))
        self._last_is_bad = False

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """One line more, whole or not at all. Raises ResourceError."""
        append_line(self.path / METRICS, (json.dumps(record) + "\n").encode())

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All complete lines of metrics.jsonl; a last line cut short by a crash is ignored.

        Raises RunError naming the line when one is no JSON object.
        """
        if not os.path.lexists(self.path / METRICS):
            return
        with self._open(METRICS) as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise self.damaged(METRICS, f"has a line {number} of more than {MAX_LINE:,} bytes")
                if line.endswith(b"\n"):
                    yield self._record(line, number)

    def metrics_length(self) -> int:
        """Bytes of metrics.jsonl, which a saved state remembers."""
        path = self.path / METRICS
        return path.lstat().st_size if os.path.lexists(path) else 0

    def metrics_sha256(self, length: int) -> str:
        """Checksum of the first bytes of metrics.jsonl; "" where there are not so many. Raises RunError."""
        if self.metrics_length() < length:
            return ""
        digest = hashlib.sha256()
        if length:
            with self._open(METRICS) as file:
                while length and (block := file.read(min(length, BLOCK))):
                    digest.update(block)
                    length -= len(block)
        return digest.hexdigest()

    def cut_metrics(self, length: int) -> None:
        """Forget what was logged after the state that training resumes from, and a line that is cut short.

        Raises ResourceError.
        """
        length = self._whole_lines(min(length, self.metrics_length()))
        if self.metrics_length() > length:
            truncate(self.path / METRICS, length)

    def _whole_lines(self, length: int) -> int:
        """How many of the log's first bytes are whole lines."""
        if length == 0:
            return 0
        with self._open(METRICS) as file:
            start = max(0, length - MAX_LINE)
            file.seek(start)
            return start + file.read(length - start).rfind(b"\n") + 1

    def damaged(self, name: str, why: str) -> RunError:
        """The error about one of the run's files, for those who know what has to be in it."""
        return RunError(f"damaged run: {name} {why}", str(self.path / name), "train again, or restore it from a copy")

    def _created(self) -> datetime | None:
        with suppress(ValueError, TypeError):
            return moment(_unchecked_config(self.path).get("created", ""))
        return None

    def _before_saving_last(self) -> None:
        """What `last` will say of the log is durable before it says so; the state before it is kept."""
        if self.metrics_length():
            sync_file(self.path / METRICS)
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

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise self.damaged(METRICS, f"has no JSON object in line {number}")
        return record

    def _weights_path(self, kind: str) -> Path:
        return self.path / f"{kind}.safetensors"

    def _open(self, name: str) -> BinaryIO:
        try:
            return open_file(self.path / name)
        except (OSError, ValueError) as error:
            raise self.damaged(name, _reason(error)) from error

    def _read(self, name: str, most_bytes: int) -> bytes:
        try:
            return read_file(self.path / name, most_bytes)
        except (OSError, ValueError) as error:
            raise self.damaged(name, _reason(error)) from error

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


def log_is_whole(run: RunDirectory, saved: Weights) -> bool:
    """Whether metrics.jsonl begins with the bytes that were there when a state was saved, as far as it says so."""
    length, sha256 = saved.scalars.get("metrics_length"), saved.scalars.get("metrics_sha256")
    if sha256 is None or type(length) is not int or length < 0:  # of an older charlm, or no state to go on with
        return True
    return bool(run.metrics_sha256(length) == sha256)


def is_plain_name(name: str) -> bool:
    """Whether this names a file in a folder, and cannot lead out of it."""
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0"} and name.isprintable()


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
    run_id = _unchecked_config(path).get("run_id")
    for other in sorted(list_runs()):
        if other != path and run_id and _unchecked_config(other).get("run_id") == run_id:
            yield f"{other} is a copy of the same run; {path} answers, --run names another"


def _unchecked_config(path: Path) -> dict[str, Any]:
    """config.json as it stands, for finding a run; {} where it cannot be read. Who uses the run has it checked."""
    with suppress(OSError, ValueError):
        config = parse_json(read_file(path / CONFIG, MAX_JSON))
        return config if isinstance(config, dict) else {}
    return {}


def _has_config(path: Path) -> bool:
    """Whether there is a config.json, of whatever kind; reading it finds out."""
    return os.path.lexists(path / CONFIG)


def _reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, as the end of a sentence that begins with its name."""
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "is a link"
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)


def _brief(value: object) -> str:
    """A value from a file, for a message."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return text if len(text) <= 100 else text[:97] + "..."
