"""Dance tunes in ABC: their parts, whether their bars add up, and how well n-grams tell their rhythms.

    python -m benchmarks.tunes prepare FOLDER OUT     from FOLDER/tunes.RHYTHM.abc to OUT/train and OUT/test
    python -m benchmarks.tunes check PATH ...         how many of the tunes in files or folders add up
    python -m benchmarks.tunes baseline OUT           n-grams and logistic regression, on prepared tunes

Tunes stand between blank lines; tunes 10, 20, 30, ... of each file are the test part. OUT/train and OUT/test are what
charlm reads with `--item paragraph`, for `--task classify` as well as for `--task generate`.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log, sqrt
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.filling import interval
from charlm.evaluation.classification import evaluate_classification

HeldOut = Literal["test", "valid"]
HEADERS = ("R:", "M:", "L:", "T:", "S:")  # the metre, for one, tells a jig from a reel
MIN_BARS = 4  # of a tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("folder", type=Path, help="where tunes.RHYTHM.abc are")
    preparing.add_argument("out", type=Path, help="gets a folder for each part, with a file RHYTHM.abc in it")
    preparing.add_argument("--part", choices=("test", "valid"), default="test", help="valid: see part_of")
    preparing.add_argument("--without-headers", action="store_true", help=f"leave out {' '.join(HEADERS)}")
    commands.add_parser("check").add_argument("paths", type=Path, nargs="+")
    commands.add_parser("baseline").add_argument("folder", type=Path, help="what prepare has written")
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.folder, options.out, options.part, options.without_headers)
    elif options.command == "check":
        show_check(options.paths)
    else:
        show_baseline(options.folder)


# Files of tunes


def tunes_in(text: str) -> list[str]:
    """What stands between blank lines."""
    return [tune.strip("\n") for tune in re.split(r"\n(?:[ \t\r]*\n)+", text) if tune.strip()]


def part_of(number: int, held_out: HeldOut = "test") -> str | None:
    """The part of a file's tune with this number, from 1: "train", or the part that is held out.

    Tunes 10, 20, 30, ... are the test part. To choose something without it, tunes 5, 15, 25, ... are held out instead
    as validation part, and the test part is in neither (None).
    """
    if number % 10 == 0:
        return "test" if held_out == "test" else None
    return "valid" if held_out == "valid" and number % 10 == 5 else "train"


def without_headers(tune: str) -> str:
    return "\n".join(line for line in tune.split("\n") if not line.startswith(HEADERS))


def prepare(folder: Path, out: Path, held_out: HeldOut = "test", is_bare: bool = False) -> None:
    """Write the training part and the part that is held out: a folder each, with a file for each rhythm."""
    paths = sorted(folder.glob("tunes.*.abc"))
    if not paths:
        sys.exit(f"there are no tunes.*.abc in {folder}")
    for path in paths:
        tunes = list(enumerate(tunes_in(path.read_text("utf-8")), start=1))
        for part in ("train", held_out):
            chosen = [tune for number, tune in tunes if part_of(number, held_out) == part]
            (out / part).mkdir(parents=True, exist_ok=True)
            text = "\n\n".join(map(without_headers, chosen) if is_bare else chosen)
            (out / part / path.name.removeprefix("tunes.")).write_text(f"{text}\n", "utf-8")


def read_tunes(path: Path) -> dict[str, list[str]]:
    """The tunes of a file or of the files of a folder, by the file's name without its ending: the rhythm."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.stem: tunes_in(file.read_text("utf-8")) for file in files}


# Whether the bars of a tune add up to its metre (the language: abcnotation.com/wiki/abc:standard:v2.1)

