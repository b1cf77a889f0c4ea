"""`charlm fill`: rank what could stand in the blanks of a sentence. Runs without torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json
from charlm.cli.typed import typed_text
from charlm.settings import FillBy
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.tasks.fill import Filling

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

charlm fill "The ___ sat on the ___." --by mean --json"""


def register(app: typer.Typer) -> None:
    app.command("fill", epilog=EXAMPLES)(fill_cli)


def fill_cli(
    text: Annotated[str, typer.Argument(help="A sentence with blanks: ___ standing alone; - is standard input.")],
    run: Annotated[str | None, typer.Option(help="The run (default: the one saved last).")] = None,
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
    threads: Annotated[int | None, typer.Option(min=1, help="Number of processor threads.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per filling.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")] = False,
) -> None:
    """Fill the blanks of a sentence, the likeliest first."""
    one_thread_for_numpy(threads)
    from charlm.api import load_filler
    from charlm.tasks.blanks import Sentence
    from charlm.tasks.fill import fill

    text = typed_text(text, "the sentence", False)
    Sentence.parsed(text)
    filler, used, path = load_filler(run, by, threads)
    if run is None and not quiet:
        say_which(path)
    given = [each.strip() for each in candidates.split(",")] if candidates is not None else None
    fillings = fill(filler, text, given, length, top)
    if json:
        for rank, filling in enumerate(fillings, 1):
            write_json({"rank": rank, **_fields(filling), "nats": filling.nats})
        return
    if not fillings:
        say("nothing that fits was found")
        return
    _show(fillings)
    is_span = used == "cloze" and filler.tokenizer.unit != "word"
    say(f"nats: {PER_SYMBOL if is_span else MEANINGS[used]}; lower is better", quiet)


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
