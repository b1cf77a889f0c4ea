"""`charlm sample`: new text from a trained model. Runs without torch."""

import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.console import out, say, say_which, text_fields, visible, write_json, write_text
from charlm.cli.typed import read_escapes, typed_text
from charlm.cli.wrapping import WrappedText
from charlm.errors import UsageError
from charlm.settings import Precision
from charlm.system.machine import one_thread_for_numpy

if TYPE_CHECKING:
    from charlm.api import LanguageModel
    from charlm.sampling.generate import Sample, SampledToken

EXAMPLES = """[bold]Examples[/]

charlm sample --temp 0.8

charlm sample --prompt "Once upon a time" --top-p 0.9 --length 300

charlm sample --until-eos --num-samples 5 --seed 1

charlm sample --stop "." --stop "\\n" --json

echo "Once upon a time" | charlm sample --prompt -"""


def register(app: typer.Typer) -> None:
    app.command("sample", epilog=EXAMPLES)(sample_cli)


def sample_cli(
    run: Annotated[str | None, typer.Option(help="The run (default: the one saved last).")] = None,
    temperature: Annotated[
        float, typer.Option("--temp", "--temperature", help="Below 1 safer, above 1 wilder; 0 is the arg max.")
    ] = 1.0,
    argmax: Annotated[bool, typer.Option("--argmax", help="Always the likeliest token.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Only among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Only among the likeliest that together hold p.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Only tokens p times as likely as the likeliest.")] = None,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: tokens of the text so far get rarer.")] = 1.0,
    prompt: Annotated[str, typer.Option(help="Text to go on from; - is standard input.")] = "",
    length: Annotated[int | None, typer.Option(help="Tokens (default 500; with --until-eos at most 5,000).")] = None,
    until_eos: Annotated[bool, typer.Option("--until-eos", help="Stop at the end of a line.")] = False,
    stop: Annotated[
        list[str] | None, typer.Option(help=r"Stop before this text, such as \n; of several, the first that comes.")
    ] = None,
    escapes: Annotated[
        bool | None,
        typer.Option("--escapes/--no-escapes", help=r"Read \n, \t and \\ in --prompt, too; or not even in --stop."),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="How many samples.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text.")] = None,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Let <unk> be sampled.")] = False,
    echo: Annotated[bool, typer.Option("--echo/--no-echo", help="Print the prompt first.")] = True,
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster, and a little less exact.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads (default: 1 for one sample, else all).")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="On a terminal, too: control characters as they are, not their escapes.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a sample.")] = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="With --json: each token's probability.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the text.")] = False,
) -> None:
    """Sample new text from a trained model."""
    if per_token and not json:
        raise UsageError("--per-token is for --json", to_do="give both, or neither")
    one_thread_for_numpy(threads if num_samples == 1 else None)
    from charlm.api import load
    from charlm.sampling.generate import Ending, collect, stop_texts
    from charlm.sampling.strategies import Strategy

    strategy = Strategy(
        temperature=0.0 if argmax else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    stops = [one if escapes is False else read_escapes(one) for one in dict.fromkeys(stop or [])]
    ending = Ending(
        length=length if length is not None else 5000 if until_eos else 500, until_eos=until_eos, stop=stops
    )
    seed = secrets.randbits(32) if seed is None else seed
    lm = load(run, precision=precision, threads=threads)
    if run is None and not quiet:
        say_which(lm.path)
    prompt = typed_text(prompt, "--prompt", escapes is True)
    _warn_of_unknown(lm, prompt)
    _warn_of_stops(lm, stop_texts(lm.as_read(ending).stop), until_eos, allow_unk)
    samples: Iterable[Iterable[SampledToken]]
    if num_samples == 1:
        samples = [lm.sample_tokens(prompt, strategy, ending, seed=seed, allow_unk=allow_unk)]
    else:
        many = lm.sample_many(prompt, strategy, ending, num_samples, seed=seed, allow_unk=allow_unk)
        samples = (sample.per_token for sample in many)
    for number, tokens in enumerate(samples):
        if json:
            _write_json_sample(lm, collect(prompt, tokens), per_token, {"seed": seed, "number": number})
            continue
        _print_sample(tokens, prompt if echo else "", until_eos, raw)
        if number < num_samples - 1 and not until_eos:
            write_text("\n")  # an empty line between longer samples


def _print_sample(tokens: "Iterable[SampledToken]", prompt: str, end_line: bool, raw: bool) -> None:
    """The prompt and what follows it, as it comes; on a terminal safe to look at, and wrapped at words."""
    if sys.stdout.isatty() and not raw:
        wrapped = WrappedText(partial(write_text, flush=True), lambda: out.width)
        for text in map(visible, _texts(tokens, prompt, end_line)):
            wrapped.write(text)
        wrapped.finish()
    else:
        for text in _texts(tokens, prompt, end_line):
            write_text(text, flush=out.is_terminal)


def _texts(tokens: "Iterable[SampledToken]", prompt: str, end_line: bool) -> Iterator[str]:
    """The prompt, the tokens, and a line end where one is needed."""
    yield prompt
    last = prompt
    for token in tokens:
        yield token.text
        last = token.text or last
    if end_line or not last.endswith("\n"):
        yield "\n"


def _write_json_sample(lm: "LanguageModel", sample: "Sample", per_token: bool, more: dict[str, Any]) -> None:
    record = {
        **text_fields("text", sample.text),
        **text_fields("prompt", sample.prompt),
        "ids": sample.ids,
        "logprob_nats": sample.logprob_nats,
        "stopped_by": sample.stopped_by,
        **more,
    }
    if per_token:
        record["per_token"] = [
            {"id": token.id, "symbol": lm.tokenizer.symbol(token.id), "logprob_nats": token.logprob_nats}
            for token in sample.per_token
        ]
    write_json(record)


def _warn_of_unknown(lm: "LanguageModel", prompt: str) -> None:
    unknown = dict.fromkeys(lm.unknown_in_prompt(prompt))
    if unknown and (note := lm.reading.about_form(prompt)):
        say(f"warning: {note}")
    elif unknown:
        shown = " ".join(ascii(symbol) if not symbol.isprintable() else symbol for symbol in list(unknown)[:10])
        say(f"warning: never seen in training, read as <unk>: {shown}")


def _warn_of_stops(lm: "LanguageModel", stops: Sequence[str], until_eos: bool, allow_unk: bool) -> None:
    """Say which stop texts cannot come, so that only the others and the length end a sample."""
    from charlm.text.possible import can_write

    for one in stops:
        if not can_write(lm.tokenizer, one, line_ends=not until_eos, unknown=allow_unk):
            why = (
                "--until-eos ends a sample before it"
                if until_eos and "\n" in one
                else "no tokens of this model make it"
            )
            say(f"warning: the stop text {one!r} can never come: {why}")
