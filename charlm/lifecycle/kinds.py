"""The kinds of network that can be trained: for each its data, its objective, its time limit and its final figures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.corpus.corpora import Corpus
from charlm.errors import RunError
from charlm.lifecycle import classification, cloze, generation, tagging, task_limit, translation
from charlm.lifecycle.deciding import (
    Decided,
    decide_classification,
    decide_generation,
    decide_tagging,
    decide_text_model,
    decide_translation,
    inherit_body,
    inherit_features,
    inherit_language_model,
    inherit_text_model,
)
from charlm.lifecycle.initial import Base
from charlm.lifecycle.preparing import prepare_data, prepare_text
from charlm.lifecycle.request import TrainRequest
from charlm.lifecycle.results import Outcome, Result, measure
from charlm.lifecycle.time_limit import Clock, TimeLimit, limit_of
from charlm.runs.config import RunConfig
from charlm.runs.weights import Weights
from charlm.settings import TrainingSettings
from charlm.system.machine import Machine
from charlm.training.classification import ClassificationObjective
from charlm.training.cloze import ClozeObjective
from charlm.training.generation import GenerationObjective
from charlm.training.language_model import ORDER, LanguageModelObjective, windows_fit
from charlm.training.objective import DataOrder, Objective
from charlm.training.tagging import TaggingObjective
from charlm.training.translation import TranslationObjective


@dataclass(frozen=True)
class Kind:
    """What a training needs to know about a kind of network. Of the functions each takes what its name says.

    Corpora, objectives and architectures are those of the kind, so their types are open here.
    """

    prepare: Callable[[TrainRequest, Path, Base | None], Corpus]
    """Writes what was asked for into a folder, as ids."""
    decide: Callable[[TrainRequest, Any, Base | None, Machine], Decided]
    """Decides the architecture and the settings, for a corpus on a machine."""
    inherit: Callable[[Base, Any, TrainingSettings, Any], dict[str, Weights]]
    """The weights of each network that starts from another run, by the prefixes of `Architecture.networks`."""
    objective: Callable[[Any, Any, TrainingSettings, str], Objective]
    """Builds one of a run's networks, from its architecture, with its training data, on a device."""
    order: DataOrder = ORDER
    """The rule by which the objective goes through its data."""
    suits: Callable[[TrainingSettings, int], bool] = lambda settings, num_tokens: True
    """Whether these settings suit a training part of so many tokens."""
    limit: Callable[[Any, Any, TrainingSettings, float, int, Clock], TimeLimit | None] = task_limit.limit_of
    """Takes objective, corpus, settings, the command's start, how many networks take turns and a clock; returns the
    command's time limit, if it has one."""
    measure: Callable[[Outcome, Callable[[float], None]], Result] = measure
    """Computes the final figures; calls its second argument with the share that is done (0 to 1)."""


KINDS: dict[str, Kind] = {
    "language-model": Kind(
        prepare_text, decide_text_model, inherit_text_model, LanguageModelObjective, suits=windows_fit, limit=limit_of
    ),
    "cloze": Kind(
        prepare_text,
        decide_text_model,
        inherit_text_model,
        ClozeObjective,
        suits=windows_fit,
        measure=cloze.measure,
    ),
    "classify": Kind(
        prepare_data,
        decide_classification,
        inherit_body,
        ClassificationObjective,
        measure=classification.measure,
    ),
    "generate": Kind(
        prepare_data,
        decide_generation,
        inherit_language_model,
        GenerationObjective,
        limit=generation.limit_of,
        measure=generation.measure,
    ),
    "tag": Kind(prepare_data, decide_tagging, inherit_features, TaggingObjective, measure=tagging.measure),
    "translate": Kind(  # it begins from no other run, so it inherits nothing
        prepare_data, decide_translation, inherit_body, TranslationObjective, measure=translation.measure
    ),
}


def kind_of(config: RunConfig, where: str) -> Kind:
    """The kind of a run's network. Raises RunError, naming the run `where`, for an unknown kind."""
    name = config.architecture.kind
    if name not in KINDS:
        raise RunError(f"this run is a {name[:40]}, which this charlm does not know", where, "use a newer charlm")
    return KINDS[name]
