"""Files of tagged sentences: which columns are read, in training, in `charlm evaluate` and in `charlm tag`."""

import json
from pathlib import Path
from typing import Any

import pytest

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
