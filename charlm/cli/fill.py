"""`charlm fill`: rank what could stand in the blanks of a sentence. Runs without torch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json
from charlm.cli.options import OneRun, Quiet, Threads
from charlm.cli.typed import texts_of_file
from charlm.errors import TextError
from charlm.settings import CorpusSettings, FillBy
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.tasks.fill import Filler, Filling

MEANINGS: dict[FillBy, str] = {
    "forward": "-log p of the whole sentence, read from its start, without the spelling of unknown symbols",
    "backward": "-log p of the whole sentence, read from its end, without the spelling of unknown symbols",
    "mean": "the mean of both directions' -log p of the whole sentence: a ranking, not a probability",
    "cloze": "-log p of the filling, given both sides",
}
PER_SYMBOL = "-log p per token of the filling, given both sides"
EXAMPLES = """[bold]Examples[/]

charlm fill "He said, Teddy ___ was a great president."

charlm fill "The cats ___ full." --candidates was,were

charlm fill "The ___ sat on the ___." --by mean --json

some-program | charlm fill -"""
LINES_AT_ONCE = 64


def register(app: typer.Typer) -> None:
    app.command("fill", epilog=EXAMPLES)(fill_cli)


def fill_cli(
    text: Annotated[
        str,
        typer.Argument(help="A sentence with blanks: ___ standing alone; - is standard input, one sentence per line."),
    ],
    run: OneRun = None,
    by: Annotated[
        FillBy | None,
        typer.Option(
            help="Rank by one direction, the mean of both, or a cloze network (default: the best of the run)."
        ),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Rank these texts only, separated by commas.")
    ] = None,
    length: Annotated[
        int, typer.Option(min=1, max=1000, help="Characters, bytes, subwords: at most so many tokens in a blank.")
    ] = 20,
    top: Annotated[int, typer.Option(min=1, help="Show the N best.")] = 10,
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per filling.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fill the blanks of a sentence, the likeliest first."""
    one_thread_for_numpy(threads)
    from charlm.api import load_filler
    from charlm.tasks.blanks import Sentence
    from charlm.tasks.fill import fill

    has_lines = text == "-"
    if not has_lines:
        Sentence.parsed(text)
    filler, used, path = load_filler(run, by, threads)
    if run is None and not quiet:
        say_which(path)
    given = [each.strip() for each in candidates.split(",")] if candidates is not None else None
    was_filled = False
    for sentence in _lines_with_blanks(filler, quiet) if has_lines else [text]:
        fillings = fill(filler, sentence, given, length, top)
        if json:
            _write(fillings, sentence if has_lines else None)
            continue
        if has_lines:
            out.print(Text(visible(sentence), "bold"))
        if fillings:
            _show(fillings)
        else:
            say("nothing that fits was found")
        was_filled = was_filled or bool(fillings)
    if was_filled:
        is_span = used == "cloze" and filler.tokenizer.unit != "word"
        say(f"nats: {PER_SYMBOL if is_span else MEANINGS[used]}; lower is better", quiet)


def _lines_with_blanks(filler: "Filler", quiet: bool) -> Iterator[str]:
    """The lines of standard input that have a blank, as they come. Raises TextError if there is none."""
    from charlm.tasks.blanks import ALONE, BLANK

    raw, has_blank, others = filler.tokenizer.takes_any_bytes, False, 0
    for lines in texts_of_file("-", CorpusSettings(), quiet, LINES_AT_ONCE, raw):
        for line in lines:
            text = line.removesuffix("\r")
            if ALONE.search(text):
                has_blank = True
                yield text
            else:
                others += bool(text.strip())
    if not has_blank:
        what = f"no line has a blank: {BLANK}, three underscores that stand alone, marks the place to fill"
        raise TextError(what, "standard input", 'such as "The cat sat on the ___."')
    if others:
        say(f"left out: {others:,} {'line' if others == 1 else 'lines'} without a blank", quiet)


def _write(fillings: "list[Filling]", sentence: str | None) -> None:
    """Print fillings as JSON, with their sentence where there may be several."""
    text = {} if sentence is None else text_fields("text", sentence)
    for rank, filling in enumerate(fillings, 1):
        write_json({**text, "rank": rank, **_fields(filling), "nats": filling.nats})


def _fields(filling: "Filling") -> Mapping[str, object]:
    """The filling as JSON: a text, or a list of them where there are several blanks."""
    if len(filling.texts) == 1:
        return text_fields("filling", filling.texts[0])
    return {"filling": list(filling.texts)}


def _show(fillings: "list[Filling]") -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    table.add_column("nats", justify="right")
    table.add_column("filling", overflow="fold")
    for rank, filling in enumerate(fillings, 1):
        table.add_row(f"{rank}.", f"{filling.nats:.4f}", Text(" … ".join(map(visible, filling.texts))))
    out.print(table)
