"""What a user would otherwise do with labelled data: PyTorch's tutorials by hand, in float32, with torch's own layers.

    python -m benchmarks.plain_tasks classify TRAIN TEST --minutes 3     label TAB text, or folders of tunes
    python -m benchmarks.plain_tasks tag TRAIN TEST --minutes 10         CoNLL: the token first, the tag last
    python -m benchmarks.plain_tasks translate TRAIN TEST --minutes 5    source TAB target
    python -m benchmarks.plain_tasks translate TRAIN TEST --target TRAIN_TARGET --test-target TEST_TARGET --minutes 30

A model trains for so many minutes on the clock. Then come its figures on TEST, as charlm counts them, with 95 %
intervals. To compare it with charlm, give it the minutes that `benchmarks/tasks.py` says. Nothing is held out: what is
measured is the model of the last step.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, groupby, takewhile
from math import inf
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from benchmarks.tunes import read_tunes
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.classification import evaluate_classification
from charlm.evaluation.tagging import evaluate_tagging
from charlm.evaluation.translation import evaluate_translation
from charlm.text.tag_schemes import recognise_scheme

Unit = Literal["char", "word"]
Symbols: TypeAlias = Sequence[str]
Pair: TypeAlias = tuple[Symbols, Symbols]
"""What is given, and what is wanted for it: one label, a tag for each word, or the symbols of the target."""
Source: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""What the encoder has made of N sources: its states and their keys (N, T, H), and where padding is (N, T)."""

HIDDEN, LEARNING_RATE, BATCH = 128, 1e-3, 32
MIN_COUNT = {"char": 1, "word": 2}  # words that are rarer in the training part are unknown, so that this is learned
SPECIALS = PADDING, UNKNOWN, START, END = "<pad>", "<unk>", "<s>", "</s>"
PADDING_ID, UNKNOWN_ID, START_ID = range(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("classify", "tag", "translate"))
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--unit", choices=("char", "word"), default="char", help="of texts and sources")
    parser.add_argument("--target-unit", choices=("char", "word"), default="char")
    parser.add_argument("--target", type=Path, help="the targets of TRAIN, line by line")
    parser.add_argument("--test-target", type=Path, help="the targets of TEST, line by line")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if (options.target is None) != (options.test_target is None):
        parser.error("--target and --test-target go together")
    units = options.unit, options.target_unit
    pairs = read_pairs(options.task, options.train, options.target, *units)
    test = read_pairs(options.task, options.test, options.test_target, *units)
    model = make_model(options.task, pairs, *units, options.seed)
    passes = train(model, pairs, options.seed, minutes=options.minutes)
    for name, figure in figures(options.task, test, answers(model, test), options.target_unit).items():
        print(f"{name} {figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g}) of {figure.count:,}")
    print(f"{passes:.3g} passes in {options.minutes:g} minutes")


def read_pairs(task: str, path: Path, target: Path | None, unit: Unit, target_unit: Unit) -> list[Pair]:
    """The rows of a part."""
    if task == "tag":
        return list(read_conll(path))
    if path.is_dir():
        rows: Iterable[Symbols] = ((rhythm, tune) for rhythm, tunes in read_tunes(path).items() for tune in tunes)
    elif target:
        rows = zip(lines_of(path), lines_of(target), strict=True)
    else:
        rows = (row.split("\t", 1) for row in lines_of(path))
    if task == "classify":
        return [(split(text, unit), [label]) for label, text in rows]
    return [(split(source, unit), split(wanted, target_unit)) for source, wanted in rows]


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def read_conll(path: Path) -> Iterator[Pair]:
    """The words and the tags of sentences."""
    for is_blank, sentence in groupby(lines_of(path), key=lambda line: not line.strip()):
        if not is_blank:
            columns = [line.split() for line in sentence]
            yield [row[0] for row in columns], [row[-1] for row in columns]


def split(text: str, unit: Unit) -> Symbols:
    return text.split() if unit == "word" else list(text)


class Vocabulary:
    """The symbols that stand in sequences at least `min_count` times, after the special ones."""

    def __init__(self, sequences: Iterable[Symbols], min_count: int = 1, specials: Symbols = SPECIALS) -> None:
        counts = Counter(chain.from_iterable(sequences))
        self.symbols = [*specials, *sorted(symbol for symbol, count in counts.items() if count >= min_count)]
        self._ids = {symbol: id for id, symbol in enumerate(self.symbols)}

    def padded(self, sequences: Iterable[Symbols]) -> tuple[Tensor, Tensor]:
        """The ids of N sequences (N, T), and their lengths (N)."""
        ids = [torch.tensor([self._ids.get(symbol, UNKNOWN_ID) for symbol in symbols]) for symbols in sequences]
        return pad_sequence(ids, batch_first=True, padding_value=PADDING_ID), torch.tensor([len(each) for each in ids])


