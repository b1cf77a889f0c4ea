"""Restaurant reviews in which the order of the words decides: `python data/reviews.py` writes the same bytes each time.

- `reviews.tsv`: 2,000 rows, each a label, `good` or `bad`, a tab and a review;
- `reviews-test.tsv`: 300 rows with other reviews;
- `reviews-twins.tsv`: 200 rows with other reviews. Rows 1 and 2, 3 and 4, ... are twins: exactly the same words and
  marks in another order, and the other label. Whoever only counts words is right in one of the two.

A clause says that something was good or bad. *Not* and the like turn it round, and so do *I would not say that* and the
like before it; both together leave it as it was. A review has one clause, or two that agree, or two that do not. Then
the one after *but* or *however* decides, and never the one after *although* or *even though*.

`label` finds the label of any such review by these rules. The reviews are drawn the other way round, from the label to
the words, and the tests compare the two.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROWS, TEST_ROWS, TWINS_OF_A_KIND = 2000, 300, 50
SEED, TWIN_SEED = 1, 2
LABELS = ("bad", "good")

THINGS = {
    "food": "soup dessert salad fish bread coffee noodles potatoes",
    "people": "waiter cook owner barman waiters",
    "place": "room kitchen terrace bar rooms",
}
# What may be said of each kind of thing, and of all of them: bad / good.
ADJECTIVES = {
    "food": "cold salty / fresh tasty",
    "people": "rude slow / friendly quick",
    "place": "dirty noisy / clean quiet",
    "all": "bad terrible / good excellent",
}
FRAMES = ("", "", "", "", "", "", "", "", "I would say that", "I have to say that")
TURNING_FRAMES = ("I would not say that", "I cannot say that", "nobody would say that")
DEGREES = ("", "", "", "really", "quite")
TURNING_DEGREES = ("not", "not", "not", "never", "hardly", "far from")
TURNING = {"not", "cannot", "nobody", "never", "hardly", "far"}  # one word of each of these
SHARE_OF_TURNING_FRAMES, SHARE_OF_TURNING_DEGREES = 0.1, 0.25

# A plus sign stands for a clause that says what the label says, a minus sign for one that says the opposite.
CONTRASTS = ("-, but +", "-, but +", "-. However, +", "Although -, +", "+, although -", "+, even though -")
AGREEING = ("+", "+", "+. +", "+, and +")
SHARE_OF_CONTRASTS = 0.4
CONCESSIONS = ("although ", "even though ")
# Reviews to ask a network about, kept out of all files.
COURSE = ("The dessert was excellent.", "The waiter was slow, but I would not say that the soup was bad.")


class Clause(NamedTuple):
    """What a review says of one thing."""

    frame: str
    thing: str
    degree: str
    adjective: str

    def __str__(self) -> str:
        was = "were" if self.thing.endswith("s") else "was"
        return " ".join(f"{self.frame} the {self.thing} {was} {self.degree} {self.adjective}".split())


class Review(NamedTuple):
    """A label and what follows from it: the pattern of the sentences, and their clauses."""

    is_good: bool
    pattern: str
    clauses: list[Clause]

    def __str__(self) -> str:
        clauses = iter(self.clauses)
        text = re.sub("[-+]", lambda _: str(next(clauses)), self.pattern) + "."
        return re.sub(r"(^|\. )([a-z])", lambda start: start[1] + start[2].upper(), text)

    @property
    def row(self) -> str:
        return f"{LABELS[self.is_good]}\t{self}"


def adjectives(kind: str, is_good: bool) -> list[str]:
    """What can be said of a kind of thing, for the better or for the worse."""
    return [word for key in (kind, "all") for word in ADJECTIVES[key].split(" / ")[is_good].split()]


def clause(rng: random.Random, kind: str, thing: str, is_good: bool, has_frame: bool) -> Clause:
    is_framed = has_frame and rng.random() < SHARE_OF_TURNING_FRAMES
    is_turned = rng.random() < SHARE_OF_TURNING_DEGREES
    frame = rng.choice(TURNING_FRAMES if is_framed else FRAMES if has_frame else ("",))
    degree = rng.choice(TURNING_DEGREES if is_turned else DEGREES)
    return Clause(frame, thing, degree, rng.choice(adjectives(kind, is_good ^ is_framed ^ is_turned)))


def review(rng: random.Random) -> Review:
    """One draw. With *and* no clause has a frame, since it would be unclear how far that reaches."""
    is_good = rng.random() < 0.5
    pattern = rng.choice(CONTRASTS if rng.random() < SHARE_OF_CONTRASTS else AGREEING)
    signs = re.findall("[-+]", pattern)
    things = rng.sample([(kind, thing) for kind, listed in THINGS.items() for thing in listed.split()], len(signs))
    has_frame = ", and" not in pattern
    clauses = [
        clause(rng, kind, thing, is_good == (sign == "+"), has_frame)
        for (kind, thing), sign in zip(things, signs, strict=True)
    ]
    return Review(is_good, pattern, clauses)


def reviews(seed: int) -> Iterator[Review]:
    """Reviews without end, each text once, and not the course's."""
    rng = random.Random(seed)
    seen = set(COURSE)
    while True:
        drawn = review(rng)
        if str(drawn) not in seen:
            seen.add(str(drawn))
            yield drawn


