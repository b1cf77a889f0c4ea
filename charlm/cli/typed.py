"""Texts as people give them: with escapes, with `-` for standard input, or with ids at the beginning of lines."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Self

from charlm.cli.console import say
from charlm.errors import TextError, UsageError
from charlm.settings import CorpusSettings

ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
BYTE_ORDER_MARK = "\ufeff"
NUM_LINES_CHECKED = 10  # of a file, for ids
MOSES_LINE = re.compile(r"\s*\d+ \|\|\| ")  # 0 ||| a hypothesis ||| its scores
SCLITE_LINE = re.compile(r".*\S[ \t]+\(([^\s()]*\d[^\s()]*)\)\s*", re.DOTALL)  # a hypothesis (spk1-utt003)
KEEP_HYPOTHESIS = "awk -F' [|][|][|] ' '{print $2}'"
DROP_LAST_FIELD = "sed 's/ *([^ ]*)$//'"
ID = re.compile(r"(?=\S*\d)[\w.:/-]+")  # utt1-1, 4k0c030a, spk_003:12
FIRST_FIELD = re.compile(r"(\S{1,60})([ \t]+)\S")
NUMBERS = re.compile(r"\s*\d+(\s+\d+)+\s*")


@dataclass(frozen=True)
class GivenTexts:
    """The texts that a command is given: as arguments, or as the lines of files, of which "-" is standard input."""

    texts: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str] | None, files: Sequence[str] | None, what: str, to_do: str) -> Self:
        """From the arguments and from `--file`. Raises UsageError unless just one of them is given.

        The error calls the texts `what`, and advises `to_do`.
        """
        if texts == ["-"] and not files:
            texts, files = None, ["-"]
        if bool(texts) == bool(files):
            raise UsageError(f"give {what}, or --file", to_do=to_do)
        return cls(tuple(texts or ()), tuple(files or ()))

    @property
    def is_one(self) -> bool:
        """Whether this is a single text."""
        return not self.files and len(self.texts) == 1

    @property
    def is_large(self) -> bool:
        """Whether this may be so much that torch is worth the time to load it."""
        return bool(self.files) and self.files != ("-",)


def texts_of_file(
    path: str, settings: CorpusSettings, quiet: bool, max_lines: int | None = None, raw: bool = False
) -> Iterator[list[str]]:
    """The lines of a file as they come, at most `max_lines` at a time, by default as many as are sorted together.

    With `raw` the bytes of the file are taken as they are. Those that are not UTF-8 become lone surrogates.
    """
    from charlm.corpus.batching import SORTED_TOGETHER
    from charlm.corpus.incoming import batches_of_lines

    for batch in batches_of_lines(path, settings, max_lines or SORTED_TOGETHER, partial(say, quiet=quiet), raw):
        yield [line.decode("utf-8", "surrogateescape") for line in batch]


def read_escapes(text: str) -> str:
    r"""Replace `\n`, `\t` and `\\` by a newline, a tab and a backslash. Other backslashes stay as they are."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], text)


def typed_text(text: str, option: str, escapes: bool) -> str:
    """The text that `--prompt` or `--context` gives: the argument itself, or for `-` all of standard input.

    One line end at the end of standard input is left out. Bytes that are not UTF-8 become lone surrogates, as in an
    argument. Raises TextError when standard input cannot be read.
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
    """Note when each of several sentences seems to have an id, as a recognizer's hypotheses do."""
    if found := _find_ids(sentences):
        say(f"{found[0]}. Remove it if it is not part of the text", quiet)


def noting_ids(batches: Iterable[list[str]], quiet: bool) -> Iterator[list[str]]:
    """Pass the lines of a file on; after the first ones, note when they seem to have ids, and how to remove these."""
    first: list[str] = []
    for batch in chain(batches, [None]):
        was_checked = len(first) == NUM_LINES_CHECKED
        first += (batch or [])[: NUM_LINES_CHECKED - len(first)]
        if not was_checked and (batch is None or len(first) == NUM_LINES_CHECKED) and (found := _find_ids(first)):
            say(f"{found[0]}. To score the text alone: {found[1]} FILE | charlm score -", quiet)
        if batch is not None:
            yield batch


def _find_ids(lines: Sequence[str]) -> tuple[str, str] | None:
    """A description of the ids that these lines have beside their text, and a command that removes them."""
    if len(lines) < 2:
        return None
    if all(map(MOSES_LINE.match, lines)):
        return "these lines have ids and scores between |||, which were scored as text", KEEP_HYPOTHESIS
    if all(map(SCLITE_LINE.fullmatch, lines)):
        return "each line ends with what looks like an id in parentheses, which was scored as text", DROP_LAST_FIELD
    matches = [match for match in map(FIRST_FIELD.match, lines) if match]
    ids = [match[1] for match in matches]
    if len(ids) < len(lines) or not (all(map(ID.fullmatch, ids)) and _could_be_ids(ids)):
        return None
    cut = "cut -f2-" if all("\t" in match[2] for match in matches) else "cut -d' ' -f2-"
    return f"each line begins with what looks like an id ({ids[0]}), which was scored as text", cut


def _could_be_ids(fields: Sequence[str]) -> bool:
    """Whether fields that all have a digit could be ids: names, or numbers that increase."""
    numbers = [int(field) for field in fields if field.isdecimal()]
    return not numbers or (len(numbers) == len(fields) and numbers == sorted(numbers) and numbers[0] < numbers[-1])


def is_numbers(text: str) -> bool:
    """Whether a text consists of several whole numbers only, as ids of tokens do."""
    return bool(NUMBERS.fullmatch(text))
