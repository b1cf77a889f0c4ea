"""English drawn from a probabilistic grammar, whose every sentence has a known probability.

`python data/agreement.py` writes two files beside this script, the same bytes each time:

- `agreement.txt`: 20,000 independent draws, one sentence a line;
- `agreement-pairs.tsv`: sentences held out of it, each with its twin whose main verb has the wrong number, and how many
  words stand between the subject's noun and that verb.

The grammar is finite (a relative clause may hold one more, and no further) and unambiguous: each sentence has exactly
one derivation. `log_probability` parses a sentence and gives its natural logarithm under the grammar, so the truth is
known for any held-out text, and `entropy` is exact.

A draw that stands among the pairs is drawn again. Only sentences less likely than `RARE` are chosen for the pairs (and
the two that the project's demo scores), so that together they have a mass m below 1e-4. In agreement.txt every other
sentence's log-probability is higher than `log_probability` by -log(1 - m), less than 0.0001 nats of some 20.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, islice
from math import inf, log
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LINES = 20_000
TEXT_SEED, PAIR_SEED, HELD_OUT_SEED = 1, 2, 3
RARE = 1e-6
DISTANCES = range(12)
PAIRS_OF_A_KIND = 42  # for each distance and each number

# A rule is `SYMBOL : weight parts | weight parts`. `#` stands for a number, s or p, and `@` for a kind of noun, each
# the same throughout a rule. `*` isn't written: it marks the subject's noun and the verb that must agree with it. In a
# subject, places come before the relative clause, which comes last; so no phrase can be attached in two ways.
# VP is a main clause's verb phrase, LOW a relative clause's, SHORT that of a clause within a clause.
GRAMMAR = """
LINE           : 17 STATEMENT . | 2 `` REMARK , '' said SPEAKER . | 1 SPEAKER said , `` REMARK . ''
SPEAKER        : 4 NAME | 1 the NOUN.person.s

STATEMENT      : 3 CLAUSE | 1 WHEN , CLAUSE
WHEN           : 3 in the morning | 2 at night | 2 after the rain | 1 before school | 1 one day
CLAUSE         : 5 CLAUSE.animal | 5 CLAUSE.person | 5 CLAUSE.thing
               | 1 * NAME VP.person.s | 1 * NAME ASIDE.person.s VP.person.s
CLAUSE.@       : 1 CLAUSE.@.s | 1 CLAUSE.@.p
CLAUSE.@.#     : 1 SUBJECT.@.# VP.@.# | 4 SUBJECT.@.# AFTER.@.# VP.@.#
REMARK         : 3 REMARK.animal | 3 REMARK.person | 3 REMARK.thing | 1 * NAME VP.person.s
REMARK.@       : 1 REMARK.@.s | 1 REMARK.@.p
REMARK.@.#     : 3 SUBJECT.@.# VP.@.# | 1 SUBJECT.@.# PLACE VP.@.#

SUBJECT.@.#    : 5 the * NOUN.@.# | 1 the LOOK * NOUN.@.#
AFTER.@.#      : 5 PLACE | 1 THERE | 5 ASIDE.@.# | 4 RELATIVE.@.#
               | 2 PLACE PLACE | 1 PLACE ASIDE.@.# | 2 PLACE RELATIVE.@.#
ASIDE.@.#      : 1 , WHICH.@ LOW.@.# ,
RELATIVE.@.#   : 2 THAT.@ LOW.@.# | 1 THAT.@ AGENT
AGENT          : 3 AGENT.person.s | 3 AGENT.person.p | 3 AGENT.animal.s | 3 AGENT.animal.p | 2 NAME LIKE.s
AGENT.@.#      : 1 the NOUN.@.# LIKE.#

VP.person.#    : 1 VP.living.#
VP.animal.#    : 1 VP.living.#
VP.living.#    : 6 * BE.# FEELING | 2 * BE.# PLACE | 3 * LIKE.# OBJECT | 1 OFTEN * LIKE.# OBJECT | 2 * REST.#
               | 2 * REST.# PLACE | 1 OFTEN * REST.# PLACE | 3 * HAVE.# PERFECT | 1 PAST
VP.thing.#     : 6 * BE.# STATE | 3 * BE.# PLACE | 2 * STAND.# PLACE | 1 OFTEN * STAND.# PLACE
               | 1 * BELONG.# to OWNER | 1 * HAVE.# fallen PLACE
