"""Sentences with a word that only what follows decides, drawn from a grammar whose probabilities are exact.

`python data/teddy.py` writes two files beside this script, the same bytes each time:

- `teddy.txt`: 15,000 independent draws, one sentence a line;
- `teddy-blanks.tsv`: sentences held out of it with one word left out, the right word, the wrong one, and how many words
  stand between the blank and the first word that decides.

"He said, Teddy ... was a great president", or "He said, Teddy ... are on sale": *Roosevelt* or *bears*? Nobody can know
before the end. There are three kinds of blank: what follows *Teddy* and other words that are both a given name and part
of a thing's name; *he* or *she* before *himself* or *her own*; *was* or *were* after *the sheep* and before
*its way* or *their way*.

Every rule with a blank has two sides, `a` and `b`, with the same weights. Until the deciding word the two differ in the
blank only, so what stands before the blank makes both exactly as probable (`probability` of an unfinished sentence is a
fraction), and what stands between says nothing either. With the deciding word only one of them is in the language.
The blanks come in twins that differ only in the blank and from the deciding word on: whoever knows only the beginning,
and so answers both alike, is right in one of the two.

The grammar is finite and unambiguous, so `log_probability` and `entropy` are exact. A draw that stands among the blanks
is drawn again. All but the course's two are less likely than `RARE`; together they have a mass m below 1e-3, and in
teddy.txt every other sentence's log-probability is higher than `log_probability` by -log(1 - m).
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import accumulate, count, islice
from math import inf, log
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LINES = 15_000
TEXT_SEED, BLANK_SEED = 1, 2
RARE = 1e-6
DISTANCES = range(11)
TWINS_OF_A_KIND = {"name": 30, "pronoun": 10, "number": 10}  # for each distance

# A rule is `SYMBOL : weight parts | weight parts`. `@` stands for a side, a or b, and `#` for a kind of key, MANY or
# MASS, each the same throughout a rule. `*` isn't written: the first one marks the blank, the second the deciding word.
GRAMMAR = """
LINE         : 5 KEYED . | 5 SAID , KEYED . | 2 KEYED , said SPEAKER . | 3 PRONOUN . | 3 WHEN , PRONOUN . | 4 ANIMAL .
SAID         : 3 he said | 3 she said | 3 SPEAKER said | 1 WHEN , he said | 1 WHEN , she said | 2 WHEN , NAME said
WHEN         : 3 in the morning | 2 at night | 2 after the rain | 1 last summer | 1 one day
SPEAKER      : 3 NAME | 1 the PERSON

KEYED        : 4 KEYED.MANY | 3 KEYED.MASS
KEYED.#      : 1 KEYED.#.a | 1 KEYED.#.b
KEYED.#.@    : 3 KEY.#.@ TELLING.#.@ | 6 KEY.#.@ BETWEEN TELLING.#.@ | 2 KEY.#.@ CAME and TELLING.#.@
TELLING.#.@  : 6 SHOWN.#.@ | 3 MAY be * STATE.@ | 2 * DID.@
SHOWN.MANY.@ : 1 * BE.@ STATE.@
SHOWN.MASS.@ : 1 BE.a * STATE.@
MAY          : 3 will | 2 may | 2 should | 2 will soon | 1 may still | 1 could one day
CAME         : 2 came to our town | 1 came to the HOUSE by train | 2 came home with SPEAKER | 1 went to the city
             | 1 stayed with us all summer | 1 came from the city on a cold day | 1 stood by the door for an hour
             | 1 went around the world on a ship
STATE.a      : 6 a great president | 2 a friend of SPEAKER | 2 elected by the people | 2 the first woman or man there
             | 1 president for many years | 1 married to NAME | 1 angry with SPEAKER | 2 happy to see SPEAKER
             | 1 afraid of the dark | 1 tired of the noise | 1 asleep in the HOUSE
