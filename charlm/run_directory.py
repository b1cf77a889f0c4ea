"""A trained model on disk: paths, JSON, checksums. It knows no tokenizer and no tensor's meaning.

runs/stories/
    config.json, tokenizer.json [tokenizer.model]   written once; MANIFEST.json has their sizes and checksums
    best.safetensors                                the weights that the model is used with
    last.safetensors, previous.safetensors          the newest state of training, and the one before it
    metrics.jsonl                                   a line an event, append-only
    corpus/                                         the text as ids; only training needs it
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.errors import ResourceError, RunError, UsageError
from charlm.files import cannot_write, make_folder, write_atomically, write_json

RUNS = Path("runs")
FORMAT, OLDEST_FORMAT = 2, 1  # 2: the network may have parts that charlm 0.1 did not know
CONFIG, MANIFEST, METRICS, CORPUS = "config.json", "MANIFEST.json", "metrics.jsonl", "corpus"
BEST, LAST, PREVIOUS = "best", "last", "previous"


@dataclass(frozen=True)
class Weights:
    """The content of a weights file: named arrays, the step they are of, and scalars that belong to them."""

    tensors: Mapping[str, Any]
    step: int
    scalars: Mapping[str, Any]


class RunDirectory:
    """One run's folder. Every read checks what it reads; every write is atomic."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config: dict[str, Any] | None = None

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> "RunDirectory":
        """Make the folder with its configuration and the tokenizer's files, sealed by the manifest."""
        make_folder(path)
        write_json(path / CONFIG, {"format": FORMAT, "run_id": uuid.uuid4().hex, **config})
        for name, data in files.items():
            write_atomically(path / name, data)
        sealed = (CONFIG, *files)
        write_json(path / MANIFEST, {name: _fingerprint((path / name).read_bytes()) for name in sealed})
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """config.json, once the manifest has vouched for it. Raises RunError."""
        if self._config is None:
            manifest = {CONFIG: None, **self._read_json(MANIFEST)}
            for name, expected in manifest.items():
                if _fingerprint(self._read(name)) != expected:
                    raise self._damaged(name, "does not match its checksum")
            self._config = self._read_json(CONFIG)
            version = self._config.get("format")
            if version not in range(OLDEST_FORMAT, FORMAT + 1):
                raise self._damaged(CONFIG, f"has format {version}, this charlm reads up to {FORMAT}")
        return self._config

    def has(self, kind: str) -> bool:
        return self._weights_path(kind).is_file()

    def save(self, kind: str, weights: Weights) -> None:
        """Write one weights file; the arrays' sha256 goes with them."""
        from safetensors.numpy import save

        tensors = dict(weights.tensors)
        metadata = {"run_id": self.config["run_id"], "step": str(weights.step), "scalars": json.dumps(weights.scalars)}
        metadata["sha256"] = _checksum(save(tensors, metadata))
        if kind == LAST and self.has(LAST):
            self._keep_previous()
        write_atomically(self._weights_path(kind), save(tensors, metadata))

    def load(self, kind: str) -> Weights:
        """Read one weights file. Raises RunError when it is missing, torn, altered or of another run."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        name = self._weights_path(kind).name
        data = self._read(name)
        try:
            tensors = load(data)
            metadata = _header(data)["__metadata__"]
            scalars, step = json.loads(metadata["scalars"]), int(metadata["step"])
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise self._damaged(name, f"cannot be read: {error}") from error
        if _checksum(data) != metadata.get("sha256"):
            raise self._damaged(name, "does not match its checksum")
        if metadata.get("run_id") != self.config["run_id"]:
            raise self._damaged(name, "belongs to another run")
        return Weights(tensors, step, scalars)

    def load_newest(self) -> Weights:
        """The newest state of training that is whole: `last`, or `previous` when `last` is missing or damaged."""
        try:
            return self.load(LAST)
        except RunError:
            if not self.has(PREVIOUS):
                raise
            return self.load(PREVIOUS)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise cannot_write(self.path / METRICS, error) from error

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All complete lines of metrics.jsonl; a last line cut short by a crash is ignored."""
        path = self.path / METRICS
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.endswith("\n"))

    def metrics_length(self) -> int:
        """Bytes of metrics.jsonl, which a saved state remembers."""
        path = self.path / METRICS
        return path.stat().st_size if path.is_file() else 0

    def cut_metrics(self, length: int) -> None:
        """Forget what was logged after the state that training resumes from."""
        if self.metrics_length() > length:
            os.truncate(self.path / METRICS, length)

    def _keep_previous(self) -> None:
        """`last` becomes `previous` as well, without a moment at which either is missing."""
        link = self.path / f".{PREVIOUS}.{uuid.uuid4().hex}"
        try:
            os.link(self._weights_path(LAST), link)
            os.replace(link, self._weights_path(PREVIOUS))
        except OSError:  # a file system without links
            link.unlink(missing_ok=True)
            write_atomically(self._weights_path(PREVIOUS), self._weights_path(LAST).read_bytes())

    def _weights_path(self, kind: str) -> Path:
        return self.path / f"{kind}.safetensors"

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise self._damaged(name, error.strerror or "cannot be read") from error

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self._read(name))
        except ValueError as error:
            raise self._damaged(name, "is not JSON") from error
        if not isinstance(value, dict):
            raise self._damaged(name, "is not a JSON object")
        return value

    def _damaged(self, name: str, why: str) -> RunError:
        return RunError(f"damaged run: {name} {why}", str(self.path / name), "train again, or restore it from a copy")


