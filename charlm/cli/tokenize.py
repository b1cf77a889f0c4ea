"""`charlm tokenize`: what the tokens of a text are, and the text as ids on disk."""

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import console
from charlm.cli.options import EXCLUDE, INCLUDE, takes
from charlm.errors import UsageError
from charlm.settings import (
    CorpusSettings,
    Mode,
    TextSettings,
    TrainingSettings,
    ValidSplit,
    fill,
    flag,
    gather,
    unknown_variables,
)

if TYPE_CHECKING:
    from rich.table import Table

    from charlm.corpus.gathering import Texts
    from charlm.corpus.prepare import PreparedCorpus
    from charlm.text.tokenizer import Encoded, Tokenizer

NUM_FREQUENT = 20
EXAMPLES = """
[bold]Examples[/]

charlm tokenize corpus.txt

charlm tokenize corpus.txt --unit word --text "Hello, world"

charlm tokenize corpus.txt --unit subword --vocab-size 2000 -o tokens

charlm tokenize names.txt --mode sentence --write-parts parts
"""


@dataclass(frozen=True)
class Summary:
    """What a person asks about a tokenized text. Counts are of the part to train on, and of its normalised text."""

    unit: str
    lossless: bool
    lines: int
    characters: int
    types: int
    """Symbols in the vocabulary, special ones counted."""
    tokens: int
    coverage: float
    """Share of the tokens that the vocabulary has."""
    split: ValidSplit
    """What is kept for validation."""
    valid_tokens: int
    valid_unknown_rate: float | None
    test_tokens: int
    characters_per_token: float
    frequent: tuple[tuple[str, int], ...]
    """The most frequent symbols and how often each occurs."""


def tokenize(
    corpus: "Path | str | Texts",
    folder: Path,
    text: TextSettings,
    corpus_settings: CorpusSettings,
    valid: Path | None = None,
    test: Path | None = None,
    tokenizer: "Tokenizer | None" = None,
    mode: Mode = "stream",
    write_parts: Path | None = None,
) -> "tuple[PreparedCorpus, Summary]":
    """Write a text's tokenizer and ids into a folder and sum them up. Raises what `corpus.prepare.prepare` raises."""
    from charlm.corpus.prepare import prepare

    texts = valid, test
    prepared = prepare(corpus, folder, text, corpus_settings, *texts, tokenizer, mode=mode, write_parts=write_parts)
    return prepared, summarize(prepared)


def summarize(prepared: "PreparedCorpus") -> Summary:
    train, valid, test = prepared.train.header, prepared.valid, prepared.test
    return Summary(
        unit=prepared.tokenizer.unit,
        lossless=prepared.tokenizer.lossless,
        lines=train.num_lines,
        characters=train.num_characters,
        types=prepared.tokenizer.vocab_size,
        tokens=train.num_tokens,
        coverage=1 - train.num_unknown / train.num_tokens,
        split=prepared.division.split,
        valid_tokens=valid.num_tokens if valid else 0,
        valid_unknown_rate=valid.header.num_unknown / valid.num_tokens if valid else None,
        test_tokens=test.num_tokens if test else 0,
        characters_per_token=train.num_characters / train.num_tokens,
        frequent=tuple((prepared.tokenizer.symbol(id), count) for id, count in _frequent(prepared)),
    )


@takes(TextSettings, CorpusSettings)
def tokenize_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(help="Texts: files, folders, archives; - is standard input.", show_default=False),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help=INCLUDE, rich_help_panel="Text")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=EXCLUDE, rich_help_panel="Text")] = None,
    text: Annotated[str | None, typer.Option(help="Show the tokens and ids of this text.")] = None,
    run: Annotated[str | None, typer.Option(help="Take the tokenizer of this run.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Take this one: a tokenizer.json, a folder, a sentencepiece .model.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write tokenizer and ids here, for charlm train.")
    ] = None,
    write_parts: Annotated[
        Path | None, typer.Option(help="Write train.txt and valid.txt here: the same division for other programs.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write there even if there is something.")] = False,
    mode: Annotated[
        Mode | None, typer.Option(help="What it is for; sentence: validation gets lines at random, not the end.")
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="A text to validate on, in place of a part of this one.")] = None,
    test: Annotated[Path | None, typer.Option(help="A text to test on at last.")] = None,
    config: Annotated[Path | None, typer.Option(help="Read settings from this TOML file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")] = False,
    **flags: Any,
) -> None:
    """Show what the tokens of a text are; write them with -o."""
    from charlm.corpus.gathering import Texts

    values = gather({**flags, "mode": mode}, config)
    for note in unknown_variables():
        console.say(note, quiet)
    settings, corpus_settings = fill(TextSettings, values), fill(CorpusSettings, values)
    chosen_mode = fill(TrainingSettings, {"mode": values["mode"]} if "mode" in values else {}).mode
    given = _given_tokenizer(run, tokenizer, flags)
    if given and not given.lossless:
        console.say("this tokenizer is not lossless: some texts come back changed", quiet)
    if given:
        corpus_settings = _taken_over(corpus_settings, run, tokenizer, values)
    if not corpus:
        if given is None or text is None or output is not None or write_parts is not None:
            raise UsageError("no text to tokenize", to_do="give a text file, or --text with --run or --tokenizer")
        _show_text(given, text, corpus_settings, json)
        return
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(TemporaryDirectory()))
        _check_places(output, write_parts, force)
        texts = Texts(tuple(corpus), tuple(include or ()), tuple(exclude or ()))
        others = valid, test
        prepared, summary = tokenize(texts, folder, settings, corpus_settings, *others, given, chosen_mode, write_parts)
        for note in prepared.notes:
            console.say(note, quiet)
        if text is not None:
            header = prepared.train.header
            _show_text(
                prepared.tokenizer,
                text,
                dataclasses.replace(corpus_settings, line_ends=header.line_ends),
                json,
            )
        elif json:
            console.write_json({**dataclasses.asdict(summary), "folder": str(output) if output else None})
        else:
            _show_summary(summary, prepared)
    if output:
        console.say(f"written to {output}; go on with: charlm train {output}", quiet)
    if write_parts:
        console.say(f"the parts are in {write_parts}: train.txt and, where there is one, valid.txt", quiet)


