"""From a request to a prepared corpus: a text, a text that is prepared already, or labelled data."""

import dataclasses
import os
from pathlib import Path

from charlm.corpus.forms import taken_over
from charlm.corpus.gathering import Texts
from charlm.corpus.labelled import LabelledCorpus, LabelledRequest, prepare_labelled
from charlm.corpus.labelled_data import DataFiles
from charlm.corpus.prepare import PreparedCorpus, open_prepared, prepare
from charlm.errors import UsageError
from charlm.lifecycle.initial import Base
from charlm.lifecycle.request import TrainRequest
from charlm.scoring.reading import reading_with_tokenizer
from charlm.settings import Item, TextSettings, range_of
from charlm.system.folders import copy_tree
from charlm.text.tokenizer import check_text_settings, load_tokenizer


def prepare_text(request: TrainRequest, folder: Path, base: Base | None) -> PreparedCorpus:
    """Write a text into `folder`: from a prepared text, or with a given tokenizer (that of `base`, too)."""
    assert request.texts is not None
    if request.prepared:
        return _copy_prepared(request, request.prepared, folder, base)
    settings, others, mode = request.settings, (request.valid, request.test), request.mode
    _refuse_cloze_paragraphs(request, base, settings.reading.item)
    if base:
        text = base.text_settings(settings.given_of(TextSettings))
        reading = taken_over(settings.reading, base.config.reading, settings.given)
        return prepare(request.texts, folder, text, reading, *others, base.tokenizer, grow=True, mode=mode)
    tokenizer, reading = None, settings.reading
    if request.tokenizer:
        tokenizer = load_tokenizer(request.tokenizer)
        reading = taken_over(reading, reading_with_tokenizer(request.tokenizer), settings.given)
    text = _without_mask(settings.text) if request.is_cloze else settings.text
    return prepare(request.texts, folder, text, reading, *others, tokenizer, mode=mode)


def _without_mask(text: TextSettings) -> TextSettings:
    """The settings for the tokenizer of a cloze network: `<mask>`, which it does not know, counts in `--vocab-size`."""
    check_text_settings(text)
    if text.vocab_size is None:
        return text
    smaller = dataclasses.replace(text, vocab_size=text.vocab_size - 1)
    what = f"--vocab-size {text.vocab_size} is too small, since one of the symbols is <mask>"
    if text.vocab_size == range_of(TextSettings, "vocab_size")[0]:
        raise UsageError(what, to_do=f"give {text.vocab_size + 1} or more: <eos>, <unk>, <mask> and a symbol to find")
    try:
        check_text_settings(smaller)
    except UsageError as error:
        raise UsageError(what, to_do=f"{error.to_do}; <mask> is one more") from error
    return smaller


def _copy_prepared(request: TrainRequest, prepared_folder: Path, folder: Path, base: Base | None) -> PreparedCorpus:
    """Copy a text prepared by `charlm tokenize -o`. Raises UsageError if its mode or tokenizer does not fit."""
    prepared, mode = open_prepared(prepared_folder), request.mode
    _refuse_cloze_paragraphs(request, base, prepared.division.item)
    own_mode = prepared.division.mode
    if own_mode and own_mode != mode and ("mode" in request.settings.given or request.is_cloze):
        what = f"this text was prepared and divided for --mode {own_mode}, not for --mode {mode}"
        to_do = f"make it again: charlm tokenize --mode {mode}"
        raise UsageError(what, str(prepared_folder), to_do)
    if base and prepared.tokenizer.sha256() != base.tokenizer.sha256():
        what = "this text was prepared with another tokenizer than that of the run to begin from"
        to_do = "give the text itself, or prepare it with charlm tokenize --run"
        raise UsageError(what, str(prepared_folder), to_do)
    copy_tree(prepared_folder, folder)
    return open_prepared(folder)


def _refuse_cloze_paragraphs(request: TrainRequest, base: Base | None, item: Item) -> None:
    """Raise UsageError where a cloze network would be trained on paragraphs."""
    is_cloze = base.config.architecture.kind == "cloze" if base else request.is_cloze
    if is_cloze and item == "paragraph":
        what = "a cloze network reads each line on its own, not each paragraph"
        raise UsageError(what, to_do="leave --item paragraph out, or --objective cloze")


def prepare_data(request: TrainRequest, folder: Path, base: Base | None) -> LabelledCorpus:
    """Write labelled data into `folder`, with a given tokenizer (that of `base`, too)."""
    assert request.texts is not None
    assert request.task is not None
    if request.settings.reading.item == "paragraph" and not os.path.isdir(request.texts.paths[0]):
        what = "--item paragraph is for a folder with a file for each label; here each row has its text"
        raise UsageError(what, str(request.texts), "leave it out")
    settings, tokenizer = request.settings, base.tokenizer if base else None
    reading = taken_over(settings.reading, base.config.reading, settings.given) if base else settings.reading
    if request.tokenizer:
        tokenizer = load_tokenizer(request.tokenizer)
        reading = taken_over(reading, reading_with_tokenizer(request.tokenizer), settings.given)
    return prepare_labelled(
        LabelledRequest(
            task=request.task,
            data=data_files(request),
            text=base.text_settings(settings.given_of(TextSettings)) if base else settings.text,
            form=settings.data,
            reading=reading,
            tokenizer=tokenizer,
        ),
        folder,
    )


def data_files(request: TrainRequest) -> dict[str, DataFiles]:
    """The files of each part that were given. Raises UsageError for targets without sources."""
    like = request.texts or Texts(())  # resuming needs no text, but may be given others
    given = {
        "train": (request.texts, request.target),
        "valid": (like.with_same_patterns(request.valid), request.valid_target),
        "test": (like.with_same_patterns(request.test), request.test_target),
    }
    for name, (files, target) in given.items():
        if target is not None and files is None:
            option, sources = ("--target", "a corpus") if name == "train" else (f"--{name}-target", f"--{name}")
            raise UsageError(f"{option} goes with {sources}, which is missing", str(target), "give both or none")
    return {name: DataFiles(files, target) for name, (files, target) in given.items() if files is not None}
