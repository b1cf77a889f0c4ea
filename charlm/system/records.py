"""JSON that charlm wrote, read back: a dataclass says what must be there, pydantic checks it.

Every file of JSON is read through `read_record`, whoever wrote it: a run may come from anybody.
"""

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from charlm.settings import without_jargon

MAX_COUNT = (1 << 62) - 1  # of anything that is counted
MAX_TEXT = 4096  # characters of a name or a description

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
ShortText = Annotated[str, Field(max_length=MAX_TEXT)]
Record = TypeVar("Record")


def read_record(kind: type[Record], value: object) -> Record:
    """An instance of the dataclass `kind` from a value of JSON; fields that it does not have are ignored.

    Nothing is converted: a number in quotes is no number. Raises ValueError naming the first field that is missing, of
    another type, or out of range.
    """
    adapter: TypeAdapter[Record] = _adapter(kind)  # type: ignore[arg-type]  # classes can be hashed
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(_first_fault(error)) from error


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part)[:100] for part in first["loc"])
    if first["type"] == "missing":
        return f"{field} is missing"
    return f"{field}: {without_jargon(first['msg'])[:100]}" if field else without_jargon(first["msg"])[:100]
