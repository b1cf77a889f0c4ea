"""Load a generator: for each label it is a language model of its own."""

import difflib
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from charlm.corpus.vocabularies import Vocabularies
from charlm.errors import RunError, UsageError
from charlm.network.generator import Generator, language_model_of, untied
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import OpenedModel, check_engine, language_model, load_model
from charlm.scoring.opened import Opened
from charlm.settings import Device, Direction, Precision, PredictorName

MAX_NAMED = 10  # labels that an error names


class OpenedGenerator(Opened[Generator]):
    """A generator of a run as its files have it."""

    def given(self, label: str | None) -> OpenedModel:
        """The language model that it is for one label. Raises UsageError for none, and for one that it lacks."""
        if label is None:
            what = "this run writes and scores texts of a given label, and none was given"
            raise UsageError(what, str(self.path), f"give --given LABEL, one of: {self._named}")
        label = self.reading.prepared(label)
        if label not in self.labels:
            close = difflib.get_close_matches(label, self.labels, n=1)
            to_do = f"did you mean {close[0]!r}?" if close else f"give one of: {self._named}"
            raise UsageError(f"--given {label[:40]!r}: this run knows no such label", str(self.path), to_do)
        return self.numbered(self.vocabularies.number_of(label))

    def numbered(self, number: int) -> OpenedModel:
        """The language model that it is for the label with this number."""
        weights = language_model_of(self._untied, self.architecture, number)
        return OpenedModel(self.config, self.architecture.plain, self.vocabularies.tokenizer, weights)

    @property
    def _named(self) -> str:
        """The labels, or the first of them, in words."""
        num_others = len(self.labels) - MAX_NAMED
        return ", ".join(self.labels[:MAX_NAMED]) + (f", and {num_others:,} more" if num_others > 0 else "")

    @cached_property
    def _untied(self) -> dict[str, NDArray[Any]]:
        return dict(untied(self.weights, self.architecture))


def open_generator(run: RunDirectory) -> OpenedGenerator:
    """The generator of a run, with its best weights. Raises RunError."""
    config = read_config(run)
    config.check_kind("generate", run.path)
    return OpenedGenerator.of(run, config, Generator, _suits)


def _suits(architecture: Generator, vocabularies: Vocabularies) -> bool:
    sizes = (vocabularies.tokenizer.vocab_size, len(vocabularies.labels), len(vocabularies.counts))
    return sizes == (architecture.vocab_size, architecture.num_labels, architecture.num_labels)


def load_model_given(
    run: RunDirectory,
    given: str | None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
    direction: Direction | None = None,
    predictor: PredictorName | None = None,
) -> LanguageModel:
    """The language model of a run, as `load_model` gives it; of a generator, the one for the label `given`.

    Raises RunError and UsageError.
    """
    if read_config(run).architecture.kind != "generate":
        lm = load_model(run, device, precision, threads, engine, direction, predictor)
        if given is not None:
            what = f"--given {given[:40]} does nothing: this run is a language model without labels"
            raise UsageError(what, str(run.path), "leave it out, or train with labels: charlm train --task generate")
        return lm
    check_engine(device, precision, threads, engine)
    if direction not in (None, "forward"):
        what = f"--direction {direction}: this run generates texts of a given label, and reads forward"
        raise RunError(what, str(run.path), "leave it out")
    if predictor not in (None, "network"):
        what = f"--predictor {predictor}: beside a network that writes texts of a given label there are no n-grams"
        raise UsageError(what, str(run.path), "leave it out")
    generator = open_generator(run)
    return language_model(generator.given(given), run.path, device, precision, threads, engine)
