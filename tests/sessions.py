"""Trainings for tests that look at more than `charlm.train` gives back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.api import start_training
from charlm.corpus.gathering import Texts
from charlm.lifecycle.request import Settings, TrainRequest
from charlm.lifecycle.session import Instruments, Session


def request_for(
    corpus: Path | str | None = None, settings: Mapping[str, Any] | None = None, **options: Any
) -> TrainRequest:
    """A request to train on a text; `options` are the other fields of TrainRequest."""
    texts = Texts((str(corpus),)) if corpus is not None else None
    return TrainRequest(texts=texts, settings=Settings.parsed(settings or {}), **options)


def open_session(
    corpus: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    instruments: Instruments | None = None,
    **options: Any,
) -> Session:
    """The training that such a request leads to, before its first step."""
    return start_training(request_for(corpus, settings, **options), instruments)
