"""The pages of `--help`: names on the left, what they mean on the right, or below where the name is too long."""

import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text
from typer.core import TyperGroup

from charlm.cli.parsing import OneValueEach, reading_options

MAX_COLUMNS = 100
NAME_COLUMNS = 26  # for an option with its value, with the indentation and the space behind it
MIN_MEANING_COLUMNS = 20
COMMAND_COLUMNS = 12  # for a command's name, in the same way
VALUES_OF_TYPES = {
    "str": "TEXT",
    "list[str]": "TEXT",
    "path": "PATH",
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "float range": "NUMBER",
}
VALUES_OF_OPTIONS = {
    "run": "RUN",
    "init_from": "RUN",
    "file": "FILE",
    "stream": "FILE",
    "time": "TIME",
    "encoding": "NAME",
    "include": "PATTERN",
    "exclude": "PATTERN",
    "output": "FILE",
    "what": "NAME",
}
FIRST_STEPS = """  [bold]charlm train corpus.txt[/]
  [bold]charlm sample --temp 0.8[/]
  [bold]charlm score "a sentence"[/]"""
MORE_HELP = "charlm COMMAND --help: its options; charlm --help: exit codes and settings."

Row = tuple[str, str]  # a name, and its meaning as markup


class Command(OneValueEach):
    """A command whose help page looks like those of the others."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        console = _console()
        _show_head(self, ctx, console)
        _show_parameters(self, ctx, console)
        _show_end(self, console)


class Commands(TyperGroup):
    """`charlm` itself. Without arguments it prints an overview that fits on one screen."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command. Raises UsageError for options that are not understood, SystemExit at the end."""
        with reading_options():
            code = super().main(*args, **{**extra, "standalone_mode": False})
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            console = _console()
            console.print(f"{self.help}\n")
            _show_rows(self._described(ctx), console, COMMAND_COLUMNS)
            console.print(f"\n{MORE_HELP}\nTry:\n{FIRST_STEPS}")
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        console = _console()
        _show_head(self, ctx, console)
        _show_parameters(self, ctx, console)
        console.print("\n[bold]Commands[/]")
        _show_rows(self._described(ctx), console, COMMAND_COLUMNS)
        console.print(f"\n[bold]First steps[/]\n{FIRST_STEPS}")
        _show_end(self, console)

    def _described(self, ctx: Any) -> list[Row]:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return [(name, command.help or "") for name, command in commands.items() if command]


def _console() -> Console:
    console = Console(highlight=False, emoji=False)
    console.width = min(console.width, MAX_COLUMNS)
    return console


def _show_head(command: Any, ctx: Any, console: Console) -> None:
    console.print(f"[bold]{escape(command.get_usage(ctx))}[/]\n\n{command.help}")


def _show_parameters(command: Any, ctx: Any, console: Console) -> None:
    """Print the arguments, then the options, grouped by panel."""
    panels: dict[str, list[Row]] = {}
    for parameter in command.get_params(ctx):
        is_argument = parameter.param_type_name == "argument"
        panel = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        name = _argument(parameter) if is_argument else _option(parameter, ctx)
        panels.setdefault(panel, []).append((name, (parameter.help or "") + _default(parameter)))
    for panel, rows in panels.items():
        console.print(f"\n[bold]{panel}[/]")
        _show_rows(rows, console)


def _argument(argument: Any) -> str:
    return f"{argument.metavar or argument.name}{'...' if argument.nargs != 1 else ''}"


def _option(option: Any, ctx: Any) -> str:
    """All names of an option, and the kind of value that it takes, unless it is a flag."""
    record: str = option.get_help_record(ctx)[0]
    names, _, value = record.partition(" <")
    if option.is_flag or not value:
        return names
    kind = value.partition(">")[0]
    return f"{names} {VALUES_OF_OPTIONS.get(option.name) or VALUES_OF_TYPES.get(kind, kind)}"


def _default(option: Any) -> str:
    """The default of an option of a command's own; settings have theirs in their descriptions."""
    default = getattr(option, "default", None)
    if not getattr(option, "show_default", False) or not default or callable(default) or option.is_flag:
        return ""
    return f" [dim]\\[default: {escape(str(default))}][/]"


def _show_rows(rows: Iterable[Row], console: Console, columns: int = NAME_COLUMNS) -> None:
    """Print names and meanings in two columns, the first one of `columns` columns."""
    margin = "\n" + " " * columns
    for name, meaning in rows:
        gap = margin if len(name) + 2 >= columns else " " * (columns - 2 - len(name))
        lines = Text.from_markup(meaning, emoji=False).wrap(console, max(MIN_MEANING_COLUMNS, console.width - columns))
        console.print(Text.assemble("  ", (name, "bold"), gap, Text(margin).join(lines)))


def _show_end(command: Any, console: Console) -> None:
    """Print the epilog; its paragraphs have empty lines between them in the source, as Typer wants them."""
    if command.epilog:
        console.print("\n" + re.sub(r"\n\n(?!\[bold])", "\n", command.epilog.strip()))