STATE.b      : 6 on sale | 2 on sale in the HOUSE | 2 sold in the HOUSE | 2 cheap this week | 1 kept in a box
             | 1 packed in paper | 1 worth a lot of money | 2 made by hand | 1 made by SPEAKER | 1 half the price
             | 1 hard to find
DID.a        : 2 smiled at SPEAKER | 2 wrote a letter to SPEAKER | 1 spoke to the people | 1 sang a song for SPEAKER
             | 1 won the race
DID.b        : 2 cost a lot of money | 2 sold well in the HOUSE | 1 filled the HOUSE | 1 lasted for many years
             | 1 cost SPEAKER a coin

BETWEEN      : 5 FROM | 5 ASIDE | 1 from the HOUSE ASIDE
FROM         : 3 from the HOUSE | 2 from the LOOK HOUSE | 2 from the HOUSE by the WATER
             | 1 from the LOOK HOUSE by the WATER
ASIDE        : 3 , I think , | 3 , as everyone knows , | 2 , as the papers say , | 2 , as SPEAKER once told us ,
             | 1 , known to all the world , | 1 , in the opinion of SPEAKER , | 1 , loved by all the people in town ,
             | 1 , seen in so many pictures in the papers ,

PRONOUN      : 1 PRONOUN.a | 1 PRONOUN.b
PRONOUN.@    : 2 DEED.@ | 1 DEED.@ and WENT
WENT         : 3 went home with SPEAKER | 2 said nothing to SPEAKER | 2 was happy there | 1 sang a song for SPEAKER
DEED.@       : 1 * HE.@ * SELF.@ MET SPEAKER THERE | 1 * HE.@ * SELF.@ RESTED THERE
             | 2 * HE.@ DOING AT.@ THERE | 1 * HE.@ OFTEN DOING AT.@ THERE | 3 * HE.@ RESTED ALONE.@ THERE
             | 3 * HE.@ RESTED THERE ALONE.@ | 2 * HE.@ RESTED THERE LONG ALONE.@
             | 1 * HE.@ OFTEN RESTED ALONE.@ THERE | 3 * HE.@ told SPEAKER about AT.@ THERE
             | 3 * HE.@ told SPEAKER that the HOUSE THEN * POSS.@ own
DOING        : 2 asked | 2 hid | 1 washed | 1 hurt
OFTEN        : 2 often | 1 always | 1 never
AT.@         : 3 * SELF.@ | 1 * POSS.@ own HELPER
HELPER       : 1 brother | 1 sister | 1 friend
RESTED       : 3 sat | 2 worked | 2 waited | 1 slept | 1 played
THERE        : 3 in the HOUSE | 2 in the LOOK HOUSE | 2 in the HOUSE by the WATER | 1 out in the rain
LONG         : 2 all day | 1 all summer | 1 for an hour | 1 for many years
ALONE.@      : 2 by * SELF.@ | 1 with * POSS.@ own HELPER
THEN         : 2 was | 2 by the WATER was | 1 was once | 1 by the WATER was once
MET          : 2 met | 1 found | 1 helped

ANIMAL       : 1 ANIMAL.a | 1 ANIMAL.b
ANIMAL.@     : 3 the SHEEP * BE.@ BEING.@ | 2 the SHEEP THERE * BE.@ BEING.@ | 1 the LOOK SHEEP * BE.@ BEING.@
BEING.@      : 6 FLOCK.@ | 4 ASIDE FLOCK.@ | 2 LATELY FLOCK.@ | 2 THERE with * ITS.@ young
             | 1 ASIDE THERE with * ITS.@ young
LATELY       : 1 often | 1 still | 1 once again
FLOCK.a      : 2 * a friend of SPEAKER | 1 * a large animal | 1 FLOCK.all.a
FLOCK.b      : 2 * friends of SPEAKER | 1 * large animals | 1 FLOCK.all.b
FLOCK.all.@  : 3 on * ITS.@ way to the WATER | 2 hiding * ITSELF.@ from the dog | 1 looking at * ITSELF.@ in the water
             | 2 afraid to leave * ITS.@ young
