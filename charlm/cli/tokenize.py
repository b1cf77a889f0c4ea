"""`charlm tokenize`: show the tokens of a text, or write the text as ids."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, text_fields, write_json
from charlm.cli.options import EXCLUDE, INCLUDE, Quiet, takes
from charlm.errors import UsageError
from charlm.given import gather, unknown_variables
from charlm.settings import (
    CorpusSettings,
    Mode,
    TextSettings,
    fill,
)
from charlm.text.visible import visible_symbol, visible_type

if TYPE_CHECKING:
    from charlm.corpus.prepare import PreparedCorpus
    from charlm.corpus.summary import Summary
    from charlm.text.encoded import Encoded
    from charlm.text.tokenizer import Tokenizer

EXAMPLES = """
[bold]Examples[/]

charlm tokenize corpus.txt

charlm tokenize corpus.txt --unit word --text "Hello, world"

charlm tokenize corpus.txt --unit subword --vocab-size 2000 -o tokens

charlm tokenize names.txt --mode sentence --write-parts parts

charlm tokenize tunes.txt --item paragraph -o tokens
"""


def register(app: typer.Typer) -> None:
    app.command("tokenize", no_args_is_help=True, epilog=EXAMPLES)(tokenize_cli)


@takes(TextSettings, CorpusSettings)
def tokenize_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(help="Text files, folders or archives; - is standard input.", show_default=False),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help=INCLUDE, rich_help_panel="Text")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=EXCLUDE, rich_help_panel="Text")] = None,
    text: Annotated[str | None, typer.Option(help="Show the tokens and ids of this text.")] = None,
    run: Annotated[str | None, typer.Option(help="Use the tokenizer of this run.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Use this tokenizer: a tokenizer.json, a folder, or a sentencepiece .model.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the tokenizer and the ids into this folder, for charlm train."),
    ] = None,
    write_parts: Annotated[
        Path | None,
        typer.Option(help="Write train.txt and valid.txt into this folder: the same split, for other programs."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into folders that are not empty.")] = False,
    mode: Annotated[
        Mode | None,
        typer.Option(help="How the model will be trained; sentence: validation gets items from all over the text."),
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="A text to validate on, instead of a part of the corpus.")] = None,
    test: Annotated[Path | None, typer.Option(help="A text to test on after training.")] = None,
    config: Annotated[Path | None, typer.Option(help="Read settings from this TOML file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
    **flags: Any,
) -> None:
    """Show the tokens of a text; write them with -o."""
    from charlm.corpus.gathering import Texts
    from charlm.corpus.parts import mode_of
    from charlm.corpus.summary import tokenize

    values = gather({**flags, "mode": mode}, config)
    for note in unknown_variables():
        say(note, quiet)
    settings, corpus_settings = fill(TextSettings, values), fill(CorpusSettings, values)
    chosen_mode = mode_of(values)
    given = _given_tokenizer(run, tokenizer, flags)
    if given:
        from charlm.runs.finding import find_run
        from charlm.scoring.reading import with_reading_of

        say("this tokenizer is not lossless: some texts come back changed", quiet or given.lossless)
        corpus_settings = with_reading_of(tokenizer or find_run(run), corpus_settings, values)
    if not corpus:
        if given is None or text is None or output is not None or write_parts is not None:
            raise UsageError("no text to tokenize", to_do="give a text file, or --text with --run or --tokenizer")
        _show_text(given, text, corpus_settings, json)
        return
    _check_folders(output, write_parts, force)
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(TemporaryDirectory()))
        texts = Texts(tuple(corpus), tuple(include or ()), tuple(exclude or ()))
        others = valid, test
        prepared, summary = tokenize(texts, folder, settings, corpus_settings, *others, given, chosen_mode, write_parts)
        for note in prepared.notes:
            say(note, quiet)
        if text is not None:
            line_ends = prepared.train.header.line_ends
            _show_text(prepared.tokenizer, text, dataclasses.replace(corpus_settings, line_ends=line_ends), json)
        elif json:
            write_json({**dataclasses.asdict(summary), "folder": str(output) if output else None})
        else:
            _show_summary(summary, prepared)
    if output:
        say(f"written to {output}; continue with: charlm train {output}", quiet)
    if write_parts:
        say(f"the parts are in {write_parts}: train.txt and, where there is one, valid.txt", quiet)


def _given_tokenizer(run: str | None, path: Path | None, flags: dict[str, Any]) -> "Tokenizer | None":
    """The tokenizer that `--run` or `--tokenizer` names. Raises UsageError for an option that contradicts it."""
    if run is None and path is None:
        return None
    if run is not None and path is not None:
        raise UsageError("--run and --tokenizer contradict each other", to_do="give one of them")
    option = "--run" if path is None else "--tokenizer"
    from charlm.runs.finding import find_run
    from charlm.text.tokenizer import load_tokenizer, refuse_with_tokenizer

    refuse_with_tokenizer(flags, option)
    return load_tokenizer(path or find_run(run))


def _check_folders(output: Path | None, parts: Path | None, force: bool) -> None:
    """Raise UsageError for a folder that is not empty, or that both options name."""
    if output and parts and output.resolve() == parts.resolve():
        raise UsageError("--output and --write-parts are the same folder", str(output), "give two folders")
    for folder in (output, parts):
        if folder and not force and folder.is_dir() and any(folder.iterdir()):
            raise UsageError("this folder is not empty", str(folder), "give another one, or --force")


def _show_text(tokenizer: "Tokenizer", argument: str, reading: CorpusSettings, json: bool) -> None:
    """The tokens of one text, with their ids."""
    from charlm.corpus.forms import in_form
    from charlm.text.tokenizer import text_from_argument

    text = argument if tokenizer.takes_any_bytes else in_form(text_from_argument(argument), reading)
    encoded = tokenizer.encode_detailed(text)
    ids = encoded.ids.tolist()
    if json:
        write_json(_text_record(text, [tokenizer.symbol(id) for id in ids], encoded))
        return
    table = _table(("id", "right"), ("token", "left"))
    for id in ids:
        table.add_row(str(id), _shown_type(tokenizer, id))
    out.print(table)
    out.print(f"{len(ids)} tokens, {encoded.characters} characters")
    if encoded.unknown:
        out.print("unknown:", *(Text(visible_symbol(symbol)) for symbol in encoded.unknown))


def _text_record(text: str, symbols: list[str], encoded: "Encoded") -> dict[str, Any]:
    return {
        **text_fields("text", text),
        "ids": encoded.ids.tolist(),
        "tokens": symbols,
        "unknown": list(encoded.unknown),
        "characters": encoded.characters,
        "bytes": encoded.bytes,
    }


def _show_summary(summary: "Summary", prepared: "PreparedCorpus") -> None:
    from charlm.corpus.summary import most_frequent

    table = _table(("training part", "left"), ("", "right"))
    for name, value in _figures(summary).items():
        table.add_row(name, value)
    out.print(table)
    frequent = _table(("most frequent", "left"), ("count", "right"), ("share", "right"))
    for id, count in most_frequent(prepared):
        frequent.add_row(_shown_type(prepared.tokenizer, id), f"{count:,}", f"{count / summary.tokens:.2%}")
    out.print(frequent)


def _figures(summary: "Summary") -> dict[str, str]:
    figures = {
        "unit": f"{summary.unit}{'' if summary.lossless else ', not lossless'}",
        "lines": f"{summary.lines:,}",
        "characters": f"{summary.characters:,}",
        "types": f"{summary.types:,}",
        "tokens": f"{summary.tokens:,}",
        "characters per token": f"{summary.characters_per_token:.3f}",
        "coverage": f"{summary.coverage:.3%}",
        "validation tokens": f"{summary.valid_tokens:,}",
    }
    if summary.valid_unknown_rate is not None:
        figures["unknown there"] = f"{summary.valid_unknown_rate:.3%}"
    if summary.test_tokens:
        figures["test tokens"] = f"{summary.test_tokens:,}"
    return figures


def _table(*columns: tuple[str, Literal["left", "right"]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name, justify in columns:
        table.add_column(name, justify=justify)
    return table


def _shown_type(tokenizer: "Tokenizer", id: int) -> Text:
    """A symbol of the vocabulary, and how it joins its neighbours; never taken for markup."""
    return Text(visible_type(*tokenizer.plain(id)))
