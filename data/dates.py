"""Dates as people write them, with the same dates in ISO 8601: `python data/dates.py` writes the same bytes each time.

- `dates.tsv`: 4,000 rows, each a date as written, a tab and the date as `YYYY-MM-DD`;
- `dates-test.tsv`: 300 rows with other days, which `dates.tsv` has in no form.

The days are those from 1900 to 2099, each as likely as another, and so is each of the forms. All forms are unambiguous:
years have four digits, and a day and a month in digits stand in the order of their size. The weekday is the right one.
"""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
ROWS, TEST_ROWS, SEED = 4000, 300, 1
FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January February March April May June July August September October November December"
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth "
    "twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)

# What stands in braces is replaced as `parts` says.
FORMS = (
    "{day} {month} {year}",
    "{month} {day}, {year}",
    "{nth} {month} {year}",
    "{month} {nth}, {year}",
    "the {nth} of {month} {year}",
    "the {ordinal} of {month} {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{weekday}, the {nth} of {month} {year}",
    "{wkd}, {dd} {mon} {year}",
    "{dd}-{mon}-{year}",
    "{mon} {day}, {year}",
    "{day}.{number}.{year}",
    "{dd}.{mm}.{year}",
    "{year}/{mm}/{dd}",
    "{year}{mm}{dd}",
)


def nth(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th, ..."""
    endings = {1: "st", 2: "nd", 3: "rd"} if number not in (11, 12, 13) else {}
    return str(number) + endings.get(number % 10, "th")


def parts(day: date) -> dict[str, str]:
    """All that a form can be filled with."""
    weekday, month = WEEKDAYS.split()[day.weekday()], MONTHS.split()[day.month - 1]
    return {
        "day": str(day.day),
        "dd": f"{day.day:02}",
        "nth": nth(day.day),
        "ordinal": ORDINALS.split()[day.day - 1],
        "month": month,
        "mon": month[:3],
        "number": str(day.month),
        "mm": f"{day.month:02}",
        "year": str(day.year),
        "weekday": weekday,
        "wkd": weekday[:3],
    }


def written(day: date) -> list[str]:
    """A date in each of the forms."""
    return [form.format_map(parts(day)) for form in FORMS]


def days(rng: random.Random) -> Iterator[date]:
    """Days without end, at times one that has been before."""
    while True:
        yield FIRST + timedelta(rng.randrange((LAST - FIRST).days + 1))


def rows(rng: random.Random, number: int, kept_out: set[date]) -> dict[str, date]:
    """So many different dates as written, and which they are, without some."""
    drawn: dict[str, date] = {}
    for day in days(rng):
        if len(drawn) == number:
            break
        if day not in kept_out:
            drawn[rng.choice(written(day))] = day
    return drawn


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    rng = random.Random(SEED)
    training = rows(rng, ROWS, set())
    test = rows(rng, TEST_ROWS, set(training.values()))
    return {
        name: "".join(f"{text}\t{day.isoformat()}\n" for text, day in drawn.items())
        for name, drawn in (("dates.tsv", training), ("dates-test.tsv", test))
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
