"""Evaluate a run on labelled data: its figures, each with an interval, and the examples that it got most wrong."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from charlm.corpus.labelled_data import DataFiles, open_labelled
from charlm.corpus.schemes import brought_into
from charlm.corpus.task_data import TASK_DATA, about_new_labels
from charlm.corpus.vocabularies import Vocabularies
from charlm.errors import UsageError
from charlm.evaluation.classification import ClassificationReport, evaluate_classification, evaluate_label_sets
from charlm.evaluation.edit_distance import edit_distance
from charlm.evaluation.tagging import TaggingReport, evaluate_tagging
from charlm.evaluation.translation import TranslationReport, evaluate_translation, symbols
from charlm.formats.records import Labelled, Pair, Record, Tagged, Wanted
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, DataSettings, fill, flag
from charlm.tasks.classification import load_classifier
from charlm.tasks.tagging import load_tagger
from charlm.tasks.translation import load_translator
from charlm.text.tokenizer import load_tokenizer
from charlm.text.words import is_split_at_white_space

Report = ClassificationReport | TaggingReport | TranslationReport
COSTS = {"classify": "nats", "generate": "nats", "tag": "wrong words", "translate": "edits"}
"""By kind of network what a wrong answer costs: -log p of the right labels, wrong words, or changes of a symbol."""
COLUMNS = "columns", "tag_column"  # the settings that choose them; they exclude each other


@dataclass(frozen=True)
class Wrong:
    """An example that was got wrong: where it is from, what was expected and found, and how wrong that is.

    `cost` is in the unit of its `Evaluated`; it is infinite for what the network can never answer.
    """

    where: str
    text: str
    expected: str
    found: str
    cost: float

    def as_json(self) -> dict[str, Any]:
        """The fields of a JSON object, which has no infinite numbers: None stands for them."""
        return {**vars(self), "cost": self.cost if isfinite(self.cost) else None}


@dataclass(frozen=True)
class Evaluated:
    """What was measured on some data: the figures, and the examples that were got wrong, the worst first."""

    run: Path
    report: Report
    wrong: tuple[Wrong, ...]
    num_examples: int
    cost_unit: str
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"run": str(self.run), "examples": self.num_examples, **self.report.as_json()}


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate, and how its data is read. What `data` leaves open is as it was for the run's training data."""

    run: RunDirectory
    files: DataFiles
    data: Mapping[str, Any] = field(default_factory=dict)
    encoding: str = "utf-8"
    threshold: float | None = None
    """Of a classifier: leave texts unanswered whose likeliest label has a smaller probability."""
    threads: int | None = None


def evaluate(request: EvaluationRequest) -> Evaluated:
    """Evaluate a run of any kind that is trained on labelled data. Raises RunError, TextError and UsageError."""
    config = read_config(request.run)
    task = config.architecture.task
    if task not in EVALUATORS:
        config.check_kind("classify", request.run.path)
    assert task is not None
    if request.threshold is not None and task not in ("classify", "generate"):
        raise UsageError(f"--threshold does nothing with a run of --task {task}", to_do="leave it out")
    records, notes = _records(request, config, TASK_DATA[task].wanted)
    records = _as_in_training(records, request.files.texts.name, Vocabularies.load(request.run.path), notes)
    evaluated = EVALUATORS[task](request, records)
    if task == "translate" and not has_sacrebleu():
        notes.append("BLEU and chrF are left out: they need sacrebleu (pip install 'charlm[eval]')")
    return Evaluated(request.run.path, *evaluated, COSTS[task], tuple(notes))


def _records(request: EvaluationRequest, config: RunConfig, wanted: Wanted) -> tuple[list[Record], list[str]]:
    """The records of the data, and notes.

    Its columns are those of the run's own data, where none are given and the data has them.
    """
    own = {name: getattr(config.data, name) for name in COLUMNS if getattr(config.data, name) is not None}
    if not own or any(name in request.data for name in COLUMNS):
        return _read(request, config, wanted, request.data)
    try:
        return _read(request, config, wanted, {**own, **request.data})
    except UsageError:  # the columns do not suit this file
        records, notes = _read(request, config, wanted, request.data)
    ((name, value),) = own.items()
    return records, [f"read without the run's own {flag(name)} {value}, which this data does not have", *notes]


