"""Defaults of taggers. They depend on data and machine, never on the clock."""

import dataclasses
import math
from typing import Any

from charlm.corpus.labelled import LabelledCorpus
from charlm.network.architecture import Architecture, cell_sizes
from charlm.network.tagger import Speller, Tagger
from charlm.settings import ModelSettings, TrainingSettings
from charlm.system.machine import Machine
from charlm.training.defaults import suitable_layers
from charlm.training.task_defaults import decide_training_by_example

MAX_PASSES = 30  # over the sentences, even if --time allows more
LEARNING_RATES = {"adamw": 0.008, "sgd": 0.5}

# Largest number of words to train on: (hidden size of one direction, embedding size, size of a spelling).
SIZES = {200_000: (128, 64, 32), 2_000_000: (192, 96, 48), math.inf: (256, 128, 64)}
FEATURE_SIZE = 128  # of what character models know of a word


def decide_tagger(
    model: ModelSettings, corpus: LabelledCorpus, features: Architecture | None, machine: Machine
) -> Tagger:
    """The tagger with all sizes decided: those given, and for the others what suits the data.

    `features` are the pair of character models that it begins from, if any.
    """
    hidden_size, embedding_size, spelled_size = next(
        sizes for most, sizes in SIZES.items() if corpus.train.num_tokens <= most
    )
    hidden_size, embedding_size = model.hidden_size or hidden_size, model.embedding_size or embedding_size
    shared: dict[str, Any] = {
        "direction": "both",
        "cell": model.cell,
        "tie_embeddings": False,
        "initial_state": model.initial_state,
    }
    spelling = None
    if symbols := corpus.vocabularies.second:
        own = cell_sizes(model.cell, spelled_size, {})
        sizes: dict[str, Any] = {"num_layers": 1, "hidden_size": spelled_size, "embedding_size": spelled_size}
        spelling = Speller(**shared, **sizes, **own, vocab_size=symbols.vocab_size)
    return Tagger(
        **shared,
        num_layers=model.num_layers or suitable_layers(model.cell),
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        vocab_size=corpus.tokenizer.vocab_size,
        residual=model.residual,
        head_layers=model.head_layers,
        head_size=(model.head_size or hidden_size) if model.head_layers else 0,
        **cell_sizes(model.cell, hidden_size, dataclasses.asdict(model)),
        num_labels=len(corpus.labels),
        decoder=model.decoder or "crf",
        spelling=spelling,
        features=features,
        feature_size=FEATURE_SIZE if features else 0,
    )


def decide_tagger_training(
    training: TrainingSettings, architecture: Tagger, corpus: LabelledCorpus, machine: Machine
) -> tuple[TrainingSettings, list[str]]:
    """The settings with every value decided, and notes on values that had to differ from what was asked for."""
    rate = LEARNING_RATES[training.optimizer] if training.learning_rate is None else training.learning_rate
    own = dataclasses.replace(training, learning_rate=rate)
    return decide_training_by_example(own, architecture, corpus, machine)
