"""What is learned from files of labelled data, whatever their line ends, and what is said about them."""

import json
from pathlib import Path

import pytest

from charlm.corpus.gathering import Texts
from charlm.corpus.labelled import LabelledCorpus, LabelledRequest, prepare_labelled
from charlm.corpus.labelled_data import DataFiles
from charlm.settings import CorpusSettings, DataSettings, TaskName, TextSettings

ROWS = [("fruit", 'an "apple"'), ("fish", "a trout, grilled"), ("bird", "a heron")] * 8


def prepared(folder: Path, task: TaskName, target: Path | None = None, **parts: Path) -> LabelledCorpus:
    data = {name: DataFiles(Texts((str(path),)), target) for name, path in parts.items()}
    request = LabelledRequest(task=task, data=data, text=TextSettings(), form=DataSettings(), reading=CorpusSettings())
    return prepare_labelled(request, folder)


def as_lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


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
