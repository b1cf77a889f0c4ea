"""Files of labelled data in all forms: what was written is read, and what is wrong is refused with its place."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import TextError, UsageError
from charlm.formats.bad_rows import BadRows
from charlm.formats.folders import read_folder
from charlm.formats.lines import MAX_HEAD_LINES
from charlm.formats.options import DataOptions
from charlm.formats.parallel import read_parallel
from charlm.formats.reading import FORMS, check_form, read_records
from charlm.formats.recognition import recognise
from charlm.formats.records import FIELDS, MAX_TEXT, DataFormat, Labelled, Pair, Record, Tagged, Wanted

TASKS = Path(__file__).parents[2] / "shared" / "corpora" / "tasks"
PLAIN = DataOptions()
SEVERAL = DataOptions(several_labels=True)


@dataclass(frozen=True)
class Data:
    """A text with a name, whose lines end in "\\n" only."""

    text: str
    name: str = "data"

    def __iter__(self) -> Iterator[str]:
        yield from re.findall(r"[^\n]*\n|[^\n]+", self.text)


@dataclass(frozen=True)
class OnDisk:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def __iter__(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8", newline="\n") as file:
            yield from file


def read(text: str, wanted: Wanted = "labelled", options: DataOptions = PLAIN, **given: Any) -> list[Any]:
    """What the records of a text hold, without their places."""
    options = DataOptions(**given) if given else options
    records = read_records(Data(text), wanted, options, BadRows(options.skip_bad))  # type: ignore[call-overload]
    return [contents(record) for record in records]


def contents(record: Record) -> tuple[Any, ...]:
    match record:
        case Labelled(labels, text):
            return (*labels, text)
        case Pair(source, target):
            return source, target
        case Tagged(tokens, tags):
            return tuple(zip(tokens, tags, strict=True))


def refusal(text: str, wanted: Wanted = "labelled", **given: Any) -> TextError:
    with pytest.raises(TextError) as caught:
        read(text, wanted, **given)
    assert caught.value.to_do
    return caught.value


def as_csv(rows: Sequence[Sequence[str]], **how: Any) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **how).writerows(rows)
    return file.getvalue()


def as_tsv(rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def as_json(rows: Sequence[Sequence[str]], names: Sequence[str], **how: Any) -> str:
    return "".join(json.dumps(dict(zip(names, row, strict=True)), **how) + "\n" for row in rows)


# Whatever is written is read

CHARACTERS = st.one_of(
    st.sampled_from("ab\",\r\n '#\\é\u00a0\u2028\x85\x0c{["), st.characters(exclude_categories=["Cs"])
)
ANY_TEXT = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda text: not text.isspace())
ONE_LINE = ANY_TEXT.filter(lambda text: not {"\t", "\n"} & set(text))
NO_TAB = ANY_TEXT.filter(lambda text: "\t" not in text)
TOKEN = st.text(CHARACTERS, min_size=1, max_size=9).filter(
    lambda text: not set(" \t\r\n") & set(text) and not text.isspace() and text != "-DOCSTART-"
)


def tables(cells: st.SearchStrategy[str], names: Sequence[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=9)
    return rows.filter(lambda rows: set(rows[0]) != set(names))


@given(tables(ANY_TEXT, FIELDS["pairs"]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.booleans())
def test_what_pythons_csv_module_writes_is_read(rows: list[tuple[str, str]], quoting: int, has_end: bool) -> None:
    text = as_csv(rows, quoting=quoting)
    assert read(text if has_end else text.removesuffix("\r\n"), "pairs", data_format="csv") == rows


@given(tables(ONE_LINE, FIELDS["labelled"]), st.booleans())
def test_any_labels_and_texts_without_tabs_are_read_from_tsv(rows: list[tuple[str, str]], has_end: bool) -> None:
    text = as_tsv(rows)
    assert read(text if has_end else text[:-1], data_format="tsv") == rows


@given(tables(ANY_TEXT, ()), st.booleans())
def test_any_texts_are_read_from_json(rows: list[tuple[str, str]], ensure_ascii: bool) -> None:
    assert read(as_json(rows, FIELDS["labelled"], ensure_ascii=ensure_ascii)) == rows


@given(st.lists(st.lists(st.tuples(TOKEN, TOKEN), min_size=1, max_size=6), min_size=1, max_size=5), st.booleans())
def test_any_tokens_are_read_from_conll(sentences: list[list[tuple[str, str]]], by_tabs: bool) -> None:
    rows = [("\t" if by_tabs else " ").join(row) + "\n" for sentence in sentences for row in [*sentence, ()]]
    assert read("".join(rows), "tagged", data_format="conll") == [tuple(sentence) for sentence in sentences]


@given(st.lists(st.tuples(TOKEN, TOKEN), min_size=1, max_size=5))
def test_sentences_as_lists_are_read_from_json(sentence: list[tuple[str, str]]) -> None:
    text = json.dumps(dict(zip(FIELDS["tagged"], zip(*sentence, strict=True), strict=True)))
    assert read(text, "tagged") == [tuple(sentence)]


@given(tables(NO_TAB, FIELDS["labelled"]))
def test_the_form_that_a_file_was_written_in_is_recognised(rows: list[tuple[str, str]]) -> None:
    lines = [(re.sub(r"\s", "_", label), re.sub(r"\n", " ", text)) for label, text in rows]
    texts: dict[DataFormat, str] = {
        "tsv": as_tsv(lines),
        "csv": as_csv(rows),
        "jsonl": as_json(rows, FIELDS["labelled"]),
        "fasttext": "".join(f"__label__{label} {text}\n" for label, text in lines),
    }
    assert {recognise(list(Data(text)), "labelled"): form for form, text in texts.items()} == {f: f for f in texts}


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_form_is_recognised_despite_a_wrong_row(form: DataFormat) -> None:
    rows = [("good", 'a "nice" film'), ("bad", "no, never")] * 9
    text = {"tsv": as_tsv(rows), "csv": as_csv(rows), "jsonl": as_json(rows, FIELDS["labelled"])}[form]
    assert recognise([*Data(text), 'b,"x\n'], "labelled") == form
    assert recognise(['b,"x\n', *Data(text)], "labelled") == form
    assert recognise(["\n", *Data(text), "\n"], "labelled") == form


def test_a_row_that_goes_on_after_the_first_lines_does_not_hide_the_form() -> None:
    text = as_csv([("a", "short"), ("b", "long\n" * MAX_HEAD_LINES), ("c", "short")])
    assert read(text) == [("a", "short"), ("b", "long\n" * MAX_HEAD_LINES), ("c", "short")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("one\ntwo\n", "labelled"),
        ("Some prose.\nSome more, and more.\nAnd, so, on.\n", "pairs"),
        ('[\n{"label": "a",\n"text": "b"}\n]\n', "labelled"),
        ("word\nword\n", "tagged"),
        ("\n \n", "labelled"),
        ("", "tagged"),
    ],
)
def test_what_has_no_form_is_refused_with_a_remedy(text: str, wanted: Wanted) -> None:
    assert refusal(text, wanted).where == "data"


def test_only_a_few_lines_are_read_in_advance() -> None:
    @dataclass
    class Endless:
        name: str = "endless"
        num_read: int = 0

        def __iter__(self) -> Iterator[str]:
            for line in repeat('good\ta "film"\n'):
                self.num_read += 1
                yield line

    source = Endless()
    records = list(islice(read_records(source, "labelled", PLAIN, BadRows()), 1000))
    assert {contents(record) for record in records} == {("good", 'a "film"')}
    assert source.num_read == 1000


@given(tables(ONE_LINE, FIELDS["pairs"]))
def test_two_passes_give_the_same(rows: list[tuple[str, str]]) -> None:
    source = Data(as_tsv([*rows, ("only one",)]))
    options = DataOptions(data_format="tsv", skip_bad=1)
    passes = [list(read_records(source, "pairs", options, BadRows(1))) for _ in range(2)]
    assert passes[0] == passes[1]
    assert [record.where for record in passes[0]] == [f"data, line {n}" for n in range(1, len(rows) + 1)]


# Tables


@pytest.mark.parametrize("header", ["", "label\ttext\n"])
def test_a_header_of_the_wanted_names_is_not_a_record(header: str) -> None:
    assert read(header + 'good\t"fine\nbad\t5" wide, so bad\n') == [("good", '"fine'), ("bad", '5" wide, so bad')]


def test_a_header_may_have_its_names_in_any_order() -> None:
    assert read("text,label\nfine film,good\n") == [("good", "fine film")]
    assert read("target\tsource\na b\tab\n", "pairs") == [("ab", "a b")]
    assert read("target\tsource\n") == [("target", "source")]


def test_columns_are_chosen_by_names_or_numbers() -> None:
    rows = [("id", "review", "stars"), ("7", "dull, dull", "1"), ("8", "fine", "5")]
    expected = [("1", "dull, dull"), ("5", "fine")]
    for text in (as_tsv(rows), as_csv(rows)):
        assert read(text, columns=("stars", "review")) == expected
        assert read(text, columns=("3", "review")) == expected
        assert read(text, columns=("3", "2")) == [("stars", "review"), *expected]
    assert read("text,,label\nx,y,z\n", columns=("3", "1")) == [("z", "x")]


@pytest.mark.parametrize("columns", [("stars", "text"), ("stars", "4")])
def test_a_missing_column_is_named_with_the_columns_there_are(columns: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=r"'id', 'review', 'stars'") as caught:
        read("id,review,stars\n7,dull,1\n", columns=columns)
    assert caught.value.where == "data, line 1"


def test_a_column_that_is_named_and_numbered_is_not_taken_twice() -> None:
    with pytest.raises(UsageError, match="the same column twice"):
        read("id,review\n7,dull\n", columns=("review", "2"))


@pytest.mark.parametrize(
    "how",
    [
        {"columns": ("a", "a")},
        {"columns": ("1", "01")},
        {"columns": ("0", "1")},
        {"columns": ("a", "0")},
        {"tag_column": 0},
        {"skip_bad": -1},
    ],
)
def test_impossible_options_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        DataOptions(**how)


def test_labels_are_divided_at_commas_only_if_there_may_be_several() -> None:
    assert read("drama, war\tx\n") == [("drama, war", "x")]
    assert read("drama, war,drama\tx\nwar\ty\n", options=SEVERAL) == [("drama", "war", "x"), ("war", "y")]
    assert read('"drama,war",x\n', options=SEVERAL) == [("drama", "war", "x")]


def test_a_row_without_labels_is_a_text_that_has_none_if_there_may_be_several() -> None:
    labelled = {
        "tsv": "\tx\na,b\ty\n \tz\n",
        "csv": ',x\n"a,b",y\n"",z\n',
        "jsonl": '{"labels": [], "text": "x"}\n{"label": "a,b", "text": "y"}\n{"label": "", "text": "z"}\n',
        "fasttext": "x\n__label__a __label__b y\nz\n",
    }
    for form, text in labelled.items():
        assert read(text, data_format=form, several_labels=True) == [("x",), ("a", "b", "y"), ("z",)]
        assert "label" in refusal(text, data_format=form).what
    assert "label is empty" in refusal("a,,b\tx\n", several_labels=True).what


def test_texts_with_newlines_and_carriage_returns_are_kept_in_csv() -> None:
    assert read('a,"one\ntwo\r\n"\r\nb,c\r\n', data_format="csv") == [("a", "one\ntwo\r\n"), ("b", "c")]


def test_blank_lines_are_skipped() -> None:
    for form, line in (("tsv", "a\tb\n"), ("csv", "a,b\n"), ("jsonl", '{"label": "a", "text": "b"}\n')):
        assert read(f"\n{line} \n\n{line}\n", data_format=form) == [("a", "b")] * 2


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a\tb\nc\n", 2, "1 column, not 2"),
        ("a\tb\n\nc\td\te\n", 3, "3 columns, not 2"),
        ("a\tb\n \tx\n", 2, "label is empty"),
        ("a\tb\na\t\u00a0 \n", 2, "text is empty"),
        ("\t\na\tb\na\tb\n", 1, "label is empty"),
        ('a,"b\nc"\nd,e,f\n', 3, "3 columns"),
        ('a,b\nc,"d\ne,f\n', 2, "never closed"),
        ('a,b\n"c\nc","d\ne,f\n', 3, "never closed"),
        ('a,b\nc,"d"e\nf,g\n', 2, "followed by"),
        ('a,b\nc,"d\ne,"f"\n', 2, "followed by"),
        ("a,b\nc,d\re\n", 2, "carriage return"),
        ("__label__a b\nb\n", 2, "no label"),
        ("__label__a b\n__label__a __label__b c\n", 2, "2 labels"),
        ("__label__a b\n __label__a\n", 2, "text is empty"),
        ("__label__a b\n__label__ b\n", 2, "label is empty"),
        ('{"label": 1, "text": "b"}\n{"label": 1}\n', 2, "no field 'text'"),
        ('{"label": 1, "text": "b"}\n{"label": 1,\n', 2, "not JSON"),
        ('{"label": 1, "text": "b"}\n{"label": NaN, "text": "b"}\n', 2, "NaN"),
        ('{"label": 1, "text": "b"}\n["a", "b"]\n', 2, "not a JSON object"),
        ('{"label": 1, "text": "b"}\n{"label": 1, "text": 2}\n', 2, "'text' is a number"),
        ('{"label": 1, "text": "b"}\n{"label": null, "text": "b"}\n', 2, "null"),
        ('{"label": 1, "text": "b"}\n{"label": [], "text": "b"}\n', 2, "label is empty"),
        ('{"label": 1, "text": "b"}\n{"label": ["a", "b"], "text": "b"}\n', 2, "2 labels"),
        ('{"label": 1, "text": "b"}\n{"label": 1, "text": "\\ud83d"}\n', 2, "half a character"),
        pytest.param('{"label": 1, "text": "b"}\n' + "[" * 100_000 + "\n", 2, "deeply", id="nested"),
        pytest.param('{"label": 1, "text": "b"}\n{"label": ' + "1" * 9999 + "}\n", 2, "not JSON", id="long"),
    ],
)
def test_a_wrong_row_of_labelled_texts_is_refused_with_its_place(text: str, line: int, what: str) -> None:
    error = refusal(text)
    assert what in error.what
    assert error.where == f"data, line {line}"
    assert "--skip-bad" in error.to_do


def test_the_remedies_for_more_labels_and_columns_are_named() -> None:
    assert "--multi" in refusal("__label__a __label__b c\n").to_do
    assert "--multi" in refusal('{"label": ["a", "b"], "text": "c"}\n').to_do
    assert "--columns" in refusal("a\tb\tc\n").to_do
    assert "--columns" in refusal('{"stars": 1, "review": "b"}\n').to_do
    assert "--columns" not in refusal("a\tb\tc\n1\t2\n", columns=("1", "3")).to_do


def test_a_quotation_mark_that_is_never_closed_is_found_without_reading_everything() -> None:
    @dataclass
    class Long:
        name: str = "long"
        num_characters: int = 0

        def __iter__(self) -> Iterator[str]:
            for line in chain(["a,b\n"] * MAX_HEAD_LINES, ['a,"b\n'], repeat("x" * 999 + "\n")):
                self.num_characters += len(line)
                yield line

    source = Long()
    with pytest.raises(TextError, match="not closed before") as caught:
        list(read_records(source, "labelled", PLAIN, BadRows()))
    assert caught.value.where == f"long, line {MAX_HEAD_LINES + 1}"
    assert source.num_characters < 1.1 * MAX_TEXT


def test_a_field_that_is_too_long_is_refused() -> None:
    text = "x" * (MAX_TEXT + 1)
    assert "1,048,576" in refusal(f"a,b\na,{text}\nc,d\n").what
    half = "x" * (MAX_TEXT // 2)
    assert read(f'a,"{half}\n"\nc,d\n', data_format="csv") == [("a", f"{half}\n"), ("c", "d")]


def test_after_a_wrong_quotation_mark_rows_are_read_again() -> None:
    text = 'a,b\nc,"d\ne,"f"\ng,"h"\ni,"j"k\nl,m\n'
    assert read(text, skip_bad=2) == [("a", "b"), ("e", "f"), ("g", "h"), ("l", "m")]


# Columns that are not what they are taken for

REVIEWS = [("good", f"film {n}") if n % 3 else ("bad", f"play {n}") for n in range(40)]


def remarks(rows: Sequence[Sequence[str]], wanted: Wanted = "labelled", **given: Any) -> list[str]:
    """What is said about the columns of a table, which is the same for TSV and CSV."""
    found = []
    for text in (as_tsv(rows), as_csv(rows)):
        bad = BadRows()
        list(read_records(Data(text), wanted, DataOptions(**given), bad))  # type: ignore[call-overload]
        found.append(bad.remarks)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("header", "to_do"),
    [
        (("Label", "Text"), "--columns Label,Text"),
        (("TEXT", "LABEL"), "--columns LABEL,TEXT"),
        ((" label", "text"), "write label and text there"),
        (("category", "sentence"), "--columns category,sentence"),
        (("category", "a sentence, or so"), "write label and text there"),
    ],
)
def test_what_is_nearly_a_header_is_noted(header: tuple[str, str], to_do: str) -> None:
    (note,) = remarks([header, *REVIEWS])
    assert note.startswith("data, line 1: ")
    assert repr(header[0]) in note
    assert note.endswith(to_do)
    assert read(as_tsv([header, *REVIEWS])) == [header, *REVIEWS]


def test_pairs_may_have_what_is_nearly_a_header_too() -> None:
    (note,) = remarks([("Target", "Source"), ("a", "b")], "pairs")
    assert "--columns Source,Target" in note


def test_columns_that_seem_to_be_swapped_are_noted() -> None:
    swapped = [(text, label) for label, text in REVIEWS]
    (note,) = remarks(swapped)
    assert "40 of 40 rows" in note
    assert note.endswith("--columns 2,1")
    assert remarks([("text", "label"), *swapped]) == []
    assert remarks([("label", "text"), *swapped])[0].endswith("--columns text,label")
    assert remarks([("a", "b"), *swapped], columns=("a", "2"))[0].endswith("--columns 2,a")
    assert remarks(swapped, columns=("2", "1")) == []
    assert remarks([*swapped, *swapped[:3]])[0].startswith("data: 40 of 43 rows")


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (REVIEWS, "labelled"),
        ([("label", "text"), *REVIEWS], "labelled"),
        ([("rare", "film"), ("odd", "film"), *REVIEWS], "labelled"),
        ([("good", "film"), ("bad", "film"), ("fair", "film")], "labelled"),
        ([(f"source {n}", "same") for n in range(40)], "pairs"),
        ([("rare", "film"), *REVIEWS * 40, ("rare", "play")], "labelled"),
    ],
)
def test_usual_columns_are_not_doubted(rows: list[tuple[str, str]], wanted: Wanted) -> None:
    assert remarks(rows, wanted) == []


# fastText and JSON


def test_fasttext_has_labels_anywhere_in_a_line() -> None:
    assert read("a __label__x b\nc\td__label__y __label__z\n") == [("x", "a b"), ("z", "c\td__label__y")]
    assert read("__label__x __label__y,z a\u00a0b __label__x\n", options=SEVERAL) == [("x", "y,z", "a\u00a0b")]


def test_numbers_and_booleans_are_labels_in_json() -> None:
    values = ["1", "-2.5", "true", '"x"', '["y"]', "[3]"]
    text = "".join(f'{{"text": "a", "label": {value}}}\n' for value in values)
    assert read(text) == [(label, "a") for label in ("1", "-2.5", "true", "x", "y", "3")]


def test_json_may_have_lists_of_labels_and_other_names() -> None:
    assert read('{"labels": ["a", 1], "text": "b"}\n', options=SEVERAL) == [("a", "1", "b")]
    assert read('{"label": "a, b", "text": "c"}\n') == [("a, b", "c")]
    assert read('{"label": "a, b", "text": "c"}\n', options=SEVERAL) == [("a", "b", "c")]
    assert read('{"1": "a", "en": "c", "x": []}\n', "pairs", columns=("1", "en")) == [("a", "c")]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ('{"tokens": ["a"], "tags": []}', "1 tokens and 0 tags"),
        ('{"tokens": [], "tags": []}', "no tokens"),
        ('{"tokens": ["a", ""], "tags": ["O", "O"]}', "token is empty"),
        ('{"tokens": "a", "tags": "O"}', "a string, not a list"),
        ('{"tokens": [1], "tags": [1]}', "a token is a number"),
        ('{"tokens": ["a"], "tags": [[]]}', "tag is a list"),
    ],
)
def test_a_wrong_sentence_in_json_is_refused(row: str, what: str) -> None:
    error = refusal(f'{{"tokens": ["a", "b"], "tags": ["O", 1]}}\n{row}\n', "tagged")
    assert what in error.what
    assert error.where == "data, line 2"


# CoNLL


def test_conll_2003_is_read_with_its_documents() -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\n. . O O\n\n# SYM I-NP O\n9 CD I-NP O\n"
    expected = [(("EU", "I-ORG"), (".", "O")), (("#", "O"), ("9", "O"))]
    assert read(text, "tagged") == expected
    assert read(text, "tagged", tag_column=2) == [(("EU", "NNP"), (".", ".")), (("#", "SYM"), ("9", "CD"))]


def test_what_is_white_space_elsewhere_is_part_of_a_token() -> None:
    text = "\ufe0f\tO\na\u00a0b\tO\n\u2028\x85x\tO\n\t\n#\tO\n#tag\tB-x\n"
    assert read(text, "tagged") == [
        (("\ufe0f", "O"), ("a\u00a0b", "O"), ("\u2028\x85x", "O")),
        (("#", "O"), ("#tag", "B-x")),
    ]


CONLL_U = """\
# newdoc
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tx\t_\tX\t_\t_\t_\t_\t_\t_
3\tde todos\tde todos\tADV\t_\t_\t1\tadvmod\t_\tSpaceAfter=No

