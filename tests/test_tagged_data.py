"""Files of tagged sentences: which columns are read, in training, in `charlm evaluate` and in `charlm tag`."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.formats.conll import is_in_columns
from charlm.text.tag_schemes import SCHEMES, in_scheme
from tests.test_cli import Charlm, records, succeed
from tests.test_cli import charlm as charlm_command
from tests.test_tagger import charlm_tag, tagged_lines, tagger_run, tags

__all__ = ["charlm_command", "charlm_tag", "tagger_run", "tags"]  # fixtures

TINY = ("--task", "tag", "--steps", "2", "--hidden-size", "9", "--embedding-size", "7", "--threads", "1", "-q")
Sentence = list[tuple[str, str]]
SENTENCES: list[Sentence] = [
    [(token, tag) for token, tag in (row.split("\t") for row in block.split("\n"))]
    for block in tagged_lines(40).strip().split("\n\n")
]


def conll_u(sentences: list[Sentence]) -> str:
    blocks = []
    for number, sentence in enumerate(sentences, 1):
        rows = [f"{n}\t{token}\t_\t{tag}" + "\t_" * 6 for n, (token, tag) in enumerate(sentence, 1)]
        blocks.append("\n".join([f"# sent_id = {number}", *rows]) + "\n\n")
    return "".join(blocks)


def json_lines(sentences: list[Sentence], words: str, ner: str) -> str:
    rows = ({words: [row[0] for row in sentence], ner: [row[1] for row in sentence]} for sentence in sentences)
    return "".join(json.dumps(row) + "\n" for row in rows)


# Columns


def test_columns_name_those_of_words_and_tags_in_training_and_evaluation(charlm_command: Charlm) -> None:
    Path("a.conllu").write_text(conll_u(SENTENCES))
    Path("a.jsonl").write_text(json_lines(SENTENCES, "words", "ner"))
    Path("a.conll").write_text("".join("".join(f"{w} x {t} y\n" for w, t in own) + "\n" for own in SENTENCES))
    forms = {"a.conllu": ("--columns", "2,4"), "a.jsonl": ("--columns", "words,ner"), "a.conll": ("--tag-column", "3")}
    for name, columns in forms.items():
        succeed(charlm_command, "train", name, "--run", f"run-{name}", *columns, *TINY)
    found: list[Any] = []
    for run in forms:
        for name, columns in forms.items():  # what is given replaces what the run was trained with
            given = columns if name != run else ()
            found += records(charlm_command("evaluate", f"run-{run}", name, *given, "--json"))
    assert {each["accuracy_count"] for each in found} == {sum(map(len, SENTENCES))}


def test_the_words_of_a_file_are_in_the_column_that_is_named(charlm_tag: Charlm) -> None:
    Path("in.conll").write_text("1 a Bo\n2 b likes\n3 c Rome\n\n1 d Anna\n")
    for columns in ("3", "3,2"):
        lines = charlm_tag("tag", "--file", "in.conll", "--conll", "--columns", columns).out.splitlines()
        assert lines == ["1 a Bo B-person", "2 b likes O", "3 c Rome B-place", "", "1 d Anna B-person"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--columns", "2"),
        ("x", "--conll", "--columns", "2"),
        ("--file", "in.conll", "--columns", "2"),
        ("--file", "in.conll", "--conll", "--columns", "0"),
        ("--file", "in.conll", "--conll", "--columns", "word"),
        ("--file", "in.conll", "--conll", "--columns", ""),
    ],
)
def test_columns_of_words_that_cannot_be_are_refused(charlm_tag: Charlm, arguments: tuple[str, ...]) -> None:
    Path("in.conll").write_text("Bo x\nlikes y\n\n")
    outcome = charlm_tag("tag", *arguments)
    assert (outcome.code, outcome.out, "--columns" in outcome.err) == (2, "", True), outcome.err


IN_COLUMNS = {
    "tabs": "Bo\tx\nlikes\ty\nRome\tz\n\n",
    "spaces": "EU NNP I-ORG\nrejects VBZ O\n. . O\n\nPeter NNP I-PER\n",
    "words": "Bo\nlikes\nRome\n.\n\nAnna\nsees\nMr.\nKing\n.\n",
    "comments": "# newpar\n# sent_id = 1\n1\tBo" + "\t_" * 8 + "\n\n",
    "paragraphs of words": "# newpar\nBo\nlikes\nRome\n",
    "hashtags": "Bo\tx\n#\ty\n#tag\tz\n",
    "a ragged row among tabs": "Bo\tx\nlikes\ty\ty\nRome\tz\n\n",
    "a ragged row among spaces": "Bo x\nlikes y\nRome\n. z\n\nAnna x\n",
    "a ragged row among words": "Bo\nlikes\nNew York\n.\n\nAnna\n",
}
SENTENCES_ON_LINES = {
    "one": "Bo likes Rome.\n",
    "one word": "Hello\n",
    "as many words in each": "Bo likes Rome.\nAnn saw Anna.\n\nBo sees Ann!\n",
    "as many words, apart": "Bo likes Rome\n\nAnn saw Anna\n\nBo sees Ann\n",
    "as many words, together": "Bo likes Rome\nAnn saw Anna\nBo sees Ann\n",
    "short answers": "Yes\nNo\nOf course not\n\nMaybe\n",
    "without spaces": "彼は走った。\n雨だ。\n\n「行こう。」\n",
    "ids": "1\tBo likes Rome.\n2\tAnn saw Anna.\n3\tBo and Ann.\n",
    "ids, without ends": "1\tBo likes Rome\n2\tAnn saw\n3\tBo\n4\tso do we all\n",
    "hashtags": "#one of them\n#two\n",
    "blank": "\n\n",
    "nothing": "",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [*((text, True) for text in IN_COLUMNS.values()), *((text, False) for text in SENTENCES_ON_LINES.values())],
    ids=[*IN_COLUMNS, *SENTENCES_ON_LINES],
)
def test_words_in_columns_are_told_from_sentences(text: str, expected: bool) -> None:
    assert is_in_columns(text.splitlines()) == expected


def test_comments_without_a_value_are_left_as_they_are(charlm_tag: Charlm) -> None:
    Path("in.conllu").write_text("# newpar\n" + conll_u(SENTENCES[:2]))
    lines = charlm_tag("tag", "--file", "in.conllu", "--conll", "-q").out.splitlines()
    assert lines[:2] == ["# newpar", "# sent_id = 1"]
    assert lines[2].split("\t")[-1].startswith("B-")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (IN_COLUMNS["a ragged row among tabs"], 2, "3 columns, not 2"),
        (IN_COLUMNS["a ragged row among spaces"], 3, "1 column, not 2"),
        (IN_COLUMNS["a ragged row among words"], 3, "2 columns, not 1"),
        ("Bo\tx\n\n" * 3000 + "Ann Lee\tx\n\n", 6001, "3 columns, not 2"),
    ],
    ids=["tabs", "spaces", "words", "late"],
)
def test_a_ragged_row_is_refused_with_its_line(charlm_tag: Charlm, text: str, line: int, what: str) -> None:
    Path("in.conll").write_text(text)
    outcome = charlm_tag("tag", "--file", "in.conll", "--conll", "-q")
    assert (outcome.code, what in outcome.err) == (3, True), outcome.err
    assert f"in.conll, line {line}\n" in outcome.err


def test_a_column_of_words_that_is_not_there_is_refused(charlm_tag: Charlm) -> None:
    Path("in.conll").write_text("Bo x\nlikes y\n\n")
    outcome = charlm_tag("tag", "--file", "in.conll", "--conll", "--columns", "3")
    assert outcome.code == 3
    assert "in.conll, line 1" in outcome.err


def test_columns_that_are_read_as_sentences_are_noted(charlm_tag: Charlm) -> None:
    Path("in.conll").write_text("Bo\tx\nlikes\ty\n\n")
    Path("in.txt").write_text("Bo likes Rome.\nAnna, too.\n")
    assert "in.conll: these look like words in columns; --conll" in charlm_tag("tag", "--file", "in.conll").err
    assert "--conll" not in charlm_tag("tag", "--file", "in.txt").err


# Tagging schemes


def test_a_tagger_is_measured_on_tags_of_any_scheme(charlm_tag: Charlm) -> None:
    found, notes = list[Any](), list[str]()
    for name, scheme in (("bio", SCHEMES["BIO"]), ("iobes", SCHEMES["IOBES"]), ("iob1", SCHEMES["IOB1"])):
        rows = [
            zip((token for token, _ in own), in_scheme([tag for _, tag in own], SCHEMES["BIO"], scheme), strict=True)
            for own in SENTENCES
        ]
        Path(f"{name}.conll").write_text("".join("".join(f"{w} {t}\n" for w, t in own) + "\n" for own in rows))
        outcome = charlm_tag("evaluate", "t", f"{name}.conll", "--json")
        found += records(outcome)
        notes.append(outcome.err)
    assert found[0] == found[1] == found[2]
    assert found[0]["entity_f1"] == 1
    assert ["scheme" in note for note in notes] == [False, True, True]


def test_tags_that_no_training_row_has_are_counted_in_evaluation(charlm_tag: Charlm) -> None:
    Path("new.conll").write_text("Bo B-animal\nlikes O\nRome B-place\n\n")
    outcome = charlm_tag("evaluate", "t", "new.conll", "--json")
    assert "new.conll: 1 label that no training row has, such as 'B-animal'" in outcome.err
    assert records(outcome)[0]["accuracy"] == pytest.approx(2 / 3)


def test_tags_that_break_their_scheme_are_refused_in_evaluation(charlm_tag: Charlm) -> None:
    Path("wrong.conll").write_text("Bo B-person\nO I-person\n\nRome B-place\nof I-person\n\n")
    outcome = charlm_tag("evaluate", "t", "wrong.conll")
    assert outcome.code == 3
    assert "wrong.conll, line 4" in outcome.err
