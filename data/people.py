"""Sentences with people, places and days to find: `python data/people.py` writes the same bytes each time.

- `people.conll`: 1,500 sentences in CoNLL's columns: a token, a tab and its tag on each line, and a blank line after
  each sentence. The tags are `B-person`, `I-person`, `B-place`, `I-place`, `B-day`, `I-day`, and `O` for the rest;
- `people-test.conll`: 200 other sentences, in which every second name is one that `people.conll` does not have.

Many names are ambiguous, and what stands around them decides. *Florence* is a person in *Florence has a cold* and a
place in *Florence has two bridges*; *Lincoln* is a family or a town; *May* is a person, part of a day (*the 3rd of
May*) or no name at all (*May Tom come with us to Rome?*). In each sentence, only one tagging is possible.
"""

import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SENTENCES, TEST_SENTENCES = 1500, 200
SEED, TEST_SEED = 1, 2

# A rule is `SYMBOL : weight parts | weight parts`.
GRAMMAR = """
LINE      : 6 STORY . | 3 STORY WHEN . | 3 WHEN , STORY . | 4 FACT . | 2 QUESTION ? | 2 PROMISE . | 2 WORD .
STORY     : 5 WHO MET WHO | 2 WHO MET WHO in PLACE | 4 WHO WENT PLACE | 2 WHO WENT PLACE with WHO
          | 2 WHO and WHO WENT PLACE | 2 WHO SPOKE WHO | 2 WHO MET WHO 's RELATIVE | 1 WHO 's RELATIVE MET WHO
          | 1 the WORKER MET WHO in PLACE | 1 GIVER gave WHO a GIFT | 1 they took the train from PLACE to PLACE
MET       : 4 met | 2 helped | 1 thanked | 1 phoned
WENT      : 3 went to | 2 came from | 2 walked through | 1 flew to | 1 moved to | 1 arrived in
SPOKE     : 2 spoke to | 1 wrote to | 1 danced with | 1 sat beside
GIVER     : 3 WHO | 1 the WORKER
FACT      : 3 PERSON DOES | 3 PLACE IS | 1 PERSON , ASIDE , DOES | 1 PLACE , ASIDE , IS
ASIDE     : 2 as everyone knows | 1 I think | 1 as the WORKER said
DOES      : 3 is a WORKER from PLACE | 2 was angry with WHO | 1 was asleep | 1 has a cold | 1 has two brothers
          | 1 is older than WHO
IS        : 3 is a town near PLACE | 2 is a city on a river | 1 was empty | 1 has a market | 1 has two bridges
          | 1 is larger than PLACE
WORD      : 1 rose petals lay around WHO | 1 hope was all that WHO had | 1 grace was said by WHO
          | 1 dawn broke over PLACE | 1 june bugs flew around WHO | 1 mark my words , said WHO
          | 1 bath time is over , said WHO | 1 reading is fun , said WHO
QUESTION  : 2 will PERSON come to PLACE FUTURE | 2 may PERSON come with us to PLACE | 1 who MET WHO in PLACE
          | 1 will WHO be in PLACE on DATE
PROMISE   : 2 WHO will come to PLACE FUTURE | 1 it may rain in PLACE FUTURE | 1 WHO may be in PLACE FUTURE
          | 1 WHO paid the bill in PLACE
WHO       : 6 PERSON | 1 TITLE SURNAME
TITLE     : 1 Mr. | 1 Mrs. | 1 Dr.
RELATIVE  : 1 brother | 1 sister | 1 friend
WORKER    : 2 doctor | 1 baker | 1 cook | 1 mason | 1 teacher
GIFT      : 1 rose | 1 book | 1 letter
WHEN      : 3 on DATE | 2 YESTERDAY
FUTURE    : 2 on DATE | 1 TOMORROW

PERSON    : 5 GIVEN | 4 GIVEN FAMILY
SURNAME   : 1 FAMILY
PLACE     : 1 TOWN
DATE      : 4 WEEKDAY | 2 NUMBER MONTH | 1 NUMBER MONTH YEAR | 2 the NTH of MONTH | 1 WEEKDAY , NUMBER MONTH
YESTERDAY : 3 yesterday | 1 today | 1 last WEEKDAY
TOMORROW  : 2 tomorrow | 1 next WEEKDAY
"""
SPANS = {
    "PERSON": "person",
    "SURNAME": "person",
    "PLACE": "place",
    "DATE": "day",
    "YESTERDAY": "day",
    "TOMORROW": "day",
}

