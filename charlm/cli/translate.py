"""`charlm translate`: what a translator writes for a text. A single text is translated without torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json, write_text
from charlm.cli.options import EncodingOfFile, OneRun, Quiet, Threads
from charlm.cli.typed import GivenTexts, texts_of_file
from charlm.errors import UsageError
from charlm.settings import CorpusSettings
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.tasks.translation import Search, Translation, TranslationModel

Found = tuple[str, "list[Translation]"]
DEFAULT_BEAM = 5  # as in `tasks/translation.py`, which is not imported for --help
MAX_SHOWN_SYMBOLS = 10  # of those that a note names
EXAMPLES = """[bold]Examples[/]

charlm translate "ein Hund läuft im Gras"

charlm translate "hello" --beam 20 --n-best 5

charlm translate --file test.de > test.hyp

charlm translate "hello" --attention-map hello.svg

some-program | charlm translate -"""


def register(app: typer.Typer) -> None:
    app.command("translate", epilog=EXAMPLES)(translate_cli)


def translate_cli(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; - is standard input, answered line by line.")
    ] = None,
    run: OneRun = None,
    file: Annotated[list[str] | None, typer.Option(help="A file with one text per line; may be repeated.")] = None,
    beam: Annotated[
        int, typer.Option(min=1, help="Hypotheses that are followed; 1 takes the likeliest token each time.")
    ] = DEFAULT_BEAM,
    n_best: Annotated[int, typer.Option(min=1, help="Show the N best translations of each text.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option("--temp", "--temperature", help="Draw translations at random instead; below 1: safer ones."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed draws the same translations.")] = None,
    attention_map: Annotated[
        Path | None, typer.Option(metavar="F.svg", help="Draw which tokens it looked at into this file.")
    ] = None,
    encoding: EncodingOfFile = "utf-8",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per translation.")] = False,
    quiet: Quiet = False,
) -> None:
    """Translate texts: write what a translator learned to write for them."""
    given = GivenTexts.of(texts, file, "texts", 'charlm translate "a text"')
    if attention_map is not None and not given.is_one:
        raise UsageError("--attention-map is for one text", to_do='charlm translate "a text" --attention-map F.svg')
    if not given.is_large:
        one_thread_for_numpy(threads)
    search = _search(beam, n_best, temperature, seed, quiet)
    from charlm.api import load_translator

    model = load_translator(run, for_batches=given.is_large, threads=threads)
    if run is None and not quiet:
        say_which(model.path)
    notes = Notes(model, quiet)
    if given.files:
        found = _of_files(model, given.files, encoding, search, notes, quiet)
    else:
        found = _of_texts(model, given.texts, search, notes)
    show = _as_json if json else _as_table if given.is_one else _as_lines
    for number, (text, translations) in enumerate(found, 1):
        show(number, text, translations)
        if attention_map is not None:
            _draw(model, text, translations, attention_map, quiet)


def _search(beam: int, n_best: int, temperature: float | None, seed: int | None, quiet: bool) -> "Search":
    """How to look for translations. Raises UsageError for options that have no effect together."""
    import secrets

    from charlm.tasks.translation import Search

    if temperature is None and seed is not None:
        raise UsageError("--seed does nothing without --temp", to_do="leave it out")
    if temperature is not None and beam != DEFAULT_BEAM:
        raise UsageError("--beam does nothing with --temp, which draws at random", to_do="leave one of them out")
    if temperature is not None and seed is None:
        seed = secrets.randbits(32)
        say(f"seed: {seed}", quiet)
    return Search(beam=beam, n_best=n_best, temperature=temperature, seed=seed or 0)


class Notes:
    """Says which symbols of texts the network does not know, each symbol once."""

    def __init__(self, model: "TranslationModel", quiet: bool) -> None:
        self._model, self._quiet, self._said = model, quiet, set[str]()

    def on(self, texts: Sequence[str]) -> None:
        """Note the unknown symbols of some texts, or that they know them in another Unicode form."""
        unknown = [symbol for text in texts for symbol in self._model.unknown(text)]
        new = [symbol for symbol in dict.fromkeys(unknown) if symbol not in self._said]
        self._said.update(new)
        if not new:
            return
        if len(texts) == 1 and (note := self._model.reading.about_form(self._model.read(texts[0]))):
            say(note, self._quiet)
            return
        shown = [symbol if symbol.isprintable() else ascii(symbol) for symbol in new[:MAX_SHOWN_SYMBOLS]]
        more = f" and {len(new) - len(shown):,} more" if len(new) > len(shown) else ""
        say(f"never seen in training, read as <unk>: {' '.join(shown)}{more}", self._quiet)


def _of_texts(model: "TranslationModel", texts: Sequence[str], search: "Search", notes: Notes) -> Iterator[Found]:
    notes.on(texts)
    return zip(texts, model.translate_all(texts, search), strict=True)


def _of_files(
    model: "TranslationModel", files: tuple[str, ...], encoding: str, search: "Search", notes: Notes, quiet: bool
) -> Iterator[Found]:
    """The lines of all files, translated as they come."""
    settings = model.reading.of_file(CorpusSettings(encoding=encoding))
    for path in files:
        for lines in texts_of_file(path, settings, quiet):
            yield from _of_texts(model, lines, search, notes)


def _as_json(number: int, text: str, translations: "list[Translation]") -> None:
    for rank, found in enumerate(translations, 1):
        figures = {"logprob_nats": found.logprob_nats, "score": found.score, "is_complete": found.is_complete}
        fields = {**text_fields("source", text), **text_fields("translation", found.text)}
        write_json({"number": number, "rank": rank, **fields, **figures, "tokens": list(found.tokens)})


def _as_lines(number: int, text: str, translations: "list[Translation]") -> None:
    """Each translation on a line of its own; of several, each after the number of its text and its score."""
    for found in translations:
        before = f"{number}\t{found.score:.4f}\t" if len(translations) > 1 else ""
        text = visible(found.text) if out.is_terminal else found.text
        write_text(f"{before}{text}\n", flush=True)


def _as_table(number: int, text: str, translations: "list[Translation]") -> None:
    if len(translations) == 1:
        _as_lines(number, text, translations)
    else:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("", "score", "nats"):
            table.add_column(heading, justify="right")
        table.add_column("translation", overflow="fold")
        for rank, found in enumerate(translations, 1):
            table.add_row(f"{rank}.", f"{found.score:.4f}", f"{-found.logprob_nats:.4f}", Text(visible(found.text)))
        out.print(table)
    if not all(found.is_complete for found in translations):
        say("a translation was cut: it became too long for its text")


def _draw(model: "TranslationModel", text: str, translations: "list[Translation]", path: Path, quiet: bool) -> None:
    """Draw the attention of the first translation."""
    from charlm.inspection.attention_map import write_attention

    write_attention(model.attention(text, translations[0]), path, f"{model.path.name}: {text}")
    say(f"written: {path}", quiet)
