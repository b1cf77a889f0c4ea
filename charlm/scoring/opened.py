"""Open a run that was trained on labelled data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Self, TypeVar

from charlm.cells.cell import Weights
from charlm.corpus.vocabularies import LABELS_FILE, Vocabularies
from charlm.network.architecture import Architecture
from charlm.runs.config import RunConfig
from charlm.runs.directory import RunDirectory
from charlm.scoring.loading import load_best, refuse_untrained
from charlm.scoring.reading import Reading

AnyArchitecture = TypeVar("AnyArchitecture", bound=Architecture)


@dataclass(frozen=True)
class Opened(Generic[AnyArchitecture]):
    """A network that was trained on labelled data, with its best weights, as the files of its run have it."""

    config: RunConfig
    architecture: AnyArchitecture
    vocabularies: Vocabularies
    weights: Weights
    path: Path

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, the most frequent of the training data first."""
        return self.vocabularies.labels

    @cached_property
    def reading(self) -> Reading:
        """How texts and labels are read."""
        return Reading(self.config.reading, self.vocabularies.tokenizer)

    @classmethod
    def of(
        cls,
        run: RunDirectory,
        config: RunConfig,
        kind: type[AnyArchitecture],
        suits: Callable[[AnyArchitecture, Vocabularies], bool],
    ) -> Self:
        """The network of a run with this configuration, which is of this kind.

        `suits` says whether an architecture has the sizes of the vocabularies. Raises RunError for a run that is not
        trained yet, or damaged.
        """
        refuse_untrained(run, config)
        architecture, vocabularies = config.architecture, Vocabularies.load(run.path)
        assert isinstance(architecture, kind)
        if not suits(architecture, vocabularies):
            raise run.damaged(LABELS_FILE, "does not suit the network")
        return cls(config, architecture, vocabularies, load_best(run, architecture).tensors, run.path)
