"""Defaults for networks that are trained on labelled data. They depend on data and machine, never on the clock."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from charlm.corpus.examples import Ragged
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.sources import number_of
from charlm.corpus.texts import MAX_READ_TOKENS
from charlm.network.architecture import Architecture, cell_sizes
from charlm.network.classifier import Classifier
from charlm.network.generator import Generator
from charlm.settings import ModelSettings, TrainingSettings
from charlm.system.machine import Machine
from charlm.training.defaults import decide_architecture, is_character, suitable_layers

MAX_PASSES = 60  # over the examples, even if --time allows more
MIN_PASSES, ENOUGH_UPDATES = 8, 3_000  # a classifier's passes end when it has had both
EXAMPLES_AT_ONCE = 32  # in a batch, of mean length
MIN_WINDOW = 8  # tokens
CUT_COLUMNS = "text", "source", "target"  # of which training reads MAX_READ_TOKENS tokens
DROPOUT = 0.5
LEARNING_RATES = {"adamw": 0.002, "sgd": 0.5}

# Of n-grams: the longest ones by whether tokens are characters; rows; numbers in all rows.
NGRAM_ORDERS = {True: 5, False: 2}
MIN_NGRAM_ROWS, MAX_NGRAM_ROWS, MAX_NGRAM_NUMBERS = 2**8, 2**18, 2**21
MAX_NGRAM_LABELS = 512  # each n-gram of a text says something of each label, which takes memory

# Largest number of tokens to train on: (hidden size of one direction, embedding size).
SIZES = {2_000_000: (128, 64), math.inf: (256, 128)}


def decide_classifier(
    model: ModelSettings, corpus: LabelledCorpus, several_labels: bool, machine: Machine
) -> Classifier:
    """The classifier with all sizes decided: those given, and for the others what suits the data."""
    hidden_size, embedding_size = next(size for most, size in SIZES.items() if corpus.train.num_tokens <= most)
    hidden_size, embedding_size = model.hidden_size or hidden_size, model.embedding_size or embedding_size
    return Classifier(
        direction="both",
        cell=model.cell,
        num_layers=model.num_layers or suitable_layers(model.cell),
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        tie_embeddings=False,
        initial_state=model.initial_state,
        vocab_size=corpus.tokenizer.vocab_size,
        residual=model.residual,
        head_layers=model.head_layers,
        head_size=(model.head_size or hidden_size) if model.head_layers else 0,
        **cell_sizes(model.cell, hidden_size, dataclasses.asdict(model)),
        num_labels=len(corpus.labels),
        several_labels=several_labels,
        **suitable_ngrams(corpus),
    )


def suitable_ngrams(corpus: LabelledCorpus) -> dict[str, Any]:
    """The sizes of a classifier's n-grams: as many rows as the text has n-grams, or as memory allows."""
    order = NGRAM_ORDERS[is_character(corpus.tokenizer.unit)]
    wanted = min(order * corpus.train.num_tokens, MAX_NGRAM_ROWS, MAX_NGRAM_NUMBERS // len(corpus.labels))
    rows = 1 << max(0, wanted.bit_length() - 1)
    is_suitable = rows >= MIN_NGRAM_ROWS and len(corpus.labels) <= MAX_NGRAM_LABELS
    return {"ngram_order": order, "ngram_rows": rows} if is_suitable else {}


def decide_generator(model: ModelSettings, corpus: LabelledCorpus, machine: Machine) -> Generator:
    """The generator with all sizes decided: those that a language model of as much text would have."""
    tokenizer = corpus.tokenizer
    plain = decide_architecture(model, tokenizer.unit, tokenizer.vocab_size, corpus.train.num_tokens, machine)
    return Generator.like(plain, len(corpus.labels))


def decide_training_by_example(
    training: TrainingSettings, architecture: Architecture, corpus: LabelledCorpus, machine: Machine
) -> tuple[TrainingSettings, list[str]]:
    """The settings with every value decided, and notes on values that had to differ from what was asked for."""
    length = mean_length(next(iter(corpus.train.columns.values())))
    decided = dataclasses.replace(
        training,
        mode="sentence",
        bptt=training.bptt or max(MIN_WINDOW, length),
        batch_size=training.batch_size or EXAMPLES_AT_ONCE,
        dropout=DROPOUT if training.dropout is None else training.dropout,
        learning_rate=LEARNING_RATES[training.optimizer] if training.learning_rate is None else training.learning_rate,
        clip_norm=None if training.clip_value is not None else training.clip_norm or 1.0,
        precision=training.precision or ("bfloat16" if machine.bfloat16 else "float32"),
        threads=machine.threads,
    )
    return decided, [*about_long_texts(corpus)]


def about_long_texts(corpus: LabelledCorpus) -> Iterator[str]:
    """A note where training reads only the beginning of some texts."""
    columns = [corpus.train[name] for name in CUT_COLUMNS if name in corpus.train.columns]
    num_cut = sum(int((column.lengths > MAX_READ_TOKENS).sum()) for column in columns)
    if num_cut:
        texts = number_of(num_cut, "text")
        yield f"training reads only the first {MAX_READ_TOKENS:,} tokens of {texts} that are longer"


def mean_length(column: Ragged) -> int:
    """The mean length of the rows, with both of their ends."""
    return math.ceil(float(np.mean(column.lengths))) + 2
