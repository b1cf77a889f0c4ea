"""Typer options made from the settings of `config.py`, so that each is described once."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import typer

from charlm.settings import flag

Command = Callable[..., None]
MAX_CHOICES_SHOWN = 6
INCLUDE = "Of folders and archives, only files of this pattern, such as '*.txt'; may be repeated."
EXCLUDE = "And none of this one: a path, a name, or a folder in it; may be repeated."


def takes(*kinds: type) -> Callable[[Command], Command]:
    """Give a command, which ends in `**flags`, one option for each setting of the dataclasses `kinds`.

    An option that is not given arrives as None, so that environment, file and defaults can follow.
    """

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [
            _option(one, typing.get_type_hints(kind)[one.name]) for kind in kinds for one in dataclasses.fields(kind)
        ]
        command.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own + options}
        return command

    return decorate


def _option(one: "dataclasses.Field[Any]", hint: Any) -> inspect.Parameter:
    kind = _without_none(hint)
    doc = one.metadata["doc"]
    if one.default is not None and kind is not bool:
        doc += f" [dim]\\[default: {one.default}][/]"
    name = f"{flag(one.name)}/--no-{flag(one.name)[2:]}" if kind is bool else flag(one.name)
    metavar = "NAME" if len(typing.get_args(kind)) > MAX_CHOICES_SHOWN else None
    option = typer.Option(name, help=doc, rich_help_panel=one.metadata["panel"], show_default=False, metavar=metavar)
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=typing.Annotated[kind | None, option]
    )


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint
