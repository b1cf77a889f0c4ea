"""`charlm sample`: write new text with a trained model. Runs without torch."""

import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.console import out, say, say_which, text_fields, write_json, write_text
from charlm.cli.options import OneRun, Predictor
from charlm.cli.typed import read_escapes, typed_text
from charlm.cli.wrapping import WrappedText
from charlm.errors import UsageError
from charlm.settings import OneDirection, Precision
from charlm.system.machine import one_thread_for_numpy
from charlm.text.visible import visible

if TYPE_CHECKING:
    from charlm.api import LanguageModel
    from charlm.sampling.generate import Ending, Sample, SampledToken

DEFAULT_LENGTH = 500  # tokens
MAX_LINE_LENGTH = 5000  # tokens of a sample that ends at the end of a line
MAX_SHOWN_SYMBOLS = 10  # of those that a warning names
EXAMPLES = """[bold]Examples[/]

charlm sample --temp 0.8

charlm sample --prompt "Once upon a time" --top-p 0.9 --length 300

charlm sample --until-eos --num-samples 5 --seed 1

charlm sample --stop "." --stop "\\n" --json

charlm sample --given waltz --until-eos

charlm sample --suffix "and they lived happily ever after." --until-eos

echo "Once upon a time" | charlm sample --prompt -"""


def register(app: typer.Typer) -> None:
    app.command("sample", epilog=EXAMPLES)(sample_cli)