LENGTH = r"(\d*)(/*)(\d*)"
NOTE = rf"[_^=]*[A-Ga-gxz][,']*{LENGTH}"
TOKEN = re.compile(
    rf"""
      (?P<field> ^[A-Za-z]:(?![|:])[^\n]* | \[[A-Za-z]:[^]\n]*] )
    | (?P<tuplet> \(\d(?::\d?){{0,2}} )
    | (?P<ignored> [\s()`~.\-\\uvHLMOPSTy] | %[^\n]* | "[^"\n]*" | {{[^}}\n]*}} | ![^!\n]*! | \+[^+\n]*\+ )
    | (?P<bar> \[\| | :*\|+[:|\]]*(?:\d[\d,-]*)? | ::? )
    | (?P<ending> \[\d[\d,-]* )
    | (?P<note> {NOTE} | \[\ *{NOTE}[^][|:]*]{LENGTH} )
    | (?P<broken> >+ | <+ )
    """,
    re.VERBOSE | re.MULTILINE,
)
METRES = {"C": Fraction(4, 4), "C|": Fraction(2, 2)}
TUPLETS = {2: 3, 4: 3, 8: 3}  # so many notes in the time of three; all others in that of two


@dataclass
class Bar:
    """Its length and the metre, in whole notes, and whether a section of the tune begins or ends with it."""

    length: Fraction
    metre: Fraction
    begins: bool
    ends: bool

    @property
    def missing(self) -> Fraction:
        return self.metre - self.length


def faults(tune: str) -> list[str]:
    """What does not add up in a tune.

    A bar may be too short only where a section begins or ends: at repeat signs, double bars, parts and both ends of the
    tune. It needs another short bar, at the end or the beginning of a section, that makes a whole one with it; only the
    tune's first bar may be an upbeat to nothing.
    """
    try:
        bars = Reader(tune).bars
    except ValueError as error:
        return [str(error)]
    short = [bar for bar in bars if bar.missing > 0]
    at_beginnings = {(bar.metre, bar.length) for bar in short if bar.begins}
    at_ends = {(bar.metre, bar.length) for bar in short if bar.ends}
    found = [] if len(bars) >= MIN_BARS else [f"fewer than {MIN_BARS} bars"]
    for number, bar in enumerate(bars, start=1):
        rest = (bar.metre, bar.missing)
        is_upbeat = bar.begins and bar.missing > 0 and (number == 1 or rest in at_ends)
        is_completed = bar.ends and rest in at_beginnings
        if bar.missing and not is_upbeat and not is_completed:
            found.append(f"bar {number} has {bar.length} instead of {bar.metre}")
    return found


