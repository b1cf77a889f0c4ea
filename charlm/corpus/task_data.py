"""For each task: which vocabularies are learned from the data, and what columns of ids an example becomes."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from charlm.corpus.examples import Ids, Row
from charlm.corpus.sources import number_of
from charlm.corpus.vocabularies import Vocabularies, word_id
from charlm.errors import TextError, UsageError
from charlm.formats.records import Labelled, Pair, Record, Tagged, Wanted
from charlm.settings import DataSettings, Item, TaskName, TextSettings
from charlm.text.encoded import Encoded
from charlm.text.items import as_paragraph
from charlm.text.normal_form import in_parts
from charlm.text.tokenizer import Tokenizer, build_tokenizer

MAX_LABELS = 1 << 16

OneRecord = TypeVar("OneRecord", bound=Record)
Records = Callable[[], Iterator[OneRecord]]
"""Reads all records of the training part, from the first one again each time."""


@dataclass(frozen=True)
class TaskData:
    """What a task needs to know about its data."""

    wanted: Wanted
    learn: Callable[[Records[Any], TextSettings, DataSettings, Tokenizer | None, list[str]], Vocabularies]
    """From the training records, the settings and the tokenizer of a run to begin from; notes are appended."""
    sizes: Callable[[Vocabularies], dict[str, int]]
    """For each column the number of ids that can occur in it."""
    row: Callable[[Any, Vocabularies], Row]
    """A record as columns of ids."""
    group: Callable[[Any], str] = lambda record: ""
    """Examples are held out for validation within each of these groups."""
    item: Callable[[Records[Any], list[str]], Item] = lambda records, notes: "line"
    """What the texts are, from the training records: lines that end with an `<eos>`, or paragraphs that end with two.
    Notes are appended."""


def _learn_labelled(
    records: Records[Labelled], text: TextSettings, data: DataSettings, known: Tokenizer | None, notes: list[str]
) -> Vocabularies:
    labels = tuple(_counted_labels(records, 2 - data.multi))
    return Vocabularies(known or _tokenizer_of_texts(records, text, notes), labels=labels)


def _counted_labels(records: Records[Labelled], min_labels: int) -> dict[str, int]:
    """How many records have each label, the most frequent label first."""
    counts: Counter[str] = Counter()
    for record in records():
        counts.update(record.labels)
        if len(counts) > MAX_LABELS:
            raise TextError(f"there are more than {MAX_LABELS:,} labels", record.where, "are the columns right?")
    if not counts:
        raise TextError("no row has a label: there is nothing to learn", to_do="give rows with labels")
    if len(counts) < min_labels:
        only = next(iter(counts), "")
        what = f"all rows have the same label, {only[:40]!r}: there is nothing to tell apart"
        raise TextError(what, to_do="give rows of at least two labels")
    return {label: counts[label] for label in sorted(counts, key=lambda label: (-counts[label], label))}


def _tokenizer_of_texts(records: Records[Labelled], text: TextSettings, notes: list[str]) -> Tokenizer:
    return build_tokenizer(text, (f"{record.text}\n" for record in records()), notes)


def _labelled_sizes(vocabularies: Vocabularies) -> dict[str, int]:
    return {"text": vocabularies.tokenizer.vocab_size, "labels": len(vocabularies.labels) + 1}


def _labelled_row(record: Labelled, vocabularies: Vocabularies) -> Row:
    encoded = vocabularies.tokenizer.encode_detailed(record.text)
    numbers = [vocabularies.number_of(label) for label in record.labels]
    return _row({"text": [encoded.ids], "labels": [np.array(numbers, np.uint32)]}, encoded)


def _learn_generated(
    records: Records[Labelled], text: TextSettings, data: DataSettings, known: Tokenizer | None, notes: list[str]
) -> Vocabularies:
    counts = _counted_labels(records, 2)
    tokenizer = known or _tokenizer_of_texts(records, text, notes)
    return Vocabularies(tokenizer, labels=tuple(counts), counts=tuple(counts.values()))


def _item_of_texts(records: Records[Labelled], notes: list[str]) -> Item:
    """Whether the texts are lines, or paragraphs because one of them has several lines."""
    if not any("\n" in as_paragraph(record.text) for record in records()):
        return "line"
    notes.append("texts have several lines: a blank line ends each of them, so blank lines within a text are left out")
    return "paragraph"


def _learn_pairs(
    records: Records[Pair], text: TextSettings, data: DataSettings, known: Tokenizer | None, notes: list[str]
) -> Vocabularies:
    is_same = data.target_unit in (None, text.unit)
    # Of another unit, the settings of the source have no meaning for the target, but for the letters' case.
    target = text if is_same else TextSettings(unit=data.target_unit or text.unit, lowercase=text.lowercase)
    target = replace(target, split=data.target_split or target.split)
    tokenizer = known or build_tokenizer(
        text, (f"{in_parts(record.source, text.unit)}\n" for record in records()), notes
    )
    return Vocabularies(tokenizer, build_tokenizer(target, (f"{record.target}\n" for record in records()), notes))


def _pair_sizes(vocabularies: Vocabularies) -> dict[str, int]:
    assert vocabularies.second is not None
    return {"source": vocabularies.tokenizer.vocab_size, "target": vocabularies.second.vocab_size}


def _pair_row(record: Pair, vocabularies: Vocabularies) -> Row:
    assert vocabularies.second is not None
    tokenizer = vocabularies.tokenizer
    source = tokenizer.encode_detailed(in_parts(record.source, tokenizer.unit))
    target = vocabularies.second.encode_detailed(record.target)
    return _row({"source": [source.ids], "target": [target.ids]}, source, target)


def _learn_tagged(
    records: Records[Tagged], text: TextSettings, data: DataSettings, known: Tokenizer | None, notes: list[str]
) -> Vocabularies:
    if text.split != TextSettings().split or text.punctuation != TextSettings().punctuation:
        raise UsageError("--split and --punctuation do nothing here: the data says what the words are")
    counts = Counter(tag for record in records() for tag in record.tags)
    if len(counts) < 2:
        what = f"all words have the same tag, {next(iter(counts), '')[:40]!r}: there is nothing to tell apart"
        raise TextError(what, to_do="give sentences of at least two tags, or name their column: --tag-column")
    words = TextSettings(
        unit="word",
        split="whitespace",
        vocab_size=text.vocab_size,
        min_count=text.min_count,
        lowercase=text.lowercase or text.unit != "word",  # what is written in capitals is known from the spelling
    )
    tokenizer = build_tokenizer(words, (" ".join(record.tokens) + "\n" for record in records()), notes)
    spelling = known
    if spelling is None and text.unit != "word":
        letters = replace(text, vocab_size=None, min_count=1)
        spelling = build_tokenizer(letters, ("\n".join(record.tokens) + "\n" for record in records()), notes)
    tags = tuple(sorted(counts, key=lambda tag: (-counts[tag], tag)))
    return Vocabularies(tokenizer, spelling, tags)


def _tagged_sizes(vocabularies: Vocabularies) -> dict[str, int]:
    sizes = {"words": vocabularies.tokenizer.vocab_size, "tags": len(vocabularies.labels) + 1}
    return {**sizes, "spelling": vocabularies.second.vocab_size} if vocabularies.second else sizes


def _tagged_row(record: Tagged, vocabularies: Vocabularies) -> Row:
    words = np.array([word_id(token, vocabularies.tokenizer) for token in record.tokens], np.uint32)
    tags = np.array([vocabularies.number_of(tag) for tag in record.tags], np.uint32)
    columns = {"words": [words], "tags": [tags]}
    if vocabularies.second:
        columns["spelling"] = [vocabularies.second.encode(token) for token in record.tokens]
    is_unknown = words == vocabularies.tokenizer.unk_id
    unknown = [token for token, unknown in zip(record.tokens, is_unknown, strict=True) if unknown]
    num_characters, num_bytes = sum(map(len, record.tokens)), len("".join(unknown).encode())
    return Row(columns, len(words), num_characters + len(words), len(unknown), num_bytes + len(unknown))


def about_new_labels(name: str, records: Iterable[Record], known: Collection[str]) -> Iterator[str]:
    """A note on the labels, or tags, in some data that no training row has; `known` has those of the training part."""
    new = Counter(label for record in records for label in _labels_of(record) if label not in known)
    if new:
        shown = ", ".join(repr(label[:40]) for label, _ in new.most_common(3))
        yield f"{name}: {number_of(new.total(), 'label')} that no training row has, such as {shown}; always wrong"


def _labels_of(record: Record) -> tuple[str, ...]:
    """The labels or the tags of a record."""
    return () if isinstance(record, Pair) else record.labels if isinstance(record, Labelled) else record.tags


TASK_DATA: dict[TaskName, TaskData] = {
    "classify": TaskData(
        "labelled", _learn_labelled, _labelled_sizes, _labelled_row, lambda record: ",".join(record.labels)
    ),
    "generate": TaskData(
        "labelled", _learn_generated, _labelled_sizes, _labelled_row, lambda record: record.labels[0], _item_of_texts
    ),
    "translate": TaskData("pairs", _learn_pairs, _pair_sizes, _pair_row),
    "tag": TaskData("tagged", _learn_tagged, _tagged_sizes, _tagged_row),
}


def _row(columns: Mapping[str, list[Ids]], *encoded: Encoded) -> Row:
    """A row of one or two texts; the end of each is a token and a character, too."""
    return Row(
        columns,
        sum(len(each.ids) + 1 for each in encoded),
        sum(each.characters + 1 for each in encoded),
        sum(len(each.unknown) for each in encoded),
        sum(len(symbol.encode()) + 1 for each in encoded for symbol in each.unknown),
    )