def sample_cli(
    run: OneRun = None,
    temperature: Annotated[
        float,
        typer.Option(
            "--temp", "--temperature", help="Below 1: safer text; above 1: wilder text; 0: the most likely token."
        ),
    ] = 1.0,
    argmax: Annotated[bool, typer.Option("--argmax", help="Always take the most likely token.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Choose among the k most likely tokens only.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Choose among the fewest most likely tokens whose probabilities add up to this number."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Choose among tokens at least this many times as likely as the most likely one (0 to 1)."),
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: tokens that the text already has get less likely.")
    ] = 1.0,
    prompt: Annotated[str, typer.Option(help="Text to continue; - is standard input.")] = "",
    suffix: Annotated[
        str, typer.Option(help="Text to write towards, with a model that reads backward; - is standard input.")
    ] = "",
    direction: Annotated[
        OneDirection | None,
        typer.Option(help="Of a pair of models, the one that reads forward (the default) or, with --suffix, backward."),
    ] = None,
    given: Annotated[
        str | None, typer.Option(metavar="LABEL", help="With a run of --task generate: the label of the text to write.")
    ] = None,
    predictor: Predictor = None,
    length: Annotated[
        int | None, typer.Option(help="Number of tokens (default 500, or at most 5,000 with --until-eos).")
    ] = None,
    until_eos: Annotated[
        bool, typer.Option("--until-eos", help="Stop at the end of a line, or of a paragraph (train --item).")
    ] = False,
    stop: Annotated[
        list[str] | None,
        typer.Option(help=r"End before this text, such as \n; can be given several times, the first to occur counts."),
    ] = None,
    escapes: Annotated[
        bool | None,
        typer.Option(
            "--escapes/--no-escapes",
            help=r"Interpret \n, \t and \\ in --prompt, --suffix and --stop (default: in --stop only).",
        ),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text.")] = None,
    allow_unk: Annotated[
        bool, typer.Option("--allow-unk", help="Let the model write <unk>, its token for unknown symbols.")
    ] = False,
    echo: Annotated[
        bool, typer.Option("--echo/--no-echo", help="Print the prompt before the text, or the suffix after it.")
    ] = True,
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster and a little less exact.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of processor threads (default: 1 for one sample, else all).")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="On a terminal, print control characters unchanged instead of their escapes.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per sample.")] = False,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="With --json: add the log-probability of each token.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the text only.")] = False,
) -> None:
    """Sample new text from a trained model."""
    if per_token and not json:
        raise UsageError("--per-token is for --json", to_do="give both, or neither")
    one_thread_for_numpy(threads if num_samples == 1 else None)
    from charlm.api import load_language_model
    from charlm.sampling.generate import Ending, collect
    from charlm.sampling.strategies import Strategy

    strategy = Strategy(
        temperature=0.0 if argmax else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    stops = [text if escapes is False else read_escapes(text) for text in dict.fromkeys(stop or [])]
    if length is None:
        length = MAX_LINE_LENGTH if until_eos else DEFAULT_LENGTH
    ending = Ending(length=length, until_eos=until_eos, stop=stops)
    seed = secrets.randbits(32) if seed is None else seed
    if suffix and direction == "forward":
        what = "--suffix is what a text ends in, and a forward model writes what follows a text"
        raise UsageError(what, to_do="leave --direction out, or give --prompt TEXT")
    if prompt and (suffix or direction == "backward"):
        what = "--prompt is what a text begins with, and a backward model writes what stands before a text"
        raise UsageError(what, to_do="give the text that follows: --suffix TEXT")
    reading = "backward" if suffix else direction
    lm = load_language_model(
        run, precision=precision, threads=threads, direction=reading, given=given, predictor=predictor
    )
    for note in lm.notes:
        say(note, quiet)
    if run is None and not quiet:
        say_which(lm.path)
    prompt, suffix = typed_text(prompt, "--prompt", escapes is True), typed_text(suffix, "--suffix", escapes is True)
    begun = lm.given(prompt, suffix)
    _warn_of_unknown(lm, begun)
    _warn_of_impossible_stops(lm, lm.as_read(ending), allow_unk)
    samples: Iterable[Iterable[SampledToken]]
    if num_samples == 1:  # token by token, so that the text can be read while it is written
        samples = [lm.sample_tokens(begun, strategy, ending, seed=seed, allow_unk=allow_unk)]
    else:
        finished = lm.sample_many(begun, strategy, ending, num_samples, seed=seed, allow_unk=allow_unk)
        samples = (sample.per_token for sample in finished)
    for number, tokens in enumerate(samples):
        if json:
            sample = replace(collect(prompt, tokens), suffix=suffix)
            label = {} if given is None else text_fields("given", given)
            _write_json_sample(lm, sample, per_token, {**label, "seed": seed, "number": number})
            continue
        is_line = until_eos and lm.item == "line"
        _print_sample(tokens, *(prompt, suffix) if echo else ("", ""), is_line, raw)
        if number < num_samples - 1 and not is_line:
            write_text("\n")  # an empty line between samples of several lines


def _print_sample(tokens: "Iterable[SampledToken]", prompt: str, suffix: str, end_line: bool, raw: bool) -> None:
    """Print prompt, tokens as they come, and suffix. On a terminal the text is made safe to print and wrapped."""
    if sys.stdout.isatty() and not raw:
        wrapped = WrappedText(partial(write_text, flush=True), lambda: out.width)
        for text in map(visible, _texts(tokens, prompt, suffix, end_line)):
            wrapped.write(text)
        wrapped.finish()
    else:
        for text in _texts(tokens, prompt, suffix, end_line):
            write_text(text, flush=out.is_terminal)


def _texts(tokens: "Iterable[SampledToken]", prompt: str, suffix: str, end_line: bool) -> Iterator[str]:
    """The prompt, the texts of the tokens, the suffix, and a line end if one is missing."""
    last = ""
    for text in chain([prompt], (token.text for token in tokens), [suffix]):
        yield text
        last = text or last
    if end_line or not last.endswith("\n"):
        yield "\n"


def _write_json_sample(lm: "LanguageModel", sample: "Sample", per_token: bool, origin: Mapping[str, object]) -> None:
    """Print a sample as JSON; `origin` has the label, seed and number from which it can be made again."""
    record = {
        **text_fields("text", sample.text),
        **text_fields("prompt", sample.prompt),
        **(text_fields("suffix", sample.suffix) if lm.direction == "backward" else {}),
        "ids": sample.ids,
        "logprob_nats": sample.logprob_nats,
        "stopped_by": sample.stopped_by,
        **origin,
    }
    if per_token:
        record["per_token"] = [
            {"id": token.id, "symbol": lm.tokenizer.symbol(token.id), "logprob_nats": token.logprob_nats}
            for token in sample.per_token
        ]
    write_json(record)


def _warn_of_unknown(lm: "LanguageModel", prompt: str) -> None:
    """Warn of symbols of the prompt that the model does not know, or that it knows in another Unicode form."""
    unknown = dict.fromkeys(lm.unknown_in_prompt(prompt))
    if unknown and (note := lm.reading.about_form(prompt)):
        say(f"warning: {note}")
    elif unknown:
        shown = " ".join(
            ascii(symbol) if not symbol.isprintable() else symbol for symbol in list(unknown)[:MAX_SHOWN_SYMBOLS]
        )
        say(f"warning: never seen in training, read as <unk>: {shown}")


def _warn_of_impossible_stops(lm: "LanguageModel", ending: "Ending", allow_unk: bool) -> None:
    """Warn of stop texts that the model cannot write, so that they never stop a sample."""
    from charlm.sampling.generate import stop_texts
    from charlm.text.items import NUM_ENDS
    from charlm.text.possible import can_write

    for stop in stop_texts(ending.stop):
        is_past_the_end = ending.until_eos and "\n" * NUM_ENDS[lm.item] in stop
        if can_write(lm.tokenizer, stop, line_ends=not is_past_the_end, unknown=allow_unk):
            continue
        why = "--until-eos ends a sample before it" if is_past_the_end else "no tokens of this model make it"
        say(f"warning: the stop text {stop!r} can never come: {why}")
