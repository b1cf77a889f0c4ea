"""An invented strand of DNA with planted motifs: `python data/dna.py` writes dna.txt, the same bytes each time.

It is one long row of genes, cut into lines of 70 letters with no regard to what stands there. Around and between the
genes lie independent letters, A and T a little more frequent than C and G. A gene is

- a TATA box, `TATA[AT]A[AT]`, the sign at which reading begins in nature;
- `GAP` letters of background;
- a coding stretch: `ATG`, 40 to 120 codons by the frequencies below, none of them a stop, and a stop codon;
- background again, and after two genes in three `GAATTC` in the middle of it, a site that reads the same on the other
  strand (the one that the enzyme EcoRI cuts).

So a model finds regularities at three reaches: six letters, a period of three, and a gap of 25.
"""

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
LETTERS, WIDTH, SEED = 200_000, 70, 1
BACKGROUND = {"A": 0.29, "C": 0.21, "G": 0.21, "T": 0.29}
GAP = 25
PALINDROME = "GAATTC"
STOPS = ("TAA", "TAG", "TGA")
CODONS = [codon for codon in map("".join, product("ACGT", repeat=3)) if codon not in STOPS]
# The third letter of a codon is C or G far more often than in the background, as it is in many bacteria.
CODON_WEIGHTS = [{"A": 1, "C": 5, "G": 4, "T": 2}[codon[2]] / (1 + rank % 5) for rank, codon in enumerate(CODONS)]


def background(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(list(BACKGROUND), weights=list(BACKGROUND.values()), k=length))


def tata_box(rng: random.Random) -> str:
    return f"TATA{rng.choice('AT')}A{rng.choice('AT')}"


def coding(rng: random.Random) -> str:
    codons = rng.choices(CODONS, weights=CODON_WEIGHTS, k=rng.randint(40, 120))
    return "".join(["ATG", *codons, rng.choice(STOPS)])


def spacer(rng: random.Random) -> str:
    site = PALINDROME if rng.random() < 2 / 3 else ""
    return background(rng, rng.randint(40, 120)) + site + background(rng, rng.randint(40, 120))


def genes(rng: random.Random) -> Iterator[str]:
    """Genes, each with what follows it, without end."""
    while True:
        yield tata_box(rng) + background(rng, GAP) + coding(rng) + spacer(rng)


def strand(seed: int, length: int) -> str:
    rng = random.Random(seed)
    letters = spacer(rng)
    for gene in genes(rng):
        letters += gene
        if len(letters) >= length:
            return letters[:length]
    raise AssertionError("genes have no end")


def files() -> dict[str, str]:
    """The name and content of the file that this script makes."""
    letters = strand(SEED, LETTERS)
    return {"dna.txt": "".join(f"{letters[start : start + WIDTH]}\n" for start in range(0, LETTERS, WIDTH))}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
