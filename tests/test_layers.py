"""The plan of the house: imports only go down, and what starts at once loads nothing heavy."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import layers
from benchmarks.structure import read_size

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "charlm"
# Predictors are given to these from above: they need not know which one it is. Loading is where they are
# made, with the counts beside them.
INDEPENDENT = {
    "scoring": {"model", "engine", "ngram"},
    "sampling": {"model", "engine", "ngram"},
    "corpus": {"cells", "network"},
}
PREDICTORS_MADE = {f"charlm.scoring.{name}" for name in ("loading", "counts", "mixture")}
HEAVY = ("torch", "numpy")
SOURCES = sorted(PACKAGE.rglob("*.py"))
HOUSE = layers.read_house(ROOT)
FAULTS = HOUSE.faults()


def room_of(path: Path) -> str:
    """The folder of a module within charlm, or its own name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_room_has_its_storey() -> None:
    assert FAULTS["rooms without a storey"] == []


def test_imports_only_go_down() -> None:
    """Those within functions and for type checking, too."""
    assert FAULTS["imports that are not downward"] == []


def test_no_imports_go_in_a_circle() -> None:
    """Neither rooms import each other in a circle nor modules, of which those of one room could."""
    assert FAULTS["circles of rooms"] == []
    assert FAULTS["circles of modules"] == []


def test_what_is_given_from_above_is_not_imported() -> None:
    known = [
        str(found)
        for found in HOUSE.imports
        if found.importer not in PREDICTORS_MADE
        and layers.room_of(found.imported) in INDEPENDENT.get(layers.room_of(found.importer), ())
    ]
    assert known == []


def test_limits_are_named_max_and_min() -> None:
    for path in SOURCES:
        assert not re.search(r"\b_?(MOST|FEWEST|LONGEST|LARGEST)_\w*", path.read_text("utf-8")), path


def test_no_file_is_long() -> None:
    assert read_size(PACKAGE).long_files == {}


def test_there_are_two_levels_of_folders_and_no_room_for_odds_and_ends() -> None:
    for path in SOURCES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        assert len(parts) <= 2
        assert not {"utils", "helpers", "common", "misc"} & set(parts)


def test_nothing_is_ever_unpickled() -> None:
    for path in SOURCES:
        assert not re.search(
            r"torch\.(load|save)\b|\bpickle\b|\bmarshal\b|\beval\(|\bexec\(", path.read_text("utf-8")
        ), path


def test_text_scoring_and_sampling_know_no_torch() -> None:
    for path in SOURCES:
        if room_of(path) in ("text", "corpus", "scoring", "sampling", "engine", "ngram", "formats", "evaluation"):
            assert not re.search(r"^\s*(import|from) torch\b", path.read_text("utf-8"), re.MULTILINE), path


def test_every_dependency_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^a-zA-Z0-9-]", name)[0].replace("-", "_") for name in project["dependencies"]}
    extras = {
        re.split(r"[^a-zA-Z0-9-]", n)[0] for names in project.get("optional-dependencies", {}).values() for n in names
    }
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            outside = {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"charlm"}
            assert outside <= declared | extras, path


# What a command loads

RUN = """
import sys
from charlm.cli.app import main
try:
    main()
finally:
    sys.stdout.flush()
    print("loaded:", *sorted(set(sys.modules) & {"torch", "numpy", "pydantic", "sentencepiece"}), file=sys.stderr)
"""


def loaded_by(code: str, *arguments: str, cwd: Path = ROOT) -> tuple[str, set[str]]:
    """What a fresh Python prints, and which heavy packages it has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.rsplit("loaded:", 1)[1].split())


RUN_EACH = """
import json, sys
from charlm.cli.app import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    print(end="\\x1e", flush=True)
    print("loaded:", *set(sys.modules) & {"torch", "numpy", "pydantic", "sentencepiece"}, file=sys.stderr)
"""


def loaded_by_each(commands: Sequence[Sequence[str]], cwd: Path = ROOT) -> list[tuple[str, set[str]]]:
    """What each of these commands prints, run one after another in one process, and what is loaded by then."""
    code = [sys.executable, "-c", RUN_EACH, json.dumps(commands)]
    done = subprocess.run(code, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = re.findall("^loaded:(.*)$", done.stderr, re.MULTILINE)
    return list(zip(done.stdout.split("\x1e"), (set(names.split()) for names in loaded), strict=False))


@pytest.mark.parametrize(
    "module",
    [
        "charlm",
        "charlm.cli.app",
        "charlm.settings",
        "charlm.cells",
        "charlm.network.architecture",
        "charlm.runs.directory",
    ],
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print('loaded:', *(set(sys.modules) & {{'torch', 'numpy'}}), file=sys.stderr)"
    assert loaded_by(code)[1] == set()


def test_help_loads_nothing_heavy() -> None:
    names = ("train", "sample", "score", "fill", "info", "verify", "inspect", "plot", "report", "cells")
    commands = [["--help"], ["-h"], ["--version"], ["cells"], *([name, "--help"] for name in names)]
    found = loaded_by_each(commands)
    assert len(found) == len(commands)
    for command, (printed, loaded) in zip(commands, found, strict=True):
        assert "charlm" in printed or "lstm" in printed, command
        assert not loaded & set(HEAVY), command


def test_sampling_and_scoring_a_sentence_load_no_torch(trained: Callable[[str], Path]) -> None:
    ways = (
        ("sample", "--length", "9", "--seed", "1"),
        ("score", "The cat sees it.", "A dog"),
        ("score", "--context", "The", "--next", "3"),
    )
    commands = [(*way, "--run", str(trained(unit))) for unit in ("char", "word", "subword") for way in ways]
    found = loaded_by_each(commands)
    assert len(found) == len(commands)
    for command, (printed, loaded) in zip(commands, found, strict=True):
        assert printed.strip(), command
        assert "numpy" in loaded, command
        assert "torch" not in loaded, command
