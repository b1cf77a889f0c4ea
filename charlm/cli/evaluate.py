"""`charlm evaluate`: how good a run is on labelled data, each figure with an interval."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import MIN_COLUMNS_FOR_ALL, out, say, write_json
from charlm.cli.options import Quiet, Threads
from charlm.settings import DataFormat
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.evaluation.matches import Matches
    from charlm.tasks.evaluating import Evaluated

MAX_LABELS_SHOWN = 30
NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "coverage": "answered",
    "word_error_rate": "word error rate",
    "symbol_error_rate": "symbol error rate",
    "entity_f1": "entity F1",
    "entity_precision": "entity precision",
    "entity_recall": "entity recall",
}
ON_A_SCALE_OF_100 = {"bleu": "BLEU", "chrf": "chrF"}
EXAMPLES = """[bold]Examples[/]

charlm evaluate reviews reviews.test.tsv

charlm evaluate reviews reviews.test.tsv --errors 10 -o confusion.svg

charlm evaluate words test.de --target test.en --json"""


def register(app: typer.Typer) -> None:
    app.command("evaluate", epilog=EXAMPLES)(evaluate_cli)


def evaluate_cli(
    run: Annotated[str, typer.Argument(help="The run: its folder, or its name under runs/.")],
    data: Annotated[list[str], typer.Argument(help="Labelled data, in any form that charlm train reads.")],
    target: Annotated[Path | None, typer.Option(help="The targets, line by line, if DATA has the sources.")] = None,
    data_format: Annotated[DataFormat | None, typer.Option(help="Form of the data (default: recognised).")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns of label and text, source and target, or word and tag.")
    ] = None,
    tag_column: Annotated[int | None, typer.Option(min=1, help="The column of the tags (default: the last).")] = None,
    skip_bad: Annotated[int, typer.Option(min=0, help="Leave out up to this many wrong rows, and count them.")] = 0,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Classifiers: leave less probable answers out.")
    ] = None,
    errors: Annotated[int, typer.Option(min=0, help="List the N worst errors.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="F.svg", help="Draw the confusion matrix into this file.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="The encoding of the data.")] = "utf-8",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a run on labelled data; each figure has its interval."""
    from charlm.api import evaluate_run
    from charlm.inspection.writing import check_form

    if output is not None:
        check_form(output, (".svg",))
        _check_drawing(run)
    form = {"data_format": data_format, "columns": columns, "tag_column": tag_column, "skip_bad": skip_bad or None}
    found = evaluate_run(run, data, target=target, threshold=threshold, encoding=encoding, threads=threads, **form)
    for note in found.notes:
        say(note, quiet)
    if json:
        wrong = {"errors": [each.as_json() for each in found.wrong[:errors]]} if errors else {}
        write_json({**found.as_json(), **wrong})
    else:
        _show(found)
        _show_errors(found, errors)
    if output is not None:
        _draw(found, output, quiet)


def _show(found: "Evaluated") -> None:
    """The figures with their intervals, then those of each label, then the confusion matrix."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    fields = found.report.as_json()
    for key, name in {**NAMES, **ON_A_SCALE_OF_100}.items():
        if fields.get(key) is not None:
            low, high = fields[f"{key}_interval"]
            values = [_shown(key, value) for value in (fields[key], low, high)]
            table.add_row(name, values[0], f"[dim]\\[{values[1]}, {values[2]}][/]", f"of {fields[f'{key}_count']:,}")
    out.print(table, soft_wrap=False)
    for key in ON_A_SCALE_OF_100:
        if signature := fields.get(f"{key}_signature"):
            out.print(f"{ON_A_SCALE_OF_100[key]}: {signature}", style="dim", markup=False, soft_wrap=False)
    matches = getattr(found.report, "matches", None) or {}
    if entities := getattr(found.report, "entities", None):
        matches = entities.matches
    if matches:
        _show_labels(matches)
    if (confusion := getattr(found.report, "confusion", None)) and not entities:
        from charlm.inspection.confusion import to_text

        out.print()
        out.print(to_text(confusion, min(out.width, 100)), soft_wrap=False)


def _shown(key: str, value: float) -> str:
    return f"{value:.1f}" if key in ON_A_SCALE_OF_100 else f"{value:.1%}"


def _show_labels(matches: "dict[str, Matches]") -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    headings = ["label", "precision", "recall", "F1", "true", "predicted"]
    if out.width < MIN_COLUMNS_FOR_ALL:
        del headings[5]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "label" else "right", overflow="fold")
    for label, own in list(matches.items())[:MAX_LABELS_SHOWN]:
        shares = (f"{share:.1%}" for share in (own.precision, own.recall, own.f1))
        row: list[str | Text] = [Text(visible(label)), *shares, f"{own.num_true:,}", f"{own.num_predicted:,}"]
        table.add_row(*row[: len(headings)])
    out.print()
    out.print(table, soft_wrap=False)
    if len(matches) > MAX_LABELS_SHOWN:
        say(f"and {len(matches) - MAX_LABELS_SHOWN:,} more labels (--json has all)")


def _show_errors(found: "Evaluated", number: int) -> None:
    if not number:
        return
    out.print()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (found.cost_unit, "expected", "found", "text", "where"):
        table.add_column(heading, justify="right" if heading == found.cost_unit else "left", overflow="fold")
    for wrong in found.wrong[:number]:
        texts = (Text(visible(text)) for text in (wrong.expected, wrong.found, wrong.text, wrong.where))
        cost = f"{wrong.cost:.2f}".removesuffix(".00") if isfinite(wrong.cost) else "never"
        table.add_row(cost, *texts)
    out.print(table if found.wrong else "no errors", soft_wrap=False)


def _check_drawing(run: str) -> None:
    """Raise UsageError for a run whose answers have no confusion matrix."""
    from charlm.api import describe
    from charlm.errors import UsageError

    config = describe(run).config
    if config.architecture.task == "translate" or config.data.multi:
        raise UsageError("-o draws a confusion matrix, and there is none for this run", run, "leave it out")


def _draw(found: "Evaluated", path: Path, quiet: bool) -> None:
    from charlm.inspection.confusion import write_confusion

    confusion: Any = getattr(found.report, "confusion", None)
    write_confusion(confusion, path, f"{found.run.name}: what was predicted for each label")
    say(f"written: {path}", quiet)
