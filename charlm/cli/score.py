"""`charlm score`: the probability of sentences, files and next tokens."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from charlm.cli.comparing import (
    short_names,
    show_headings,
    show_line,
    show_sentences_by_run,
    show_totals_by_run,
)
from charlm.cli.console import (
    NO_TEXT,
    out,
    perplexity,
    say,
    say_which,
    text_fields,
    visible,
    visible_symbol,
    write_json,
    write_text,
)
from charlm.cli.typed import is_numbers, note_ids, noting_ids, read_escapes, typed_text
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, Device, EncodingErrors, Precision
from charlm.system.machine import one_thread_for_numpy

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score, TokenScore
    from charlm.corpus.text_file import TextFile
    from charlm.scoring.metrics import Tally

SPACE_ADDED = "one space was put between the context and the text"
EXAMPLES = """[bold]Examples[/]

charlm score "The apple and pear salad" "The apple and pair salad"

charlm score "The cat sat." --per-token

charlm score --context "The cats " --next 10

charlm score "Wer bist du?" "Who are you?" --run german --run english

charlm score --file sentences.txt --json

charlm score --stream corpus.txt

some-program | charlm score -

charlm score -- "- a sentence that begins with a dash\""""


def register(app: typer.Typer) -> None:
    app.command("score", epilog=EXAMPLES)(score_cli)


def score_cli(
    sentences: Annotated[
        list[str] | None, typer.Argument(help="Sentences; several are ranked. - alone: standard input, a line each.")
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="The run (default: the one saved last); several are compared.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="A sentence a line; - is standard input, answered line by line.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="A file as one running text; total only.")] = None,
    context: Annotated[str, typer.Option(help="Text before, which counts nothing itself; - is standard input.")] = "",
    next_tokens: Annotated[
        int | None, typer.Option("--next", min=1, help="The likeliest tokens after --context.")
    ] = None,
    per_token: Annotated[bool, typer.Option("--per-token", help="Each token's probability.")] = False,
    eos: Annotated[bool, typer.Option("--eos/--no-eos", help="Count the end of the sentence.")] = True,
    escapes: Annotated[
        bool, typer.Option("--escapes/--no-escapes", help=r"Read \n, \t and \\ in sentences and context.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Of --file and --stream.")] = "utf-8",
    encoding_errors: Annotated[EncodingErrors, typer.Option(help="For bytes that do not decode.")] = "strict",
    device: Annotated[Device, typer.Option(help="Where to score a file.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster, and a little less exact.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a sentence.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results.")] = False,
) -> None:
    """Score sentences: how probable is this text?"""
    if sentences == ["-"] and not file:
        sentences, file = None, ["-"]
    if threads or not (file or stream):
        one_thread_for_numpy(threads)
    given = [sentences, file, stream, next_tokens]
    if sum(bool(one) for one in given) != 1:
        raise UsageError("give sentences, or --file, or --stream, or --next", to_do='charlm score "a sentence"')
    if stream and (context or not eos or escapes):
        raise UsageError("--stream takes no --context, --no-eos or --escapes", to_do="leave them out")
    if per_token and not sentences:
        raise UsageError(
            "--per-token is for sentences given as arguments", to_do='charlm score --per-token "a sentence"'
        )
    if len(set(run or ())) > 1 and (per_token or next_tokens or stream):
        option = "--per-token" if per_token else "--next" if next_tokens else "--stream"
        raise UsageError(f"{option} takes one --run", to_do="ask the runs one after another")
    if context == "-" and "-" in (file or ()):
        raise UsageError("standard input cannot be both context and sentences", to_do="give one of them otherwise")
    settings = CorpusSettings(encoding=encoding, encoding_errors=encoding_errors)
    models = _load_all(run, device, precision, threads, quiet)
    asked = Asked(typed_text(context, "--context", escapes), eos, escapes, json, quiet)
    if next_tokens:
        _show_next(models[0].next_tokens(asked.context, next_tokens), json)
    elif stream:
        notes: list[str] = []
        total = models[0].score_stream(stream, settings, notes)
        for note in notes:
            say(note, quiet)
        _show_total(total, json)
    elif file:
        _score_files(models, file, settings, asked)
    else:
        _score_sentences(models, sentences or [], per_token, asked)


@dataclass(frozen=True)
class Asked:
    """How sentences are to be scored and shown."""

    context: str
    eos: bool
    escapes: bool
    json: bool
    quiet: bool

    def read(self, text: str) -> str:
        return read_escapes(text) if self.escapes else text


def _load_all(
    runs: list[str] | None, device: Device, precision: Precision, threads: int | None, quiet: bool
) -> "list[LanguageModel]":
    """The models of these runs, each once; by default that of the run saved last."""
    from charlm.api import load

    models = [load(run, device, precision, threads) for run in runs or (None,)]
    found = list({lm.path.resolve(): lm for lm in models}.values())
    if not runs and not quiet:
        say_which(found[0].path)
    if len(found) > 1:
        for name, lm in zip(short_names(found), found, strict=True):
            if not lm.tokenizer.lossless:
                say(f"{name}: not lossless; its figures are of the text as it keeps it, not quite the same", quiet)
    return found


