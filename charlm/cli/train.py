"""`charlm train`: train a model on your own text."""

import dataclasses
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from charlm.cli.console import describe, literal, on_closed_pipe, out, perplexity, say, show_command, write_json
from charlm.cli.options import EXCLUDE, INCLUDE, takes
from charlm.errors import UsageError
from charlm.settings import (
    CorpusSettings,
    ModelSettings,
    PresetName,
    TextSettings,
    TrainingSettings,
    gather,
    unknown_variables,
)

if TYPE_CHECKING:
    from charlm.lifecycle.estimate import Estimate
    from charlm.lifecycle.request import TrainRequest
    from charlm.lifecycle.results import TrainResult
    from charlm.lifecycle.session import Session
    from charlm.scoring.metrics import Tally
    from charlm.training.events import Finished

MIN_COLUMNS_FOR_ALL = 74  # a terminal that is narrower gets no figures per token
EXAMPLES = """[bold]The result[/]

streamed: the validation text is read as one, and the state is carried from line to line.

cold: each of its lines is read on its own, as charlm score reads a sentence.

[bold]Examples[/]

charlm train corpus.txt

charlm train corpus.txt --time 20m --preset large

charlm train --resume

charlm train poems.txt --init-from stories

charlm train chapters/*.txt --exclude 'draft*'

charlm train ptb.train.txt --valid ptb.valid.txt --test ptb.test.txt \\
    --unit word --split whitespace"""


def register(app: typer.Typer) -> None:
    app.command("train", epilog=EXAMPLES)(train_cli)


@takes(TextSettings, CorpusSettings, ModelSettings, TrainingSettings)
def train_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files, folders or archives; - is standard input. Or a folder from charlm tokenize -o."
        ),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help=INCLUDE, rich_help_panel="Text")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=EXCLUDE, rich_help_panel="Text")] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the run (default: runs/<corpus name>); with --resume, the run to continue."
        ),
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="A text to validate on, instead of a part of the corpus.")] = None,
    test: Annotated[Path | None, typer.Option(help="A text to test on, once, after training.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Use this tokenizer: a run, or a tokenizer file.")] = None,
    preset: Annotated[PresetName | None, typer.Option(help="Size of the model.")] = None,
    config: Annotated[Path | None, typer.Option(help="Read settings from this TOML file.")] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Start from the weights and the vocabulary of this run; new symbols are added.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run from its newest saved state; it needs no corpus.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing run once the new one can be used.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show parameters, memory and time without training.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print progress and result as JSON lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    **flags: Any,
) -> None:
    """Train a language model on a text."""
    began = time.perf_counter()
    on_closed_pipe(signal.SIG_IGN)
    settings = gather({**flags, "preset": preset}, config, resume=resume)
    for note in unknown_variables():
        say(note, quiet)
    from charlm.corpus.gathering import Texts
    from charlm.lifecycle.request import Settings, TrainRequest

    request = TrainRequest(
        texts=Texts(tuple(corpus), tuple(include or ()), tuple(exclude or ())) if corpus else None,
        run=run,
        valid=valid,
        test=test,
        tokenizer=tokenizer,
        init_from=init_from,
        resume=resume,
        force=force,
        command=shlex.join(["charlm", *sys.argv[1:]]),
        settings=Settings.parsed(settings),
        began=began,
    )
    if dry_run:
        _estimate(request, json)
    else:
        _train_and_measure(request, json, quiet)


def _estimate(request: "TrainRequest", json: bool) -> None:
    """Show what a training would take."""
    from charlm.api import draft_training
    from charlm.lifecycle.estimate import estimate

    if request.resume:
        raise UsageError("--dry-run looks at a new training, not at one that goes on", to_do="leave --resume out")
    with draft_training(request) as session:
        expected = estimate(session)
        if json:
            write_json(dataclasses.asdict(expected))
        else:
            _show_estimate(session, expected)


def _train_and_measure(request: "TrainRequest", json: bool, quiet: bool) -> None:
    """Train, measure the best weights, and show the result."""
    from charlm.api import start_training

    session = start_training(request)
    for note in session.notes:
        say(note, quiet)
    try:
        finished = _train(session, json, quiet)
    except (KeyboardInterrupt, SystemExit):  # a second signal, which did not wait for the first one's saving
        say("ended at once; what was saved before is whole")
        if not session.is_hidden:
            _show_how_to_go_on(session)
        raise
    if finished.signal is not None:
        say(f"interrupted after step {finished.step:,}, which is saved; the best weights so far are ready to use")
        if session.spared:
            say(f"{session.spared} is as it was: what was trained is a run of its own, {session.run.path}")
        _show_how_to_go_on(session)
        raise typer.Exit(128 + finished.signal)
    _conclude(_measure(session, json, quiet), json, quiet)


def _train(session: "Session", json: bool, quiet: bool) -> "Finished":
    """Train with progress on stderr, and return how it ended."""
    from charlm.cli.progress import following

    with following(session, json, quiet) as show, closing(session.events()) as events:
        for event in events:
            show(event)
    assert session.finished is not None
    return session.finished


