"""Which module of charlm imports which, and the storeys that the imports should keep to."""

import ast
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

Graph = dict[str, set[str]]
# From the top storey to the ground. A room imports only rooms of lower storeys, so none of its own storey either.
STOREYS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("__init__",),
    ("api",),
    ("loading",),
    ("lifecycle",),
    ("inspection",),
    ("tasks",),
    ("training",),
    ("evaluation",),
    ("scoring",),
    ("sampling",),
    ("model", "engine", "ngram"),
    ("runs",),
    ("network",),
    ("cells",),
    ("corpus",),
    ("text",),
    ("formats",),
    ("system",),
    ("given",),
    ("settings", "probability"),
    ("errors", "version"),
)


class Import(NamedTuple):
    """That a module imports another one, and where it says so first."""

    importer: str
    imported: str
    place: str

    def __str__(self) -> str:
        return f"{self.place} imports {self.imported}"


@dataclass(frozen=True)
class House:
    """The modules of charlm by their names, who imports whom, and the storeys that they should keep to."""

    modules: Mapping[str, Path]
    imports: list[Import]
    storeys: tuple[tuple[str, ...], ...]

    @cached_property
    def levels(self) -> dict[str, int]:
        return {room: level for level, rooms in enumerate(self.storeys) for room in rooms}

    def without_storey(self) -> tuple[str, ...]:
        """Rooms that no storey names."""
        return tuple(sorted({room_of(module) for module in self.modules} - self.levels.keys()))

    def is_downward(self, importer: str, imported: str) -> bool:
        return {importer, imported} <= self.levels.keys() and self.levels[importer] < self.levels[imported]

    @cached_property
    def between_rooms(self) -> list[Import]:
        return [found for found in self.imports if room_of(found.importer) != room_of(found.imported)]

    @cached_property
    def counts(self) -> Counter[tuple[str, str]]:
        """How often a room imports another one."""
        return Counter((room_of(found.importer), room_of(found.imported)) for found in self.between_rooms)

    @cached_property
    def circles_of_rooms(self) -> list[list[str]]:
        return circles(self.counts)

    def is_in_circle(self, importer: str, imported: str) -> bool:
        return any((importer, imported) in pairs(circle) for circle in self.circles_of_rooms)

    def faults(self) -> dict[str, list[str]]:
        """Everything that the plan forbids, by kind."""
        upward = [found for found in self.between_rooms if not self.is_downward(*map(room_of, found[:2]))]
        of_modules = circles((found.importer, found.imported) for found in self.imports)
        return {
            "rooms without a storey": list(self.without_storey()),
            "imports that are not downward": list(map(str, upward)),
            "circles of rooms": list(map(closed, self.circles_of_rooms)),
            "circles of modules": list(map(closed, of_modules)),
        }


def read_house(checkout: Path) -> House:
    """The house of a checkout. Every import counts: within functions and for type checking, too.

    That importing `charlm.cells.lstm` also runs `charlm/cells/__init__.py` does not count.
    """
    paths = sorted((checkout / "charlm").rglob("*.py"))
    modules = {_module_name(path.relative_to(checkout)): path for path in paths}
    imports = [found for name in modules for found in _imports(name, modules, checkout)]
    return House(modules, imports, read_storeys(checkout))


def _module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def read_storeys(checkout: Path) -> tuple[tuple[str, ...], ...]:
    """The storeys that a checkout states itself: older ones do so in their tests."""
    for name in ("benchmarks/layers.py", "tests/test_layers.py"):
        if (path := checkout / name).is_file():
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and "STOREYS" in _targets(node):
                    return _with_init(ast.literal_eval(node.value))
    return STOREYS


def _with_init(storeys: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Older checkouts name no storey for `charlm/__init__.py`: it imports the Python interface, so it is above that."""
    if ("__init__",) in storeys:
        return storeys
    place = storeys.index(("api",))
    return (*storeys[:place], ("__init__",), *storeys[place:])


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [ast.unparse(target) for target in targets]


def room_of(module: str) -> str:
    """The folder or file directly within charlm that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def _imports(importer: str, modules: Mapping[str, Path], checkout: Path) -> Iterator[Import]:
    path, seen = modules[importer], {importer}
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    for node in (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)):
        for name in _imported_names(node, package, modules):
            while name and name not in modules:  # `from charlm.errors import UsageError` names what is in a module
                name = name.rpartition(".")[0]
            if name and name not in seen:
                seen.add(name)
                yield Import(importer, name, f"{path.relative_to(checkout).as_posix()}:{node.lineno}")


def _imported_names(
    node: ast.Import | ast.ImportFrom | ast.Call, package: str, modules: Iterable[str]
) -> Iterator[str]:
    """The full names that a node imports, be it a statement or a call of `import_module`."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = resolve_name("." * level + (module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in names)
        case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[argument, *_]):
            yield from _named_by(argument, modules)


def _named_by(argument: ast.expr, modules: Iterable[str]) -> Iterator[str]:
    """The module that a string names; of an f-string, all modules that begin as it does."""
    match argument:
        case ast.Constant(value=str(name)):
            yield name
        case ast.JoinedStr(values=[ast.Constant(value=str(beginning)), *_]):
            yield from (name for name in modules if name.startswith(beginning))


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """For each edge that is part of circles, a shortest one through it; each circle once, from its first name on."""
    graph: Graph = {}
    for start, end in edges:
        graph.setdefault(start, set()).add(end)
    found = set()
    for start, ends in graph.items():
        for end in ends:
            if path := _shortest_path(graph, end, start):
                first = path.index(min(path))
                found.add((*path[first:], *path[:first]))
    return [list(circle) for circle in sorted(found)]


def _shortest_path(graph: Graph, start: str, end: str) -> list[str]:
    """Both ends included; empty if there is none."""
    paths, seen = deque([[start]]), {start}
    while paths:
        path = paths.popleft()
        if path[-1] == end:
            return path
        following = sorted(graph.get(path[-1], set()) - seen)
        seen.update(following)
        paths.extend([*path, name] for name in following)
    return []


def pairs(circle: list[str]) -> list[tuple[str, str]]:
    """Who imports whom in a circle."""
    return list(zip(circle, [*circle[1:], circle[0]], strict=True))


def closed(circle: list[str]) -> str:
    return " -> ".join([*circle, circle[0]])
