"""Reading the command line: an option given twice with different values is refused, and errors look like all others."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand

from charlm.errors import UsageError
from charlm.settings import without_jargon

COMMAND_LINE_ERROR: Any = BadParameter.__base__  # the base of all Typer's usage errors, which has no public name


@contextmanager
def reading_options() -> Iterator[None]:
    """Raise UsageError, which says what to do, in place of Typer's errors about a command line."""
    try:
        yield
    except COMMAND_LINE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "charlm"
        to_do = f"{command} --help lists what there is"
        raise UsageError(without_jargon(error.format_message()), to_do=to_do) from error


class OneValueEach(TyperCommand):
    """A command that refuses an option given twice with different values, unless the option may be repeated.

    `--eos --no-eos` is refused as well. Giving the same value twice is fine.
    """

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        given: dict[str, tuple[str, Any]] = {}
        for option in {*parser._long_opt.values(), *parser._short_opt.values()}:
            if option.action in ("store", "store_const") and not ctx.resilient_parsing:
                option.process = partial(_take, ctx, option, option.process, given)
        return parser


def _take(ctx: Any, option: Any, process: Any, given: dict[str, tuple[str, Any]], value: Any, state: Any) -> None:
    """Let the parser take a value of an option. Raises UsageError if the option had a different value before."""
    name = next(iter([*option._long_opts, *option._short_opts]))
    is_flag = option.action == "store_const"
    new = option.const if is_flag else value
    first_name, first = given.setdefault(option.dest, (name, new))
    if first != new and is_flag:
        raise UsageError(f"{first_name} and {name} contradict each other", to_do="give one of them")
    if first != new and option.obj.process_value(ctx, first) != option.obj.process_value(ctx, new):
        raise UsageError(f"{name} is given twice: {first} and {new}", to_do="give one of them")
    process(value, state)