def _score_sentences(models: "list[LanguageModel]", sentences: list[str], per_token: bool, asked: Asked) -> None:
    """Sentences given as arguments: one, a ranking, or side by side by several runs."""
    texts = [asked.read(text) for text in sentences]
    note_ids(texts, asked.quiet)
    _say_bytes(models, [asked.context, *texts])
    _say_form(models, [asked.context, *texts])
    scores = [
        [lm.score(text, context=asked.context, eos=asked.eos, per_token=per_token) for lm in models] for text in texts
    ]
    say(SPACE_ADDED, asked.quiet or not any(one.has_space for of_text in scores for one in of_text))
    if any(is_numbers(one.text) and one.tally.unknown for of_text in scores for one in of_text):
        say("numbers are scored as text; charlm takes no ids of tokens", asked.quiet)
    if asked.json:
        for of_text in scores:
            for lm, score in zip(models, of_text, strict=True):
                write_json({**_record(score), "run": str(lm.path)})
    elif len(models) > 1:
        show_sentences_by_run(short_names(models), scores)
    else:
        _show_sentences([score for score, *_ in scores], asked)


def _score_files(models: "list[LanguageModel]", files: list[str], settings: CorpusSettings, asked: Asked) -> None:
    """The lines of each file as they come, and the totals."""
    from charlm.scoring.metrics import Tally

    several, is_said = len(files) > 1, asked.quiet
    overall = [Tally() for _ in models]
    if len(models) > 1 and not asked.json:
        show_headings(short_names(models))
    for file in files:
        totals = [Tally() for _ in models]
        for scores in _scores_of_lines(models, file, settings, asked):
            if any(score.has_space for score in scores):
                say(SPACE_ADDED, is_said)
                is_said = True
            totals = [total + score.tally for total, score in zip(totals, scores, strict=True)]
            _show_scores_of_line(models, scores, file if several else "", asked.json)
        if several:
            _show_totals(models, totals, file, file, asked.json)
        overall = [before + total for before, total in zip(overall, totals, strict=True)]
    _show_totals(models, overall, "", "all files" if several else "", asked.json)


def _scores_of_lines(
    models: "list[LanguageModel]", file: str, settings: CorpusSettings, asked: Asked
) -> "Iterator[tuple[Score, ...]]":
    """The scores of each line by each run."""
    from charlm.corpus.incoming import batches_of_lines
    from charlm.scoring.language_model import LINES_AT_ONCE

    raw = all(lm.tokenizer.unit == "byte" for lm in models)
    if all(lm.reading.settings.line_ends == "lf" for lm in models):
        settings = replace(settings, line_ends="lf")
    batches = batches_of_lines(file, settings, LINES_AT_ONCE, partial(say, quiet=asked.quiet), raw, _form(models))
    keeps_cr = raw or any(lm.reading.settings.line_ends == "keep" for lm in models)
    decoded = ([_decoded(line, keeps_cr) for line in batch] for batch in batches)
    for lines in noting_ids(decoded, asked.quiet):
        texts = [asked.read(line) for line in lines]
        yield from zip(*(lm.score_lines(texts, context=asked.context, eos=asked.eos) for lm in models), strict=True)


def _decoded(line: bytes, keeps_cr: bool) -> str:
    """A line as text; a CR at its end is the rest of a CRLF where no run knows CR."""
    text = line.decode("utf-8", "surrogateescape")
    return text if keeps_cr else text.removesuffix("\r")


def _form(models: "list[LanguageModel]") -> "Callable[[TextFile], Iterable[str]] | None":
    """What brings an open text into the form that all these runs know, and its notes; nothing where they differ."""
    from charlm.corpus.forms import about_other_form, bring_into_form

    first, *others = models
    if first.tokenizer.unit == "byte" or any(lm.reading.settings != first.reading.settings for lm in others):
        return None

    def bring(text: "TextFile") -> "Iterable[str]":
        bring_into_form(text, first.reading.of_file(), raw=False, tokenizer=first.tokenizer)
        return about_other_form(first.tokenizer, text)

    return bring


def _say_bytes(models: "list[LanguageModel]", texts: list[str]) -> None:
    """A warning where an argument has bytes that are no text, which only some units know."""
    if any(map(NO_TEXT.search, texts)) and any(lm.tokenizer.unit != "byte" for lm in models):
        say("warning: bytes that are no UTF-8 were read as unknown symbols; a run of --unit byte takes any bytes")


