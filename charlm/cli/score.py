"""`charlm score`: the probability of sentences, files and next tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.console import say, say_which
from charlm.cli.options import Predictor, Quiet, Threads
from charlm.cli.score_json import write_line, write_next, write_sentences, write_total, write_totals
from charlm.cli.score_pseudo import show_pseudo_scores
from charlm.cli.score_tables import (
    run_names,
    show_figures,
    show_headings,
    show_line,
    show_next,
    show_sentences,
    show_sentences_by_run,
    show_totals,
)
from charlm.cli.typed import is_numbers, note_ids, noting_ids, read_escapes, typed_text
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, Device, EncodingErrors, Item, OneDirection, Precision
from charlm.system.machine import one_thread_for_numpy
from charlm.text.surrogates import SURROGATE

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score
    from charlm.corpus.text_file import TextFile

SPACE_ADDED = "one space was put between the context and the text"
EXAMPLES = """[bold]Examples[/]

charlm score "The apple and pear salad" "The apple and pair salad"

charlm score "The cat sat." --per-token

charlm score --context "The cats " --next 10

charlm score "Wer bist du?" "Who are you?" --run german --run english

charlm score "The cat sat." --direction backward --per-token

charlm score "The cat sat." --run generator --given positive

charlm score "The cat sat." --pseudo --run cloze-run

charlm score --file sentences.txt --json

charlm score --stream corpus.txt

some-program | charlm score -

charlm score -- "- a sentence that begins with a dash\""""


@dataclass(frozen=True)
class Asked:
    """How texts are scored, and how the result is shown."""

    context: str
    eos: bool
    escapes: bool
    per_token: bool
    json: bool
    quiet: bool

    def read(self, text: str) -> str:
        return read_escapes(text) if self.escapes else text


def register(app: typer.Typer) -> None:
    app.command("score", epilog=EXAMPLES)(score_cli)


def score_cli(
    sentences: Annotated[
        list[str] | None,
        typer.Argument(help="Sentences; several are ranked. A single - is standard input, one sentence per line."),
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="The run (default: the one saved last); several are compared.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(help="A file with a sentence per line, or paragraphs (train --item); - is standard input."),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Score this file as one running text; shows the total only.")
    ] = None,
    direction: Annotated[
        OneDirection | None,
        typer.Option(help="Of a pair of models, the one that reads forward (the default) or backward."),
    ] = None,
    given: Annotated[
        str | None, typer.Option(metavar="LABEL", help="With a run of --task generate: the label of the sentences.")
    ] = None,
    predictor: Predictor = None,
    context: Annotated[
        str, typer.Option(help="Text before the sentence, which is not counted; - is standard input.")
    ] = "",
    next_tokens: Annotated[
        int | None, typer.Option("--next", min=1, help="Show the N most likely tokens after --context.")
    ] = None,
    pseudo: Annotated[
        bool,
        typer.Option("--pseudo", help="Pseudo-log-likelihood by a cloze network: each token given all the others."),
    ] = False,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Show the probability of each token of the sentences.")
    ] = False,
    eos: Annotated[
        bool,
        typer.Option("--eos/--no-eos", help="Count the end of the sentence as a token (the default), or leave it out."),
    ] = True,
    escapes: Annotated[
        bool, typer.Option("--escapes/--no-escapes", help=r"Interpret \n, \t and \\ in sentences and context.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="The encoding of --file and --stream.")] = "utf-8",
    encoding_errors: Annotated[
        EncodingErrors, typer.Option(help="What to do with bytes that cannot be decoded.")
    ] = "strict",
    device: Annotated[
        Device, typer.Option(help="Device for --file and --stream; single sentences use the processor.")
    ] = "auto",
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster and a little less exact.")] = "float32",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per sentence.")] = False,
    quiet: Quiet = False,
) -> None:
    """Score sentences: how probable is this text?"""
    if sentences == ["-"] and not file:
        sentences, file = None, ["-"]
    if threads or not (file or stream):
        one_thread_for_numpy(threads)
    if sum(map(bool, (sentences, file, stream, next_tokens))) != 1:
        raise UsageError("give sentences, or --file, or --stream, or --next", to_do='charlm score "a sentence"')
    if stream and (context or not eos or escapes):
        raise UsageError("--stream takes no --context, --no-eos or --escapes", to_do="leave them out")
    if per_token and not sentences:
        to_do = 'charlm score --per-token "a sentence"'
        raise UsageError("--per-token is for sentences given as arguments", to_do=to_do)
    if len(set(run or ())) > 1 and (per_token or next_tokens or stream):
        option = "--per-token" if per_token else "--next" if next_tokens else "--stream"
        raise UsageError(f"{option} takes one --run", to_do="ask the runs one after another")
    if context == "-" and "-" in (file or ()):
        raise UsageError("standard input cannot be both context and sentences", to_do="give one of them otherwise")
    settings = CorpusSettings(encoding=encoding, encoding_errors=encoding_errors)
    if pseudo:
        chosen_precision, chosen_device = precision != "float32" and precision, device != "auto" and device
        others = (stream, next_tokens, context, per_token, direction, not eos, chosen_precision, chosen_device)
        _refuse_with_pseudo(*others, given is not None, predictor)
        show_pseudo_scores(run, sentences, file, settings, escapes, json, quiet)
        return
    from charlm.api import load_language_model

    load = partial(
        load_language_model,
        device=device,
        precision=precision,
        threads=threads,
        direction=direction,
        given=given,
        predictor=predictor,
    )
    models = _load_all(run, load, quiet)
    asked = Asked(typed_text(context, "--context", escapes), eos, escapes, per_token, json, quiet)
    if next_tokens:
        likeliest = models[0].next_tokens(asked.context, next_tokens)
        (write_next if json else show_next)(likeliest)
    elif stream:
        _score_stream(models[0], stream, settings, asked)
    elif file:
        _score_files(models, file, settings, asked)
    else:
        _score_sentences(models, sentences or [], asked)


