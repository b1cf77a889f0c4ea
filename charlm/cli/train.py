"""`charlm train`: train a model on your own text."""

import dataclasses
import shlex
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.console import describe, on_closed_pipe, out, say, show_command, write_json
from charlm.cli.options import EXCLUDE, INCLUDE, takes
from charlm.cli.train_result import next_commands, show_result
from charlm.errors import UsageError
from charlm.given import gather, unknown_variables
from charlm.settings import (
    CorpusSettings,
    DataSettings,
    ModelSettings,
    PresetName,
    TextSettings,
    TrainingSettings,
)

if TYPE_CHECKING:
    from charlm.lifecycle.estimate import Estimate
    from charlm.lifecycle.request import TrainRequest
    from charlm.lifecycle.results import Result
    from charlm.lifecycle.session import Session
    from charlm.training.events import Finished

EXAMPLES = """[bold]The result[/]

streamed: the validation text is read as one, and the state is carried from line to line.

cold: each of its lines is read on its own, as charlm score reads a sentence.

[bold]Examples[/]

charlm train corpus.txt

charlm train corpus.txt --time 20m --preset large

charlm train --resume

charlm train poems.txt --init-from stories

charlm train tunes.txt --item paragraph

charlm train chapters/*.txt --exclude 'draft*'

charlm train reviews.tsv --task classify

charlm train tunes.jsonl --task generate

charlm train ptb.train.txt --valid ptb.valid.txt --test ptb.test.txt \\
    --unit word --split whitespace"""


def register(app: typer.Typer) -> None:
    app.command("train", epilog=EXAMPLES)(train_cli)


@takes(TextSettings, CorpusSettings, DataSettings, ModelSettings, TrainingSettings)
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
    target: Annotated[
        Path | None,
        typer.Option(help="translate: the targets, line by line, if CORPUS has the sources.", rich_help_panel="Task"),
    ] = None,
    valid_target: Annotated[
        Path | None, typer.Option(help="translate: the targets of --valid.", rich_help_panel="Task")
    ] = None,
    test_target: Annotated[
        Path | None, typer.Option(help="translate: the targets of --test.", rich_help_panel="Task")
    ] = None,
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
    """Train a language model on a text, or a network on labelled data."""
    began = time.perf_counter()
    on_closed_pipe(signal.SIG_IGN)
    flags["preset"] = preset
    settings = gather(flags, config, resume=resume)
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
        target=target,
        valid_target=valid_target,
        test_target=test_target,
        init_from=init_from,
        resume=resume,
        force=force,
        command=shlex.join(["charlm", *sys.argv[1:]]),
        settings=Settings.parsed(settings, flags, config),
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
        raise UsageError("--dry-run works only for a new training, not with --resume", to_do="leave --resume out")
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
        say("stopped at once; everything saved before is intact")
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


def _measure(session: "Session", json: bool, quiet: bool) -> "Result":
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
    show_command(f"charlm train --resume --run {shlex.quote(str(session.run.path))}", "continue with: ")


def _conclude(result: "Result", json: bool, quiet: bool) -> None:
    """Show the result and what to do next. Raises ResourceError if the end of the training could not be saved."""
    if json:
        write_json(result.as_json())
    else:
        show_result(result)
    if note := result.about_measuring:
        say(f"to keep to the time, {note}; the other parts were measured in the same way", quiet)
    if result.unsaved is not None:
        say("the best weights are intact and ready to use, but the end of this training could not be saved:")
        raise result.unsaved
    if not (json or quiet):
        for number, command in enumerate(next_commands(result)):
            show_command(f"charlm {command}".replace("RUN", shlex.quote(result.run)), "      " if number else "next: ")


def _show_estimate(session: "Session", expected: "Estimate") -> None:
    out.print(f"{describe(session.architecture)}, {session.architecture.vocab_size:,} types")
    memory = f"about {expected.memory_bytes / 2**20:,.0f} MB of memory in training"
    out.print(f"{expected.num_params:,} parameters, {memory}")
    steps = f"{expected.steps:,} steps of {expected.tokens_per_step:,} tokens"
    speed = f"{expected.tokens_per_second:,.0f} tokens/s"
    out.print(f"{steps} at {speed}: about {expected.seconds:,.0f} s, {expected.passes:.1f} passes over the text")
