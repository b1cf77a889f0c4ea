"""`charlm classify`: the label of texts. A single text is classified without torch."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json, write_text
from charlm.cli.options import EncodingOfFile, OneRun, Quiet, Threads
from charlm.cli.typed import GivenTexts, texts_of_file
from charlm.settings import CorpusSettings, Prior
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.tasks.classification import Classification, ClassificationModel

NO_LABEL = "-"
EXAMPLES = """[bold]Examples[/]

charlm classify "a film that you won't forget"

charlm classify --file reviews.txt --json

charlm classify "Sato" "Schmidt" --top 3

charlm classify "Sato" --run generator --prior uniform"""


def register(app: typer.Typer) -> None:
    app.command("classify", epilog=EXAMPLES)(classify_cli)


def classify_cli(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; - is standard input, answered line by line.")
    ] = None,
    run: OneRun = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="A file with a text per line, or a paragraph if the run's texts have several lines; may be repeated."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Show the N likeliest labels.")] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Give no label with a smaller probability (several labels: default 0.5)."),
    ] = None,
    prior: Annotated[
        Prior | None,
        typer.Option(
            help="With a run of --task generate: how probable labels are beforehand, as in its data (the default), "
            "or uniform."
        ),
    ] = None,
    encoding: EncodingOfFile = "utf-8",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
    quiet: Quiet = False,
) -> None:
    """Give texts their labels, with the probability of each."""
    given = GivenTexts.of(texts, file, "texts", 'charlm classify "a text"')
    if not given.is_large:
        one_thread_for_numpy(threads)
    from charlm.api import load_classifier

    model = load_classifier(run, for_batches=given.is_large, threads=threads, prior=prior)
    if run is None and not quiet:
        say_which(model.path)
    found = _of_files(model, given.files, encoding, quiet) if given.files else model.classify_all(given.texts)
    show = _as_json if json else _as_table if given.is_one else _as_line
    for classification in found:
        show(classification, top, threshold)


def _of_files(
    model: "ClassificationModel", files: tuple[str, ...], encoding: str, quiet: bool
) -> "Iterator[Classification]":
    """The lines, or paragraphs, of all files, classified as they come."""
    from charlm.corpus.incoming import paragraphs_of

    settings = model.reading.of_file(CorpusSettings(encoding=encoding))
    for path in files:
        lines = _noting_labels(texts_of_file(path, settings, quiet), path, model, quiet)
        for texts in lines if model.reading.settings.item == "line" else paragraphs_of(lines):
            yield from model.classify_all(texts)


def _noting_labels(
    batches: Iterator[list[str]], path: str, model: "ClassificationModel", quiet: bool
) -> Iterator[list[str]]:
    """Pass the lines of a file on, with a note if the first ones are labelled data and not plain texts."""
    from charlm.corpus.sources import printable
    from charlm.formats.reading import have_labels

    first = next(batches, [])
    if have_labels(first, set(model.labels), model.several_labels):
        name, run = printable(path), printable(model.path)
        what = f"{name}: this is labelled data, and its labels are read here as parts of the texts"
        say(f"{what}; charlm evaluate {run} {name} compares them with those that are found", quiet)
    yield from chain([first], batches)


def _as_json(found: "Classification", top: int, threshold: float | None) -> None:
    labels = found.labels(threshold)
    given: dict[str, object] = {"labels": list(labels)} if found.several_labels else {"label": (*labels, None)[0]}
    shown = dict(found.probabilities if found.several_labels and top == 1 else found.probabilities[:top])
    write_json({**text_fields("text", found.text), **given, "probabilities": shown})


def _as_line(found: "Classification", top: int, threshold: float | None) -> None:
    """Three columns between tabs: the labels, their probabilities, and the text."""
    labels = found.labels(threshold)
    own = [pair for pair in found.probabilities if pair[0] in labels]
    pairs = found.probabilities[:top] if top > 1 else own
    shown = ", ".join(visible(label) for label, _ in pairs) or NO_LABEL
    probabilities = ", ".join(f"{p:.4f}" for _, p in pairs)
    write_text(f"{shown}\t{probabilities}\t{visible(found.text)}\n")


def _as_table(found: "Classification", top: int, threshold: float | None) -> None:
    labels = found.labels(threshold)
    shown = found.probabilities[: max(top, len(labels))]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    for label, p in shown:
        table.add_row(Text(visible(label), style="bold" if label in labels else "dim"), f"{p:.4f}")
    out.print(table)
    if not labels:
        say(f"no label: none has a probability of {threshold or 0.5:g} or more")
