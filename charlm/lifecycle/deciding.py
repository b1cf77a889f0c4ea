"""What is decided before a network is made: its architecture, how it is trained, and which weights it begins with."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from charlm.corpus.corpora import Corpus
from charlm.corpus.labelled import LabelledCorpus
from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import UsageError
from charlm.lifecycle.initial import Base
from charlm.lifecycle.request import TrainRequest
from charlm.model.initialisation import draw_weights
from charlm.network.architecture import Architecture
from charlm.network.classifier import Classifier
from charlm.network.generator import LABELS, Generator
from charlm.network.ngrams import RATIOS
from charlm.network.tagger import FEATURES
from charlm.runs.weights import Weights
from charlm.settings import TrainingSettings
from charlm.system.machine import Machine
from charlm.training.defaults import decide_architecture, decide_training
from charlm.training.naive_bayes import log_count_ratios
from charlm.training.tagger_defaults import decide_tagger, decide_tagger_training
from charlm.training.task_defaults import (
    about_long_texts,
    decide_classifier,
    decide_generator,
    decide_training_by_example,
    suitable_ngrams,
)
from charlm.training.translator_defaults import decide_translator, decide_translator_training


@dataclass(frozen=True)
class Decided:
    """An architecture and the settings of its training with every value decided, and notes for people."""

    architecture: Architecture
    training: TrainingSettings
    notes: list[str]
    about_base: str = ""
    """What was changed of the run that it starts from, as the end of a sentence."""


def decide_text_model(request: TrainRequest, corpus: PreparedCorpus, base: Base | None, machine: Machine) -> Decided:
    """A language model or a cloze network, for a text of this size."""
    settings, unit, num_tokens = request.settings, corpus.tokenizer.unit, corpus.train.num_tokens
    vocab_size, about_base = corpus.tokenizer.vocab_size, ""
    training = dataclasses.replace(settings.training, mode=corpus.division.mode or request.mode)
    if base:
        architecture, training = base.architecture_for(vocab_size), base.training_for(training)
        about_base = f"; {vocab_size - base.config.architecture.num_symbols:,} new symbols"
    else:
        architecture = decide_architecture(settings.model, unit, vocab_size, num_tokens, machine)
    return Decided(architecture, *decide_training(training, architecture, unit, num_tokens, machine), about_base)


def inherit_text_model(
    base: Base, architecture: Architecture, training: TrainingSettings, corpus: Corpus
) -> dict[str, Weights]:
    """The weights of the same kind of network, grown to the new vocabulary."""
    return base.weights_for(architecture.num_symbols)


def decide_classification(
    request: TrainRequest, corpus: LabelledCorpus, base: Base | None, machine: Machine
) -> Decided:
    """A classifier, whose body is that of the language model to begin from, if there is one."""
    settings, num_labels = request.settings, len(corpus.labels)
    if base:
        own = base.config.architecture
        shared = {name: value for name, value in dataclasses.asdict(own).items() if name in _BODY}
        architecture = Classifier(
            **shared,
            tie_embeddings=False,
            head_layers=settings.model.head_layers,
            head_size=(settings.model.head_size or own.hidden_size) if settings.model.head_layers else 0,
            direction=own.direction,
            num_labels=num_labels,
            several_labels=settings.data.multi,
            is_apart=own.is_pair,
            **({} if settings.training.freeze else suitable_ngrams(corpus)),  # a probe reads the language model alone
        )
        training = base.training_for(settings.training)
    else:
        architecture = decide_classifier(settings.model, corpus, settings.data.multi, machine)
        training = settings.training
    return Decided(architecture, *decide_training_by_example(training, architecture, corpus, machine))


def inherit_body(
    base: Base, architecture: Classifier, training: TrainingSettings, corpus: LabelledCorpus
) -> dict[str, Weights]:
    """The body of a language model, under a head that is drawn, beside n-grams that are counted."""
    drawn = draw_weights(architecture, torch.Generator().manual_seed(training.seed))
    body: dict[str, Any] = {
        prefix + name: value for prefix, best in base.best.items() for name, value in best.tensors.items()
    }
    own = {name: body[name] if name in body and not _is_head(name) else drawn[name].numpy() for name in drawn}
    if architecture.ngram_order:
        own[RATIOS] = log_count_ratios(corpus.train, corpus.tokenizer.eos_id, architecture)
    return {"": Weights(own, 0, {})}


def decide_generation(request: TrainRequest, corpus: LabelledCorpus, base: Base | None, machine: Machine) -> Decided:
    """A generator, which is otherwise like the language model to begin from, if there is one."""
    training = dataclasses.replace(request.settings.training, mode="sentence")
    if base:
        own = base.config.architecture
        if own.direction != "forward":
            what = "--task generate begins from a language model that reads forward; this one does not"
            raise UsageError(what, str(base.run.path), "give another run, or leave --init-from out")
        architecture, training = Generator.like(own, len(corpus.labels)), base.training_for(training)
    else:
        architecture = decide_generator(request.settings.model, corpus, machine)
    decided, notes = decide_training(training, architecture, corpus.unit, corpus.train.num_tokens, machine)
    return Decided(architecture, decided, [*notes, *about_long_texts(corpus)])


def inherit_language_model(
    base: Base, architecture: Architecture, training: TrainingSettings, corpus: Corpus
) -> dict[str, Weights]:
    """The language model as it is, for every label: the embeddings of labels are zero."""
    drawn = draw_weights(architecture, torch.Generator().manual_seed(training.seed))
    drawn[LABELS].zero_()
    best = base.best[""].tensors
    return {"": Weights({name: best.get(name, new.numpy()) for name, new in drawn.items()}, 0, {})}


def decide_tagging(request: TrainRequest, corpus: LabelledCorpus, base: Base | None, machine: Machine) -> Decided:
    """A tagger, which reads what a pair of character models knows of each word, if there is one to begin from."""
    features = base.config.architecture if base else None
    if base and not (base.config.architecture.is_pair and base.tokenizer.can_be_cut_anywhere):
        what = "--task tag begins from a pair of models of characters, which this run is not"
        raise UsageError(what, str(base.run.path), "train one: charlm train TEXT --direction both")
    architecture = decide_tagger(request.settings.model, corpus, features, machine)
    return Decided(architecture, *decide_tagger_training(request.settings.training, architecture, corpus, machine))


def inherit_features(
    base: Base, architecture: Architecture, training: TrainingSettings, corpus: Corpus
) -> dict[str, Weights]:
    """The character models below a tagger that is drawn."""
    drawn = draw_weights(architecture, torch.Generator().manual_seed(training.seed))
    known = {
        FEATURES + prefix + name: value for prefix, best in base.best.items() for name, value in best.tensors.items()
    }
    own = {name: known[name] if name in known else value.numpy() for name, value in drawn.items()}
    return {"": Weights(own, 0, {})}


def decide_translation(request: TrainRequest, corpus: LabelledCorpus, base: Base | None, machine: Machine) -> Decided:
    """A translator, which begins from nothing."""
    assert base is None  # see `lifecycle/request.py`
    architecture = decide_translator(request.settings.model, corpus, machine)
    return Decided(architecture, *decide_translator_training(request.settings.training, architecture, corpus, machine))


def _is_head(name: str) -> bool:
    return name.startswith("head.")


_BODY = (
    "cell",
    "num_layers",
    "hidden_size",
    "embedding_size",
    "initial_state",
    "vocab_size",
    "residual",
    "proj_size",
    "mogrifier_rounds",
    "mogrifier_rank",
)
"""The sizes and settings of an architecture below its head."""
