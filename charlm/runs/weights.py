"""Weights files: named arrays as safetensors, with charlm's own metadata and a checksum over both."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charlm.network.weights import MAX_HEADER_BYTES
from charlm.system.files import open_file
from charlm.system.json_files import parse_json
from charlm.system.records import ShortText, read_record

MAX_STEPS = 1 << 62


@dataclass(frozen=True)
class Weights:
    """The content of a weights file: named arrays, the training step they come from, and further numbers."""

    tensors: Mapping[str, Any]
    step: int
    scalars: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Metadata in the header; safetensors allows only text there. Older versions did not write `saved_at`."""

    run_id: ShortText
    step: ShortText
    scalars: str
    sha256: ShortText
    saved_at: ShortText | None = None


def packed(weights: Weights, run_id: str, at: datetime) -> bytes:
    """The bytes of a weights file of this run, saved at this time."""
    from safetensors.numpy import save

    tensors, scalars = dict(weights.tensors), json.dumps(weights.scalars)
    metadata = {"run_id": run_id, "step": str(weights.step), "scalars": scalars, "saved_at": written(at)}
    metadata["sha256"] = checksum(save(tensors, metadata))
    return save(tensors, metadata)


def unpacked(data: bytes, run_id: str) -> Weights:
    """The content of a weights file of this run. Raises ValueError; its text completes a sentence that
    begins with the file's name.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        metadata = read_record(Metadata, header_of(data)["__metadata__"])
        tensors, scalars, step = load(data), parse_json(metadata.scalars), int(metadata.step)
        if metadata.saved_at is not None:
            moment(metadata.saved_at)
        sha256 = checksum(data)
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {str(error)[:100]}") from error
    if sha256 != metadata.sha256:
        raise ValueError("does not match its checksum")
    if metadata.run_id != run_id:
        raise ValueError("belongs to another run")
    if not isinstance(scalars, dict) or not 0 <= step <= MAX_STEPS:
        raise ValueError("has scalars that charlm never writes")
    return Weights(tensors, step, scalars)


def header_of(data: bytes) -> dict[str, Any]:
    """The JSON header of a safetensors file. Raises ValueError."""
    if len(data) < 8 or data_start(data) > min(len(data), MAX_HEADER_BYTES):
        raise ValueError("its header is too long")
    header = parse_json(data[8 : data_start(data)])
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header


def checksum(data: bytes) -> str:
    """sha256 of a safetensors file: of its header without the checksum, as sorted JSON, and of its arrays."""
    return checksum_of(header_of(data), [memoryview(data)[data_start(data) :]])


def checksum_of(header: Mapping[str, Any], arrays: Iterable[Any]) -> str:
    """The `checksum` of a file with this header and the bytes of these arrays, one after another."""
    metadata = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode())
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()


def saved_at(path: Path) -> datetime | None:
    """The time of saving that is written in a weights file; None if it is not, or the file cannot be read.

    Only the header is read, and the checksum is not verified.
    """
    try:
        with open_file(path) as file:
            head = file.read(8)
            head += file.read(min(MAX_HEADER_BYTES, data_start(head)) - 8)
        return moment(header_of(head)["__metadata__"]["saved_at"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def moment(text: str) -> datetime:
    """Parse a time as it is written into files. Raises ValueError or TypeError for anything else."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not 1970 <= time.year < 9000:
        raise ValueError("a time without a time zone, or an impossible one")
    return time.astimezone(UTC)


def written(moment: datetime) -> str:
    """A time as text: UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def data_start(data: bytes) -> int:
    """Offset of the arrays in bytes: after the header's length (8 bytes) and the JSON header."""
    return 8 + int.from_bytes(data[:8], "little")