"""

# Words stand in order of frequency: the n-th, from 0, has the weight 1 / (n + 6).
WORDS = {
    "NAME": "Anna Tom Mary Ben Clara Peter Lucy David",
    "PERSON": "teacher farmer doctor baker sailor captain nurse",
    "HOUSE": "shop house garden school kitchen market mill barn",
    "WATER": "river sea lake bridge wood road",
    "LOOK": "old big little new quiet",
    "SHEEP": "sheep fish deer trout moose",
}
# A key, then the two words that may follow it. Things of the first kind have plural verbs, of the second singular ones.
KEYS = {
    "MANY": "Teddy Roosevelt/bears, Daisy Cooper/chains, Olive Turner/trees, Robin Hughes/eggs, "
    "Penny Walsh/whistles, Ruby Lewis/rings, Holly Brown/wreaths, Lily Foster/bulbs",
    "MASS": "Rose Parker/perfume, Ginger Wells/tea, Cherry Page/jam, Basil Grant/soup, Jasmine Ford/rice, "
    "Poppy Dean/oil",
}
# Words of side a and of side b.
SIDES = {
    "HE": "he/she",
    "SELF": "himself/herself",
    "POSS": "his/her",
    "BE": "was/were is/are",
    "ITS": "its/their",
    "ITSELF": "itself/themselves",
}

Rule = tuple[Fraction, tuple[str, ...]]


def normalised(choices: Iterable[tuple[Fraction, tuple[str, ...]]]) -> list[Rule]:
    """Rules whose weights have become probabilities."""
    listed = list(choices)
    total = sum(weight for weight, _ in listed)
    return [(weight / total, parts) for weight, parts in listed]


def by_frequency(choices: Iterable[tuple[str, ...]]) -> list[Rule]:
    return normalised((Fraction(1, rank + 6), parts) for rank, parts in enumerate(choices))


def pairs_in(text: str) -> list[list[str]]:
    return [pair.split("/") for pair in re.findall(r"\w+/\w+", text)]


def lexicon() -> Iterator[tuple[str, list[Rule]]]:
    for symbol, words in WORDS.items():
        yield symbol, by_frequency((word,) for word in words.split())
    for side, place in ("a", 0), ("b", 1):
        for kind, keys in KEYS.items():
            split = (key.split() for key in keys.split(", "))
            yield f"KEY.{kind}.{side}", by_frequency((key, "*", pair.split("/")[place]) for key, pair in split)
        for symbol, words in SIDES.items():
            yield f"{symbol}.{side}", by_frequency((pair[place],) for pair in pairs_in(words))


def instances(rule: str) -> Iterator[str]:
    """A rule for each side and kind of key that its `@` and `#` stand for."""
    for kind in KEYS if "#" in rule else ("",):
        for side in "ab" if "@" in rule else " ":
            yield rule.replace("#", kind).replace("@", side)


def read_rules(grammar: str) -> Iterator[tuple[str, list[Rule]]]:
    for template in re.sub(r"\n +\|", " |", grammar).strip().splitlines():
        for rule in instances(template):
            symbol, _, choices = rule.partition(":")
            split = (choice.split() for choice in choices.split("|"))
            if choices:
                yield symbol.strip(), normalised((Fraction(weight), tuple(parts)) for weight, *parts in split)


RULES: dict[str, list[Rule]] = dict([*read_rules(GRAMMAR), *lexicon()])
VOCABULARY = frozenset(part for rules in RULES.values() for _, parts in rules for part in parts) - RULES.keys() - {"*"}


class Choice(NamedTuple):
    """What is known of a word that a blank can stand for."""

    kind: str
    other: str


def words_for_blanks() -> Iterator[tuple[str, Choice]]:
    for kind, text in ("name", " ".join(KEYS.values())), ("pronoun", SIDES["HE"]), ("number", SIDES["BE"]):
        for first, second in pairs_in(text):
            yield first, Choice(kind, second)
            yield second, Choice(kind, first)


CHOICES = dict(words_for_blanks())
SIDED = ("KEYED.MANY", "KEYED.MASS", "PRONOUN", "ANIMAL")
OTHER_SIDE = {f"{symbol}.{side}": f"{symbol}.{other}" for symbol in SIDED for side, other in ("ab", "ba")}


# Drawing


@cache
def cumulative(symbol: str) -> list[float]:
    return [float(total) for total in accumulate(probability for probability, _ in RULES[symbol])]


def derive(symbol: str, rng: random.Random, turned: bool = False) -> Iterator[str]:
    """The words, marks among them, of one draw from what a symbol stands for.

    With `turned` it is the other side that is drawn: the same words up to the deciding one, but for the blank.
    """
    if symbol not in RULES:
        yield symbol
        return
    [(_, parts)] = rng.choices(RULES[symbol], cum_weights=cumulative(symbol))
    if turned and parts[0] in OTHER_SIDE:
        parts = (OTHER_SIDE[parts[0]],)
    for part in parts:
        yield from derive(part, rng, turned)


def written(words: Iterable[str]) -> str:
    """Words as a line of text: marks gone, punctuation joined, a capital at the start."""
    text = re.sub(r" ([,.])", r"\1", " ".join(word for word in words if word != "*"))
    return text[:1].upper() + text[1:]


def sentences(seed: int, number: int) -> Iterator[str]:
    """Independent draws from the grammar."""
    rng = random.Random(seed)
    return (written(derive("LINE", rng)) for _ in range(number))


# Probabilities


def words_of(sentence: str) -> list[str]:
    """The words that `written` made a sentence, or the start of one, of."""
    words = re.findall(r"[A-Za-z]+|[^A-Za-z ]", sentence)
    return [word if word in VOCABULARY else word.lower() for word in words]


@cache
def predictions(symbol: str) -> dict[str, list[Rule]]:
    """The rules of a symbol worth trying, by the next word."""
    table: dict[str, list[Rule]] = defaultdict(list)
    for probability, marked in RULES[symbol]:
        parts = tuple(part for part in marked if part != "*")
        for word in predictions(parts[0]) if parts[0] in RULES else parts[:1]:
            table[word].append((probability, parts))
    return dict(table)


class Chart:
    """All ways to derive stretches of one sentence: the inside algorithm, top down, each stretch once.

    Whatever would stand behind the last word is taken to be there, so a sentence may be unfinished.
    """

    def __init__(self, words: list[str], counting: bool = False) -> None:
        self.words, self.counting = words, counting
        self.known: dict[tuple[str, int], dict[int, Fraction]] = {}

    def ends(self, symbol: str, start: int) -> dict[int, Fraction]:
        """Where what begins at `start` as `symbol` can end, and the probability (or the number) of its derivations."""
        if start == len(self.words):
            return {start: Fraction(1)}
        if symbol not in RULES:
            return {start + 1: Fraction(1)} if self.words[start] == symbol else {}
        if (symbol, start) not in self.known:
            total: dict[int, Fraction] = defaultdict(Fraction)
            for probability, parts in predictions(symbol).get(self.words[start], ()):
                for end, inner in self.ends_of_all(parts, start).items():
                    total[end] += inner * (1 if self.counting else probability)
            self.known[symbol, start] = total
        return self.known[symbol, start]

    def ends_of_all(self, parts: tuple[str, ...], start: int) -> dict[int, Fraction]:
        reached = {start: Fraction(1)}
        for part in parts:
            following: dict[int, Fraction] = defaultdict(Fraction)
            for middle, left in reached.items():
                for end, right in self.ends(part, middle).items():
                    following[end] += left * right
            reached = following
        return reached


def probability(beginning: str, counting: bool = False) -> Fraction:
    """That a line begins so: exact, and 1 for an empty beginning. A full stop ends a line, so a sentence is one too."""
    words = words_of(beginning)
    if written(words) != beginning:
        return Fraction(0)
    return Chart(words, counting).ends("LINE", 0).get(len(words), Fraction(0))


def log_probability(sentence: str) -> float:
    """Nats, at most 0: of a line without its newline, its end included; -inf outside the language."""
    found = probability(sentence) if sentence.endswith(".") else 0
    return log(found) if found else -inf


def derivations(sentence: str) -> int:
    """In how many ways the grammar makes a sentence: 1, or 0 outside the language."""
    return int(probability(sentence, counting=True)) if sentence.endswith(".") else 0


# What is known of the source as a whole


@cache
def entropy(symbol: str = "LINE") -> float:
    """Nats per sentence, exact: a rule's surprisal and its parts' entropies, in the mean over the rules of a symbol."""
    return sum(float(p) * (sum(map(entropy, parts)) - log(p)) for p, parts in RULES.get(symbol, ()))


@cache
def mean_characters(symbol: str = "LINE") -> float:
    """Characters per sentence, exact. The space before each word is counted with it; the first one's is the newline."""
    if symbol in RULES:
        return sum(float(p) * sum(map(mean_characters, parts)) for p, parts in RULES[symbol])
    return {"*": 0, ",": 1, ".": 1}.get(symbol, 1 + len(symbol))


