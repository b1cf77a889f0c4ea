"""JSON that charlm wrote, read back: a dataclass says what must be there, and pydantic checks it.

Every JSON file is read through `read_record`, because a run may come from anybody.
"""

import json
from functools import cache
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le, MaxLen
from pydantic import TypeAdapter, ValidationError

from charlm.settings import without_jargon

MAX_COUNT = (1 << 62) - 1  # of anything that is counted
MAX_TEXT = 4096  # characters of a name or a description
NO_OTHER_FIELDS: Any = {"extra": "forbid"}  # as `__pydantic_config__` of a dataclass: unknown fields are refused

Count = Annotated[int, Ge(0), Le(MAX_COUNT)]
ShortText = Annotated[str, MaxLen(MAX_TEXT)]
Record = TypeVar("Record")


def read_record(kind: type[Record], value: object) -> Record:
    """An instance of the dataclass `kind`, made from a JSON value; fields that the dataclass lacks are ignored.

    Nothing is converted: a number in quotes is not a number. Raises ValueError naming the first field that is missing,
    of another type, or out of range.
    """
    adapter: TypeAdapter[Record] = _adapter(kind)  # type: ignore[arg-type]  # classes can be hashed
    try:
        # As JSON text again: of Python's values, strict pydantic takes no dict for a dataclass and no list for a tuple.
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ValueError(_first_fault(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part)[:100] for part in first["loc"])
    if first["type"] == "missing":
        return f"{field} is missing"
    message = without_jargon(first["msg"])[:100]
    return f"{field}: {message}" if field else message