def register(app: typer.Typer) -> None:
    app.command(
        "tokenize",
        no_args_is_help=True,
        epilog=EXAMPLES,
        context_settings={"help_option_names": ["-h", "--help"]},
    )(tokenize_cli)


def _given_tokenizer(run: str | None, path: Path | None, flags: dict[str, Any]) -> "Tokenizer | None":
    if run is None and path is None:
        return None
    if run is not None and path is not None:
        raise UsageError("--run and --tokenizer contradict each other", to_do="give one of them")
    for one in dataclasses.fields(TextSettings):
        if flags.get(one.name) is not None:
            option = "--run" if path is None else "--tokenizer"
            raise UsageError(
                f"{flag(one.name)} and {option} contradict each other", to_do=f"leave {flag(one.name)} out"
            )
    from charlm.text.tokenizer import load_tokenizer

    if path is not None:
        return load_tokenizer(path)
    from charlm.runs.finding import find_run

    return load_tokenizer(find_run(run))


def _taken_over(
    settings: CorpusSettings, run: str | None, tokenizer: Path | None, given: dict[str, Any]
) -> CorpusSettings:
    """The settings, with what belongs to the run or folder that the tokenizer is taken from."""
    from charlm.corpus.forms import taken_over
    from charlm.runs.finding import find_run
    from charlm.scoring.reading import reading_with_tokenizer

    return taken_over(settings, reading_with_tokenizer(tokenizer or find_run(run)), given)


def _check_places(output: Path | None, parts: Path | None, force: bool) -> None:
    """Raise UsageError for a folder that has something, or that two kinds of files would share."""
    if output and parts and output.resolve() == parts.resolve():
        raise UsageError("--output and --write-parts are the same folder", str(output), "give two folders")
    for folder in (output, parts):
        if folder and not force and folder.is_dir() and any(folder.iterdir()):
            raise UsageError("this folder is not empty", str(folder), "give another one, or --force")


def _frequent(prepared: "PreparedCorpus") -> tuple[tuple[int, int], ...]:
    """The ids that are most frequent, and how often each occurs."""
    import numpy as np

    counts = prepared.train.counts(prepared.tokenizer.vocab_size)
    most = np.argsort(-counts, kind="stable")[:NUM_FREQUENT]
    return tuple((int(id), int(counts[id])) for id in most if counts[id])


def _show_text(tokenizer: "Tokenizer", argument: str, reading: CorpusSettings, json: bool) -> None:
    from charlm.corpus.forms import in_form
    from charlm.text.tokenizer import text_from_argument

    text = argument if tokenizer.unit == "byte" else in_form(text_from_argument(argument), reading)
    encoded = tokenizer.encode_detailed(text)
    symbols = [tokenizer.symbol(int(id)) for id in encoded.ids]
    if json:
        console.write_json(_text_as_json(text, symbols, encoded))
        return
    table = _table(("id", "right"), ("token", "left"))
    for id in encoded.ids.tolist():
        table.add_row(str(id), _shown_type(tokenizer, id))
    console.out.print(table)
    console.out.print(f"{len(symbols)} tokens, {encoded.characters} characters")
    if encoded.unknown:
        console.out.print("unknown:", *map(_shown, encoded.unknown))


def _text_as_json(text: str, symbols: list[str], encoded: "Encoded") -> dict[str, Any]:
    return {
        **console.text_fields("text", text),
        "ids": encoded.ids.tolist(),
        "tokens": symbols,
        "unknown": list(encoded.unknown),
        "characters": encoded.characters,
        "bytes": encoded.bytes,
    }


def _show_summary(summary: Summary, prepared: "PreparedCorpus") -> None:
    table = _table(("of the part to train on", "left"), ("", "right"))
    table.add_row("unit", f"{summary.unit}{'' if summary.lossless else ', not lossless'}")
    table.add_row("lines", f"{summary.lines:,}")
    table.add_row("characters", f"{summary.characters:,}")
    table.add_row("types", f"{summary.types:,}")
    table.add_row("tokens", f"{summary.tokens:,}")
    table.add_row("characters per token", f"{summary.characters_per_token:.3f}")
    table.add_row("coverage", f"{summary.coverage:.3%}")
    table.add_row("validation tokens", f"{summary.valid_tokens:,}")
    if summary.valid_unknown_rate is not None:
        table.add_row("unknown there", f"{summary.valid_unknown_rate:.3%}")
    if summary.test_tokens:
        table.add_row("test tokens", f"{summary.test_tokens:,}")
    console.out.print(table)
    frequent = _table(("most frequent", "left"), ("count", "right"), ("share", "right"))
    for id, count in _frequent(prepared):
        frequent.add_row(_shown_type(prepared.tokenizer, id), f"{count:,}", f"{count / summary.tokens:.2%}")
    console.out.print(frequent)


def _table(*columns: tuple[str, Any]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for name, justify in columns:
        table.add_column(name, justify=justify)
    return table


def _shown_type(tokenizer: "Tokenizer", id: int) -> Any:
    symbol, joins = tokenizer.plain(id)
    return _shown(symbol).append(f" ({joins})" if joins else "")


def _shown(symbol: str) -> Any:
    """A symbol as literal text, never markup."""
    from rich.text import Text

    return Text(console.visible_symbol(symbol))
