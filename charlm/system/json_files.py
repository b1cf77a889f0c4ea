"""JSON files: written atomically, and parsed without trusting who wrote them."""

import json
from pathlib import Path
from typing import Any

from charlm.system.files import write_atomically

MAX_JSON = 1 << 20  # bytes of a JSON file such as a configuration or a manifest


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically and durably. Raises ResourceError."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises ValueError for what is not JSON, is nested too deeply, or has an object that repeats a name.
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("an object repeats a name")
    return fields