# The files


class Blank(NamedTuple):
    sentence: str  # the right word is ___ in it
    right: str
    wrong: str
    distance: int  # words between the blank and the first word that decides
    kind: str

    @property
    def whole(self) -> str:
        return self.sentence.replace("___", self.right)


def blank(marked: list[str]) -> Blank:
    """A sentence with the word after its first mark left out."""
    place, deciding = (number for number, word in enumerate(marked) if word == "*")
    word = marked[place + 1]
    kind, other = CHOICES[word]
    sentence = written([*marked[:place], "___", *marked[place + 2 :]])
    right, wrong = (written([choice]) if place == 0 else choice for choice in (word, other))
    between = [one for one in marked[place + 2 : deciding] if one != ","]
    return Blank(sentence, right, wrong, len(between), kind)


COURSE = (
    Blank("He said, Teddy ___ was a great president.", "Roosevelt", "bears", distance=0, kind="name"),
    Blank("He said, Teddy ___ are on sale.", "bears", "Roosevelt", distance=0, kind="name"),
)


def twins(seed: int) -> tuple[Blank, Blank]:
    """Two sentences that differ only in the blank and from the deciding word on."""
    first, second = (blank(list(derive("LINE", random.Random(seed), turned))) for turned in (False, True))
    return first, second


