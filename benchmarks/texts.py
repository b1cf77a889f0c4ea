"""Synthetic texts and models for measuring: speed does not depend on what the words mean."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import charlm

SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "  # with <eos> and <unk> 65 types
WORDS = 10_000  # types, <eos> and <unk> among them
SENTENCES, MEAN_LENGTH = 3_761, 21  # of Penn Treebank's test part


@cache
def folder() -> Path:
    """A place for texts and runs, as long as this process lasts."""
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[Any] = []


def characters(count: int) -> str:
    """Random characters in lines of some sixty."""
    rng = np.random.default_rng(1)
    symbols = np.array(list(SYMBOLS))[rng.integers(len(SYMBOLS), size=count)]
    symbols[: len(SYMBOLS)] = list(SYMBOLS)
    symbols[60::61] = "\n"
    return "".join(symbols)


def sentences(count: int) -> list[str]:
    """Random words with Zipf's frequencies, lengths spread as those of newspaper sentences."""
    rng = np.random.default_rng(1)
    lengths = np.maximum(1, rng.gamma(4.0, (MEAN_LENGTH - 1) / 4.0, count)).astype(int)
    words = np.array([f"w{number}" for number in range(WORDS - 2)])
    frequencies = 1 / np.arange(3, WORDS + 1)
    drawn = words[rng.choice(len(words), lengths.sum(), p=frequencies / frequencies.sum())]
    return [" ".join(one) for one in np.split(drawn, lengths.cumsum()[:-1])]


def character_text(count: int) -> str:
    """A file of `characters`."""
    path = folder() / f"characters-{count}.txt"
    path.write_text(characters(count), encoding="utf-8")
    return str(path)


def character_run(hidden_size: int) -> str:
    """A run of an LSTM of two layers over characters, embeddings as wide; hardly trained."""
    return _run(folder() / f"characters-2x{hidden_size}", character_text(40_000), hidden_size, unit="char")


def word_run(hidden_size: int) -> str:
    """A network like the one above for 10,000 words, whose output layer is not tied."""
    path = folder() / "words.txt"
    every = " ".join(f"w{number}" for number in range(WORDS - 2))
    path.write_text(every + "\n" + "\n".join(sentences(500)) + "\n", encoding="utf-8")
    words = {"unit": "word", "split": "whitespace", "vocab_size": WORDS, "tie_embeddings": False, "steps": 5}
    return _run(folder() / f"words-2x{hidden_size}", str(path), hidden_size, **words)


def _run(path: Path, corpus: str, hidden_size: int, **settings: Any) -> str:
    if not path.exists():
        sizes = {"hidden_size": hidden_size, "embedding_size": hidden_size, "num_layers": 2}
        settings = {"steps": 1, "valid_fraction": 0.0, "device": "cpu", **sizes, **settings}
        charlm.train(corpus, run=str(path), **settings)
    return str(path)
