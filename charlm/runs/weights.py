"""What stands at the head of a weights file: names and places of its arrays, and charlm's own metadata."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charlm.system.files import open_file
from charlm.system.json_files import parse_json

MAX_HEADER = 1 << 24  # bytes


def header_of(data: bytes) -> dict[str, Any]:
    """The JSON header of a safetensors file. Raises ValueError."""
    if len(data) < 8 or _data_start(data) > min(len(data), MAX_HEADER):
        raise ValueError("its header is too long")
    header = parse_json(data[8 : _data_start(data)])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header


def checksum(data: bytes) -> str:
    """sha256 of a safetensors file: its header but for the checksum itself, in one spelling, and its arrays."""
    header = header_of(data)
    header["__metadata__"] = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(memoryview(data)[_data_start(data) :])
    return digest.hexdigest()


def saved_at(path: Path) -> datetime | None:
    """When a weights file says that it was saved; None where it does not say, or is not there. Its arrays stay unread.

    Whether the file is whole is not looked at: that is for whoever loads it.
    """
    try:
        with open_file(path) as file:
            head = file.read(8)
            head += file.read(min(MAX_HEADER, _data_start(head)) - 8)
        return moment(header_of(head)["__metadata__"]["saved_at"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def moment(text: str) -> datetime:
    """A moment as it is written into files. Raises ValueError and TypeError for what is none, or has no time zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None or not 1970 <= found.year < 9000:
        raise ValueError("a time without its zone, or out of all time")
    return found.astimezone(UTC)


def written(moment: datetime) -> str:
    """The same as text: UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _data_start(data: bytes) -> int:
    """safetensors: 8 bytes of header length, the JSON header, then the arrays."""
    return 8 + int.from_bytes(data[:8], "little")
