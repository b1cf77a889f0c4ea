"""How fast a text becomes ids on disk, against plain loops, and in how much memory.

    python benchmarks/encoding.py --megabytes 1000 --json encoding.json

Three ways in turn, several times: the plain loop, on a part of the text; a file encoded by a tokenizer that there is
already (reading, checking, encoding, writing durably); and the whole `charlm tokenize FILE -o DIR`, which starts
Python and learns the symbols, too. All in megabytes of text a second. The text is made here, from a seed: words of
English length with Zipf's frequencies, in sentences. Subwords take a tenth of the text, for they are slow.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.prepare import prepare
from charlm.settings import CorpusSettings, TextSettings
from charlm.text.tokenizer import load_tokenizer

NUM_TYPES = 50_000
VOCABULARY = 10_000
LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
SENTENCES = ("The {}, {} {}.", "{} {} the {} of {}?", "“{}, {},” said {}.", "{} {}; {}: {}!", "It isn’t {} ({}).")
MADE_AT_ONCE = 10_000_000  # characters
LEARN = 4_000_000  # bytes of text that a model of subwords is learned from

Plain = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Case:
    """A text, how it is encoded, and how much of it by charlm; `plain_bytes` of it by the plain loop."""

    settings: TextSettings
    plain: Plain
    text: str = "sentences"
    share: float = 1.0
    plain_bytes: int = 20_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES), help="some of: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    results = []
    print(f"{'MB/s':20}{'plain':>8}{'encode':>8}{'times':>7}{'command':>9}{'times':>7}{'peak MB':>9}")
    for row in measure(arguments.cases.split(","), arguments.megabytes, arguments.repeat):
        results.append(row)
        plain, encode, command = (statistics.median(row[f"{name}_mb_per_s"]) for name in ("plain", "encode", "command"))
        figures = (plain, encode, encode / plain, command, command / plain, row["peak_rss_mb"])
        print(f"{row['name']:20}" + "{:8.1f}{:8.1f}{:7.1f}{:9.1f}{:7.1f}{:9.0f}".format(*figures), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def rows(quick: bool) -> list[dict[str, Any]]:
    """All cases, or the first two on less text: words are slower at the beginning of a text, where many are new."""
    return list(measure(list(CASES)[:2], 20, 1) if quick else measure(list(CASES), 100, 3))


def measure(names: list[str], megabytes: float, repeat: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        texts = write_texts(Path(folder), int(megabytes * 1e6), {CASES[name].text for name in names})
        for name in names:
            yield measure_case(name, CASES[name], texts[CASES[name].text], Path(folder), repeat)


def measure_case(name: str, case: Case, text: Path, folder: Path, repeat: int) -> dict[str, Any]:
    """One row: the figures of each repetition, and the command's largest resident memory."""
    ours = beginning(text, case.share, folder / "ours.txt")
    size = ours.stat().st_size
    for_plain = beginning(ours, case.plain_bytes / size, folder / "plain.txt")
    prepare(beginning(ours, LEARN / size, folder / "learn.txt"), folder / "ready", case.settings, ALL)
    figures: dict[str, list[float]] = {"plain": [], "encode": [], "command": []}
    peak = 0.0
    for _ in range(repeat):
        seconds = timed(case.plain, for_plain, folder / "plain.ids")
        figures["plain"].append(megabytes_of(for_plain) / seconds)
        figures["encode"].append(megabytes_of(ours) / timed(encode, ours, folder / "ready", folder / "encoded"))
        seconds, memory = run_command(ours, folder / "tokens", case.settings)
        figures["command"].append(megabytes_of(ours) / seconds)
        peak = max(peak, memory)
    return {"name": name, **{f"{way}_mb_per_s": speeds for way, speeds in figures.items()}, "peak_rss_mb": peak}


