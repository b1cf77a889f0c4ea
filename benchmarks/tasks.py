"""Labelled data: each row trains by the command and is then evaluated, with minutes that do not depend on the hour.

    python -m benchmarks.tasks FOLDER [ROW ...] [--seeds 1,2,3] [--part test|valid] [--runs DIR] [--jsonl FILE]
                               [--rate TOKENS_PER_SECOND]

FOLDER has the corpora: surnames, reviews, wnut17, g2p_*, multi30k and tunes, with `.train.`, `.valid.` and `.test.` in
their names. First the bare default training step is measured; a minute is then as long as 60 seconds of a machine that
does it at 32,000 tokens/s; `--rate` gives what was measured before, for several of these side by side. Rows of at most
five minutes have three seeds, the others one. Each row ends with a line: the figure of every seed, their median, and
the 95 % interval of that run. For choices there is `--part valid`.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import tunes
from benchmarks.measure import Way, alternate, rates
from benchmarks.training import CHARACTER_WINDOW, CHARACTERS
from charlm.evaluation.bootstrap import share

NOMINAL_RATE = 32_000  # tokens/s: at this rate a minute is a minute
REPEATS = 25  # of the bare step
LANGUAGE_MODEL_MINUTES = 10
MAX_MINUTES_OF_THREE_SEEDS = 5
SAMPLES_PER_TUNE = 2  # for each tune of the part, so many samples of its rhythm
PAIRS = "g2p_{}.{{part}}.tsv"
PHONES = "--target-unit word --target-split whitespace"


@dataclass(frozen=True)
class Row:
    """What is trained on what, for how long, and which figure of `charlm evaluate` counts.

    In `data` and `target` {part} stands for train, valid or test.
    """

    task: str
    data: str
    minutes: int
    figure: str
    unit: str = ""
    options: str = ""
    target: str = ""
    language_model: str | None = None
    """Options of a language model of the training part's texts, from which it begins; None: it begins from nothing."""
    has_headers: bool = True
    """Whether tunes have the headers that tell their rhythm."""

    @property
    def is_tunes(self) -> bool:
        return self.data == "tunes"

    @property
    def seeds(self) -> tuple[int, ...]:
        return (1, 2, 3) if self.minutes <= MAX_MINUTES_OF_THREE_SEEDS else (1,)


def pronunciation(language: str, minutes: int = 5) -> Row:
    return Row("translate", PAIRS.format(language), minutes, "word_error_rate", options=PHONES)


ROWS = {
    "surnames": Row("classify", "surnames.{part}.tsv", 3, "accuracy"),
    "reviews": Row("classify", "reviews.{part}.tsv", 5, "accuracy"),
    "reviews-lm": Row("classify", "reviews.{part}.tsv", 5, "accuracy", language_model=""),
    "wnut17": Row("tag", "wnut17.{part}.conll", 10, "entity_f1"),
    "wnut17-pair": Row("tag", "wnut17.{part}.conll", 10, "entity_f1", language_model="--direction both"),
    "g2p_eng_us": pronunciation("eng_us", minutes=15),
    "g2p_dut": pronunciation("dut"),
    "g2p_kor": pronunciation("kor"),
    "g2p_jpn_hira": pronunciation("jpn_hira"),
    "g2p_ita": pronunciation("ita"),
    "g2p_ice": pronunciation("ice"),
    "multi30k": Row(
        "translate", "multi30k.{part}.de", 30, "bleu", "word", "--split whitespace", target="multi30k.{part}.en"
    ),
    "tunes": Row("classify", "tunes", 5, "accuracy", options="--item paragraph", has_headers=False),
    "tunes-generate": Row("generate", "tunes", 5, "bars_add_up", options="--item paragraph"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--seeds", type=lambda given: [int(seed) for seed in given.split(",")])
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--runs", type=Path, default=Path("runs/tasks"), help="for runs and prepared data")
    parser.add_argument("--jsonl", type=Path, help="append a line for each run")
    parser.add_argument("--rate", type=float, help="tokens/s of the bare step (default: it is measured)")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    rate = options.rate or tokens_per_second()
    print(f"{rate:,.0f} tokens/s: a minute has {seconds_of(1, rate):.0f} s", flush=True)
    for name in options.rows or ROWS:
        row = ROWS[name]
        done = []
        for seed in options.seeds or row.seeds:
            done.append(Trial(name, row, options.folder, options.part, options.runs, seed, rate).run())
            if options.jsonl:
                with options.jsonl.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[-1]) + "\n")
        print(summary(name, row.figure, done), flush=True)


def tokens_per_second() -> float:
    """Of the bare default training step, as `benchmarks/training.py` measures it."""
    ways = {"bare": Way("training:bare_step", {**CHARACTERS, **CHARACTER_WINDOW})}
    tokens = CHARACTER_WINDOW["batch"] * CHARACTER_WINDOW["bptt"]
    return float(rates(tokens, alternate(ways, REPEATS)["bare"])["value"])


def seconds_of(minutes: float, rate: float) -> float:
    return minutes * 60 * NOMINAL_RATE / rate


def summary(name: str, figure: str, done: Sequence[dict[str, Any]]) -> str:
    """The figures of all seeds, their median (of an even number the lower one), and the interval of that run."""
    values = [each["value"] for each in done]
    middle = done[values.index(statistics.median_low(values))]
    low, high = middle["interval"]
    every, remark = ", ".join(f"{value:.4g}" for value in values), middle["remark"] and f"; {middle['remark']}"
    of_median = f"{middle['value']:.4g} ({low:.4g} to {high:.4g}) of {middle['count']:,}"
    return f"{name}: {figure} {every}; median {of_median}{remark}"


