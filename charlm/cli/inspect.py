"""`charlm inspect`: look into a trained network. Only `--gradients` loads torch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.errors import UsageError
from charlm.settings import flag

VIEWS = ("gradients", "clipping", "states", "agreement", "embeddings")
COMPARING = ("gradients", "clipping", "agreement")
VIEWS_BY_OPTION = {
    "compare": COMPARING,
    "max_distance": ("gradients",),
    "layer": ("states",),
    "neuron": ("states",),
    "gate": ("states",),
    "find": ("states",),
    "symbol": ("embeddings",),
}
VIEW, GRADIENTS, STATES, EMBEDDINGS = "Views: give one", "With --gradients", "With --states", "With --embeddings"
EXAMPLES = """[bold]Examples[/]

charlm inspect plain --compare gated --gradients "The cats, which already ate a bunch of fish, were full."

charlm inspect gated --gradients - -o gradients.svg < sentences.txt

charlm inspect gated --clipping --compare free

charlm inspect gated --states "The cats were full." --neuron 17

charlm inspect gated --states - --find < sentences.txt

charlm inspect plain --compare gated --agreement data/agreement-pairs.tsv -o agreement.html

charlm inspect gated --embeddings --symbol a --symbol ,"""


def register(app: typer.Typer) -> None:
    app.command("inspect", epilog=EXAMPLES)(inspect_cli)


def inspect_cli(
    run: Annotated[
        list[str],
        typer.Argument(help="A run: its folder, or its name under runs/; further ones are compared with it."),
    ],
    gradients: Annotated[
        str | None,
        typer.Option(
            help="How far back the loss reaches, averaged over TEXT; - is standard input.", rich_help_panel=VIEW
        ),
    ] = None,
    clipping: Annotated[
        bool, typer.Option("--clipping", help="The gradient norms of the training.", rich_help_panel=VIEW)
    ] = False,
    states: Annotated[
        str | None,
        typer.Option(help="TEXT coloured by what a unit or a gate does; - is standard input.", rich_help_panel=VIEW),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="How often the right verb is likelier, in a table of pairs such as data/agreement-pairs.tsv.",
            rich_help_panel=VIEW,
        ),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="A map of the vocabulary; a symbol's neighbours.", rich_help_panel=VIEW)
    ] = False,
    max_distance: Annotated[
        int | None,
        typer.Option(min=1, help="Look back so many tokens (default: as the text allows).", rich_help_panel=GRADIENTS),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="The layer, from 1 (default: the uppermost).", rich_help_panel=STATES)
    ] = None,
    neuron: Annotated[
        int | None, typer.Option(min=1, help="The unit of the layer, from 1.", rich_help_panel=STATES)
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A gate, or a part of the state, as charlm cells names it.", rich_help_panel=STATES
        ),
    ] = None,
    find: Annotated[
        bool,
        typer.Option(
            "--find",
            help="Find units that follow quotes, brackets, places, words, the subject's number.",
            rich_help_panel=STATES,
        ),
    ] = False,
    symbol: Annotated[
        list[str] | None,
        typer.Option(help="Show what is near this symbol; may be repeated.", rich_help_panel=EMBEDDINGS),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="With --gradients, --clipping and --agreement: show this run as well; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file: .svg, .html, or .png (extra plot).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON objects.")] = False,
) -> None:
    """Look into a network: gradients, states, agreement, embeddings."""
    given: dict[str, Any] = {
        name: value for name, value in locals().items() if name in (*VIEWS, *VIEWS_BY_OPTION) and _is_given(value)
    }
    if len(run) > 1:
        given["compare"] = [*run[1:], *given.get("compare", ())]
    view = _chosen(given)
    from charlm.cli.inspect_views import SHOWN, Asked

    options = {name: value for name, value in given.items() if name not in (view, "compare")}
    SHOWN[view](Asked((run[0], *given.get("compare", ())), given[view], output, json, **options))


def _is_given(value: Any) -> bool:
    """Whether an option has a value; a text may be empty."""
    return value is not None and value is not False and value != []


def _chosen(given: dict[str, Any]) -> str:
    """The one view that was asked for. Raises UsageError for none, for several, and for options of other views."""
    views = [view for view in VIEWS if view in given]
    if len(views) != 1:
        what = f"{' and '.join(map(flag, views))} are different views" if views else "there is no view"
        raise UsageError(what, to_do=f"give one of {', '.join(map(flag, VIEWS))}")
    for name, known in VIEWS_BY_OPTION.items():
        if name in given and views[0] not in known:
            what = f"{flag(name)} does nothing with {flag(views[0])}"
            raise UsageError(what, to_do=f"it is for {', '.join(map(flag, known))}")
    if "find" in given and "neuron" in given:
        raise UsageError("--find and --neuron contradict each other", to_do="give one of them")
    return views[0]