def _refuse_with_pseudo(*given: object) -> None:
    """Raise UsageError for an option that has no effect on a cloze network."""
    options = ("--stream", "--next", "--context", "--per-token", "--direction", "--no-eos", "--precision", "--device")
    for option, value in zip((*options, "--given", "--predictor"), given, strict=True):
        if value:
            raise UsageError(f"{option} does nothing with --pseudo", to_do="leave one of them out")


def _load_all(
    runs: list[str] | None, load: "Callable[[str | None], LanguageModel]", quiet: bool
) -> "list[LanguageModel]":
    """The models of these runs, each once; without any, that of the run saved last."""
    loaded = [load(run) for run in runs or (None,)]
    models = list({lm.path.resolve(): lm for lm in loaded}.values())
    for note in (note for lm in models for note in lm.notes):
        say(note, quiet)
    if not runs and not quiet:
        say_which(models[0].path)
    if len(models) > 1:
        for name, lm in zip(run_names(models), models, strict=True):
            note = f"{name}: not lossless; its figures are of the text as it keeps it, not quite the same"
            say(note, quiet or lm.tokenizer.lossless)
    return models


def _score_sentences(models: "list[LanguageModel]", sentences: list[str], asked: Asked) -> None:
    """Score sentences that were given as arguments: one, a ranking, or side by side for several runs."""
    from charlm.text.items import NUM_ENDS

    texts = [asked.read(text) for text in sentences]
    note_ids(texts, asked.quiet)
    _warn_of_bytes(models, [asked.context, *texts])
    _warn_of_form(models, [asked.context, *texts])
    scores = [
        [lm.score(text, context=asked.context, eos=asked.eos, per_token=asked.per_token) for lm in models]
        for text in texts
    ]
    flat = [score for by_run in scores for score in by_run]
    if any(score.has_space for score in flat):
        say(SPACE_ADDED, asked.quiet)
    if asked.per_token and any(lm.direction == "backward" for lm in models):
        say("each token is conditioned on what follows it; <eos> stands for the start of the text", asked.quiet)
    if any(is_numbers(score.text) and score.tally.unknown for score in flat):
        say("numbers are scored as text; charlm takes no ids of tokens", asked.quiet)
    if asked.json:
        write_sentences(models, scores)
    elif len(models) > 1:
        show_sentences_by_run(run_names(models), scores)
    else:
        show_sentences([score for score, *_ in scores], NUM_ENDS[models[0].item] if asked.eos else 0, asked.quiet)


def _score_stream(lm: "LanguageModel", stream: str, settings: CorpusSettings, asked: Asked) -> None:
    """Score a file as one running text."""
    notes: list[str] = []
    total = lm.score_stream(stream, settings, notes)
    for note in notes:
        say(note, asked.quiet)
    (write_total if asked.json else show_figures)(total)