def blanks() -> list[Blank]:
    """For each kind of blank as many pairs of rare twins at every distance, and the course's; twins stay together."""
    wanted = {(distance, kind): number for distance in DISTANCES for kind, number in TWINS_OF_A_KIND.items()}
    chosen = {course.whole: course for course in COURSE}
    for seed in count(BLANK_SEED):
        if not any(wanted.values()):
            break
        pair = twins(seed)
        kind = pair[0].distance, pair[0].kind
        if wanted.get(kind) and all(one.whole not in chosen and probability(one.whole) < RARE for one in pair):
            wanted[kind] -= 1
            chosen.update({one.whole: one for one in pair})
    return sorted(chosen.values(), key=lambda found: found.distance)


def text(kept_out: set[str]) -> Iterator[str]:
    """The lines of teddy.txt: draws, without those kept out."""
    drawn = (sentence for sentence in sentences(TEXT_SEED, 2 * LINES) if sentence not in kept_out)
    return islice(drawn, LINES)


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    chosen = blanks()
    rows = ["sentence\tright\twrong\tdistance\tkind", *("\t".join(map(str, found)) for found in chosen)]
    lines = text(kept_out={found.whole for found in chosen})
    return {
        "teddy.txt": "".join(f"{line}\n" for line in lines),
        "teddy-blanks.tsv": "".join(f"{row}\n" for row in rows),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
