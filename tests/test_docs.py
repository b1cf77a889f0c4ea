"""The documentation agrees with itself and with the program: links, pictures, words, files and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer.main

from charlm.cli.app import app_with

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PICTURES = sorted((ROOT / "docs").rglob("*.svg"))
GLOSSARY = ROOT / "docs" / "glossary.md"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
ENTRY = re.compile(r"^- (\*\*.+?\*\*):", re.MULTILINE)
GIVEN_FOLDERS = ("tests/", "docs/", "data/", "benchmarks/")


def named(paths: list[Path]) -> pytest.MarkDecorator:
    names = [str(path.relative_to(ROOT)) for path in paths]
    return pytest.mark.parametrize("path", paths, ids=names)


def without_code_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """The name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", without_code_blocks(path), re.MULTILINE)}


def terms_by_theme() -> dict[str, str]:
    """Every term that is explained in the glossary, with the anchor of its theme."""
    found = {}
    for theme in without_code_blocks(GLOSSARY).split("\n## ")[1:]:
        for entry in ENTRY.findall(theme):
            found |= dict.fromkeys(re.findall(r"\*\*(.+?)\*\*", entry), anchor(theme.split("\n")[0]))
    return found


def commands(path: Path) -> Iterator[str]:
    """The charlm commands of a page: those of its `console` blocks and those within the prose."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield from re.findall(r"(?:^\$ |\| )(charlm .*)$", block, re.MULTILINE)
    for command in re.findall(r"`(charlm\s[^`]+)`", without_code_blocks(path)):
        yield " ".join(command.split())


@named(PAGES)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for _, target in LINK.findall(without_code_blocks(path)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, place = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), target
        assert not place or place in anchors(page), target


@named(PAGES)
def test_every_file_that_is_named_exists(path: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", without_code_blocks(path)):
        if name.startswith(GIVEN_FOLDERS):
            assert (ROOT / name).exists(), name


@named(PICTURES)
def test_pictures_are_whole_and_stand_alone(path: Path) -> None:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # raises for what is not well-formed
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert root.find(f"{space}title") is not None
    assert root.find(f"{space}desc") is not None
    assert not re.search(r"(href|src)=|@import|url\((?!#)", path.read_text(encoding="utf-8")), "it loads something"


@named(PICTURES)
def test_pictures_are_shown_somewhere(path: Path) -> None:
    shown = {
        (page.parent / target).resolve() for page in PAGES for _, target in LINK.findall(without_code_blocks(page))
    }
    assert path in shown


def words_of(text: str) -> str:
    """The text in lower case, its words separated by single spaces: `--top-k` and `top_k` are both "top k"."""
    return " ".join(re.findall(r"[a-z0-9<>]+", text.lower()))


def test_every_term_of_the_glossary_is_used() -> None:
    sources = [*(ROOT / "charlm").rglob("*.py"), *(page for page in PAGES if page != GLOSSARY)]
    used = "".join(f" {words_of(source.read_text(encoding='utf-8'))} " for source in sources)
    assert [term for term in terms_by_theme() if not re.search(rf" {words_of(term)}s? ", used)] == []


def test_the_index_of_the_glossary_is_complete_and_in_order() -> None:
    index = without_code_blocks(GLOSSARY).split("**Index**")[1].split("\n## ")[0]
    links = LINK.findall(index)
    assert {term: target.removeprefix("#") for term, target in links} == terms_by_theme()
    terms = [term.strip("`<>").lower() for term, _ in links]
    assert terms == sorted(terms)


def test_every_command_exists_with_its_options() -> None:
    group = typer.main.get_command(app_with())
    own_options = {name for parameter in group.params for name in parameter.opts} | {"-h", "--help"}
    seen = set()
    for page in PAGES:
        for command in commands(page):
            name, *arguments = shlex.split(command, comments=True)[1:]
            assert name in {*group.commands, *own_options}, f"{command} ({page.name})"
            if arguments and "--help" not in arguments:
                group.commands[name].make_context(name, arguments)  # raises for an unknown option or value
            seen.add(name)
    assert seen >= set(group.commands)


@pytest.mark.parametrize("command", ["charlm train a.txt --hiden-size 8", "charlm train a.txt --cell lstn"])
def test_a_wrong_command_would_be_noticed(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    with pytest.raises(Exception, match=r"hiden|lstn"):
        typer.main.get_command(app_with()).commands[name].make_context(name, arguments)