@dataclass(frozen=True)
class Trial:
    """One run of a row: its commands, and what they come to."""

    name: str
    row: Row
    folder: Path
    part: str
    runs: Path
    seed: int
    rate: float

    def run(self) -> dict[str, Any]:
        """Train and evaluate; what is known of it, for a line of JSON."""
        commands = list(self.training())
        results = [json.loads(charlm(command).splitlines()[-1]) for command in commands]
        found = self.evaluated()
        fields = {"row": self.name, "seed": self.seed, "part": self.part, "minutes": self.row.minutes}
        fields |= {"tokens_per_second": self.rate, "figure": self.row.figure, **found}
        return {**fields, "train": [shlex.join(command) for command in commands], "results": results}

    @property
    def path(self) -> str:
        return str(self.runs / f"{self.name}-{self.part}-{self.seed}")

    def training(self) -> Iterator[list[str]]:
        """The commands, with what they read."""
        row, begin = self.row, list[str]()
        if row.language_model is not None:
            run = f"{self.path}-lm"
            files = [self._texts("train"), "--valid", self._texts("valid")]
            yield self._train([*files, "--run", run], LANGUAGE_MODEL_MINUTES, row.language_model)
            begin = ["--init-from", run]
        files = [self._data("train"), *self._target("--target", "train")]
        if not row.is_tunes:
            files += ["--valid", self._data("valid"), *self._target("--valid-target", "valid")]
        unit = ["--unit", row.unit] if row.unit else []
        yield self._train([*files, "--task", row.task, *unit, *begin, "--run", self.path], row.minutes, row.options)

    def _train(self, words: list[str], minutes: int, options: str) -> list[str]:
        time = f"{seconds_of(minutes, self.rate):.0f}s"
        return ["train", *words, *shlex.split(options), "--time", time, "--seed", str(self.seed), "--json", "-q"]

    def evaluated(self) -> dict[str, Any]:
        """The figure with its interval and count, and everything else that was measured."""
        if self.row.figure == "bars_add_up":
            return self._sampled()
        command = ["evaluate", self.path, self._data(self.part), *self._target("--target", self.part), "--json"]
        found, key = json.loads(charlm(command)), self.row.figure
        value = {"value": found[key], "interval": found[f"{key}_interval"], "count": found[f"{key}_count"]}
        return {**value, "remark": found.get(f"{key}_signature", ""), "evaluation": found}

    def _sampled(self) -> dict[str, Any]:
        """The share of samples whose bars add up, with as many of each rhythm as the part has, times two."""
        held_out, right = list[bool](), list[bool]()
        for rhythm, own in tunes.read_tunes(Path(self._data(self.part))).items():
            held_out += [not tunes.faults(tune) for tune in own]
            number = str(SAMPLES_PER_TUNE * len(own))
            command = ["sample", "--run", self.path, "--given", rhythm, "--until-eos", "--num-samples", number]
            lines = charlm([*command, "--seed", str(self.seed), "--json"]).splitlines()
            right += [not tunes.faults(json.loads(line)["text"]) for line in lines]
        found, theirs = share(sum(right), len(right)), share(sum(held_out), len(held_out))
        remark = f"{theirs.value:.4g} of the held-out tunes; ratio {found.value / theirs.value:.4g}"
        value = {"value": found.value, "interval": [found.low, found.high], "count": found.count}
        return {**value, "remark": remark, "held_out": asdict(theirs)}

    def _data(self, part: str) -> str:
        if self.row.is_tunes:
            return str(self._prepared() / part)
        return str(self.folder / self.row.data.format(part=part))

    def _target(self, option: str, part: str) -> list[str]:
        return [option, str(self.folder / self.row.target.format(part=part))] if self.row.target else []

    def _prepared(self) -> Path:
        """The folder of the divided tunes. Without the test part they have another validation part: see there."""
        out = self.runs / f"data/{self.name}-{self.part}"
        if not out.is_dir():
            tunes.prepare(self.folder, out, "valid" if self.part == "valid" else "test", not self.row.has_headers)
        return out

    def _texts(self, part: str) -> str:
        """A file of the texts of labelled data, one on each line."""
        data = Path(self._data(part))
        out = self.runs / "data" / f"{data.stem}.txt"
        out.parent.mkdir(parents=True, exist_ok=True)
        lines = data.read_text("utf-8").split("\n")
        texts = sentences(lines) if self.row.task == "tag" else [line.split("\t", 1)[1] for line in lines if line]
        out.write_text("".join(f"{text}\n" for text in texts), "utf-8")
        return str(out)


def sentences(lines: Sequence[str]) -> Iterator[str]:
    """The tokens of CoNLL's sentences, with a space between them, as a tagger shows them to a character model."""
    for is_blank, sentence in groupby(lines, key=lambda line: not line.strip()):
        if not is_blank:
            yield " ".join(line.split()[0] for line in sentence)


def charlm(arguments: Sequence[str]) -> str:
    """What the command writes to standard output. It is printed before it runs."""
    print(shlex.join(["charlm", *arguments]), flush=True)
    command = [sys.executable, "-m", "charlm", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout


if __name__ == "__main__":
    main()