LOW.person.#   : 1 LOW.living.#
LOW.animal.#   : 1 LOW.living.#
LOW.living.#   : 2 BE.# FEELING | 2 BE.# PLACE | 3 LIKE.# OBJECT | 1 REST.# | 2 REST.# PLACE | 1 HAVE.# PERFECT | 4 PAST
LOW.thing.#    : 2 BE.# STATE | 3 BE.# PLACE | 2 STAND.# PLACE | 2 BELONG.# to OWNER
PAST           : 3 ate FOOD | 2 already ate FOOD | 2 SAW OBJECT | 1 already SAW OBJECT
PERFECT        : 1 already eaten FOOD | 3 SEEN OBJECT

OBJECT         : 12 the NOUN | 4 NAME | 5 the NOUN PLACE
               | 1 the NOUN.person.s who SHORT.s | 1 the NOUN.person.p who SHORT.p
               | 1 the NOUN.animal.s that SHORT.s | 1 the NOUN.animal.p that SHORT.p
SHORT.#        : 2 BE.# FEELING | 1 REST.# | 1 LIKE.# NAME
OWNER          : 2 NAME | 1 the NOUN.person
PLACE          : 3 NEAR the NOUN | 2 in the ROOM.s | 1 in the ROOM.p
NOUN           : 3 NOUN.person | 3 NOUN.animal | 4 NOUN.thing
NOUN.@         : 1 NOUN.@.s | 1 NOUN.@.p
FOOD           : 5 a bunch of fish | 3 a bowl of soup | 3 a piece of bread
               | 2 a bag of nuts | 2 some cheese | 1 all the cakes
WHICH.person   : 1 who
WHICH.animal   : 1 which
WHICH.thing    : 1 which
THAT.person    : 1 who
THAT.animal    : 1 that
THAT.thing     : 1 that
"""

# Words stand in order of frequency: the n-th, from 0, has the weight 1 / (n + 6). A form that isn't regular is given.
NOUNS = {
    "NOUN.animal": "cat dog bird horse mouse/mice rabbit fox duck goose/geese goat pony",
    "NOUN.person": "boy girl teacher man/men woman/women farmer child/children doctor baker sailor lady cook",
    "NOUN.thing": "key box book letter cup lamp knife/knives picture basket chair bell coat",
    "ROOM": "garden house field kitchen barn school",
}
VERBS = {
    "BE": "were/was",
    "HAVE": "have/has",
    "LIKE": "like see watch follow know help carry love",
    "REST": "sleep sit wait play live sing",
    "STAND": "stand lie hang",
    "BELONG": "belong",
}
WORDS = {
    "NAME": "Anna Tom Mary Ben Clara Peter Lucy Jack Emma David",
    "LOOK": "old young little big white black",
    "FEELING": "full happy tired hungry quiet cold ready angry proud",
    "STATE": "old new red clean broken heavy lost dry",
    "SAW": "saw found chased met",
    "SEEN": "seen found helped lost",
    "NEAR": "near behind beside with by",
    "THERE": "outside upstairs inside",
    "OFTEN": "often always never still",
}

Rule = tuple[float, tuple[str, ...]]


def s_form(word: str) -> str:
    """The form in -s: the plural of a noun, the singular of a verb.

    >>> [s_form(word) for word in ("cat", "fox", "watch", "pony", "boy")]
    ['cats', 'foxes', 'watches', 'ponies', 'boys']
    """
    if re.search("(s|x|ch|sh)$", word):
        return word + "es"
    return re.sub("[^aeiou]y$", lambda end: end[0][0] + "ie", word) + "s"


def forms(words: str) -> list[tuple[str, str]]:
    """Each word with its other form, as given after a slash or else the regular one."""
    return [(base, given or s_form(base)) for base, _, given in (word.partition("/") for word in words.split())]


def normalised(choices: Iterable[tuple[float, tuple[str, ...]]]) -> list[Rule]:
    """Rules whose weights have become probabilities."""
    listed = list(choices)
    total = sum(weight for weight, _ in listed)
    return [(weight / total, parts) for weight, parts in listed]


def by_frequency(words: Iterable[str]) -> list[Rule]:
    return normalised((1 / (rank + 6), (word,)) for rank, word in enumerate(words))


def lexicon() -> Iterator[tuple[str, list[Rule]]]:
    for symbol, words in NOUNS.items():
        yield symbol + ".s", by_frequency(singular for singular, _ in forms(words))
        yield symbol + ".p", by_frequency(plural for _, plural in forms(words))
    for symbol, words in VERBS.items():
        yield symbol + ".s", by_frequency(singular for _, singular in forms(words))
        yield symbol + ".p", by_frequency(plural for plural, _ in forms(words))
    for symbol, words in WORDS.items():
        yield symbol, by_frequency(words.split())


def instances(rule: str) -> Iterator[str]:
    """A rule for each number and kind that its `#` and `@` stand for."""
    for kind in ("person", "animal", "thing") if "@" in rule else ("",):
        for number in "sp" if "#" in rule else " ":
            yield rule.replace("@", kind).replace("#", number)


def read_rules(grammar: str) -> Iterator[tuple[str, list[Rule]]]:
    for template in re.sub(r"\n +\|", " |", grammar).strip().splitlines():
        for rule in instances(template):
            symbol, _, choices = rule.partition(":")
            split = (choice.split() for choice in choices.split("|"))
            if choices:
                yield symbol.strip(), normalised((float(weight), tuple(parts)) for weight, *parts in split)


RULES: dict[str, list[Rule]] = dict([*read_rules(GRAMMAR), *lexicon()])
NAMES = frozenset(WORDS["NAME"].split())
PLURAL_VERBS = {plural: singular for words in VERBS.values() for plural, singular in forms(words)}
OTHER_NUMBER = PLURAL_VERBS | {singular: plural for plural, singular in PLURAL_VERBS.items()}


# Drawing


@cache
def cumulative(symbol: str) -> list[float]:
    return list(accumulate(probability for probability, _ in RULES[symbol]))


def derive(symbol: str, rng: random.Random) -> Iterator[str]:
    """The words, marks among them, of one draw from what a symbol stands for."""
    if symbol not in RULES:
        yield symbol
        return
    [(_, parts)] = rng.choices(RULES[symbol], cum_weights=cumulative(symbol))
    for part in parts:
        yield from derive(part, rng)


def written(words: Iterable[str]) -> str:
    """Words as a line of text: marks gone, punctuation joined, the first word of each statement with a capital."""
    text = " ".join(word for word in words if word != "*")
    text = re.sub(r" ([,.])", r"\1", text).replace("`` ", '"').replace(" ''", '"')
    return re.sub('(^"?| ")[a-z]', lambda start: start[0].upper(), text)


def sentences(seed: int, count: int) -> Iterator[str]:
    """Independent draws from the grammar."""
    rng = random.Random(seed)
    return (written(derive("LINE", rng)) for _ in range(count))


def held_out(count: int, seed: int = HELD_OUT_SEED) -> list[str]:
    """Draws that aren't in agreement.txt, so rarer than most: hold them against their own probabilities."""
    known = set((HERE / "agreement.txt").read_text(encoding="ascii").split("\n"))
    rng = random.Random(seed)
    drawn = (written(derive("LINE", rng)) for _ in iter(int, 1))
    return list(islice((sentence for sentence in drawn if sentence not in known), count))