def _measure(session: "Session", json: bool, quiet: bool) -> "TrainResult":
    """Measure the best weights, with progress on stderr."""
    from charlm.cli.progress import measuring

    say("measuring the best weights", quiet)
    try:
        with measuring(json, quiet) as show:
            return session.measure(show)
    except (KeyboardInterrupt, SystemExit):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once, without a traceback
        say(f"interrupted while measuring; the model is ready to use: {session.run.path}")
        raise


def _show_how_to_go_on(session: "Session") -> None:
    show_command(f"charlm train --resume --run {shlex.quote(str(session.run.path))}", "go on with: ")


def _conclude(result: "TrainResult", json: bool, quiet: bool) -> None:
    """Show the result and what to do next. Raises ResourceError if the end of the training could not be saved."""
    if json:
        write_json(result.as_json())
    else:
        _show_result(result)
    if result.valid_tokens_measured < result.valid_tokens:
        measured = f"{result.valid_tokens_measured:,} of {result.valid_tokens:,} validation tokens were measured"
        spread = "in pieces or lines spread evenly over the text; the other parts were measured in the same way"
        say(f"to keep to the time, {measured}, {spread}", quiet)
    if result.unsaved is not None:
        say("the best weights are whole and ready to use, but the end of this training could not be saved:")
        raise result.unsaved
    if not (json or quiet):
        run = shlex.quote(result.run)
        show_command(f"charlm sample --run {run} --temp 0.8", "next: ")
        show_command(f'charlm score --run {run} "a sentence"', "      ")


def _show_result(result: "TrainResult") -> None:
    """Print the table of what was measured, and what it means."""
    table = Table(title=literal(result.run), title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    per_token = ("nats/token", "bits/token") if out.width >= MIN_COLUMNS_FOR_ALL else ()
    for heading in ("", "nats/char", "bits/char", *per_token, "perplexity"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    measured = {name: tally for name, tally in _measured(result).items() if tally is not None}
    for name, tally in measured.items():
        figures = (tally.nats_per_char, tally.bits_per_char, tally.nats_per_token, tally.bits_per_token)
        shown = [f"{figure:.4f}" for figure in figures[: 2 + len(per_token)]]
        table.add_row(name, *shown, perplexity(tally.nats_per_token, 2))
        if tally.unknown:
            known = perplexity(tally.nats_per_known_token, 2)
            table.add_row(f"  without {tally.unknown:,} unknown", *("" for _ in shown), known)
    out.print(table, soft_wrap=False)
    if result.valid is None:
        out.print(
            f"no validation part; on the text that it was trained on: {result.train_nats_per_token:.4f} nats/token"
        )
    for line in _explained(result, list(measured)):
        out.print(line, soft_wrap=False)
    took = f"{result.seconds:.0f} s, {result.training_seconds:.0f} s of them training"
    seen = f"{result.steps:,} steps, {result.tokens_seen:,} tokens, {took}"
    out.print(f"{result.num_params:,} parameters, {seen}", soft_wrap=False)


def _explained(result: "TrainResult", measured: list[str]) -> Iterator[str]:
    """Lines that say which figure to look at, what the rows mean, why training ended, and which weights were kept."""
    if measured:
        yield f"Look at nats/char of {measured[0]}: lower is better."
    meanings = {"streamed": "read as one text", "cold": "each line on its own, as in charlm score"}
    if needed := [f"{name}: {meaning}" for name, meaning in meanings.items() if name in " ".join(measured)]:
        yield "; ".join(needed)
    is_older = result.valid is not None and result.best_step < result.steps
    weights = f" Kept: step {result.best_step:,} of {result.steps:,}, the best in validation." if is_older else ""
    yield f"{result.ended[0].upper()}{result.ended[1:]}.{weights}"


def _measured(result: "TrainResult") -> "dict[str, Tally | None]":
    """The measurements by name, first the one in which the text is read as in training; of a pair, forward first."""
    own = _measured_of_network(result)
    if result.backward is None:
        return own
    backward = {f"{name}, backward": tally for name, tally in _measured_of_network(result.backward).items()}
    return {f"{name}, forward": tally for name, tally in own.items()} | backward


def _measured_of_network(result: "TrainResult") -> "dict[str, Tally | None]":
    streamed, cold = ("validation, streamed", result.valid_streamed), ("validation, cold", result.valid_cold)
    if result.mode == "sentence":  # such a model has never seen a running text
        return dict([cold, streamed, ("test, cold", result.test)])
    return dict([streamed, cold, ("test, streamed", result.test)])


def _show_estimate(session: "Session", expected: "Estimate") -> None:
    out.print(f"{describe(session.architecture)}, {session.architecture.vocab_size:,} types")
    memory = f"about {expected.memory_bytes / 2**20:,.0f} MB of memory in training"
    out.print(f"{expected.num_params:,} parameters, {memory}")
    steps = f"{expected.steps:,} steps of {expected.tokens_per_step:,} tokens"
    speed = f"{expected.tokens_per_second:,.0f} tokens/s"
    out.print(f"{steps} at {speed}: about {expected.seconds:,.0f} s, {expected.passes:.1f} passes over the text")
