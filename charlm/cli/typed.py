"""Texts as people type them: escapes, `-` for standard input, and lines that begin with ids."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from charlm.cli.console import say
from charlm.errors import TextError

ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
BYTE_ORDER_MARK = "\ufeff"
LINES_LOOKED_AT = 10
MOSES = re.compile(r"\s*\d+ \|\|\| ")  # 0 ||| a hypothesis ||| its scores
SCLITE = re.compile(r".*\S[ \t]+\(([^\s()]*\d[^\s()]*)\)\s*", re.DOTALL)  # a hypothesis (spk1-utt003)
NO_SCORES = "awk -F' [|][|][|] ' '{print $2}'"
NO_LAST_FIELD = "sed 's/ *([^ ]*)$//'"
ID = re.compile(r"(?=\S*\d)[\w.:/-]+")  # utt1-1, 4k0c030a, spk_003:12
FIRST_FIELD = re.compile(r"(\S{1,60})([ \t]+)\S")
NUMBERS = re.compile(r"\s*\d+(\s+\d+)+\s*")


def read_escapes(text: str) -> str:
    r"""A text in which `\n`, `\t` and `\\` stand for a newline, a tab and a backslash. Others stay as they are."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], text)


def typed_text(text: str, option: str, escapes: bool) -> str:
    """What `--prompt` or `--context` stands for: itself, or for `-` all of standard input but for one last line end.

    Bytes that are no UTF-8 come as in an argument, as lone surrogates. Raises TextError when nothing can be read.
    """
    if text == "-":
        text = _standard_input(option)
    return read_escapes(text) if escapes else text


def _standard_input(option: str) -> str:
    from charlm.corpus.sources import cannot_read

    if sys.stdin is None:
        raise TextError("there is no standard input", to_do=f"give {option} a text")
    if sys.stdin.isatty():
        say(f"type the text for {option}; Ctrl-D on a line of its own ends it")
    try:
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise cannot_read(error, "standard input") from error
    if text.startswith(BYTE_ORDER_MARK):
        say("standard input: its byte order mark was dropped")
    return re.sub(r"\r?\n\Z", "", text.removeprefix(BYTE_ORDER_MARK))


def note_ids(sentences: Sequence[str], quiet: bool) -> None:
    """Say so when each of several sentences begins with an id, as hypotheses of a recognizer do."""
    if found := _ids_of(sentences):
        say(f"{found[0]}. Leave that out if it is no text", quiet)


def noting_ids(batches: Iterable[list[str]], quiet: bool) -> Iterator[list[str]]:
    """The lines of a file as they are; it says the same, and how to be rid of the ids, once some lines have come."""
    first: list[str] = []
    for batch in chain(batches, [None]):
        is_enough = len(first) == LINES_LOOKED_AT
        first += (batch or [])[: LINES_LOOKED_AT - len(first)]
        if not is_enough and (batch is None or len(first) == LINES_LOOKED_AT) and (found := _ids_of(first)):
            say(f"{found[0]}. To score the text alone: {found[1]} FILE | charlm score -", quiet)
        if batch is not None:
            yield batch


def _ids_of(lines: Sequence[str]) -> tuple[str, str] | None:
    """What these lines have beside their text, and the command that leaves it out."""
    if len(lines) < 2:
        return None
    if all(map(MOSES.match, lines)):
        return "these lines have ids and scores between |||, which were scored as text", NO_SCORES
    if all(map(SCLITE.fullmatch, lines)):
        return "each line ends with what looks like an id in parentheses, which was scored as text", NO_LAST_FIELD
    found = [match for match in map(FIRST_FIELD.match, lines) if match]
    first = [match[1] for match in found]
    if len(first) < len(lines) or not (all(map(ID.fullmatch, first)) and _are_ids(first)):
        return None
    cut = "cut -f2-" if all("\t" in match[2] for match in found) else "cut -d' ' -f2-"
    return f"each line begins with what looks like an id ({first[0]}), which was scored as text", cut


def _are_ids(fields: Sequence[str]) -> bool:
    """Whether these could be ids: names with a digit, or numbers that go up."""
    numbers = [int(field) for field in fields if field.isdecimal()]
    return not numbers or (len(numbers) == len(fields) and numbers == sorted(numbers) and numbers[0] < numbers[-1])


def is_numbers(text: str) -> bool:
    """Whether a text is several whole numbers and nothing else, as ids of tokens would be."""
    return bool(NUMBERS.fullmatch(text))
