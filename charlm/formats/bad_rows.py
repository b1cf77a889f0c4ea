"""Rows that are wrong: refused, or skipped and counted as long as few are."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from charlm.errors import TextError

MAX_NAMED = 3  # wrong rows that the note names

Row = TypeVar("Row")
Made = TypeVar("Made")


class BadRows:
    """Counts the wrong rows of one reading, and refuses the first one after `max_skipped`. Has remarks, too."""

    def __init__(self, max_skipped: int = 0) -> None:
        self.count = 0
        self.remarks: list[str] = []
        """What else people should know about the rows, once all of them are read."""
        self._max_skipped = max_skipped
        self._named: list[str] = []

    def add(self, error: TextError) -> None:
        """Count a wrong row. Raises a TextError with what is wrong with this row if no more rows may be skipped."""
        if self.count == self._max_skipped:
            raise TextError(error.what, error.where, self._with_way_out(error.to_do)) from error
        self.count += 1
        if len(self._named) < MAX_NAMED:
            self._named.append(f"{error.where}: {error.what}")

    def kept(self, make: Callable[[Row], Made | None], rows: Iterable[Row]) -> Iterator[Made]:
        """What `make` makes of each row. Rows that it makes None of are left out, and wrong ones are counted.

        A row is wrong if `make` raises TextError.
        """
        for row in rows:
            try:
                made = make(row)
            except TextError as error:
                self.add(error)
                continue
            if made is not None:
                yield made

    def note(self) -> str | None:
        """How many rows were skipped, and why the first of them were; None if there were none."""
        if not self.count:
            return None
        rows = "1 row was" if self.count == 1 else f"{self.count:,} rows were"
        further = f"; and {self.count - len(self._named):,} more" if self.count > len(self._named) else ""
        return f"{rows} skipped: {'; '.join(self._named)}{further}"

    def _with_way_out(self, to_do: str) -> str:
        if not self._max_skipped:
            return f"{to_do}; or give --skip-bad N to skip up to N wrong rows"
        return f"{to_do}; or skip more wrong rows than --skip-bad {self._max_skipped}"
