"""What is learned from files of labelled data, whatever their line ends, and what is said about them."""

import json
from pathlib import Path

import pytest

from charlm.corpus.gathering import Texts
from charlm.corpus.labelled import LabelledCorpus, LabelledRequest, prepare_labelled
from charlm.corpus.labelled_data import DataFiles
from charlm.errors import TextError
from charlm.settings import CorpusSettings, DataSettings, TaskName, TextSettings

ROWS = [("fruit", 'an "apple"'), ("fish", "a trout, grilled"), ("bird", "a heron")] * 8


def prepared(folder: Path, task: TaskName, target: Path | None = None, **parts: Path) -> LabelledCorpus:
    data = {name: DataFiles(Texts((str(path),)), target) for name, path in parts.items()}
    request = LabelledRequest(task=task, data=data, text=TextSettings(), form=DataSettings(), reading=CorpusSettings())
    return prepare_labelled(request, folder)


def as_lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


# Tagging schemes

TRAINING = "Anna B-person\nAnn I-person\nlikes O\nRome B-place\n\n" * 9


def conll(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_part_in_another_tagging_scheme_is_brought_into_that_of_the_training_part(tmp_path: Path) -> None:
    train = conll(tmp_path, "train.conll", TRAINING)
    valid = conll(tmp_path, "valid.conll", "Anna B-person\nAnn E-person\nlikes O\nRome S-place\n")
    test = conll(tmp_path, "test.conll", "Anna B-person\nAnn I-person\nlikes O\nRome B-place\n")
    corpus = prepared(tmp_path / "folder", "tag", train=train, valid=valid, test=test)
    assert corpus.vocabularies.scheme == "BIO"
    assert corpus.valid is not None
    assert corpus.test is not None
    tags = corpus.valid["tags"].values.tolist()
    assert tags == corpus.test["tags"].values.tolist()
    assert [corpus.labels[tag] for tag in tags] == ["B-person", "I-person", "O", "B-place"]
    notes = [note for note in corpus.notes if "scheme" in note or "no training row" in note]
    assert len(notes) == 1
    assert "valid.conll: " in notes[0]
    assert "IOBES into BIO" in notes[0]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("Bo B-person\n\nAnna B-person\nAnn E-person\nsees O\nBo B-person\n", "line 3", "E-person.*BIO"),
        ("Bo O\n\nAnna B-person\nRome I-place\nof B-place\n", "line 3", "BIO"),
        ("Bo NOUN\nsees VERB\n", "test.conll", "mark no spans"),
    ],
)
def test_a_part_whose_tags_break_their_scheme_is_refused(tmp_path: Path, text: str, where: str, what: str) -> None:
    train, test = conll(tmp_path, "train.conll", TRAINING), conll(tmp_path, "test.conll", text)
    with pytest.raises(TextError, match=what) as caught:
        prepared(tmp_path / "folder", "tag", train=train, valid=train, test=test)
    assert "test.conll" in caught.value.where
    assert where in caught.value.where
    assert caught.value.to_do


def test_tags_of_rows_held_out_are_checked_too(tmp_path: Path) -> None:
    blocks = TRAINING.strip().split("\n\n")
    for number in range(len(blocks)):  # at least one of them is held out
        wrong = [*blocks[:number], "Anna O\nAnn I-person", *blocks[number + 1 :]]
        data = conll(tmp_path, "data.conll", "\n\n".join(wrong))
        with pytest.raises(TextError, match=r"I-person.*BIO") as caught:
            prepared(tmp_path / f"folder-{number}", "tag", train=data)
        assert f"data.conll, line {number * 5 + 1}" in caught.value.where


# Columns that are not what they are taken for


def test_doubts_on_the_columns_of_each_part_are_noted_once(tmp_path: Path) -> None:
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text(as_lines("Label\tText", *map("\t".join, ROWS)))
    test.write_text(as_lines(*(f"a text {n}\tfish" for n in range(12))))
    notes = [
        note for note in prepared(tmp_path / "folder", "classify", train=train, test=test).notes if "--col" in note
    ]
    assert len(notes) == 2
    assert "train.tsv, line 1: 'Label' and 'Text'" in notes[0]
    assert "test.tsv: 12 of 12 rows" in notes[1]


# Line ends and byte order marks

FORMS: dict[str, tuple[TaskName, str]] = {
    "tsv": ("classify", as_lines(*map("\t".join, ROWS))),
    "header.tsv": ("classify", as_lines("label\ttext", *map("\t".join, ROWS))),
    "csv": ("classify", as_lines(*(f'{label},"{text.replace(chr(34), chr(34) * 2)}"' for label, text in ROWS))),
    "jsonl": ("classify", as_lines(*(json.dumps(dict(zip(("label", "text"), row, strict=True))) for row in ROWS))),
    "fasttext": ("classify", as_lines(*(f"{text} __label__{label}" for label, text in ROWS))),
    "conll": ("tag", "Anna B-person\nlikes O\nRome B-place\n\nBo B-person\nsees O\n\n" * 9),
    "pairs.tsv": ("translate", as_lines(*map("\t".join, ROWS))),
}


@pytest.mark.parametrize("form", FORMS)
def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(tmp_path: Path, form: str) -> None:
    task, text = FORMS[form]
    found = []
    for name, content in {"unix": text, "windows": "\ufeff" + text.replace("\n", "\r\n")}.items():
        path = tmp_path / name
        path.write_bytes(content.encode())
        found.append(prepared(tmp_path / f"folder-{name}", task, train=path))
    unix, windows = found
    assert unix.files() == windows.files()
    assert unix.train.num_examples == windows.train.num_examples > 0
    for column in unix.train.header.columns:
        assert (unix.train[column.name].values == windows.train[column.name].values).all()
    assert not any("\r" in label or "\ufeff" in label for label in windows.labels)


@pytest.mark.parametrize("ends", [("\n", "\r\n"), ("\r\n", "\n"), ("\r\n", "\r\n")])
def test_each_of_two_parallel_files_has_its_own_line_ends(tmp_path: Path, ends: tuple[str, str]) -> None:
    source, target = tmp_path / "train.de", tmp_path / "train.en"
    for path, end, texts in zip((source, target), ends, zip(*ROWS, strict=True), strict=True):
        path.write_bytes("".join(text + end for text in texts).encode())
    corpus = prepared(tmp_path / "folder", "translate", target, train=source)
    for tokenizer in (corpus.tokenizer, corpus.second):
        assert not any("\r" in tokenizer.symbol(id) for id in range(tokenizer.vocab_size))
    assert corpus.train.header.line_ends == "lf"