class Labeller(nn.Module):
    """Embedding, nn.LSTM, and a linear layer: on all states for a tag of each word, or on the last for one label."""

    def __init__(self, given: Vocabulary, labels: Vocabulary, is_tagger: bool) -> None:
        super().__init__()
        self.given, self.labels, self.is_tagger = given, labels, is_tagger
        self.batch = 1 if is_tagger else BATCH  # tags: a sentence at a time
        self.embedding = nn.Embedding(len(given.symbols), HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.output = nn.Linear(HIDDEN, len(labels.symbols))

    def forward(self, texts: Sequence[Symbols]) -> Tensor:
        """Logits (N, T, L), or (N, 1, L) where there is one label for each of the N texts."""
        ids, lengths = self.given.padded(texts)
        states, _ = self.lstm(self.embedding(ids))
        logits: Tensor = self.output(states if self.is_tagger else last(states, lengths)[:, None])
        return logits

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        labels, _ = self.labels.padded(labels for _, labels in pairs)
        return cross_entropy(self([text for text, _ in pairs]).flatten(0, 1), labels.flatten())

    def answers(self, texts: Sequence[Symbols]) -> list[Symbols]:
        return [[self.labels.symbols[id] for id in row] for row in self(texts).argmax(dim=-1).tolist()]


class Translator(nn.Module):
    """A GRU reads the source, and another one writes the target, with additive attention (Bahdanau 2015)."""

    batch = BATCH

    def __init__(self, given: Vocabulary, wanted: Vocabulary, longest: int) -> None:
        super().__init__()
        self.given, self.wanted, self.longest = given, wanted, longest  # longest: symbols of an answer
        self.source_embedding = nn.Embedding(len(given.symbols), HIDDEN)
        self.encoder = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.query, self.key, self.score = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)
        self.target_embedding = nn.Embedding(len(wanted.symbols), HIDDEN)
        self.decoder = nn.GRUCell(2 * HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, len(wanted.symbols))

    def encode(self, texts: Sequence[Symbols]) -> tuple[Source, Tensor]:
        """What attention sees, and the last states (N, H), with which the decoder begins."""
        ids, lengths = self.given.padded([*text, END] for text in texts)
        states, _ = self.encoder(self.source_embedding(ids))
        return (states, self.key(states), ids == PADDING_ID), last(states, lengths)

    def step(self, ids: Tensor, state: Tensor, source: Source) -> Tensor:
        """The decoder's next states (N, H), after the symbols (N)."""
        states, keys, is_padding = source
        scores = self.score(torch.tanh(self.query(state)[:, None] + keys)).squeeze(-1)
        weights = scores.masked_fill(is_padding, -inf).softmax(dim=-1)
        context = (weights[:, None] @ states).squeeze(1)
        new: Tensor = self.decoder(torch.cat([self.target_embedding(ids), context], dim=-1), state)
        return new

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        source, state = self.encode([text for text, _ in pairs])
        ids, _ = self.wanted.padded([START, *target, END] for _, target in pairs)
        states = []
        for column in ids[:, :-1].unbind(dim=1):  # teacher forcing
            states.append(state := self.step(column, state, source))
        logits = self.output(torch.stack(states, dim=1))
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PADDING_ID)

    def answers(self, texts: Sequence[Symbols]) -> list[Symbols]:
        """The most probable symbol at each step."""
        source, state = self.encode(texts)
        ids, columns = torch.full((len(texts),), START_ID), list[list[int]]()
        for _ in range(self.longest):
            state = self.step(ids, state, source)
            ids = self.output(state).argmax(dim=-1)
            columns.append(ids.tolist())
        found = ([self.wanted.symbols[id] for id in row] for row in zip(*columns, strict=True))
        return [list(takewhile(lambda symbol: symbol != END, row)) for row in found]


def last(states: Tensor, lengths: Tensor) -> Tensor:
    """Of the states (N, T, H) those (N, H) after the last symbols."""
    return states[torch.arange(len(lengths)), lengths - 1]


Model: TypeAlias = Labeller | Translator


def make_model(task: str, pairs: Sequence[Pair], unit: Unit, target_unit: Unit, seed: int) -> Model:
    torch.manual_seed(seed)
    given, wanted = zip(*pairs, strict=True)
    read = Vocabulary(given, MIN_COUNT["word" if task == "tag" else unit])
    if task == "translate":
        return Translator(read, Vocabulary(wanted, MIN_COUNT[target_unit]), longest=max(map(len, wanted)))
    return Labeller(read, Vocabulary(wanted, specials=()), is_tagger=task == "tag")


def train(model: Model, pairs: Sequence[Pair], seed: int, minutes: float = inf, passes: float = inf) -> float:
    """Train on shuffled pairs until the time or the passes are over; return how many passes were done."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    end, shuffling, pairs = time.monotonic() + 60 * minutes, random.Random(seed), list(pairs)
    starts = range(0, len(pairs), model.batch)
    for step, start in enumerate(cycle(starts)):
        if step >= passes * len(starts) or time.monotonic() >= end:
            break
        if start == 0:
            shuffling.shuffle(pairs)
        optimizer.zero_grad()
        model.loss(pairs[start : start + model.batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return step / len(starts)


@torch.no_grad()
def answers(model: Model, test: Sequence[Pair]) -> list[Symbols]:
    texts = [text for text, _ in test]
    batches = (texts[start : start + model.batch] for start in range(0, len(texts), model.batch))
    return list(chain.from_iterable(map(model.answers, batches)))


def figures(task: str, test: Sequence[Pair], found: Sequence[Symbols], target_unit: Unit) -> dict[str, Figure]:
    """The figures of the answers found for the test part."""
    wanted = [each for _, each in test]
    if task == "classify":
        report = evaluate_classification([label for (label,) in wanted], [label for (label,) in found])
        return {"accuracy": report.accuracy, "macro F1": report.macro_f1}
    if task == "tag":
        tagging = evaluate_tagging(wanted, found, recognise_scheme(wanted))
        return {"accuracy": tagging.accuracy} | ({"entity F1": tagging.entities.f1} if tagging.entities else {})
    join = (" " if target_unit == "word" else "").join
    scores = evaluate_translation([*map(join, wanted)], [*map(join, found)], is_split=target_unit == "word")
    return {"word error rate": scores.word_error_rate} | ({"BLEU": scores.bleu.figure} if scores.bleu else {})


if __name__ == "__main__":
    main()