def _read(
    request: EvaluationRequest, config: RunConfig, wanted: Wanted, data: Mapping[str, Any]
) -> tuple[list[Record], list[str]]:
    """The records of the data, read with these settings, and notes."""
    own = Reading(config.reading, load_tokenizer(request.run.path))
    reading = own.of_file(CorpusSettings(encoding=request.encoding, item=config.reading.item))
    with ExitStack() as opened:
        form = fill(DataSettings, {"multi": config.data.multi, **data})
        opened_data = open_labelled(request.files, wanted, form, reading, opened)
        records = list(opened_data.records())
    return records, [*opened_data.notes, *([opened_data.skipped] if opened_data.skipped else [])]


def _as_in_training(records: list[Any], name: str, known: Vocabularies, notes: list[str]) -> list[Any]:
    """The records, with the tags in the scheme of the training; notes say what else was not as in training."""
    if known.tagging_scheme.has_spans:
        records = list(brought_into(known.tagging_scheme, lambda: iter(records), name, notes)())
    notes += about_new_labels(name, records, set(known.labels)) if known.labels else ()
    return records


def _evaluate_classification(
    request: EvaluationRequest, records: Sequence[Labelled]
) -> tuple[Report, tuple[Wrong, ...], int]:
    model = load_classifier(request.run, for_batches=True, threads=request.threads)
    truth, predicted, wrong = list[tuple[str, ...]](), list[tuple[str, ...]](), list[Wrong]()
    for record, found in zip(records, model.classify_all(record.text for record in records), strict=True):
        labels = found.labels(request.threshold)
        truth.append(record.labels)
        predicted.append(labels)
        if set(labels) != set(record.labels):
            expected, given = (", ".join(each) or "-" for each in (record.labels, labels))
            wrong.append(Wrong(record.where, record.text, expected, given, found.surprise(record.labels)))
    if model.several_labels:
        report = evaluate_label_sets(truth, predicted, model.labels)
    else:
        report = evaluate_classification(
            [labels[0] for labels in truth], [labels[0] if labels else None for labels in predicted], model.labels
        )
    return report, _worst_first(wrong), len(records)


def _evaluate_tagging(request: EvaluationRequest, records: Sequence[Tagged]) -> tuple[Report, tuple[Wrong, ...], int]:
    model = load_tagger(request.run, for_batches=True, threads=request.threads)
    predicted, wrong = list[tuple[str, ...]](), list[Wrong]()
    for record, found in zip(records, model.tag_all_tokens(record.tokens for record in records), strict=True):
        predicted.append(found.tags)
        places = [place for place, tag in enumerate(record.tags) if tag != found.tags[place]]
        if places:
            expected, given = (
                ", ".join(f"{record.tokens[place]} {tags[place]}" for place in places)
                for tags in (record.tags, found.tags)
            )
            wrong.append(Wrong(record.where, found.text, expected, given, len(places)))
    report = evaluate_tagging([record.tags for record in records], predicted, model.scheme, model.labels)
    return report, _worst_first(wrong), len(records)


def _evaluate_translation(request: EvaluationRequest, records: Sequence[Pair]) -> tuple[Report, tuple[Wrong, ...], int]:
    model = load_translator(request.run, for_batches=True, threads=request.threads)
    found = [best[0].text for best in model.translate_all(record.source for record in records)]
    expected = [model.target.normalise(model.reading.prepared(record.target)) for record in records]
    is_split = is_split_at_white_space(model.target)
    wrong = []
    for record, true, given in zip(records, expected, found, strict=True):
        if edits := edit_distance(symbols(true, is_split), symbols(given, is_split)):
            wrong.append(Wrong(record.where, record.source, true, given, edits))
    report = evaluate_translation(expected, found, is_split, with_bleu=has_sacrebleu())
    return report, _worst_first(wrong), len(records)


def has_sacrebleu() -> bool:
    """Whether BLEU and chrF can be computed here."""
    return find_spec("sacrebleu") is not None


def _worst_first(wrong: Sequence[Wrong]) -> tuple[Wrong, ...]:
    return tuple(sorted(wrong, key=lambda each: -each.cost))


Evaluator = Callable[[EvaluationRequest, list[Any]], tuple[Report, tuple[Wrong, ...], int]]
EVALUATORS: dict[str | None, Evaluator] = {
    "classify": _evaluate_classification,
    "generate": _evaluate_classification,
    "tag": _evaluate_tagging,
    "translate": _evaluate_translation,
}
"""What measures each kind of network: the figures, what was wrong with the worst first, and the number of examples."""
