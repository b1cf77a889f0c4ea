"""How charlm is built: which room imports which, how much code there is, and how deep a command goes.

python -m benchmarks.structure [storeys [--checkout DIR]]   the rooms; exit code 1 for an import upward or in a circle
python -m benchmarks.structure stacks [--checkout DIR]      the functions on the call stack at the moments that matter
python -m benchmarks.structure size [--checkout DIR]        lines, files, functions, classes
python -m benchmarks.structure compare BEFORE AFTER         all of it for two checkouts, as Markdown for LOG.md

A checkout of another commit: `git worktree add --detach DIR COMMIT`, and copy `charlm/engine/lstm.so` into it.
"""

import argparse
import ast
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.layers import House, read_house, room_of
from benchmarks.stacks import Stack, read_stacks

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
WIDTH_ELSEWHERE = 160  # columns where there is no terminal to ask


# The storeys


@dataclass(frozen=True)
class Storey:
    """The rooms of a storey with their files, their lines that are not blank, and what they import."""

    rooms: tuple[str, ...]
    num_files: int
    num_lines: int
    imports: str


def list_storeys(house: House) -> Iterator[Storey]:
    """From top to bottom, without those that are planned and have no file yet; rooms without a storey come last."""
    for rooms in (*house.storeys, house.without_storey()):
        sizes = [num_code_lines(path) for module, path in house.modules.items() if room_of(module) in rooms]
        if sizes:
            yield Storey(rooms, len(sizes), sum(sizes), "; ".join(_describe_imports(house, rooms)))


def _describe_imports(house: House, rooms: tuple[str, ...]) -> Iterator[str]:
    """What each room imports, how often, and with which marks: ↑ is not downward, ↻ is in a circle."""
    for room in rooms:
        parts = []
        for imported in (*house.levels, *house.without_storey()):
            if number := house.counts[room, imported]:
                upward = "" if house.is_downward(room, imported) else "↑"
                circle = "↻" if house.is_in_circle(room, imported) else ""
                parts.append(f"{imported} {number}{upward}{circle}")
        text = ", ".join(parts) or "nothing"
        yield text if len(rooms) == 1 else f"{room}: {text}"


def show_storeys(house: House, console: Console) -> bool:
    """Draw the house. Returns whether it is as it should be."""
    table = Table("rooms", "files", "lines", "imports (↑ not downward, ↻ in a circle)", box=None)
    for column in table.columns[1:3]:
        column.justify = "right"
    for storey in list_storeys(house):
        style = "red" if "↑" in storey.imports or "↻" in storey.imports else None
        cells = (", ".join(storey.rooms), str(storey.num_files), f"{storey.num_lines:,}", escape(storey.imports))
        table.add_row(*cells, style=style)
    console.print(table)
    found = house.faults()
    for kind, items in found.items():
        console.print(f"\n{kind}: {len(items)}", *items, sep="\n  ", markup=False)
    return not any(found.values())


# Size


