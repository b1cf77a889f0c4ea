"""`charlm score`: the probability of sentences, files and next tokens."""

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.console import out, say, say_which, visible, visible_symbol, write_json
from charlm.config import CorpusSettings, Device, EncodingErrors, Precision
from charlm.device import one_thread_for_numpy
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score, TokenScore
    from charlm.scoring.metrics import Tally

EXAMPLES = """[bold]Examples[/]

charlm score "The apple and pear salad" "The apple and pair salad"

charlm score --context "cats average" --next 10

charlm score --file sentences.txt --json

charlm score --stream corpus.txt

charlm score -- "- a sentence that begins with a dash\""""


def register(app: typer.Typer) -> None:
    app.command("score", epilog=EXAMPLES)(score_cli)


def score_cli(
    sentences: Annotated[
        list[str] | None, typer.Argument(help="Sentences; several are ranked. - alone is standard input, a line each.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="The run (default: the one saved last).")] = None,
    file: Annotated[str | None, typer.Option(help="A sentence a line; - is standard input.")] = None,
    stream: Annotated[str | None, typer.Option(help="A file as one running text; total only.")] = None,
    context: Annotated[str, typer.Option(help="Text before, which counts nothing itself.")] = "",
    next_tokens: Annotated[
        int | None, typer.Option("--next", min=1, help="The likeliest tokens after --context.")
    ] = None,
    per_token: Annotated[bool, typer.Option("--per-token", help="Each token's probability.")] = False,
    eos: Annotated[bool, typer.Option("--eos/--no-eos", help="Count the end of the sentence.")] = True,
    encoding: Annotated[str, typer.Option(help="Of --file and --stream.")] = "utf-8",
    encoding_errors: Annotated[EncodingErrors, typer.Option(help="For bytes that do not decode.")] = "strict",
    device: Annotated[Device, typer.Option(help="Where to score a file.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster, and a little less exact.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a sentence.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results.")] = False,
) -> None:
    """Score sentences: how probable is this text?"""
    if sentences == ["-"]:
        sentences, file = None, "-"
    if threads or not (file or stream):
        one_thread_for_numpy(threads)
    given = [sentences, file, stream, next_tokens]
    if sum(bool(one) for one in given) != 1:
        raise UsageError("give sentences, or --file, or --stream, or --next", to_do='charlm score "a sentence"')
    if stream and (context or not eos):
        raise UsageError("--stream takes neither --context nor --no-eos", to_do="leave them out")
    if per_token and not sentences:
        raise UsageError(
            "--per-token is for sentences given as arguments", to_do='charlm score --per-token "a sentence"'
        )
    settings = CorpusSettings(encoding=encoding, encoding_errors=encoding_errors)
    from charlm.api import load

    lm = load(run, device, precision, threads)
    if run is None and not quiet:
        say_which(lm.run.path)
    if next_tokens:
        _show_next(lm.next_tokens(context, next_tokens), json)
    elif stream:
        _show_total(lm.score_stream(stream, settings), json)
    elif file:
        _score_file(lm, _lines(file, settings), context, eos, json)
    else:
        scores = [lm.score(text, context=context, eos=eos, per_token=per_token) for text in sentences or []]
        _show_sentences(scores, json)


def _score_file(lm: "LanguageModel", lines: Iterator[str], context: str, eos: bool, json: bool) -> None:
    """A line each as it comes, and the total."""
    from charlm.scoring.metrics import Tally

    total = Tally()
    for score in lm.score_lines(lines, context=context, eos=eos):
        total += score.tally
        if json:
            write_json(_record(score))
        else:
            out.print(f"{score.logprob_nats:12.4f}  ", Text(visible(score.text)), sep="")
    _show_total(total, json)


def _lines(file: str, settings: CorpusSettings) -> Iterator[str]:
    """The lines of a file, ended by newlines alone."""
    from charlm.corpus.reader import open_text

    with open_text(file, settings) as text:
        for note in text.notes:
            say(note)
        for chunk in text.lines():
            yield from chunk.removesuffix("\n").split("\n")


def _show_sentences(scores: "list[Score]", json: bool) -> None:
    if json:
        for score in scores:
            write_json(_record(score))
    elif len(scores) == 1:
        _show_tally(scores[0].tally)
        _show_tokens(scores[0])
    else:
        _show_ranking(scores)
        for score in scores:
            _show_tokens(score)


def _show_ranking(scores: "list[Score]") -> None:
    """The likeliest first, each with how many times likelier it is than the next."""
    ranked = sorted(scores, key=lambda score: -score.logprob_nats)
    table = _table("", "log p (nats)", "log10 p", "perplexity", "times likelier than the next", "sentence")
    for place, score in enumerate(ranked):
        times = _times(score.logprob_nats - ranked[place + 1].logprob_nats) if place + 1 < len(ranked) else ""
        figures = (f"{score.logprob_nats:.4f}", f"{score.logprob10:.4f}", f"{score.perplexity:.4f}")
        table.add_row(f"{place + 1}.", *figures, times, Text(visible(score.text)))
    out.print(table)


def _show_tally(tally: "Tally") -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _figures(tally).items():
        table.add_row(name, value)
    out.print(table)


def _figures(tally: "Tally") -> dict[str, str]:
    figures = {
        "log-probability": f"{tally.logprob_nats:.4f} nats, {tally.logprob10:.4f} base 10",
        "probability": _probability(tally.logprob_nats),
        "perplexity": f"{tally.perplexity:.4f} per token",
        "bits per character": f"{tally.bits_per_char:.4f}",
        "nats per character": f"{tally.nats_per_char:.4f}",
        "tokens": f"{tally.tokens:,}",
        "unknown": f"{tally.unknown:,}",
    }
    if tally.unknown:
        figures["perplexity without them"] = f"{tally.perplexity_without_unknown:.4f}".replace("nan", "-")
    return figures


def _show_tokens(score: "Score") -> None:
    if not score.tokens_scored:
        return
    table = _table("token", "p", "surprisal (bits)", "rank")
    for token in score.tokens_scored:
        surprisal = f"{-token.logprob_nats / math.log(2):.3f}"
        table.add_row(Text(_shown(token)), f"{math.exp(token.logprob_nats):.6f}", surprisal, f"{token.rank:,}")
    out.print(table)


def _shown(token: "TokenScore") -> str:
    return visible_symbol(token.text) + (f" for {visible_symbol(token.unknown)}" if token.unknown else "")


def _show_next(tokens: "list[TokenScore]", json: bool) -> None:
    if json:
        write_json({"next": [_token_record(token) for token in tokens]})
        return
    table = _table("", "p", "token")
    for token in tokens:
        table.add_row(f"{token.rank}.", f"{math.exp(token.logprob_nats):.6f}", Text(_shown(token)))
    out.print(table)


def _show_total(total: "Tally", json: bool) -> None:
    if json:
        write_json({"total": True, **_tally_record(total)})
    else:
        _show_tally(total)


def _record(score: "Score") -> dict[str, Any]:
    record = {"text": score.text, **_tally_record(score.tally)}
    if score.tokens_scored:
        record["per_token"] = [_token_record(token) for token in score.tokens_scored]
    return record


def _tally_record(tally: "Tally") -> dict[str, Any]:
    return {
        "logprob_nats": tally.logprob_nats,
        "logprob10": tally.logprob10,
        "tokens": tally.tokens,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "unknown": tally.unknown,
        "perplexity": _number(tally.perplexity),
        "perplexity_without_unknown": _number(tally.perplexity_without_unknown),
        "bits_per_char": tally.bits_per_char,
        "bits_per_byte": tally.bits_per_byte,
        "nats_per_char": tally.nats_per_char,
    }


def _number(value: float) -> float | None:
    """JSON has no infinity: null stands for it."""
    return value if math.isfinite(value) else None


def _token_record(token: "TokenScore") -> dict[str, Any]:
    unknown = {"unknown": token.unknown, "spelling_nats": token.spelling_nats} if token.unknown else {}
    return {
        **unknown,
        "id": token.id,
        "symbol": token.text,
        "logprob_nats": token.logprob_nats,
        "probability": math.exp(token.logprob_nats),
        "surprisal_bits": -token.logprob_nats / math.log(2),
        "rank": token.rank,
    }


def _probability(logprob_nats: float) -> str:
    """The probability as a number, where one can be written."""
    if logprob_nats > math.log(sys.float_info.min):
        return f"{math.exp(logprob_nats):.4g}"
    return f"10^{logprob_nats / math.log(10):.2f}, too small for a number"


def _times(nats: float) -> str:
    return f"{math.exp(nats):,.2f}" if nats < math.log(1e6) else f"10^{nats / math.log(10):.1f}"


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("token", "sentence") else "right")
    return table