def _score_files(models: "list[LanguageModel]", files: list[str], settings: CorpusSettings, asked: Asked) -> None:
    """Score the lines of each file as they come, then show the totals."""
    from charlm.scoring.metrics import Tally

    several, space_was_noted = len(files) > 1, asked.quiet
    overall = [Tally() for _ in models]
    if len(models) > 1 and not asked.json:
        show_headings(run_names(models))
    for file in files:
        totals = [Tally() for _ in models]
        for scores in _scores_of_lines(models, file, settings, asked):
            if any(score.has_space for score in scores):
                say(SPACE_ADDED, space_was_noted)
                space_was_noted = True
            totals = [total + score.tally for total, score in zip(totals, scores, strict=True)]
            if asked.json:
                write_line(models, scores, file if several else "")
            else:
                show_line(run_names(models), scores, models[0].item)
        if several and asked.json:
            write_totals(models, totals, file)
        elif several:
            show_totals(run_names(models), totals, file)
        overall = [before + total for before, total in zip(overall, totals, strict=True)]
    if asked.json:
        write_totals(models, overall)
    else:
        show_totals(run_names(models), overall, "all files" if several else "")


def _scores_of_lines(
    models: "list[LanguageModel]", file: str, settings: CorpusSettings, asked: Asked
) -> "Iterator[tuple[Score, ...]]":
    """For each line of a file, or each paragraph, its scores, one for each model."""
    from charlm.corpus.incoming import batches_of_lines, paragraphs_of
    from charlm.scoring.language_model import LINES_AT_ONCE

    raw = all(lm.tokenizer.takes_any_bytes for lm in models)
    if all(lm.reading.settings.line_ends == "lf" for lm in models):
        settings = replace(settings, line_ends="lf")
    batches = batches_of_lines(file, settings, LINES_AT_ONCE, partial(say, quiet=asked.quiet), raw, _form(models))
    keeps_cr = raw or any(lm.reading.settings.line_ends == "keep" for lm in models)
    decoded = ([_decoded(line, keeps_cr) for line in lines] for lines in batches)
    items = paragraphs_of(decoded) if _item(models) == "paragraph" else noting_ids(decoded, asked.quiet)
    for batch in items:
        texts = [asked.read(text) for text in batch]
        yield from zip(*(lm.score_lines(texts, context=asked.context, eos=asked.eos) for lm in models), strict=True)


def _item(models: "list[LanguageModel]") -> Item:
    """What each of the models reads on its own. Raises UsageError where they differ."""
    if len(items := {lm.item for lm in models}) > 1:
        what = "some of these runs read each line on its own, some each paragraph"
        raise UsageError(what, to_do="ask the runs one after another")
    return items.pop()


def _decoded(line: bytes, keeps_cr: bool) -> str:
    """A line as text. Where no model knows CR, one at the end belongs to a CRLF and is removed."""
    text = line.decode("utf-8", "surrogateescape")
    return text if keeps_cr else text.removesuffix("\r")


def _form(models: "list[LanguageModel]") -> "Callable[[TextFile], Iterable[str]] | None":
    """A function that brings an open text into the form that all models know and gives its notes; None if they differ.

    Models of bytes have no such form.
    """
    from charlm.corpus.forms import about_other_form, bring_into_form

    first, *others = models
    if first.tokenizer.takes_any_bytes or any(lm.reading.settings != first.reading.settings for lm in others):
        return None

    def bring(text: "TextFile") -> "Iterable[str]":
        bring_into_form(text, first.reading.of_file(), raw=False, tokenizer=first.tokenizer)
        return about_other_form(first.tokenizer, text)

    return bring


def _warn_of_bytes(models: "list[LanguageModel]", texts: Sequence[str]) -> None:
    """Warn when an argument has bytes that are not UTF-8, which only models of bytes know."""
    if any(map(SURROGATE.search, texts)) and not all(lm.tokenizer.takes_any_bytes for lm in models):
        say(
            "warning: bytes that are not valid UTF-8 were read as unknown symbols; "
            "a model trained with --unit byte reads any bytes"
        )


def _warn_of_form(models: "list[LanguageModel]", texts: Sequence[str]) -> None:
    """Warn, once for each way, when accents are written in another way than a model knows them."""
    for note in dict.fromkeys(note for lm in models for note in map(lm.reading.about_form, texts) if note):
        say(f"warning: {note}")
