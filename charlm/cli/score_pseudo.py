"""`charlm score --pseudo`: the pseudo-log-likelihood of sentences by a cloze network. Runs without torch."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, text_fields, write_json
from charlm.cli.typed import read_escapes, texts_of_file
from charlm.errors import UsageError
from charlm.settings import CorpusSettings
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.scoring.cloze import ClozeModel, PseudoScore

LINES_AT_ONCE = 64
EXPLAINED = (
    "pseudo-log-likelihood: the sum of each token's log p given all the others; it is not the probability of the text"
)


def show_pseudo_scores(
    runs: list[str] | None,
    sentences: list[str] | None,
    files: list[str] | None,
    settings: CorpusSettings,
    escapes: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Score sentences, or the lines of files, with one run."""
    from charlm.api import load_cloze

    if runs and len(runs) > 1:
        raise UsageError("--pseudo takes one --run", to_do="ask the runs one after another")
    model = load_cloze(runs[0] if runs else None)
    if not runs and not quiet:
        say_which(model.path)
    texts = _lines(model, files, settings, quiet) if files else iter(sentences or [])
    table = Table("pseudo-log-likelihood\n(nats)", "tokens", "sentence", box=None, padding=(0, 2, 0, 0))
    for text in texts:
        score = model.pseudo_score(read_escapes(text) if escapes else text)
        if json:
            write_json(_record(model, score))
        elif files:
            out.print(f"{score.pseudo_logprob_nats:.4f}\t{visible(text)}", markup=False, soft_wrap=True)
        else:
            table.add_row(f"{score.pseudo_logprob_nats:.4f}", f"{score.tokens:,}", Text(visible(text)))
    if table.row_count:
        out.print(table)
    if not json:
        say(EXPLAINED, quiet)


def _record(model: "ClozeModel", score: "PseudoScore") -> dict[str, object]:
    figures = {"pseudo_logprob_nats": score.pseudo_logprob_nats, "tokens": score.tokens}
    return {**text_fields("text", score.text), **figures, "run": str(model.path)}


def _lines(model: "ClozeModel", files: list[str], settings: CorpusSettings, quiet: bool) -> Iterator[str]:
    """The lines of all files, as text."""
    raw = model.tokenizer.takes_any_bytes
    for file in files:
        yield from chain.from_iterable(texts_of_file(file, settings, quiet, LINES_AT_ONCE, raw))
