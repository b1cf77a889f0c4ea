"""Load what a run has learned: a language model, or a network for labelled data. Heavy imports wait until needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from charlm.runs.directory import RunDirectory
from charlm.runs.finding import find_run
from charlm.scoring.generators import load_model_given
from charlm.scoring.language_model import LanguageModel
from charlm.settings import Device, Direction, FillBy, Precision, PredictorName, Prior

if TYPE_CHECKING:
    from charlm.scoring.cloze import ClozeModel
    from charlm.tasks.classification import ClassificationModel
    from charlm.tasks.fill import Filler
    from charlm.tasks.tagging import TaggingModel
    from charlm.tasks.translation import TranslationModel

Run = str | Path | None
"""The path of a run, its name under runs/, or None for the run saved last."""


@overload
def load(run: Run = None, *, task: Literal["classify"], threads: int | None = None) -> "ClassificationModel": ...
@overload
def load(run: Run = None, *, task: Literal["tag"], threads: int | None = None) -> "TaggingModel": ...
@overload
def load(run: Run = None, *, task: Literal["translate"], threads: int | None = None) -> "TranslationModel": ...
@overload
def load(
    run: Run = None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
    direction: Direction | None = None,
    given: str | None = None,
    *,
    predictor: PredictorName | None = None,
) -> LanguageModel: ...
def load(
    run: Run = None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
    direction: Direction | None = None,
    given: str | None = None,
    task: Literal["classify", "tag", "translate"] | None = None,
    predictor: PredictorName | None = None,
) -> Any:
    """Load what a run has learned: a LanguageModel, or what classifies, tags or translates if it was trained for that.

    `task` says which, for type checkers, and to classify by Bayes with a generator; without it the run decides. All
    other options are for language models: `direction` ("forward" or "backward") picks one of a pair, the forward one by
    default; `predictor` is "network" or "ngram" for one of the two alone, by default their mixture, where the run has
    one; `given` is the label of the texts that a generator models. `device` is for scoring in batches; single sentences
    and samples always run on the CPU. Precision "bfloat16" is faster, with probabilities that differ by some
    thousandths of a nat. Several texts are scored with `threads` threads (default: all cores). `engine` is one of
    `charlm.scoring.loading.ENGINES`, to use it for everything; by default each use gets the fastest one. Raises
    RunError or UsageError.
    """
    directory = RunDirectory(found(run))
    loaders: dict[str | None, Any] = {"classify": load_classifier, "tag": load_tagger, "translate": load_translator}
    if loader := loaders.get(task or _kind(directory)):
        return loader(directory.path, threads=threads)
    return load_language_model(directory.path, device, precision, threads, engine, direction, given, predictor)


def load_language_model(
    run: Run = None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    engine: str | None = None,
    direction: Direction | None = None,
    given: str | None = None,
    predictor: PredictorName | None = None,
) -> LanguageModel:
    """Load the language model of a run; the options are those of `load`. Raises RunError for a run of another kind."""
    return load_model_given(RunDirectory(found(run)), given, device, precision, threads, engine, direction, predictor)


def found(run: Run) -> Path:
    """The folder of a run. Raises RunError if there is none."""
    return find_run(None if run is None else str(run))


def _kind(run: RunDirectory) -> str | None:
    """The kind of a run's network as its configuration has it, before that is checked."""
    model = run.config.get("model")
    kind = model.get("kind") if isinstance(model, dict) else None
    return kind if isinstance(kind, str) else None


def load_cloze(run: str | Path | None = None) -> "ClozeModel":
    """Load the cloze network of a run, which gives pseudo-log-likelihoods. Raises RunError."""
    from charlm.scoring.loading import load_cloze_model

    return load_cloze_model(RunDirectory(found(run)))


def load_classifier(
    run: str | Path | None = None, *, for_batches: bool = False, threads: int | None = None, prior: Prior | None = None
) -> "ClassificationModel":
    """Load a run's classifier, or its generator to classify by Bayes; `for_batches` in torch. Raises as `load` does."""
    from charlm.tasks.classification import load_classifier

    return load_classifier(RunDirectory(found(run)), for_batches, threads, prior)


def load_tagger(
    run: str | Path | None = None, *, for_batches: bool = False, threads: int | None = None
) -> "TaggingModel":
    """Load the tagger of a run. With `for_batches` it runs in torch, for many sentences. Raises RunError."""
    from charlm.tasks.tagging import load_tagger

    return load_tagger(RunDirectory(found(run)), for_batches, threads)


def load_translator(
    run: str | Path | None = None, *, for_batches: bool = False, threads: int | None = None
) -> "TranslationModel":
    """Load the translator of a run. With `for_batches` it runs in torch, for many texts. Raises RunError."""
    from charlm.tasks.translation import load_translator

    return load_translator(RunDirectory(found(run)), for_batches, threads)


def load_filler(
    run: str | Path | None = None, by: FillBy | None = None, threads: int | None = None
) -> "tuple[Filler, FillBy, Path]":
    """What fills blanks with a run: by its forward or backward model, the mean of both, or its cloze network.

    Without `by`, the best that the run has. Also returned: what it goes by, and the run's folder. Raises RunError if
    the run lacks the model.
    """
    from charlm.tasks.filling import load_filler

    return load_filler(RunDirectory(found(run)), by, threads)
