"""Defaults of translators. They depend on data and machine, never on the clock."""

import dataclasses
import math

from charlm.corpus.labelled import LabelledCorpus
from charlm.network.architecture import cell_sizes
from charlm.network.translator import Translator
from charlm.settings import ModelSettings, TrainingSettings
from charlm.system.machine import Machine
from charlm.training.defaults import is_character, suitable_layers
from charlm.training.task_defaults import decide_training_by_example

MAX_PASSES = 100  # over the pairs, even if --time allows more
PAIRS_AT_ONCE = 64  # in a batch, of mean length
DROPOUT = 0.3
LEARNING_RATES = {"adamw": 0.003, "sgd": 0.5}

# Largest number of tokens of both sides to train on: (hidden size, embedding size).
SIZES = {60_000: (128, 64), 1_000_000: (256, 128), math.inf: (384, 256)}


def decide_translator(model: ModelSettings, corpus: LabelledCorpus, machine: Machine) -> Translator:
    """The translator with all sizes decided: those given, and for the others what suits the data."""
    hidden_size, embedding_size = next(size for most, size in SIZES.items() if corpus.train.num_tokens <= most)
    hidden_size, embedding_size = model.hidden_size or hidden_size, model.embedding_size or embedding_size
    ties = not is_character(corpus.second.unit) if model.tie_embeddings is None else model.tie_embeddings
    return Translator(
        cell=model.cell,
        num_layers=model.num_layers or suitable_layers(model.cell),
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        tie_embeddings=ties,
        initial_state=model.initial_state,
        vocab_size=corpus.tokenizer.vocab_size,
        residual=model.residual,
        head_layers=model.head_layers,
        head_size=(model.head_size or hidden_size) if model.head_layers else 0,
        **cell_sizes(model.cell, hidden_size, dataclasses.asdict(model)),
        target_vocab_size=corpus.second.vocab_size,
        attention=model.attention or "additive",
        length_ratio=_length_ratio(corpus),
    )


def decide_translator_training(
    training: TrainingSettings, architecture: Translator, corpus: LabelledCorpus, machine: Machine
) -> tuple[TrainingSettings, list[str]]:
    """The settings with every value decided, and notes on values that had to differ from what was asked for."""
    tokens_of_pair = math.ceil(corpus.train.num_tokens / len(corpus.train)) + 2  # with all ends
    rate = LEARNING_RATES[training.optimizer]
    suitable = dataclasses.replace(
        training,
        bptt=training.bptt or tokens_of_pair,
        batch_size=training.batch_size or PAIRS_AT_ONCE,
        dropout=DROPOUT if training.dropout is None else training.dropout,
        learning_rate=rate if training.learning_rate is None else training.learning_rate,
    )
    return decide_training_by_example(suitable, architecture, corpus, machine)


def _length_ratio(corpus: LabelledCorpus) -> float:
    """Tokens of the targets per token of the sources, their ends included."""
    sizes = [len(column.values) + len(column) for column in (corpus.train["target"], corpus.train["source"])]
    return sizes[0] / sizes[1]
