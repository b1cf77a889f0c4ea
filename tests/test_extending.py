"""A new tokenizer is one file and two entries, as CONTRIBUTING says: one is added to a copy of charlm, and used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import english

ROOT = Path(__file__).parent.parent
PAIRS = '''"""Pairs of characters: the tokens of a line are two characters long, but the last can be one."""

import json
from itertools import accumulate

import numpy as np

from charlm.text.encoded import Encoded, Token
from charlm.text.interface import TOKENIZER_FILE, UNK, SymbolDecoder, Tokenizer, to_json
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary


class PairTokenizer(Tokenizer):
    unit = "pair"
    eos_id, unk_id = EOS_ID, UNK_ID
    lossless = True
    needs_lines = True
    characters_per_token = 2.0

    def __init__(self, vocabulary):
        self.vocabulary, self.vocab_size = vocabulary, len(vocabulary)

    @classmethod
    def build(cls, settings, chunks, notes):
        counts = {}
        for chunk in chunks:
            for symbol in cls._symbols(chunk):
                counts[symbol] = counts.get(symbol, 0) + 1
        counts.pop("\\n", None)
        return cls(Vocabulary.from_counts(counts, None, 1))

    @classmethod
    def load(cls, fields, symbols, folder):
        return cls(Vocabulary.from_json(symbols))

    @staticmethod
    def _symbols(text):
        for line in text.splitlines(keepends=True):
            own = line.removesuffix("\\n")
            yield from (own[start : start + 2] for start in range(0, len(own), 2))
            yield from ["\\n"] * line.endswith("\\n")

    def tokens(self, text):
        symbols = list(self._symbols(text))
        ids = [EOS_ID if symbol == "\\n" else self.vocabulary.ids.get(symbol, UNK_ID) for symbol in symbols]
        unknown = [symbol if id == UNK_ID else None for id, symbol in zip(ids, symbols)]
        return list(map(Token, ids, accumulate(map(len, symbols)), unknown))

    def encode_detailed(self, text):
        tokens = self.tokens(text)
        unknown = tuple(token.unknown for token in tokens if token.unknown)
        return Encoded(np.array([token.id for token in tokens], np.uint32), unknown, len(text), len(text.encode()))

    def normalise(self, text):
        return text

    def decoder(self):
        return SymbolDecoder(("\\n", UNK, *self.vocabulary.symbols[2:]))

    def symbol(self, id):
        return self.vocabulary.symbols[id]

    def files(self):
        return {TOKENIZER_FILE: to_json(self.unit, {"symbols": self.vocabulary.symbols})}
'''


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A folder with a copy of charlm that has a tokenizer of pairs, and a text."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "charlm", tmp_path / "charlm", ignore=ignored)
    (tmp_path / "charlm" / "text" / "pairs.py").write_text(PAIRS)
    replace(tmp_path / "charlm" / "settings.py", r'^Unit = Literal\["char", ', r'\g<0>"pair", ')
    table = tmp_path / "charlm" / "text" / "tokenizer.py"
    replace(table, r"^TOKENIZERS: .*\n", '\\g<0>    "pair": PairTokenizer,\n')
    replace(table, r"^from charlm.text.octets ", r"from charlm.text.pairs import PairTokenizer\n\g<0>")
    (tmp_path / "corpus.txt").write_text(english(120), encoding="utf-8")
    return tmp_path


def replace(path: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    path.write_text(text, encoding="utf-8")


RUN_COMMANDS = """
import json, sys
from charlm.cli.app import main

for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def test_a_new_tokenizer_is_one_file_and_two_entries(extended: Path) -> None:
    def run(*commands: list[str]) -> list[Any]:
        """The JSON that these commands print, one after another in a process of their own: torch is loaded once."""
        done = subprocess.run(
            [sys.executable, "-c", RUN_COMMANDS, json.dumps(commands)],
            cwd=extended,
            env={**os.environ, "PYTHONPATH": str(extended)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    settings = ["--unit", "pair", "--steps", "40", "--sample-every", "20", "--hidden-size", "16", "--json"]
    *trained, summary, score, sample = run(
        *(["train", "corpus.txt", "--run", mode, "--mode", mode, *settings] for mode in ("stream", "sentence")),
        ["train", "corpus.txt", "--init-from", "stream", "--steps", "2", "--run", "further", "-q"],
        ["verify", "stream"],
        ["tokenize", "corpus.txt", "--unit", "pair", "--json"],
        ["score", "The cat sees it.", "--context", "She likes it.", "--no-eos", "--run", "stream", "--json"],
        ["sample", "--prompt", "The cat", "--stop", "e", "--seed", "1", "--run", "stream", "--json"],
    )
    results = [record for record in trained if "valid_nats_per_char" in record]
    assert [record["valid_nats_per_char"] > 0 for record in results] == [True, True]
    assert (summary["unit"], summary["lossless"]) == ("pair", True)
    assert 1.5 < summary["characters_per_token"] < 2
    assert score["characters"] == len("The cat sees it.")
    assert sample["text"]