# Parsing


def words_of(sentence: str) -> list[str]:
    """The words that `written` made a sentence of; the sides of quotation marks alternate."""
    words = [word if word in NAMES else word.lower() for word in re.findall(r"[A-Za-z]+|[^A-Za-z ]", sentence)]
    quotes = [place for place, word in enumerate(words) if word == '"']
    for turn, place in enumerate(quotes):
        words[place] = "''" if turn % 2 else "``"
    return words


@cache
def starters(symbol: str) -> frozenset[str]:
    """The words that can begin what a symbol stands for, which is never empty."""
    if symbol not in RULES:
        return frozenset([symbol])
    return frozenset().union(*(starters(unmarked(parts)[0]) for _, parts in RULES[symbol]))


def unmarked(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in parts if part != "*")


@cache
def predictions(symbol: str) -> dict[str, list[Rule]]:
    """The rules of a symbol worth trying, by the next word."""
    table: dict[str, list[Rule]] = defaultdict(list)
    for probability, marked in RULES[symbol]:
        parts = unmarked(marked)
        for word in starters(parts[0]):
            table[word].append((probability, parts))
    return dict(table)


class Chart:
    """All ways to derive stretches of one sentence: the inside algorithm, top down, each stretch once."""

    def __init__(self, words: list[str], counting: bool = False) -> None:
        self.words, self.counting = words, counting
        self.known: dict[tuple[str, int], dict[int, float]] = {}

    def ends(self, symbol: str, start: int) -> dict[int, float]:
        """Where what begins at `start` as `symbol` can end, and the probability (or the number) of its derivations."""
        word = self.words[start] if start < len(self.words) else ""
        if symbol not in RULES:
            return {start + 1: 1.0} if word == symbol else {}
        if (symbol, start) not in self.known:
            total: dict[int, float] = defaultdict(float)
            for probability, parts in predictions(symbol).get(word, ()):
                for end, inner in self.ends_of_all(parts, start).items():
                    total[end] += inner * (1 if self.counting else probability)
            self.known[symbol, start] = total
        return self.known[symbol, start]

    def ends_of_all(self, parts: tuple[str, ...], start: int) -> dict[int, float]:
        reached = {start: 1.0}
        for part in parts:
            following: dict[int, float] = defaultdict(float)
            for middle, left in reached.items():
                for end, right in self.ends(part, middle).items():
                    following[end] += left * right
            reached = following
        return reached


