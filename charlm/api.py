"""The Python interface of charlm: a function for each command. Heavy imports wait until needed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from charlm.errors import UsageError
from charlm.loading import found as found
from charlm.loading import load as load
from charlm.loading import load_classifier as load_classifier
from charlm.loading import load_cloze as load_cloze
from charlm.loading import load_filler as load_filler
from charlm.loading import load_language_model as load_language_model
from charlm.loading import load_tagger as load_tagger
from charlm.loading import load_translator as load_translator
from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run
from charlm.sampling.generate import Ending as Ending
from charlm.sampling.generate import Sample as Sample
from charlm.sampling.strategies import Strategy as Strategy
from charlm.scoring.language_model import LanguageModel as LanguageModel
from charlm.scoring.scores import Score as Score
from charlm.scoring.scores import TokenScore as TokenScore
from charlm.settings import FillBy

if TYPE_CHECKING:
    from charlm.corpus.gathering import Texts
    from charlm.corpus.summary import Summary
    from charlm.inspection.agreement import Agreement
    from charlm.inspection.chart import Chart
    from charlm.inspection.clipping import Clipping
    from charlm.inspection.curves import Over
    from charlm.inspection.embeddings import Map, Neighbours
    from charlm.inspection.gradients import GradientNorms
    from charlm.inspection.shading import Shaded
    from charlm.inspection.units import Found
    from charlm.lifecycle.description import Description
    from charlm.lifecycle.estimate import Estimate
    from charlm.lifecycle.request import TrainRequest
    from charlm.lifecycle.results import Result
    from charlm.lifecycle.session import Instruments, Session
    from charlm.lifecycle.verification import Checked
    from charlm.tasks.evaluating import Evaluated
    from charlm.tasks.fill import Filling

Corpus = str | Path | Sequence[str | Path] | None
"""The path of a text, a folder, an archive or a prepared text, or several paths; None when a run is resumed."""


def fill(
    text: str,
    run: str | Path | None = None,
    *,
    by: FillBy | None = None,
    candidates: Sequence[str] | None = None,
    length: int = 20,
    top: int = 10,
) -> "list[Filling]":
    """The best fillings of the blanks (`___`) in a text, as `charlm fill` ranks them, the best first.

    Raises UsageError for a text without a blank and for an unknown candidate, RunError if the run lacks the model.
    """
    from charlm.tasks.fill import fill

    return fill(load_filler(run, by)[0], text, candidates, length, top)


def train(corpus: Corpus = None, **options: Any) -> "Result":
    """Train as `charlm train` does, silently. `options` are those of `train_request`: `run="mine", hidden_size=256`.

    `time` limits the whole call. The result is a TrainResult, for a cloze network a ClozeResult. Raises a CharlmError
    where `charlm train` would fail, and KeyboardInterrupt when a signal ended training, after saving.
    """
    session = start_training(train_request(corpus, **options))
    for _ in session.events():
        pass
    if session.finished is not None and session.finished.signal is not None:
        raise KeyboardInterrupt
    return session.measure()


def estimate(corpus: Corpus = None, **options: Any) -> "Estimate":
    """The time and memory that `train` with the same arguments will take, from a few steps of it; nothing is kept."""
    from charlm.lifecycle.estimate import estimate

    with draft_training(train_request(corpus, **options)) as session:
        return estimate(session)


def train_request(
    corpus: Corpus = None,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    run: str | Path | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    tokenizer: str | Path | None = None,
    target: str | Path | None = None,
    valid_target: str | Path | None = None,
    test_target: str | Path | None = None,
    init_from: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> "TrainRequest":
    """What `start_training` needs. `settings` are the options of `charlm train` with underscores: `hidden_size=256`.

    Several texts, or the files of a folder or an archive, are read as one; `include` and `exclude` are patterns for
    their names, one or several. Raises UsageError for a setting that does not exist or cannot have this value.
    """
    began = time.perf_counter()
    from charlm.given import gather
    from charlm.lifecycle.request import Settings, TrainRequest

    return TrainRequest(
        texts=_texts(corpus, include, exclude),
        run=str(run) if run else None,
        valid=Path(valid) if valid else None,
        test=Path(test) if test else None,
        tokenizer=Path(tokenizer) if tokenizer else None,
        target=Path(target) if target else None,
        valid_target=Path(valid_target) if valid_target else None,
        test_target=Path(test_target) if test_target else None,
        init_from=str(init_from) if init_from else None,
        resume=resume,
        force=force,
        settings=Settings.parsed(gather(settings, resume=resume), settings),
        began=began,
    )


def tokenize(
    corpus: Corpus,
    folder: str | Path | None = None,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    valid: str | Path | None = None,
    test: str | Path | None = None,
    tokenizer: str | Path | None = None,
    **settings: Any,
) -> "Summary":
    """Summarize a text's tokens as `charlm tokenize` does, and write the text as ids into `folder`, if it is given.

    `tokenizer` is the path of a run or of a tokenizer; without it, one is learned. Raises a CharlmError where
    `charlm tokenize` would fail.
    """
    from charlm.corpus.parts import mode_of
    from charlm.corpus.summary import tokenize
    from charlm.given import gather
    from charlm.scoring.reading import with_reading_of
    from charlm.settings import CorpusSettings, TextSettings, fill
    from charlm.text.tokenizer import load_tokenizer, refuse_with_tokenizer

    texts, values = _texts(corpus, include, exclude), gather(settings)
    if texts is None:
        raise UsageError("no text to tokenize", to_do="give a text file")
    given, reading = None, fill(CorpusSettings, values)
    if tokenizer is not None:
        refuse_with_tokenizer(settings, "tokenizer")
        given, reading = load_tokenizer(Path(tokenizer)), with_reading_of(Path(tokenizer), reading, values)
    parts = Path(valid) if valid else None, Path(test) if test else None
    with TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        return tokenize(texts, place, fill(TextSettings, values), reading, *parts, given, mode_of(values))[1]


def evaluate_run(
    run: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    target: str | Path | None = None,
    threshold: float | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    **form: Any,
) -> "Evaluated":
    """Measure a run on labelled data as `charlm evaluate` does; `form` are its options on the form of the data.

    Raises RunError, TextError and UsageError.
    """
    from charlm.corpus.labelled_data import DataFiles
    from charlm.tasks.evaluating import EvaluationRequest, evaluate

    texts = _texts(data, (), ())
    if texts is None:
        raise UsageError("no data to evaluate on", to_do="give a file")
    files = DataFiles(texts, Path(target) if target else None)
    given = {name: value for name, value in form.items() if value is not None}
    request = EvaluationRequest(
        run=RunDirectory(find_run(str(run))),
        files=files,
        data=given,
        encoding=encoding,
        threshold=threshold,
        threads=threads,
    )
    return evaluate(request)


def describe(run: str | Path | None = None) -> "Description":
    """What `charlm info` shows about a run: its settings, and what was measured. Raises RunError."""
    from charlm.lifecycle.description import describe_run

    return describe_run(found(run))


def verify(run: str | Path) -> "list[Checked]":
    """Check every file of a run as `charlm verify` does, one result per file. Raises RunError if there is no run."""
    from charlm.lifecycle.verification import verify

    return verify(found(run))


def start_training(request: "TrainRequest", instruments: "Instruments | None" = None) -> "Session":
    """A training, of a new run or a resumed one, that is ready for its first step. Raises a CharlmError.

    Iterate over its `events()` to train; then `measure()` gives the result.
    """
    from charlm.lifecycle.creation import create
    from charlm.lifecycle.resuming import resume
    from charlm.lifecycle.session import Instruments

    return (resume if request.resume else create)(request, instruments or Instruments())


@contextmanager
def draft_training(request: "TrainRequest", instruments: "Instruments | None" = None) -> "Iterator[Session]":
    """A training in a temporary folder, ready for its first step, to see what it takes; deleted after the block."""
    from charlm.lifecycle.creation import draft_session
    from charlm.lifecycle.session import Instruments

    with draft_session(request, instruments or Instruments()) as session:
        yield session


def plot(
    runs: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    *,
    what: Sequence[str] = ("loss",),
    over: "Over" = "steps",
) -> "list[Chart]":
    """Charts of what trainings have logged, which `charlm plot` draws; with `path` they are written there as well.

    `what` has "loss", "learning-rate", "gradient-norm" or "speed", or "all". The path ends with .svg, .html or .png.
    Raises UsageError for a wrong name, RunError for a run that is damaged or has logged nothing, and ResourceError.
    """
    from charlm.inspection import curves
    from charlm.inspection.writing import check_form, write_charts

    quantities = curves.chosen(what)
    if path is not None:
        check_form(Path(path))
    found = [find_run(str(run)) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    charts = curves.plot(found, quantities, over)
    if path is not None:
        write_charts(charts, Path(path), curves.title_of(found))
    return charts


def report(run: str | Path, path: str | Path) -> None:
    """Write the page on a run that `charlm report` writes. Raises UsageError, RunError and ResourceError."""
    from charlm.inspection.report import report

    report(find_run(str(run)), Path(path))


def inspect_gradients(runs: Sequence[str | Path], text: str, max_distance: int | None = None) -> "list[GradientNorms]":
    """How much the loss at a place of the text depends on the state up to `max_distance` tokens before, for each run.

    Raises RunError, and TextError for a text that is too short.
    """
    from charlm.inspection.gradients import gradient_norms
    from charlm.inspection.inspected import inspect_run

    return gradient_norms([inspect_run(str(run)) for run in runs], text, max_distance)


def inspect_clipping(runs: Sequence[str | Path]) -> "list[Clipping]":
    """The gradient norms of the logged steps of each run, and how many were clipped. Raises RunError."""
    from charlm.inspection.clipping import clipping

    return clipping(list(map(str, runs)))


def inspect_states(
    run: str | Path, text: str, *, layer: int | None = None, neuron: int | None = None, gate: str | None = None
) -> "Shaded":
    """A text with one number for each token: what a unit or a gate is after reading it. Layers and units count from 1.

    Raises RunError, TextError, and UsageError for a layer, a unit or a gate that the network does not have.
    """
    from charlm.inspection.inspected import inspect_run
    from charlm.inspection.states import shade

    return shade(inspect_run(str(run)), text, layer, neuron, gate)


def find_units(
    run: str | Path, text: str, *, layer: int | None = None, gate: str | None = None, count: int = 5
) -> "list[Found]":
    """For each simple feature of the text, the `count` units of a layer that follow it best; the best first.

    Raises as `inspect_states` does.
    """
    from charlm.inspection.inspected import inspect_run
    from charlm.inspection.units import find_units

    return find_units(inspect_run(str(run)), text, layer, gate, count)


def inspect_agreement(runs: Sequence[str | Path], pairs: str | Path) -> "list[Agreement]":
    """How often each run finds the good sentence of a pair likelier, by the distance that the table of pairs gives.

    Raises RunError, and TextError for a table that cannot be read.
    """
    from charlm.inspection.agreement import measure_agreement, read_pairs
    from charlm.inspection.inspected import run_with_language_model
    from charlm.scoring.loading import load_model

    read = read_pairs(Path(pairs))
    return measure_agreement([load_model(run_with_language_model(str(run)), predictor="network") for run in runs], read)


def inspect_embeddings(run: str | Path, symbols: Sequence[str] = ()) -> "tuple[list[Neighbours], Map]":
    """The nearest neighbours of some symbols, and a map of the vocabulary.

    Raises RunError, and UsageError for a symbol that the run does not know.
    """
    from charlm.inspection.embeddings import neighbours, vocabulary_map
    from charlm.inspection.inspected import inspect_run

    opened = inspect_run(str(run))
    return [neighbours(opened, symbol) for symbol in symbols], vocabulary_map(opened)


def _texts(corpus: Corpus, include: str | Sequence[str], exclude: str | Sequence[str]) -> "Texts | None":
    """The texts at some paths; None without a path. A single path or pattern is one, not a sequence of characters."""
    from charlm.corpus.gathering import Texts

    paths = [corpus] if isinstance(corpus, (str, Path)) else corpus or []
    included, excluded = ((given,) if isinstance(given, str) else tuple(given) for given in (include, exclude))
    return Texts(tuple(map(str, paths)), included, excluded) if paths else None
