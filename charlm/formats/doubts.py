"""Signs that the columns of a table are not what they are taken for: notes for people, from a pass over its rows."""

from collections import Counter

from charlm.formats.records import FIELDS, Wanted

MAX_LOOKED_AT = 1000  # rows of which the labels and texts are compared
MIN_LOOKED_AT = 10
MOST = 0.9  # of the labels are different where texts are taken for labels
FEW = 0.5  # of the texts are different there
MAX_SHOWN = 30  # characters of a field
MAX_GIVEN = 70  # characters of the option that a note advises to give


class Doubts:
    """Looks at the two columns of a table, row by row, in constant memory."""

    def __init__(self, name: str, wanted: Wanted) -> None:
        self._name = name
        self._wanted = wanted
        self._first: tuple[str, str, str] | None = None
        self._recurs = False
        self._labels: Counter[int] = Counter()  # by their hashes, as texts can be long
        self._texts: set[int] = set()
        self._num_looked_at = 0

    def look(self, first: str, second: str, where: str) -> None:
        """Look at the next row that is no header."""
        if self._first is None:
            self._first = first, second, where
        else:
            self._recurs = self._recurs or first == self._first[0]
        if self._num_looked_at < MAX_LOOKED_AT:
            self._num_looked_at += 1
            self._labels[hash(first)] += 1
            self._texts.add(hash(second))

    def notes(self, swapped: str) -> list[str]:
        """What is to be said after the last row; `swapped` is what `--columns` would be given to swap the columns."""
        found = (self._about_header(), self._about_swapped(swapped))
        return [note for note in found if note]

    def _about_header(self) -> str | None:
        """A note where the first row is nearly a header, or has a label of its own among labels that all recur."""
        if self._first is None:
            return None
        *row, where = self._first
        wanted, plain = FIELDS[self._wanted], [field.strip().casefold() for field in row]
        is_nearly = sorted(plain) == sorted(wanted)
        if not (is_nearly or (self._wanted == "labelled" and self._has_a_label_of_its_own())):
            return None
        names = [row[plain.index(name)] for name in wanted] if is_nearly else row
        can_be_given = all(name == name.strip() and "," not in name for name in names)
        to_do = f"give --columns {','.join(names)}"
        if not can_be_given or len(to_do) > MAX_GIVEN:
            to_do = f"write {' and '.join(wanted)} there"
        shown = " and ".join(repr(field[:MAX_SHOWN]) for field in row)
        return f"{where}: {shown} were read as a row of data; if that is a header, {to_do}"

    def _has_a_label_of_its_own(self) -> bool:
        num_single = sum(count == 1 for count in self._labels.values())
        return not self._recurs and num_single == 1 and self._num_looked_at >= MIN_LOOKED_AT

    def _about_swapped(self, swapped: str) -> str | None:
        """A note where nearly all labels are different, and the texts are few different ones."""
        number, num_labels, num_texts = self._num_looked_at, len(self._labels), len(self._texts)
        if self._wanted != "labelled" or number < MIN_LOOKED_AT:
            return None
        if num_labels < MOST * number or num_texts > FEW * number:
            return None
        return (
            f"{self._name}: {num_labels:,} of {number:,} rows have a label of their own, and there are only "
            f"{num_texts:,} different texts; if the columns are the other way round, give --columns {swapped}"
        )
