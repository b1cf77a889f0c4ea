"""`charlm tag`: the tags of words, and the spans that they mark. A single sentence is tagged without torch."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json, write_text
from charlm.cli.options import EncodingOfFile, OneRun, Quiet, Threads
from charlm.cli.typed import GivenTexts, texts_of_file
from charlm.errors import UsageError
from charlm.settings import CorpusSettings
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.tasks.tagging import TaggedSentence, TaggingModel

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
EXAMPLES = """[bold]Examples[/]

charlm tag "Yesterday, Harry Potter met Hermione Granger."

charlm tag --file letters.txt --json

charlm tag --file test.conll --conll > tagged.conll"""


def register(app: typer.Typer) -> None:
    app.command("tag", epilog=EXAMPLES)(tag_cli)


def tag_cli(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Sentences; - is standard input, answered line by line.")
    ] = None,
    run: OneRun = None,
    file: Annotated[list[str] | None, typer.Option(help="A file with one sentence per line; may be repeated.")] = None,
    encoding: EncodingOfFile = "utf-8",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per sentence.")] = False,
    conll: Annotated[
        bool,
        typer.Option(
            "--conll", help="Print a word and its tag per line. A file in columns is taken as it is split into words."
        ),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A[,B]", help="--conll: the column of the words, from 1 (default: as in training, or found)."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Tag the words of sentences: names and other spans."""
    given = GivenTexts.of(texts, file, "sentences", 'charlm tag "a sentence"')
    if json and conll:
        raise UsageError("--json and --conll are two forms of the output", to_do="leave one of them out")
    if columns is not None and not (conll and given.files):
        raise UsageError("--columns is for a file in columns, with --file and --conll", to_do="leave it out")
    if not given.is_large:
        one_thread_for_numpy(threads)
    from charlm.api import load_tagger

    model = load_tagger(run, for_batches=given.is_large, threads=threads)
    if run is None and not quiet:
        say_which(model.path)
    settings = CorpusSettings(encoding=encoding, line_ends="lf")
    for path in given.files:
        batches = texts_of_file(path, settings, quiet)
        first = next(batches, [])
        if _is_for_columns(path, first, conll, columns, quiet):
            _show_columns(model, path, chain([first], batches), columns)
        else:
            for batch in chain([first], batches):
                _show(model, model.tag_all(batch), json, conll)
    _show(model, model.tag_all(given.texts), json, conll)


def _is_for_columns(path: str, first: list[str], conll: bool, columns: str | None, quiet: bool) -> bool:
    """Whether a file with these first lines is to be tagged in its columns. A note names the option that does so."""
    from charlm.corpus.sources import printable
    from charlm.formats.conll import is_in_columns

    if columns is not None:
        return True
    is_found = is_in_columns(first)
    if is_found and not conll:
        say(f"{printable(path)}: these look like words in columns; --conll takes them as such, not as sentences", quiet)
    return is_found and conll


def _show_columns(model: "TaggingModel", path: str, batches: Iterable[list[str]], columns: str | None) -> None:
    from charlm.corpus.sources import printable
    from charlm.tasks.tagged_columns import tagged_columns

    for line in tagged_columns(model, batches, printable(path), columns):
        write_text(f"{line}\n")


def _show(model: "TaggingModel", sentences: "Iterator[TaggedSentence]", json: bool, conll: bool) -> None:
    for sentence in sentences:
        if json:
            write_json(_as_json(sentence))
        elif conll:
            write_text(_as_columns(sentence), flush=True)
        else:
            out.print(_as_text(model, sentence))


def _as_json(sentence: "TaggedSentence") -> dict[str, object]:
    spans: list[dict[str, object]] = [
        {
            "label": span.label,
            **text_fields("text", span.text),
            "start": span.start,
            "stop": span.stop,
            "probability": span.probability,
        }
        for span in sentence.spans
    ]
    tokens: list[dict[str, object]] = [
        {**text_fields("token", token), "tag": tag, "probability": probability, "start": start, "stop": stop}
        for token, tag, probability, (start, stop) in zip(
            sentence.tokens, sentence.tags, sentence.probabilities, sentence.places, strict=True
        )
    ]
    return {**text_fields("text", sentence.text), "spans": spans, "tokens": tokens}


def _as_columns(sentence: "TaggedSentence") -> str:
    rows = zip(map(visible, sentence.tokens), map(visible, sentence.tags), strict=True)
    return "".join(f"{token}\t{tag}\n" for token, tag in rows) + "\n"


def _as_text(model: "TaggingModel", sentence: "TaggedSentence") -> Text:
    """The sentence with its spans in colour, or in brackets where there is no colour. Plain tags follow their words."""
    marked = [(span.start, span.stop, span.label) for span in sentence.spans]
    if not model.scheme.has_spans:
        marked = [(start, stop, tag) for (start, stop), tag in zip(sentence.places, sentence.tags, strict=True)]
    has_colour = out.is_terminal and not out.no_color
    needs_brackets = model.scheme.has_spans and not has_colour
    shown, end = Text(), 0
    for start, stop, label in marked:
        colour = COLOURS[model.types.index(label) % len(COLOURS)] if has_colour else ""
        shown.append(visible(sentence.text[end:start]) + ("[" if needs_brackets else ""))
        shown.append(visible(sentence.text[start:stop]), style=f"bold {colour}")
        shown.append(f"|{visible(label)}", style=f"dim {colour}")
        shown.append("]" if needs_brackets else "")
        end = stop
    return shown.append(visible(sentence.text[end:]))