def find_run(name: str | None) -> Path:
    """The folder of the run `name` (a path, or a name under runs/), or of the run saved last. Raises RunError."""
    if name is None:
        found = list_runs()
        if not found:
            raise RunError("there is no trained model yet", f"{RUNS}/", "train one: charlm train corpus.txt")
        return found[0]
    for path in (Path(name), RUNS / name):
        if (path / CONFIG).is_file():
            return path
    known = ", ".join(path.name for path in list_runs()[:5])
    raise RunError(f"no run {name!r}", f"neither {name} nor {RUNS / name}", f"runs here: {known or 'none'}")


def list_runs() -> list[Path]:
    """All usable runs under runs/, the one saved last first."""
    best = [path for path in RUNS.glob(f"*/{BEST}.safetensors") if (path.parent / CONFIG).is_file()]
    return [path.parent for path in sorted(best, key=lambda path: path.stat().st_mtime_ns, reverse=True)]


def new_run_path(name: str | None, corpus_name: str, force: bool) -> Path:
    """Where a new run goes: the path given, or runs/<corpus name>, -2, -3 ... Raises UsageError when it is taken."""
    if name is not None:
        path = Path(name) if os.sep in name else RUNS / name
        if path.exists() and not (force and (path / CONFIG).is_file()) and (not path.is_dir() or any(path.iterdir())):
            to_do = (
                "--resume goes on with it, --force replaces it" if (path / CONFIG).is_file() else "choose another name"
            )
            raise UsageError("there is something at this place already", str(path), to_do)
        return path
    candidates = (RUNS / (corpus_name if n == 1 else f"{corpus_name}-{n}") for n in range(1, 10_000))
    free = next((path for path in candidates if not path.exists()), None)
    if free is None:
        raise ResourceError("too many runs of this name", str(RUNS / corpus_name), "name this one with --run")
    return free


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _header(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : _data_start(data)])
    return header


def _checksum(data: bytes) -> str:
    """sha256 of a safetensors file: its header but for the checksum itself, in one spelling, and its arrays."""
    header = _header(data)
    header["__metadata__"] = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(memoryview(data)[_data_start(data) :])
    return digest.hexdigest()


def _data_start(data: bytes) -> int:
    """safetensors: 8 bytes of header length, the JSON header, then the arrays."""
    return 8 + int.from_bytes(data[:8], "little")
