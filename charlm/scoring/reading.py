"""How a run's text was read, so that texts and prompts for its model are read in the same way."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.corpus.forms import in_form, knows_carriage_return, taken_over
from charlm.runs.config import read_config
from charlm.runs.directory import CONFIG, RunDirectory
from charlm.settings import CorpusSettings
from charlm.text.normal_form import about_form, fitting_form
from charlm.text.tokenizer import Tokenizer, text_from_argument


class Reading:
    """The line ends and the Unicode normal form of a run's text.

    If the run's text had no CR, line ends are undecided (None): for another text they are then decided by its content.
    """

    def __init__(self, own: CorpusSettings, tokenizer: Tokenizer) -> None:
        """`own` are the settings with which the run's text was read."""
        is_undecided = own.line_ends == "keep" and not knows_carriage_return(tokenizer)
        self.settings = dataclasses.replace(own, line_ends=None) if is_undecided else own
        self._tokenizer = tokenizer

    def of_file(self, settings: CorpusSettings | None = None) -> CorpusSettings:
        """Settings for reading a file: `settings`, such as its encoding, with the run's line ends and normal form."""
        own = self.settings
        return dataclasses.replace(settings or CorpusSettings(), line_ends=own.line_ends, normal_form=own.normal_form)

    def prepared(self, text: str) -> str:
        """A sentence, context or prompt with the line ends and the normal form of the run's text."""
        return in_form(text_from_argument(text), self.settings)

    def about_form(self, text: str) -> str | None:
        """A note for a text with unknown symbols only because its accents are encoded in another way; else None."""
        form = fitting_form(self._tokenizer, self.prepared(text))
        return about_form(form) if form else None


def reading_with_tokenizer(path: Path) -> CorpusSettings:
    """How the text of a tokenizer was read; `path` is the folder of its run or prepared text. Raises RunError."""
    from charlm.corpus.sources import TRAIN, is_prepared  # here, since a single sentence needs no file of a corpus
    from charlm.corpus.store import IdsFile

    if (path / CONFIG).is_file():
        return read_config(RunDirectory(path)).reading
    if is_prepared(path):
        header = IdsFile.open(path / TRAIN).header
        return CorpusSettings(line_ends=header.line_ends, normal_form=header.normal_form)
    return CorpusSettings()


def with_reading_of(path: Path, settings: CorpusSettings, given: Mapping[str, Any]) -> CorpusSettings:
    """The settings, and where one was not given, how the text of the tokenizer at `path` was read."""
    return taken_over(settings, reading_with_tokenizer(path), given)