def inside(sentence: str, counting: bool = False) -> float:
    words = words_of(sentence)
    return Chart(words, counting).ends("LINE", 0).get(len(words), 0.0) if written(words) == sentence else 0.0


def log_probability(sentence: str) -> float:
    """Nats, at most 0: of a line without its newline, its end included; -inf outside the language."""
    probability = inside(sentence)
    return log(probability) if probability else -inf


def derivations(sentence: str) -> int:
    """In how many ways the grammar makes a sentence: 1, or 0 outside the language."""
    return int(inside(sentence, counting=True))


# What is known of the source as a whole


@cache
def entropy(symbol: str = "LINE") -> float:
    """Nats per sentence, exact: a rule's surprisal and its parts' entropies, in the mean over the rules of a symbol."""
    return sum(p * (sum(map(entropy, parts)) - log(p)) for p, parts in RULES.get(symbol, ()))


@cache
def mean_characters(symbol: str = "LINE") -> float:
    """Characters per sentence, exact. The space before each word is counted with it; the first one's is the newline."""
    if symbol in RULES:
        return sum(p * sum(map(mean_characters, parts)) for p, parts in RULES[symbol])
    return {"*": 0, ",": 1, ".": 1, "``": 1, "''": 1}.get(symbol, 1 + len(symbol))


# The files


class Pair(NamedTuple):
    good: str
    bad: str
    distance: int  # words between the subject's noun and the verb
    plural: bool


def pair(marked: list[str]) -> Pair | None:
    """A sentence and its twin with the main verb in the wrong number; None where the verb has one form for both."""
    marks = [place for place, word in enumerate(marked) if word == "*"]
    if len(marks) < 2:
        return None
    noun, verb = marks[0] + 1, marks[1] + 1
    wrong = [*marked[:verb], OTHER_NUMBER[marked[verb]], *marked[verb + 1 :]]
    between = [word for word in marked[noun + 1 : verb - 1] if word != ","]
    return Pair(written(marked), written(wrong), len(between), marked[verb] in PLURAL_VERBS)


COURSE = (
    Pair(
        "The cat, which already ate a bunch of fish, was full.",
        "The cat, which already ate a bunch of fish, were full.",
        distance=7,
        plural=False,
    ),
    Pair(
        "The cats, which already ate a bunch of fish, were full.",
        "The cats, which already ate a bunch of fish, was full.",
        distance=7,
        plural=True,
    ),
)


def pairs() -> list[Pair]:
    """As many rare sentences with singular as with plural subjects, at every distance, each with its twin."""
    wanted = {(distance, plural): PAIRS_OF_A_KIND for distance in DISTANCES for plural in (False, True)}
    chosen = {course.good: course for course in COURSE}
    rng = random.Random(PAIR_SEED)
    while any(wanted.values()):
        found = pair(list(derive("LINE", rng)))
        if not found or found.good in chosen or not wanted.get((found.distance, found.plural)):
            continue
        if inside(found.good) < RARE:
            wanted[found.distance, found.plural] -= 1
            chosen[found.good] = found
    return sorted(chosen.values(), key=lambda found: found.distance)


def text(kept_out: set[str]) -> Iterator[str]:
    """The lines of agreement.txt: draws, without those kept out."""
    drawn = (sentence for sentence in sentences(TEXT_SEED, 2 * LINES) if sentence not in kept_out)
    return islice(drawn, LINES)


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    chosen = pairs()
    rows = ["good\tbad\tdistance", *(f"{good}\t{bad}\t{distance}" for good, bad, distance, _ in chosen)]
    lines = text(kept_out={good for good, *_ in chosen})
    return {
        "agreement.txt": "".join(f"{line}\n" for line in lines),
        "agreement-pairs.tsv": "".join(f"{row}\n" for row in rows),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
