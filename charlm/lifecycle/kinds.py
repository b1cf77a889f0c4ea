"""The kinds of network that can be trained: for each its objective, its time limit and its final figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import RunError
from charlm.lifecycle import cloze
from charlm.lifecycle.results import Outcome, Result, measure
from charlm.lifecycle.time_limit import Clock, TimeLimit, limit_of
from charlm.network.architecture import Architecture
from charlm.runs.config import RunConfig
from charlm.settings import TrainingSettings
from charlm.training.cloze import ClozeObjective
from charlm.training.language_model import ORDER, LanguageModelObjective, windows_fit
from charlm.training.objective import DataOrder, Objective


@dataclass(frozen=True)
class Kind:
    """What a training needs to know about a kind of network."""

    objective: Callable[[RunConfig, Architecture, PreparedCorpus, str], Objective]
    """Builds one of a run's networks on a device, with its training data."""
    order: DataOrder
    """The rule by which the objective goes through its data."""
    suits: Callable[[TrainingSettings, int], bool]
    """Whether these settings suit a training part of so many tokens."""
    limit: Callable[[Any, PreparedCorpus, TrainingSettings, float, int, Clock], TimeLimit | None] = limit_of
    """Takes objective, corpus, settings, the command's start, how many networks take turns and a clock; returns the
    command's time limit, if it has one."""
    measure: Callable[[Outcome, Callable[[float], None]], Result] = measure
    """Computes the final figures; calls its second argument with the share that is done (0 to 1)."""


KINDS: dict[str, Kind] = {
    "language_model": Kind(
        lambda config, network, corpus, device: LanguageModelObjective(network, corpus, config.training, device),
        ORDER,
        windows_fit,
    ),
    "cloze": Kind(
        lambda config, network, corpus, device: ClozeObjective(network, corpus, config.training, device),
        ORDER,
        windows_fit,
        limit=cloze.limit_of,
        measure=cloze.measure,
    ),
}


def kind_of(config: RunConfig, where: str) -> Kind:
    """The kind of a run's network. Raises RunError, naming the run `where`, for an unknown kind."""
    name = config.architecture.kind
    if name not in KINDS:
        raise RunError(f"this run is a {name[:40]}, which this charlm does not know", where, "use a newer charlm")
    return KINDS[name]
