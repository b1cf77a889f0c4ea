"""Simple tunes in ABC notation: `python data/tunes.py` writes the same bytes each time.

- `tunes.abc`: 300 tunes;
- `rhythms/jig.abc`, `reel.abc` and `waltz.abc`: 200 tunes each, without title and metre. So only the notes say whether
  a tune is a jig, and a jig differs from a reel in nothing but the lengths of its beats and bars.

A tune has two parts of eight bars, each played twice. A part is made of four little ideas of one bar in the order
a b a c, a b d end; its last bar comes to rest on the key's own note. Lengths are in eighths, and each bar's add up to
its metre. A melody moves by steps and thirds, and each bar begins on a note of the key's chord. A blank line ends each
tune.
"""

import random
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
COUNT, SEED = 300, 1
COUNT_OF_A_RHYTHM, RHYTHM_SEED = 200, 2

# Each metre's beats: the ways to fill one, in eighths, the first ones likelier; then how many beats make a bar.
METRES = {
    "4/4": (((1, 1), (2,), (2,)), 4),
    "3/4": (((2,), (1, 1)), 3),
    "6/8": (((1, 1, 1), (2, 1), (3,)), 2),
}
RHYTHMS = {"jig": "6/8", "reel": "4/4", "waltz": "3/4"}
KEYS = {"C": 0, "D": 1, "F": 3, "G": 4, "Am": 5, "Dm": 1, "Em": 2}  # how many steps above C the key's note lies
SCALE = "CDEFGABcdefgab"
CHORD = (0, 2, 4, 7)
STEPS, STEP_WEIGHTS = (-2, -1, 0, 1, 2), (2, 4, 1, 4, 2)
TITLES = (
    ("The Red", "The Merry", "The Wet", "The Last", "The Crooked", "The Captain's", "Anna's", "Tom's", "The Old", "My"),
    ("Goat", "Ferry", "Clock", "Lantern", "Kite", "Garden", "Morning", "Boot", "River", "Loaf", "Window", "Mill"),
    {"4/4": ("Reel", "March"), "3/4": ("Waltz",), "6/8": ("Jig",)},
)

Beat = list[tuple[int, int]]  # steps above the key's note, and eighths


def melody(rng: random.Random, metre: str) -> list[Beat]:
    """A bar: a walk by steps and thirds that begins on the chord and stays within a ninth."""
    shapes, beats = METRES[metre]
    step = rng.choice(CHORD)
    bar: list[Beat] = []
    for _ in range(beats):
        bar.append([])
        for length in rng.choice(shapes):
            bar[-1].append((step, length))
            step = min(8, max(-1, step + rng.choices(STEPS, weights=STEP_WEIGHTS)[0]))
    return bar


def ending(rng: random.Random, metre: str) -> list[Beat]:
    """A bar whose last beats are one long note, the key's own."""
    rest = 1 if metre == "6/8" else 2
    bar = melody(rng, metre)[:-rest]
    shapes, _ = METRES[metre]
    return [*bar, [(0, rest * sum(shapes[0]))]]


def part(rng: random.Random, metre: str) -> list[list[Beat]]:
    a, b, c, d = (melody(rng, metre) for _ in range(4))
    return [a, b, a, c, a, b, d, ending(rng, metre)]


def note(step: int) -> str:
    """The letter that lies so many steps above the C in the middle; a comma puts a letter an octave lower."""
    return SCALE[step] if step >= 0 else SCALE[step + 7] + ","


def spelled(bar: list[Beat], key: str) -> str:
    """A bar in ABC: the notes of one beat together, a length of one left out."""
    home = KEYS[key] if KEYS[key] < 5 else KEYS[key] - 7
    beats = ("".join(f"{note(home + step)}{'' if length == 1 else length}" for step, length in beat) for beat in bar)
    return " ".join(beats)


def lines(rng: random.Random, metre: str, key: str) -> Iterator[str]:
    """The two parts, four bars a line."""
    for _ in range(2):
        bars = [spelled(bar, key) for bar in part(rng, metre)]
        yield "|: " + " | ".join(bars[:4]) + " |"
        yield " | ".join(bars[4:]) + " :|"


def tune(rng: random.Random, number: int) -> str:
    metre, key = rng.choice(list(METRES)), rng.choice(list(KEYS))
    whose, what, kinds = TITLES
    title = f"{rng.choice(whose)} {rng.choice(what)} {rng.choice(kinds[metre])}"
    head = [f"X:{number}", f"T:{title}", f"M:{metre}", "L:1/8", f"K:{key}"]
    return "".join(f"{line}\n" for line in [*head, *lines(rng, metre, key), ""])


def tune_of(rng: random.Random, rhythm: str) -> str:
    """A tune that has only its key and its notes."""
    key = rng.choice(list(KEYS))
    return "".join(f"{line}\n" for line in [f"K:{key}", *lines(rng, RHYTHMS[rhythm], key), ""])


def files() -> dict[str, str]:
    """The name and content of each file that this script makes."""
    rng, other = random.Random(SEED), random.Random(RHYTHM_SEED)
    return {"tunes.abc": "".join(tune(rng, number) for number in range(1, COUNT + 1))} | {
        f"rhythms/{rhythm}.abc": "".join(tune_of(other, rhythm) for _ in range(COUNT_OF_A_RHYTHM)) for rhythm in RHYTHMS
    }


if __name__ == "__main__":
    (HERE / "rhythms").mkdir(exist_ok=True)
    for name, content in files().items():
        (HERE / name).write_bytes(content.encode("ascii"))
