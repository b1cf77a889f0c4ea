"""The kinds of network that can be trained: what trains each, what its time limit keeps free, how it is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import RunError
from charlm.lifecycle.results import Outcome, TrainResult, measure
from charlm.lifecycle.time_limit import TimeLimit, limit_of
from charlm.runs.config import RunConfig
from charlm.settings import TrainingSettings
from charlm.training.language_model import LanguageModelObjective
from charlm.training.objective import Objective


@dataclass(frozen=True)
class Kind:
    """All that a training needs to know of a kind of network."""

    objective: Callable[[RunConfig, PreparedCorpus, str], Objective]
    """The network of a run, on a device, with its data."""
    limit: Callable[[Any, PreparedCorpus, TrainingSettings, float], TimeLimit | None] = limit_of
    """The time that a command has which began at some moment, where it has a limit."""
    measure: Callable[[Outcome, Callable[[float], None]], TrainResult] = measure
    """The final figures; it tells what share of them is done, now and then."""


KINDS: dict[str, Kind] = {
    "language_model": Kind(
        lambda config, corpus, device: LanguageModelObjective(config.architecture, corpus, config.training, device)
    )
}


def kind_of(config: RunConfig, where: str) -> Kind:
    """The kind of a run's network. Raises RunError for one that this charlm does not know."""
    name = config.architecture.kind
    if name not in KINDS:
        raise RunError(f"this run is a {name[:40]}, which this charlm does not know", where, "use a newer charlm")
    return KINDS[name]