def timed(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def encode(text: Path, ready: Path, folder: Path) -> None:
    prepare(text, folder, TextSettings(), ALL, tokenizer=load_tokenizer(ready))


def run_command(text: Path, folder: Path, settings: TextSettings) -> tuple[float, float]:
    """Seconds, and megabytes of resident memory at most, of the command's one process."""
    options = ["--unit", settings.unit]
    if settings.unit == "subword":
        options += ["--subword-model", settings.subword_model]
    if settings.unit == "word":
        options += ["--split", settings.split]
    command = [sys.executable, "-m", "charlm", "tokenize", str(text), "-o", str(folder), "--force", "-q", "--json"]
    launched = [sys.executable, "-S", "-c", LAUNCH, *command, *options]
    done = subprocess.run(launched, capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stderr.split())
    return seconds, memory / (1e6 if sys.platform == "darwin" else 1e3)


# A small process starts the command, for a process counts the memory of the one that started it as its own.
LAUNCH = """
import os, sys, time
start = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - start, usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


# Plain loops: what one writes for a text at hand


def plain_characters(text: Path, ids: Path) -> None:
    read = text.read_text(encoding="utf-8")
    stoi = {character: id for id, character in enumerate(sorted(set(read)))}
    np.array([stoi[character] for character in read], np.uint16).tofile(ids)


def plain_bytes(text: Path, ids: Path) -> None:
    read = text.read_bytes()
    stoi = {byte: id for id, byte in enumerate(sorted(set(read)))}
    np.array([stoi[byte] for byte in read], np.uint16).tofile(ids)


def plain_words(text: Path, ids: Path) -> None:
    stoi = frequent(re.findall(r"\w+|[^\w\s]", text.read_text(encoding="utf-8")[:LEARN]))
    with open(text, encoding="utf-8") as file:
        found = [stoi.get(word, 1) for line in file for word in [*re.findall(r"\w+|[^\w\s]", line), "<eos>"]]
    np.array(found, np.uint16).tofile(ids)


def plain_words_at_white_space(text: Path, ids: Path) -> None:
    stoi = frequent(text.read_text(encoding="utf-8")[:LEARN].split())
    with open(text, encoding="utf-8") as file:
        found = [stoi.get(word, 1) for line in file for word in [*line.split(), "<eos>"]]
    np.array(found, np.uint16).tofile(ids)


def plain_subwords(text: Path, ids: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(ids.parent / "ready" / "tokenizer.model"))
    with open(text, encoding="utf-8") as file:
        found = [pieces.encode(line) for line in file]
    np.array(list(itertools.chain.from_iterable(found)), np.uint16).tofile(ids)


def frequent(words: list[str]) -> dict[str, int]:
    kept = Counter(words).most_common(VOCABULARY - 2)
    return {"<eos>": 0, **{word: id for id, (word, _) in enumerate(kept, 2)}}


ALL = CorpusSettings(valid_fraction=0.0)
BPE = TextSettings(unit="subword", subword_model="bpe")
CASES = {
    "char": Case(TextSettings(unit="char"), plain_characters),
    "byte": Case(TextSettings(unit="byte"), plain_bytes),
    "word-whitespace": Case(TextSettings(unit="word", split="whitespace"), plain_words_at_white_space, "spaced"),
    "word": Case(TextSettings(unit="word"), plain_words),
    "subword": Case(BPE, plain_subwords, share=0.1, plain_bytes=4_000_000),
    "char-cyrillic": Case(TextSettings(unit="char"), plain_characters, "cyrillic"),
}


# The text


def write_texts(folder: Path, num_bytes: int, wanted: set[str]) -> dict[str, Path]:
    """Running text, the same in Cyrillic, and with words set apart; each about `num_bytes` long."""
    ways: dict[str, Callable[[str], str]] = {
        "sentences": str,
        "cyrillic": lambda text: text[: len(text) // 2].lower().translate(CYRILLIC),
        "spaced": lambda text: re.sub(r"([^\w\s])", r" \1 ", text.lower())[: len(text)],
    }
    texts = {name: folder / f"{name}.txt" for name in ways if name in wanted}
    generator = np.random.default_rng(1)
    types = make_types(generator)
    for start in range(0, num_bytes, MADE_AT_ONCE):
        sentences = make_sentences(generator, types, min(MADE_AT_ONCE, num_bytes - start))
        for name, path in texts.items():
            with open(path, "a", encoding="utf-8") as file:
                file.write(ways[name](sentences))
    return texts


CYRILLIC = str.maketrans("etaoinshrdlucmfwypvbgkjqxz", "етаоинсхрдлуцмфвыпжбгкйщэз")


def make_types(generator: np.random.Generator) -> list[str]:
    """Frequent letters are frequent here, too, and frequent types short."""
    shares = np.linspace(3, 0.2, len(LETTERS))
    letters: NDArray[np.int64] = generator.choice(len(LETTERS), (NUM_TYPES, 12), p=shares / shares.sum())
    lengths = np.minimum(11, generator.poisson(2 + np.log10(np.arange(1, NUM_TYPES + 1)) * 1.4))
    return ["".join(LETTERS[row[: 1 + length]]) for row, length in zip(letters, lengths, strict=True)]


def make_sentences(generator: np.random.Generator, types: list[str], num_characters: int) -> str:
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


def beginning(text: Path, share: float, path: Path) -> Path:
    """The first lines of a text, as a file of their own; the text itself if it is to be all."""
    if share >= 1:
        return text
    with open(text, "rb") as file:
        path.write_bytes(file.read(int(share * text.stat().st_size)) + file.readline())
    return path


def megabytes_of(path: Path) -> float:
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    main()