@dataclass(frozen=True)
class Size:
    """How much Python there is in a folder."""

    num_files: int
    num_lines: int
    num_code_lines: int
    num_functions: int
    num_classes: int
    function_lines: list[int]
    long_files: dict[str, int]

    def facts(self) -> dict[str, str]:
        lines = sorted(self.function_lines) or [0]
        long_files = [f"{name} {num_lines}" for name, num_lines in self.long_files.items()]
        return {
            "files": f"{self.num_files:,}",
            "lines, not blank": f"{self.num_code_lines:,}",
            "lines in all": f"{self.num_lines:,}",
            "functions": f"{self.num_functions:,}",
            "classes": f"{self.num_classes:,}",
            "lines of a function: median": f"{statistics.median(lines):g}",
            "lines of a function: 90th percentile": str(lines[(len(lines) * 9 - 1) // 10]),
            "lines of a function: longest": str(lines[-1]),
            f"files over {MAX_FILE_LINES} lines": ", ".join([str(len(long_files)), *long_files]),
        }


def read_size(folder: Path) -> Size:
    """Count the Python files of a folder and of those within it. A function's lines are those from `def` to its end."""
    paths = sorted(folder.rglob("*.py"))
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    nodes = [node for text in texts.values() for node in ast.walk(ast.parse(text))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    num_lines = {name: text.count("\n") for name, text in texts.items()}
    return Size(
        num_files=len(texts),
        num_lines=sum(num_lines.values()),
        num_code_lines=sum(map(num_code_lines, paths)),
        num_functions=len(functions),
        num_classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        function_lines=[(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions],
        long_files={name: lines for name, lines in num_lines.items() if lines > MAX_FILE_LINES},
    )


def num_code_lines(path: Path) -> int:
    """Lines that are not blank, comments and docstrings included: people read these, too."""
    return len([line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()])


def size_facts(checkout: Path) -> dict[str, dict[str, str]]:
    return {folder: read_size(checkout / folder).facts() for folder in ("charlm", "tests")}


# The commands


def show_size(checkout: Path, console: Console) -> None:
    facts = size_facts(checkout)
    table = Table("", *(f"{folder}/" for folder in facts), box=None)
    for what in facts["charlm"]:
        table.add_row(what, *(each[what] for each in facts.values()))
    console.print(table)


def show_stacks(stacks: list[Stack], console: Console) -> None:
    for stack in stacks:
        title = f"{stack.moment}: {len(stack.functions)} functions in {len(stack.files)} files"
        console.print(title, *stack.functions, "", sep="\n  ", markup=False)


@dataclass(frozen=True)
class Checkout:
    """All that is said about a checkout."""

    house: House
    stacks: list[Stack]
    sizes: dict[str, dict[str, str]]

    def facts(self) -> dict[str, str]:
        """One number or text by what it counts."""
        found = {f"{folder}/: {what}": value for folder, facts in self.sizes.items() for what, value in facts.items()}
        for stack in self.stacks:
            found[stack.moment] = f"{len(stack.functions)} functions in {len(stack.files)} files"
        return found | {kind: str(len(items)) for kind, items in self.house.faults().items()}

    def storeys(self) -> list[str]:
        return [
            f"`{', '.join(storey.rooms)}` (files: {storey.num_files}, lines: {storey.num_lines:,}): `{storey.imports}`"
            for storey in list_storeys(self.house)
        ]


def read_checkout(checkout: Path) -> Checkout:
    return Checkout(read_house(checkout), read_stacks(checkout), size_facts(checkout))


def compare(before: Checkout, after: Checkout) -> Iterator[str]:
    """Lines of Markdown: a table of the numbers, one of each stack, one of the storeys."""
    facts, new_facts = before.facts(), after.facts()
    yield from markdown(["", "before", "after"], [[what, facts[what], new_facts[what]] for what in facts])
    for stack, new_stack in zip(before.stacks, after.stacks, strict=True):
        functions = [[f"`{function}`" for function in each.functions] for each in (stack, new_stack)]
        yield from markdown([f"{stack.moment}: before", "after"], zip_longest(*functions, fillvalue=""))
    yield from markdown(["storeys before", "after"], zip_longest(before.storeys(), after.storeys(), fillvalue=""))
    for when, house in (("before", before.house), ("after", after.house)):
        for kind, items in house.faults().items():
            yield from (f"- {when}, {kind}: `{item}`" for item in items)


def markdown(headings: list[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield from (f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows))
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("storeys", "stacks", "size"):
        commands.add_parser(name).add_argument("--checkout", type=Path, default=ROOT, metavar="DIR")
    comparing = commands.add_parser("compare")
    for name in ("before", "after"):
        comparing.add_argument(name, type=Path, metavar=name.upper())
    options = parser.parse_args(sys.argv[1:] or ["storeys"])
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE)
    match options.command:
        case "storeys":
            sys.exit(not show_storeys(read_house(options.checkout), console))
        case "stacks":
            show_stacks(read_stacks(options.checkout), console)
        case "size":
            show_size(options.checkout, console)
        case "compare":
            print(*compare(read_checkout(options.before), read_checkout(options.after)), sep="\n")


if __name__ == "__main__":
    main()
