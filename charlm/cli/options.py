"""Typer options that several commands have, and those made from the settings: each is described only once."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from charlm.settings import PredictorName, flag

OneRun = Annotated[str | None, typer.Option(help="The run (default: the one saved last).")]
EncodingOfFile = Annotated[str, typer.Option(help="The encoding of --file.")]
Predictor = Annotated[
    PredictorName | None,
    typer.Option(help="The network or the n-grams beside it alone (default: their mixture, where the run has one)."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of processor threads.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]

Command = Callable[..., None]
MAX_CHOICES_SHOWN = 6
INCLUDE = "In folders and archives, read only files that match PATTERN, such as '*.txt'; may be repeated."
EXCLUDE = "Leave out files whose path, name or folder matches PATTERN; may be repeated."


def takes(*kinds: type) -> Callable[[Command], Command]:
    """Give a command, whose last parameter is `**flags`, one option for each setting of the dataclasses `kinds`.

    An option that was not given arrives as None, so that the environment, the file or the default can fill it.
    """

    def decorate(command: Command) -> Command:
        own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
        parameters = own + [option for kind in kinds for option in _options(kind)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _options(kind: type) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(kind)
    return (_option(field, _without_none(hints[field.name])) for field in dataclasses.fields(kind))


def _option(field: "dataclasses.Field[Any]", kind: Any) -> inspect.Parameter:
    doc, name = field.metadata["doc"], flag(field.name)
    if field.default is not None and kind is not bool:
        doc += f" [dim]\\[default: {field.default}][/]"
    option = typer.Option(
        f"{name}/--no-{name.removeprefix('--')}" if kind is bool else name,
        help=doc,
        rich_help_panel=field.metadata["panel"],
        show_default=False,
        metavar="NAME" if len(typing.get_args(kind)) > MAX_CHOICES_SHOWN else None,
    )
    annotation = typing.Annotated[kind | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _without_none(hint: Any) -> Any:
    """The type of a setting that may also be None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint
