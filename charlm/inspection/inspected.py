"""A run that is opened for inspection: the sizes and weights of its network, and how it reads a text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import RunError, TextError
from charlm.network.architecture import Architecture
from charlm.network.weights import check_finite
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run
from charlm.scoring.loading import open_model
from charlm.scoring.reading import Reading
from charlm.scoring.score import split_items
from charlm.text.encoded import Token
from charlm.text.items import as_items
from charlm.text.tokenizer import Tokenizer

Ids = NDArray[np.int64]
WHICH_VIEWS = "--clipping is for every run, --agreement for language models, other views for those that read forward"


@dataclass(frozen=True)
class ReadText:
    """A text as a network reads it, and its tokens."""

    text: str
    tokens: list[Token]

    @property
    def ids(self) -> Ids:
        return np.array([token.id for token in self.tokens], np.int64)

    @property
    def pieces(self) -> list[str]:
        """The part of the text that each token stands for; together they are the text."""
        ends = [token.end for token in self.tokens]
        return [self.text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@dataclass(frozen=True)
class Inspected:
    """A trained language model with everything that is looked at.

    With `is_by_line` it was trained on single lines, or other items, each from the initial state, and so it reads every
    text.
    """

    path: Path
    architecture: Architecture
    weights: Mapping[str, NDArray[Any]]
    tokenizer: Tokenizer
    reading: Reading
    is_by_line: bool

    def tokens(self, text: str) -> ReadText:
        """A text in the form of the run's own, with its end, in single tokens. Raises TextError for an empty one."""
        prepared = self._prepared(text)
        return ReadText(prepared, self.tokenizer.tokens(prepared))

    def sequences(self, text: str) -> list[Ids]:
        """The ids of a text in the pieces that are read from the initial state: its items, or the whole text.

        Raises TextError when it is empty.
        """
        ids = self.tokenizer.encode(self._prepared(text)).astype(np.int64)
        return split_items(ids, self.tokenizer.eos_id, self.reading.settings.item) if self.is_by_line else [ids]

    def _prepared(self, text: str) -> str:
        if not text.strip("\n"):
            raise TextError("the text is empty", to_do="give some words, or - for standard input")
        whole = as_items(text, self.reading.settings.item)
        return whole if self.tokenizer.unit == "byte" else self.reading.prepared(whole)


def run_with_language_model(name: str) -> RunDirectory:
    """The folder of a run, given by its folder or its name under runs/. Raises RunError for one of another kind."""
    run = RunDirectory(find_run(name))
    if read_config(run).architecture.kind != "language-model":
        raise RunError("this run is no language model, and this view needs one", str(run.path), WHICH_VIEWS)
    return run


def inspect_run(name: str) -> Inspected:
    """Open a run, given by its folder or its name under runs/.

    Raises RunError unless it is a usable language model that reads a text forward.
    """
    run = run_with_language_model(name)
    opened = open_model(run)
    if opened.architecture.direction != "forward":
        what = f"this run reads {opened.architecture.direction}, and this view needs one that reads forward"
        raise RunError(what, str(run.path), WHICH_VIEWS)
    check_finite(opened.weights, str(run.path))
    config, tokenizer = opened.config, opened.tokenizer
    reading, by_line = Reading(config.reading, tokenizer), config.training.mode == "sentence"
    return Inspected(run.path, opened.architecture, opened.weights, tokenizer, reading, by_line)