def _say_form(models: "list[LanguageModel]", texts: list[str]) -> None:
    """One sentence where accents are written in another way than a run knows them."""
    for note in dict.fromkeys(note for lm in models for note in map(lm.reading.about_form, texts) if note):
        say(f"warning: {note}")


def _show_scores_of_line(models: "list[LanguageModel]", scores: "Sequence[Score]", file: str, json: bool) -> None:
    """One line of a file; `file` is named where there are several."""
    if json:
        for lm, score in zip(models, scores, strict=True):
            write_json({**_record(score), "run": str(lm.path), **({"file": file} if file else {})})
    elif len(models) > 1:
        show_line(short_names(models), scores)
    else:
        write_text(f"{scores[0].logprob_nats:12.4f}  {visible(scores[0].text)}\n", flush=True)


def _show_totals(models: "list[LanguageModel]", totals: "Sequence[Tally]", file: str, title: str, json: bool) -> None:
    """The total of a file, or of all; by each run."""
    if json:
        for lm, total in zip(models, totals, strict=True):
            write_json({"total": True, **_tally_record(total), "run": str(lm.path), **({"file": file} if file else {})})
        return
    if title:
        out.print(Text(f"total of {visible(title)}", style="bold"))
    if len(models) > 1:
        show_totals_by_run(short_names(models), totals)
    else:
        _show_tally(totals[0])


def _show_sentences(scores: "list[Score]", asked: Asked) -> None:
    """One sentence's figures, or the ranking of several; then their tokens, in the same order."""
    if len(scores) == 1:
        _show_tally(scores[0].tally, ", its end <eos> among them" if asked.eos else "")
        _show_tokens(scores[0])
        return
    ranked = sorted(scores, key=lambda score: -score.logprob_nats)
    of_one_length = len({score.tally.characters for score in scores}) == 1
    _show_ranking(ranked, of_one_length)
    if not of_one_length:
        say("longer sentences are less likely by their length alone: see per character", asked.quiet)
    for place, score in enumerate(ranked, 1):
        if score.tokens_scored:
            out.print(Text(f"\n{place}. {visible(score.text)}", style="bold"))
            _show_tokens(score)


def _show_ranking(ranked: "list[Score]", of_one_length: bool) -> None:
    """The likeliest first, each with how many times likelier it is than the next, if need be per character, too."""
    likelier = ["times likelier\nthan the next"] + ([] if of_one_length else ["per\ncharacter"])
    table = _table("", "log p\n(nats)", "perplexity", *likelier, "sentence")
    for place, score in enumerate(ranked, 1):
        times = ["" for _ in likelier]
        for following in ranked[place : place + 1]:
            nats = (
                score.logprob_nats - following.logprob_nats,
                following.tally.nats_per_char - score.tally.nats_per_char,
            )
            times = [_times(one) for one in nats[: len(likelier)]]
        figures = (f"{score.logprob_nats:.4f}", perplexity(score.tally.nats_per_token, 4))
        table.add_row(f"{place}.", *figures, *times, Text(visible(score.text)))
    out.print(table)


def _show_tally(tally: "Tally", counted: str = "") -> None:
    """All figures of a text; `counted` says what is among its tokens."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _figures(tally, counted).items():
        table.add_row(name, value)
    out.print(table)


def _figures(tally: "Tally", counted: str) -> dict[str, str]:
    figures = {
        "log-probability": f"{tally.logprob_nats:.4f} nats, {tally.logprob10:.4f} base 10; nearer to 0: likelier",
        "probability": _probability(tally.logprob_nats),
        "perplexity": f"{perplexity(tally.nats_per_token, 4)} per token; lower: likelier",
        "bits per character": f"{tally.bits_per_char:.4f}",
        "nats per character": f"{tally.nats_per_char:.4f}",
        "tokens": f"{tally.tokens:,}{counted}",
        "unknown": f"{tally.unknown:,}",
    }
    if tally.unknown:
        figures["perplexity without them"] = perplexity(tally.nats_per_known_token, 4)
    return figures


def _show_tokens(score: "Score") -> None:
    if not score.tokens_scored:
        return
    table = _table("token", "p", "surprisal (bits)", "rank")
    for token in score.tokens_scored:
        surprisal = f"{-token.logprob_nats / math.log(2):.3f}"
        table.add_row(Text(_shown(token)), f"{math.exp(token.logprob_nats):.6f}", surprisal, f"{token.rank:,}")
    out.print(table)
    if spelling := sum(token.spelling_nats for token in score.tokens_scored):
        out.print(f"and {spelling / math.log(2):.3f} bits for the spelling of what is unknown")


def _shown(token: "TokenScore") -> str:
    joins = f" ({token.joins})" if token.joins else ""
    return visible_symbol(token.plain) + joins + (f" for {visible_symbol(token.unknown)}" if token.unknown else "")


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
    record = {**text_fields("text", score.text), **_tally_record(score.tally)}
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
        is_text = heading in ("token", "sentence")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    return table