PEOPLE_OR_PLACES = "Florence Chester Sydney Jordan Austin Charlotte Victoria Adelaide"
FAMILIES_OR_PLACES = "Lincoln Washington Bradford Hamilton Lancaster Houston Preston"
WORDS = {
    "GIVEN": "Anna Tom Mary Ben Clara Peter Lucy David Emma Jack Alice George Nora Henry Ruth Oliver Ellen Simon Julia "
    "Martin Sarah Paul Hannah Robert Laura Daniel Helen Michael Rose May Will Mark Bill Grace Hope Dawn June April "
    + PEOPLE_OR_PLACES,
    "FAMILY": "Parker Hughes Turner Cooper Walsh Lewis Brown Foster Wells Page Grant Ford Dean Baker Cook Mason Hill "
    "Woods Rivers Bell " + FAMILIES_OR_PLACES,
    "TOWN": "London Paris Rome Berlin Madrid Oslo Vienna Dublin Athens Lisbon Boston Chicago Toronto Cairo Tokyo Leeds "
    "Dover York Bath Reading Cork Nice New_York Hong_Kong Cape_Town New_Delhi Santa_Fe Buenos_Aires "
    + PEOPLE_OR_PLACES
    + " "
    + FAMILIES_OR_PLACES,
    "WEEKDAY": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "MONTH": "January February March April May June July August September October November December",
    "NUMBER": " ".join(map(str, range(1, 29))),
    "NTH": "1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th 11th 12th 20th 21st 22nd 23rd 24th",
    "YEAR": " ".join(map(str, range(1979, 2030, 5))),
}
# Names for the test part only.
NEW = {
    "GIVEN": "Ingrid Felix Miriam Oscar Sofia Hugo Greta Leon Vera Conrad Tessa Rupert",
    "FAMILY": "Novak Schmidt Jansen Moreau Silva Larsen Keller Rossi Harper Doyle",
    "TOWN": "Prague Warsaw Geneva Seville Glasgow Denver Lima Nairobi Bergen Krakow Las_Vegas El_Paso",
}


class Token(NamedTuple):
    """A word or a mark, and its tag."""

    text: str
    tag: str


Sentence = tuple[Token, ...]
Words = dict[str, list[str]]
Rule = tuple[int, list[str]]


def read_rules(grammar: str) -> Iterator[tuple[str, list[Rule]]]:
    """Each symbol with its rules: their weights and parts."""
    for line in re.sub(r"\n +\|", " |", grammar).strip().splitlines():
        symbol, _, choices = line.partition(":")
        split = (choice.split() for choice in choices.split("|"))
        if choices:
            yield symbol.strip(), [(int(weight), parts) for weight, *parts in split]


RULES = dict(read_rules(GRAMMAR))
KNOWN: Words = {symbol: text.split() for symbol, text in WORDS.items()}


def with_new_names() -> Words:
    """The words to choose from so that every second name is a new one."""
    new = {symbol: text.split() for symbol, text in NEW.items()}
    return KNOWN | {symbol: KNOWN[symbol] * len(names) + names * len(KNOWN[symbol]) for symbol, names in new.items()}


def derive(symbol: str, rng: random.Random, words: Words) -> list[Token]:
    """One draw from what a symbol stands for."""
    if symbol in words:
        return [Token(text, "O") for text in rng.choice(words[symbol]).split("_")]
    if symbol not in RULES:
        return [Token(symbol, "O")]
    weights, choices = zip(*RULES[symbol], strict=True)
    [parts] = rng.choices(choices, weights)
    tokens = [token for part in parts for token in derive(part, rng, words)]
    return span(tokens, SPANS[symbol]) if symbol in SPANS else tokens


def span(tokens: list[Token], type_: str) -> list[Token]:
    return [Token(token.text, f"{'I' if place else 'B'}-{type_}") for place, token in enumerate(tokens)]


def draw(rng: random.Random, words: Words) -> Sentence:
    """One sentence, with a capital at its start."""
    first, *others = derive("LINE", rng, words)
    return first._replace(text=first.text[:1].upper() + first.text[1:]), *others


def sentences(seed: int, words: Words) -> Iterator[Sentence]:
    """Sentences without end, each once."""
    rng = random.Random(seed)
    seen = set[Sentence]()
    while True:
        sentence = draw(rng, words)
        if sentence not in seen:
            seen.add(sentence)
            yield sentence


def written(sentence: Sentence) -> str:
    """A line for each token, and a blank one."""
    return "".join(f"{token.text}\t{token.tag}\n" for token in sentence) + "\n"


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    training = list(islice(sentences(SEED, KNOWN), SENTENCES))
    kept_out = set(training)
    others = (sentence for sentence in sentences(TEST_SEED, with_new_names()) if sentence not in kept_out)
    return {
        "people.conll": "".join(map(written, training)),
        "people-test.conll": "".join(map(written, islice(others, TEST_SENTENCES))),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
