"""A folder of texts whose names are their labels: one file of lines, or one sub-folder of texts, for each label."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from charlm.errors import TextError
from charlm.formats.bad_rows import BadRows
from charlm.formats.lines import Lines, numbered, place
from charlm.formats.records import MAX_TEXT, Labelled


class _Text(NamedTuple):
    """A text in its lines, its label, and where it is."""

    label: str
    lines: Iterable[str]
    where: str


def read_folder(files: Iterable[tuple[str, Lines]], bad: BadRows, by_paragraph: bool = False) -> Iterator[Labelled]:
    """The records of a folder, whose files are given by their paths in it, with "/" between their parts.

    Files directly in the folder hold a text on each line, or with `by_paragraph` in each paragraph between lines of
    white space; their name without its last suffix is the label. Files
    in sub-folders hold one text each, of at most MAX_TEXT characters and without its last line end; the name of the
    sub-folder is the label, whatever folders are in it. Hidden files and folders are ignored. Raises TextError for
    wrong texts, for a folder with both files and sub-folders, and for one without texts.
    """
    return bad.kept(_record, _texts(files, _paragraphs if by_paragraph else _texts_on_lines))


def _texts(
    files: Iterable[tuple[str, Lines]], divided: Callable[[PurePosixPath, Lines], Iterator[_Text]]
) -> Iterator[_Text]:
    layouts, has_texts = set[bool](), False
    for name, lines in files:
        path = PurePosixPath(name)
        if any(part.startswith(".") for part in path.parts):
            continue
        is_in_subfolder = len(path.parts) > 1
        layouts.add(is_in_subfolder)
        if len(layouts) > 1:
            to_do = "give a folder that has either one file or one sub-folder for each label"
            raise TextError("the folder has both files and sub-folders", lines.name, to_do)
        for text in [_Text(path.parts[0], lines, lines.name)] if is_in_subfolder else divided(path, lines):
            has_texts = True
            yield text
    if not has_texts:
        raise TextError("the folder has no texts", to_do="give one with a file or a sub-folder for each label")


def _texts_on_lines(path: PurePosixPath, lines: Lines) -> Iterator[_Text]:
    for number, line in numbered(lines):
        yield _Text(path.stem, [line], place(lines.name, number))


def _paragraphs(path: PurePosixPath, lines: Lines) -> Iterator[_Text]:
    paragraph, first, last = list[str](), 0, 0
    for number, line in numbered(lines):
        if paragraph and number > last + 1:
            yield _Text(path.stem, paragraph, place(lines.name, first))
            paragraph = []
        first, last = first if paragraph else number, number
        paragraph.append(f"{line}\n")
    if paragraph:
        yield _Text(path.stem, paragraph, place(lines.name, first))


def _record(text: _Text) -> Labelled:
    """Raises TextError for a text that is empty or too long."""
    lines, size = [], 0
    for line in text.lines:
        lines.append(line)
        size += len(line)
        if size > MAX_TEXT:
            raise TextError(f"a text has more than {MAX_TEXT:,} characters", text.where, "divide it into several files")
    return Labelled((text.label,), "".join(lines).removesuffix("\n"), text.where)
