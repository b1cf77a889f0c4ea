"""A run's log, metrics.jsonl: one event per line, as JSON. A saved state knows how long the log was then."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from charlm.errors import RunError
from charlm.system.files import append_line, open_file, sync_file, truncate
from charlm.system.json_files import parse_json

METRICS = "metrics.jsonl"
MAX_LINE = 1 << 24  # bytes
BLOCK = 1 << 20  # bytes read at a time


class RunLog:
    """The log in a run's folder; the file may be missing. Reading raises RunError, writing ResourceError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line, completely or not at all."""
        append_line(self.path, (json.dumps(record) + "\n").encode())

    def records(self) -> Iterator[dict[str, Any]]:
        """All complete lines; a last line cut short by a crash is ignored.

        Raises RunError, with the line's number, for a line that is not a JSON object.
        """
        if not os.path.lexists(self.path):
            return
        with self._open() as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise self.damaged(f"has a line {number} of more than {MAX_LINE:,} bytes")
                if line.endswith(b"\n"):
                    yield self._record(line, number)

    def newest(self, event: str) -> dict[str, Any] | None:
        """The last complete line of one event; None if there is none. Raises RunError as `records` does."""
        if not os.path.lexists(self.path):
            return None
        named, found = json.dumps(event).encode(), None
        with self._open() as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if named in line and line.endswith(b"\n"):
                    record = self._record(line, number)
                    found = record if record.get("event") == event else found
        return found

    @property
    def num_bytes(self) -> int:
        return self.path.lstat().st_size if os.path.lexists(self.path) else 0

    def sha256(self, num_bytes: int) -> str:
        """sha256 of the first `num_bytes` bytes; "" if the log is shorter."""
        if self.num_bytes < num_bytes:
            return ""
        digest = hashlib.sha256()
        if num_bytes:
            with self._open() as file:
                while num_bytes and (block := file.read(min(num_bytes, BLOCK))):
                    digest.update(block)
                    num_bytes -= len(block)
        return digest.hexdigest()

    def begins_as_saved(self, scalars: Mapping[str, Any]) -> bool:
        """Whether the log still begins with the bytes that it had when a state with these scalars was saved.

        True for a state of an older charlm, which did not record that.
        """
        num_bytes, sha256 = scalars.get("metrics_length"), scalars.get("metrics_sha256")
        if sha256 is None or type(num_bytes) is not int or num_bytes < 0:
            return True
        return bool(self.sha256(num_bytes) == sha256)

    def cut(self, num_bytes: int) -> None:
        """Remove whatever was logged after the first `num_bytes` bytes, and a line that is cut short."""
        num_bytes = self._whole_lines(min(num_bytes, self.num_bytes))
        if self.num_bytes > num_bytes:
            truncate(self.path, num_bytes)

    def sync(self) -> None:
        """Flush the log to disk, so that it survives a power failure."""
        if self.num_bytes:
            sync_file(self.path)

    def damaged(self, why: str) -> RunError:
        """A RunError about the log; `why` completes the sentence that begins with the file's name."""
        what = f"damaged run: {self.path.name} {why}"
        return RunError(what, str(self.path), "train again, or restore it from a copy")

    def _whole_lines(self, num_bytes: int) -> int:
        """How many of the first `num_bytes` bytes belong to complete lines."""
        if num_bytes == 0:
            return 0
        with self._open() as file:
            start = max(0, num_bytes - MAX_LINE)
            file.seek(start)
            return start + file.read(num_bytes - start).rfind(b"\n") + 1

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise self.damaged(f"has no JSON object in line {number}")
        return record

    def _open(self) -> BinaryIO:
        try:
            return open_file(self.path)
        except (OSError, ValueError) as error:
            raise self.damaged(reason(error)) from error


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, as the end of a sentence that begins with the file's name."""
    import errno

    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "is a link"
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
