"""Invented given names from a grammar of syllables: `python data/names.py` writes names.txt, the same bytes each time.

A name is a beginning, one to three times a vowel and what follows it, and an ending (Velina, Toric, Storrenys).
The names are distinct, in the order of their drawing, one a line. A few will be somebody's all the same.
"""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
COUNT, SEED = 4000, 1
LETTERS = range(3, 11)

ONSETS = " b br c d dr f g h j k l m n p r s st t th tr v w z"  # the first is none
VOWELS = "a a a e e e i i o o u ae ia"
MIDDLES = "d f l ll m n nd r rr s t v"
ENDINGS = "a ia ina elle eth is en in on or ric mund wen wyn o ix as us iel ys"


def syllables(rng: random.Random) -> Iterator[str]:
    yield rng.choice(ONSETS.split(" "))
    for _ in range(rng.choices((1, 2, 3), weights=(6, 5, 1))[0]):
        yield rng.choice(VOWELS.split())
        yield rng.choice(MIDDLES.split())
    yield rng.choice(ENDINGS.split())


def names(seed: int) -> Iterator[str]:
    """Distinct names without end."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while True:
        name = "".join(syllables(rng)).capitalize()
        if len(name) in LETTERS and name not in seen:
            seen.add(name)
            yield name


def files() -> dict[str, str]:
    """The name and content of the file that this script makes."""
    return {"names.txt": "".join(f"{name}\n" for name in islice(names(SEED), COUNT))}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