# sent_id = 2
# = not a token
1\tsí\tsí\tINTJ\t_\t_\t0\troot\t_\t_
"""


def test_conll_u_is_read_without_comments_and_tokens_of_several_words() -> None:
    expected = [(("vamos", "VERB"), ("nos", "PRON"), ("de todos", "ADV")), (("sí", "INTJ"),)]
    assert read(CONLL_U, "tagged", columns=("2", "4")) == expected


def test_numbers_are_not_taken_for_the_tokens_of_conll_u() -> None:
    error = refusal(CONLL_U, "tagged")
    assert error.where == "data, line 4"
    assert "--columns 2,4" in error.to_do


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a O\nb\n", 2, "only one column"),
        ("a O\n\nb x O\n", 3, "3 columns, not 2"),
        ("a x O\nb x O\nb O\n", 3, "2 columns, not 3"),
        pytest.param("a O\n" * 100_001, 1, "more than 100,000 rows", id="long"),
    ],
)
def test_a_wrong_row_of_conll_is_refused_with_its_place(text: str, line: int, what: str) -> None:
    error = refusal(text, "tagged")
    assert what in error.what
    assert error.where == f"data, line {line}"


def test_a_column_of_conll_that_is_not_there_is_refused() -> None:
    assert "no column 3" in refusal("a O\n", "tagged", tag_column=3).what
    assert "no column 4" in refusal("a O\n", "tagged", columns=("4", "1")).what
    for how in ({"columns": ("word", "tag")}, {"tag_column": 1}, {"columns": ("1", "2"), "tag_column": 2}):
        with pytest.raises(UsageError):
            read("a O\n", "tagged", **how)


def test_a_wrong_sentence_is_skipped_as_a_whole() -> None:
    assert read("a O\nb\nc O\n\nd O\n", "tagged", skip_bad=1) == [(("d", "O"),)]


# Folders and two files


def folder(**texts: str) -> list[tuple[str, Data]]:
    """Files by their paths, in which "__" stands for "/" and a last "_" for ".txt"."""
    paths = [re.sub("_$", ".txt", name.replace("__", "/")) for name in texts]
    return [(path, Data(text, f"set/{path}")) for path, text in zip(paths, texts.values(), strict=True)]


def test_a_folder_has_a_file_of_lines_for_each_label() -> None:
    files = [*folder(neg_="dull\n\nbad", pos_='"fine"\n'), (".DS_Store", Data("x")), ("mid.v1.txt", Data("so so"))]
    records = list(read_folder(files, BadRows()))
    expected = [("neg", "dull"), ("neg", "bad"), ("pos", '"fine"'), ("mid.v1", "so so")]
    assert [contents(record) for record in records] == expected
    assert [record.where for record in records][:2] == ["set/neg.txt, line 1", "set/neg.txt, line 3"]


def test_a_folder_has_a_sub_folder_of_texts_for_each_label() -> None:
    files = [(".git/x", Data("x")), *folder(neg__1_="dull\n\nfilm\n", neg__old__2_="bad", pos__1="fine\n\n")]
    records = list(read_folder([*files, (".hidden", Data("x"))], BadRows()))
    assert [contents(record) for record in records] == [("neg", "dull\n\nfilm"), ("neg", "bad"), ("pos", "fine\n")]
    assert records[0].where == "set/neg/1.txt"


@pytest.mark.parametrize("files", [folder(neg__1_="a", README="b"), folder(README="b", neg__1_="a")])
def test_a_folder_of_both_kinds_is_refused(files: list[tuple[str, Data]]) -> None:
    with pytest.raises(TextError, match="both files and sub-folders") as caught:
        list(read_folder(files, BadRows(9)))
    assert caught.value.where == files[1][1].name


@pytest.mark.parametrize("files", [[], folder(a_="\n\n"), [(".hidden", Data("x"))]])
def test_a_folder_without_texts_is_refused(files: list[tuple[str, Data]]) -> None:
    with pytest.raises(TextError, match="no texts"):
        list(read_folder(files, BadRows()))


def test_wrong_texts_of_a_folder_are_refused_or_skipped() -> None:
    files = folder(a__1_="x" * (MAX_TEXT + 1), a__2_=" \n", a__3_="y")
    bad = BadRows(2)
    assert [contents(record) for record in read_folder(files, bad)] == [("a", "y")]
    assert bad.note() == (
        "2 rows were skipped: set/a/1.txt: a text has more than 1,048,576 characters; set/a/2.txt: the text is empty"
    )


@given(st.lists(st.tuples(ONE_LINE, ONE_LINE)))
def test_two_files_are_read_side_by_side(rows: list[tuple[str, str]]) -> None:
    source, target = (Data("".join(f"{row[side]}\n" for row in rows), f"text.{side}") for side in (0, 1))
    for end in ("", "\n"):
        pairs = list(read_parallel(Data(source.text + end), Data(target.text + end), BadRows()))
        assert [contents(pair) for pair in pairs] == rows


def test_two_files_of_different_lengths_are_refused() -> None:
    for first, second in ((3, 1000), (1000, 3), (0, 5), (5, 4)):
        with pytest.raises(TextError) as caught:
            list(read_parallel(Data("a\n" * first, "x.de"), Data("b\n" * second, "x.en"), BadRows(9)))
        assert caught.value.where == f"x.de has {first:,} lines, x.en has {second:,}"


@pytest.mark.parametrize(("first", "second", "what"), [("a\nb\n", "c\n\n", "target"), ("a\n \n", "c\nd", "source")])
def test_an_empty_line_in_one_of_two_files_is_refused(first: str, second: str, what: str) -> None:
    with pytest.raises(TextError, match=f"the {what} is empty") as caught:
        list(read_parallel(Data(first, "x.de"), Data(second, "x.en"), BadRows()))
    assert caught.value.where == "x.de and x.en, line 2"


# Wrong rows, and forms that do not fit


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 12))
def test_as_many_wrong_rows_are_skipped_as_may_be(rows: list[bool], max_skipped: int) -> None:
    text = "a\tb\n" + "".join("a\tb\n" if is_good else "c\n" for is_good in rows)
    bad, num_bad = BadRows(max_skipped), rows.count(False)
    records = read_records(Data(text), "labelled", DataOptions(data_format="tsv", skip_bad=max_skipped), bad)
    if num_bad > max_skipped:
        with pytest.raises(TextError, match="--skip-bad"):
            list(records)
        assert bad.count == max_skipped
    else:
        assert len(list(records)) == 1 + rows.count(True)
        assert bad.count == num_bad
        assert (bad.note() or "").count("line") == min(3, num_bad)


def test_the_note_names_the_first_rows_that_were_skipped() -> None:
    bad = BadRows(5)
    records = read_records(Data("a\n1\t2\n\t1\nb\nc\n", "x.tsv"), "labelled", DataOptions(data_format="tsv"), bad)
    assert len(list(records)) == 1
    assert bad.note() == (
        "4 rows were skipped: x.tsv, line 1: the row has 1 column, not 2; x.tsv, line 3: the label is empty; "
        "x.tsv, line 4: the row has 1 column, not 2; and 1 more"
    )
    assert BadRows().note() is None


@given(st.text(st.sampled_from('ab",\r\n\t #1.-{}[]:\\_')), st.sampled_from(list(FORMS)), st.sampled_from([0, 1, 99]))
def test_any_text_is_read_or_refused_with_a_remedy(text: str, form: DataFormat, max_skipped: int) -> None:
    bad, records, refused = BadRows(max_skipped), list[object](), list[TextError]()
    try:
        records = list(read_records(Data(text), FORMS[form].holds[0], DataOptions(data_format=form), bad))
    except TextError as error:
        refused.append(error)
    assert all(error.where.startswith("data") and error.to_do for error in refused)
    assert refused or 0 < len(records) + bad.count <= len(list(Data(text)))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_records_is_refused(form: DataFormat) -> None:
    assert refusal("\n\n", FORMS[form].holds[0], data_format=form).where == "data"


def test_a_header_alone_is_refused() -> None:
    assert "no records" in refusal("label,text\n").what


@pytest.mark.parametrize(
    ("wanted", "how"),
    [
        ("tagged", {"data_format": "tsv"}),
        ("labelled", {"data_format": "conll"}),
        ("pairs", {"data_format": "fasttext"}),
        ("labelled", {"data_format": "folder"}),
        ("labelled", {"data_format": "fasttext", "columns": ("1", "2")}),
        ("labelled", {"data_format": "tsv", "tag_column": 2}),
    ],
)
def test_a_form_that_does_not_fit_is_refused_before_reading(wanted: Wanted, how: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_form(DataOptions(**how), wanted)


def test_options_that_do_not_fit_a_recognised_form_are_refused() -> None:
    with pytest.raises(UsageError, match="no columns"):
        read("__label__x a\n", columns=("1", "2"))
    with pytest.raises(UsageError, match="--tag-column"):
        read("a\tb\n", tag_column=2)


# Real data

COUNTS: dict[tuple[str, Wanted], list[int]] = {
    ("surnames", "labelled"): [14_397, 1_819, 1_796],
    ("reviews", "labelled"): [8_553, 1_042, 1_067],
    ("wnut17", "tagged"): [3_394, 1_009, 1_287],
    ("g2p_eng_us", "pairs"): [33_344, 4_168, 4_168],
    **{(f"g2p_{language}", "pairs"): [8_000, 1_000, 1_000] for language in ("dut", "kor", "jpn_hira")},
    **{(f"g2p_{language}", "pairs"): [800, 100, 100] for language in ("ita", "ice")},
}
PARTS = ("train", "valid", "test")


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs ../shared/corpora/tasks")
@pytest.mark.parametrize(("corpus", "wanted"), COUNTS)
def test_real_files_have_as_many_records_as_are_known(corpus: str, wanted: Wanted) -> None:
    paths = [next(TASKS.glob(f"{corpus}.{part}.*")) for part in PARTS]
    parts = [list(read_records(OnDisk(path), wanted, PLAIN, BadRows())) for path in paths]  # type: ignore[call-overload]
    assert list(map(len, parts)) == COUNTS[corpus, wanted]
    if corpus == "wnut17":
        assert sum(len(sentence.tokens) for sentence in parts[0]) == 62_730
    if corpus == "reviews":
        assert {label for review in chain(*parts) for label in review.labels} == {"positive", "negative"}
        assert any(review.text.startswith('"') for review in parts[0])


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs ../shared/corpora/tasks")
def test_real_parallel_files_have_as_many_pairs_as_are_known() -> None:
    files = [[OnDisk(TASKS / f"multi30k.{part}.{language}") for language in ("de", "en")] for part in PARTS]
    assert [sum(1 for _ in read_parallel(*two, BadRows())) for two in files] == [29_000, 1_014, 1_000]