def label(text: str) -> str:
    """The label of a review that the rules at the top can make."""
    parts = [part for part in re.split("[,.] ?", text.lower()) if part]
    deciding = parts[0] if parts[-1].startswith(CONCESSIONS) else parts[-1]
    *words, adjective = deciding.split()
    is_good = any(adjective in adjectives(kind, True) for kind in ADJECTIVES)
    return LABELS[is_good ^ (sum(word in TURNING for word in words) % 2)]


# Twins


def words(text: str) -> list[str]:
    """Its words and marks in the order of the alphabet."""
    return sorted(re.findall(r"\w+|[.,]", text))


def with_clauses_swapped(drawn: Review) -> Review | None:
    """The twin in which the clauses of a contrast have changed places."""
    twin = Review(not drawn.is_good, drawn.pattern, drawn.clauses[::-1])
    return twin if "-" in drawn.pattern and words(str(twin)) == words(str(drawn)) else None


def with_not_moved(drawn: Review) -> Review | None:
    """The twin in which a *not* of one clause of a contrast stands in the other one, and turns that."""
    degrees = [one.degree for one in drawn.clauses]
    if "-" not in drawn.pattern or "" not in degrees or not set(degrees) & set(TURNING_DEGREES):
        return None
    clauses = [one._replace(degree=degree) for one, degree in zip(drawn.clauses, degrees[::-1], strict=True)]
    return Review(not drawn.is_good, drawn.pattern, clauses)


def twins(twin_of: Callable[[Review], Review | None], kept_out: set[str]) -> Iterator[str]:
    """Rows of twins, the two after each other, of reviews that are not to be kept out."""
    for drawn in reviews(TWIN_SEED):
        twin = twin_of(drawn)
        if twin and not {str(drawn), str(twin)} & kept_out:
            kept_out.update((str(drawn), str(twin)))
            yield from (drawn.row, twin.row)


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    drawn = list(islice(reviews(SEED), ROWS + TEST_ROWS))
    random.Random(SEED).shuffle(drawn)  # the short ones were drawn early: later most of them had been seen
    rows, kept_out = [one.row for one in drawn], {str(one) for one in drawn}
    pairs = [
        row
        for twin_of in (with_clauses_swapped, with_not_moved)
        for row in islice(twins(twin_of, kept_out), 2 * TWINS_OF_A_KIND)
    ]
    contents = {"reviews.tsv": rows[:ROWS], "reviews-test.tsv": rows[ROWS:], "reviews-twins.tsv": pairs}
    return {name: "".join(f"{row}\n" for row in listed) for name, listed in contents.items()}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
