"""Figures about a tokenized text: how many tokens and symbols it has, and which are frequent."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import PreparedCorpus, prepare
from charlm.settings import CorpusSettings, Mode, TextSettings, ValidSplit
from charlm.text.tokenizer import Tokenizer

NUM_FREQUENT = 20


@dataclass(frozen=True)
class Summary:
    """Figures about a tokenized text. Unless a name says otherwise they are about the normalised training part."""

    unit: str
    lossless: bool
    lines: int
    characters: int
    types: int
    """Symbols in the vocabulary, with the special ones."""
    tokens: int
    coverage: float
    """The share of tokens that the vocabulary knows."""
    split: ValidSplit
    """Which part of the text is kept for validation."""
    valid_tokens: int
    valid_unknown_rate: float | None
    """The share of validation tokens that the vocabulary does not know."""
    test_tokens: int
    characters_per_token: float
    frequent: tuple[tuple[str, int], ...]
    """The most frequent symbols, each with the number of times that it occurs."""


def tokenize(
    corpus: Path | str | Texts,
    folder: Path,
    text: TextSettings,
    corpus_settings: CorpusSettings,
    valid: Path | None = None,
    test: Path | None = None,
    tokenizer: Tokenizer | None = None,
    mode: Mode = "stream",
    write_parts: Path | None = None,
) -> tuple[PreparedCorpus, Summary]:
    """Write a text's tokenizer and ids into a folder, and summarize them. Raises what `prepare` raises."""
    others = valid, test
    prepared = prepare(corpus, folder, text, corpus_settings, *others, tokenizer, mode=mode, write_parts=write_parts)
    return prepared, summarize(prepared)


def summarize(prepared: PreparedCorpus) -> Summary:
    """The figures about a prepared corpus; its training ids are read once."""
    train, valid, test = prepared.train.header, prepared.valid, prepared.test
    return Summary(
        unit=prepared.tokenizer.unit,
        lossless=prepared.tokenizer.lossless,
        lines=train.num_lines,
        characters=train.num_characters,
        types=prepared.tokenizer.vocab_size,
        tokens=train.num_tokens,
        coverage=1 - train.num_unknown / train.num_tokens,
        split=prepared.division.split,
        valid_tokens=valid.num_tokens if valid else 0,
        valid_unknown_rate=valid.header.num_unknown / valid.num_tokens if valid else None,
        test_tokens=test.num_tokens if test else 0,
        characters_per_token=train.num_characters / train.num_tokens,
        frequent=tuple((prepared.tokenizer.symbol(id), count) for id, count in most_frequent(prepared)),
    )


def most_frequent(prepared: PreparedCorpus) -> tuple[tuple[int, int], ...]:
    """The most frequent ids of the training part, each with the number of times that it occurs."""
    counts = prepared.train.counts(prepared.tokenizer.vocab_size)
    ids = np.argsort(-counts, kind="stable")[:NUM_FREQUENT]
    return tuple((int(id), int(counts[id])) for id in ids if counts[id])
