"""The settings that a user gave on the command line, in the environment and in a TOML file, merged into one mapping."""

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charlm.errors import UsageError
from charlm.settings import LENGTHS, PRESETS, SETTINGS, fill, flag, seconds

VARIABLES = "the CHARLM_* variables of the environment"
FROM_THE_ENVIRONMENT_ON_RESUME = (*LENGTHS, "patience", "threads")
OTHER_VARIABLES = ("CHARLM_DEBUG",)  # that charlm reads, but that are not settings
EXCLUSIVE = (LENGTHS, ("clip_norm", "clip_value"))  # of each group, only one can be given


def gather(flags: Mapping[str, Any], config: Path | None = None, *, resume: bool = False) -> dict[str, Any]:
    """All settings that were given, in one mapping: flags beat `CHARLM_*` variables, which beat the file.

    A flag that is None was not given. A preset counts as if its sizes had been given in the same place. With `resume`,
    only length, patience and threads are taken from the variables: the run has its own settings, while variables are
    set for all runs.
    Raises UsageError for an unknown name (the message names the nearest known one), for settings that exclude each
    other, and for a variable whose value does not fit its setting.
    """
    known = _known_names()
    readable = FROM_THE_ENVIRONMENT_ON_RESUME if resume else known
    variables = {name: os.environ[_variable(name)] for name in readable if os.environ.get(_variable(name))}
    given: dict[str, Any] = {}
    for layer, where in ((_read_toml(config) if config else {}, str(config)), (variables, VARIABLES), (flags, "")):
        _override(given, {name: value for name, value in layer.items() if value is not None}, where, known)
    _check_variables({name: value for name, value in variables.items() if given.get(name) is value})
    return given


def unknown_variables() -> list[str]:
    """A note for each `CHARLM_*` variable that charlm does not read, because it may be misspelt."""
    known = [*map(_variable, sorted(_known_names())), *OTHER_VARIABLES]
    unknown = sorted(name for name in os.environ if name.startswith("CHARLM_") and name not in known)
    return [f"the variable {name} is not a charlm setting and is ignored; {_nearest(name, known)}" for name in unknown]


def _known_names() -> set[str]:
    return {field.name for kind in SETTINGS for field in dataclasses.fields(kind)} | {"preset"}


def _check_variables(values: Mapping[str, str]) -> None:
    """Raise UsageError naming the first variable whose value does not fit its setting."""
    for name, value in values.items():
        try:
            for kind in SETTINGS:
                fill(kind, {name: value})
            if name == "time":
                seconds(value)
        except UsageError as error:
            raise UsageError(error.what, f"{_variable(name)} in the environment", error.to_do) from error


def _override(given: dict[str, Any], layer: dict[str, Any], where: str, known: set[str]) -> None:
    """Let a layer of settings override those given so far; one of an exclusive group also removes the others."""
    for key in layer:
        if key not in known:
            raise UsageError(f"unknown setting {key!r}", where, _nearest(key, known))
    for group in EXCLUSIVE:
        named = [name for name in group if name in layer]
        if len(named) > 1:
            raise UsageError(f"{flag(named[0])} and {flag(named[1])} exclude each other", where, "give one of them")
        if named:
            for name in group:
                given.pop(name, None)
    if isinstance(layer.get("time"), (int, float)):
        layer["time"] = str(layer["time"])
    preset = layer.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}", where, "choose from " + ", ".join(PRESETS))
    given.update({**(dataclasses.asdict(PRESETS[preset]) if preset else {}), **layer})


def _variable(name: str) -> str:
    return "CHARLM_" + name.upper()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration: {error.strerror}", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not a TOML file: {error}", str(path)) from error


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "see `charlm train --help` for all settings"