class Reader:
    """Reads the bars of a tune. Raises ValueError for what it does not understand."""

    def __init__(self, tune: str) -> None:
        self.bars: list[Bar] = []
        self._metre: Fraction | None = None
        self._unit: Fraction | None = None
        self._length = self._last_note = self._before_endings = Fraction(0)
        self._begins = True
        self._next_is = Fraction(1)  # times as long as written: after a broken rhythm
        self._tuplet, self._left_of_tuplet = Fraction(1), 0
        place = 0
        while place < len(tune):
            token = TOKEN.match(tune, place)
            if token is None:
                raise ValueError(f"not understood: {tune[place : place + 10]!r}")
            self._take(token.lastgroup, token.group())
            place = token.end()
        self._end_bar(is_section=True)

    def _take(self, kind: str | None, text: str) -> None:
        match kind:
            case "field":
                self._read_field(*text.strip("[]").split(":", 1))
            case "tuplet":
                self._begin_tuplet(text[1:].split(":"))
            case "bar":
                self._end_bar(is_section=text != "|")
                self._begin_ending(text.lstrip(":|]"))
            case "ending":
                self._begin_ending(text[1:])
            case "note":
                self._add_note(text)
            case "broken":
                self._break_rhythm(text)

    def _read_field(self, name: str, value: str) -> None:
        value = value.split("%")[0].strip()
        if name == "M":
            self._metre = METRES.get(value) or _fraction(value)
        elif name == "L":
            self._unit = _fraction(value)
        elif name == "P":
            self._end_bar(is_section=True)

    def _end_bar(self, is_section: bool) -> None:
        """There may be nothing between two bar lines; then both are one, and a section ends if it does at either."""
        if self._length:
            self.bars.append(Bar(self._length, self._known_metre, self._begins, is_section))
            self._length, self._begins = Fraction(0), is_section
        elif is_section:
            self._begins = True
            if self.bars:
                self.bars[-1].ends = True

    def _begin_ending(self, number: str) -> None:
        """What stands before the first ending in its bar belongs to those of the other endings, too."""
        if number.startswith("1"):
            self._before_endings = self._length
        elif number:
            self._length += self._before_endings

    def _begin_tuplet(self, numbers: Sequence[str]) -> None:
        """(p:q:r is p notes in the time of q, for the next r notes."""
        notes, time, count = (int(number or 0) for number in (*numbers, "", "")[:3])
        self._tuplet = Fraction(time or TUPLETS.get(notes, 2), notes or 1)
        self._left_of_tuplet = count or notes

    def _add_note(self, text: str) -> None:
        """A chord is as long as its first note, times what follows it."""
        length = _length(re.search(NOTE, text)) * self._known_unit * self._next_is
        if text.startswith("["):
            length *= _length(re.search(rf"]{LENGTH}", text))
        if self._left_of_tuplet:
            length *= self._tuplet
            self._left_of_tuplet -= 1
        self._length += length
        self._last_note, self._next_is = length, Fraction(1)

    def _break_rhythm(self, text: str) -> None:
        """a>b: half of b's length goes to a; a>>b: three quarters; a<b: the other way round."""
        shorter = Fraction(1, 2 ** len(text))
        last, self._next_is = (2 - shorter, shorter) if text[0] == ">" else (shorter, 2 - shorter)
        self._length += (last - 1) * self._last_note

    @property
    def _known_metre(self) -> Fraction:
        if not self._metre:
            raise ValueError("there is no metre")
        return self._metre

    @property
    def _known_unit(self) -> Fraction:
        """The length of a note without a number. If it is not given, the metre decides."""
        return self._unit or (Fraction(1, 16) if self._known_metre < Fraction(3, 4) else Fraction(1, 8))


def _fraction(text: str) -> Fraction:
    if not re.fullmatch(r"[1-9]\d?/[1-9]\d?", text):
        raise ValueError(f"not understood: {text!r}")
    return Fraction(text)


def _length(note: re.Match[str] | None) -> Fraction:
    """A2: 2; A/: 1/2; A//: 1/4; A3/2: 3/2."""
    assert note is not None
    times, slashes, divided_by = note.groups()
    if divided_by == "0":
        raise ValueError(f"not understood: {note.group()!r}")
    return Fraction(int(times or 1), int(divided_by) if divided_by else 2 ** len(slashes))


def show_check(paths: Sequence[Path]) -> None:
    """The tunes whose bars do not add up, and the share of the others in each file and in all."""
    every: list[bool] = []
    for path in paths:
        for rhythm, tunes in read_tunes(path).items():
            found = [faults(tune) for tune in tunes]
            for number, each in enumerate(found, start=1):
                if each:
                    print(f"{path}: {rhythm} {number}: {'; '.join(each[:3])}")
            print(f"{path}: {rhythm}: {_share([not each for each in found])}", flush=True)
            every += [not each for each in found]
    print(f"all: {_share(every)} add up")


def _share(right: list[bool]) -> str:
    return f"{sum(right)} of {len(right)}, {interval(right)}"


# Rhythms by n-grams

LONGEST = 6  # characters
DECAYS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
CHOSEN_ON = 10  # every tenth tune
MAX_ITERATIONS = 200


def show_baseline(folder: Path) -> None:
    """Logistic regression: the weight decay is chosen on every tenth tune of the training part."""
    held_out = folder / ("test" if (folder / "test").is_dir() else "valid")
    tunes, test = _labelled(folder / "train"), _labelled(held_out)
    kept = [tune for place, tune in enumerate(tunes, start=1) if place % CHOSEN_ON]
    chosen_on = tunes[CHOSEN_ON - 1 :: CHOSEN_ON]
    by_decay = classified(kept, [text for _, text in chosen_on], DECAYS)
    num_right = {decay: _num_right(chosen_on, predicted) for decay, predicted in by_decay.items()}
    decay = max(DECAYS, key=lambda each: num_right[each])
    print(f"right of {len(chosen_on)} by weight decay: {num_right}; chosen: {decay}", flush=True)
    predicted = classified(tunes, [text for _, text in test], [decay])[decay]
    report = evaluate_classification([rhythm for rhythm, _ in test], predicted, sorted(set(predicted)))
    for name, figure in (("accuracy", report.accuracy), ("macro F1", report.macro_f1)):
        print(f"{held_out}: {name} {figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%}) of {figure.count}")


def _labelled(folder: Path) -> list[tuple[str, str]]:
    return [(rhythm, tune) for rhythm, tunes in read_tunes(folder).items() for tune in tunes]


def _num_right(tunes: list[tuple[str, str]], predicted: list[str]) -> int:
    return sum(found == rhythm for (rhythm, _), found in zip(tunes, predicted, strict=True))


def classified(train: list[tuple[str, str]], texts: list[str], decays: Sequence[float]) -> dict[float, list[str]]:
    """For each weight decay the labels of the texts, by a regression on the training part's labels and texts."""
    labels = sorted({label for label, _ in train})
    truth = torch.tensor([labels.index(label) for label, _ in train])
    ngrams = NGrams([text for _, text in train])
    features, asked = ngrams.features([text for _, text in train]), ngrams.features(texts)
    found = {}
    for decay in decays:
        weights, bias = regression(features, truth, decay)
        found[decay] = [labels[best] for best in (torch.sparse.mm(asked, weights) + bias).argmax(dim=1).tolist()]
    return found


def regression(features: torch.Tensor, truth: torch.Tensor, decay: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of a multinomial logistic regression: the least mean of -log p, plus decay / 2 * |weights|^2."""
    num_labels = int(truth.max()) + 1
    weights, bias = torch.zeros(features.shape[1], num_labels), torch.zeros(num_labels)
    parameters = [weights.requires_grad_(), bias.requires_grad_()]
    optimizer: Any = torch.optim.LBFGS(parameters, max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        nats = torch.nn.functional.cross_entropy(torch.sparse.mm(features, weights) + bias, truth)
        total: Any = nats + decay / 2 * weights.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weights.detach(), bias.detach()


class NGrams:
    """All n-grams of 1 to 6 characters that at least two of N texts have; what is rarer weighs more (tf-idf)."""

    def __init__(self, texts: Sequence[str]) -> None:
        num_texts = Counter(ngram for text in texts for ngram in counted(text))
        self.idf = {ngram: 1 + log((1 + len(texts)) / (1 + num)) for ngram, num in num_texts.items() if num > 1}
        self._columns = {ngram: column for column, ngram in enumerate(self.idf)}

    def features(self, texts: Sequence[str]) -> torch.Tensor:
        """A sparse matrix (texts, n-grams): (1 + log count) * idf, in rows of length 1."""
        places, values = list[tuple[int, int]](), list[float]()
        for row, text in enumerate(texts):
            known = {ngram: count for ngram, count in counted(text).items() if ngram in self.idf}
            own = {ngram: (1 + log(count)) * self.idf[ngram] for ngram, count in known.items()}
            norm = sqrt(sum(value * value for value in own.values()))
            places += [(row, self._columns[ngram]) for ngram in own]
            values += [value / norm for value in own.values()]
        columns = torch.tensor(places).T
        shape = (len(texts), len(self.idf))
        return torch.sparse_coo_tensor(columns, torch.tensor(values), shape, check_invariants=True).coalesce()


def counted(text: str) -> Counter[str]:
    """How often a text has each n-gram."""
    lengths = range(1, LONGEST + 1)
    return Counter(text[first : first + length] for length in lengths for first in range(len(text) - length + 1))


if __name__ == "__main__":
    main()
