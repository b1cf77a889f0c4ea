"""How fast a text becomes ids, the whole way: reading, checking, counting types, encoding, writing durably.

    python benchmarks/tokenize_speed.py --megabytes 50 --json speed.json

The text is made here, from a seed: words of English length with Zipf's frequencies, in sentences. One process; the best
of `--repeat` runs, in megabytes of text a second, by the wall and by the processor's own clock.
"""

import argparse
import itertools
import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charlm.config import CorpusSettings, TextSettings
from charlm.corpus.prepare import prepare

NUM_TYPES = 50_000
LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
CYRILLIC = str.maketrans("etaoinshrdlucmfwypvbgkjqxz", "етаоинсхрдлуцмфвыпжбгкйщэз")
SENTENCES = ("The {}, {} {}.", "{} {} the {} of {}?", "“{}, {},” said {}.", "{} {}; {}: {}!", "It isn’t {} ({}).")

CASES: dict[str, tuple[str, TextSettings, float]] = {  # text, settings, megabytes a second that are promised
    "characters": ("sentences", TextSettings(unit="char"), 100),
    "characters, Cyrillic": ("cyrillic", TextSettings(unit="char"), 100),
    "bytes": ("sentences", TextSettings(unit="byte"), 100),
    "words at white space": ("spaced", TextSettings(unit="word", split="whitespace"), 20),
    "words by Unicode": ("sentences", TextSettings(unit="word"), 4),
    "words, no punctuation, lowercase": (
        "sentences",
        TextSettings(unit="word", punctuation="drop", lowercase=True),
        4,
    ),
    "subwords, unigram": ("sentences", TextSettings(unit="subword"), 0),
    "subwords, BPE": ("sentences", TextSettings(unit="subword", subword_model="bpe"), 0),
}


@dataclass(frozen=True)
class Measured:
    case: str
    megabytes: float
    megabytes_per_second: float
    megabytes_per_processor_second: float
    promised: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--spaced", type=Path, help="a text of your own, split at white space, in place of all cases")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases, results = CASES, []
        if arguments.spaced:
            texts, cases = {"spaced": arguments.spaced}, {name: CASES[name] for name in ("words at white space",)}
        else:
            texts = write_texts(Path(folder), int(arguments.megabytes * 1e6))
        print(f"{'':34}{'MB':>8}{'MB/s':>10}{'MB/cpu-s':>10}{'promised':>10}")
        for case, (text, settings, promised) in cases.items():
            one = measure(case, texts[text], settings, promised, arguments.repeat)
            results.append(one)
            figures = (one.megabytes, one.megabytes_per_second, one.megabytes_per_processor_second)
            print(f"{case:34}" + "{:8.1f}{:10.1f}{:10.1f}".format(*figures) + f"{promised or '':>10}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in results], indent=2) + "\n")


def measure(case: str, text: Path, settings: TextSettings, promised: float, repeat: int) -> Measured:
    walls, processors = [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            wall, processor = time.perf_counter(), time.process_time()
            prepare(text, Path(folder), settings, CorpusSettings())
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
    size = text.stat().st_size / 1e6
    return Measured(case, size, size / min(walls), size / min(processors), promised)


def write_texts(folder: Path, num_bytes: int) -> dict[str, Path]:
    """The three texts, each about `num_bytes` long: running text, the same in Cyrillic, and with words set apart."""
    running = make_sentences(np.random.default_rng(1), num_bytes)
    texts = {
        "sentences": running,
        "cyrillic": running[: num_bytes // 2].lower().translate(CYRILLIC),
        "spaced": re.sub(r"([^\w\s])", r" \1 ", running.lower())[:num_bytes],
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.txt" for name in texts}


def make_sentences(generator: np.random.Generator, num_characters: int) -> str:
    types = ["".join(LETTERS[row[: 1 + length]]) for row, length in zip(*_letters(generator), strict=True)]
    shares = 1 / np.arange(2, NUM_TYPES + 2)
    words = iter([types[at] for at in generator.choice(NUM_TYPES, num_characters // 4, p=shares / shares.sum())])
    parts: list[str] = []
    length = 0
    while length < num_characters:
        template = SENTENCES[len(parts) % len(SENTENCES)]
        sentence = template.format(*itertools.islice(words, template.count("{}")))
        parts.append(sentence + "\n "[len(parts) % 4 > 0])
        length += len(sentence) + 1
    return "".join(parts)


def _letters(generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Letters and lengths of the types: frequent letters are frequent here, too, and frequent types short."""
    shares = np.linspace(3, 0.2, len(LETTERS))
    letters = generator.choice(len(LETTERS), (NUM_TYPES, 12), p=shares / shares.sum())
    lengths = np.minimum(11, generator.poisson(2 + np.log10(np.arange(1, NUM_TYPES + 1)) * 1.4))
    return letters, lengths


if __name__ == "__main__":
    main()
