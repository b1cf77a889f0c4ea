"""`charlm tokenize` as a person runs it."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from charlm.cli.app import main

TEXT = "the cat [bold] sat\non the mat,\twhere it slept\n" * 30


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


class Ended(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


Tokenize = Callable[..., Ended]


@pytest.fixture
def charlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Tokenize:
    """Run `charlm tokenize` in this folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["charlm", "tokenize", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capfdbinary.readouterr())

    return run


def test_a_table_and_nothing_left_on_disk(charlm: Tokenize, corpus: Path, tmp_path: Path) -> None:
    ended = charlm(corpus, "--unit", "word")
    output = ended.stdout.decode()
    assert ended.returncode == 0, ended.stderr
    joined = ("] (no space before)", "'\\t' (no space around)")
    for expected in ("54", "types", "coverage", "unknown there", *joined, "<eos>"):
        assert expected in output, expected
    assert list(tmp_path.iterdir()) == [corpus]


def test_json_of_standard_input(charlm: Tokenize, tmp_path: Path) -> None:
    kept = {(): (45, 5, 6), ("--line-ends", "keep"): (54, 6, 7)}
    for options, counts in kept.items():
        ended = charlm("-", "--json", *options, stdin=b"abc\0\r\n" * 10)
        (line,) = ended.stdout.decode().splitlines()
        result = json.loads(line)
        assert (result["tokens"], result["valid_tokens"], result["types"]) == counts
    assert result["schema_version"] == 1
    assert (result["lines"], result["coverage"], result["folder"]) == (9, 1.0, None)
    assert ["\0", 9] in result["frequent"]


def test_written_tokens_are_found_again(charlm: Tokenize, corpus: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    assert charlm(corpus, "--unit", "subword", "--vocab-size", 300, "-o", tokens).returncode == 0
    files = {"MANIFEST.json", "tokenizer.json", "tokenizer.model", "train.ids", "valid.ids"}
    assert {path.name for path in tokens.iterdir()} == files
    refused = charlm(corpus, "-o", tokens)
    assert refused.returncode == 2
    assert {path.name for path in tokens.iterdir()} == files
    assert charlm(corpus, "-o", tokens, "--force").returncode == 0
    ended = charlm("--tokenizer", tokens, "--text", "the [bold] ö", "--json")
    result = json.loads(ended.stdout)
    assert result["tokens"] == ["t", "h", "e", " ", "[", "b", "o", "l", "d", "]", " ", "<unk>"]
    assert len(result["ids"]) == result["characters"] == result["bytes"] - 1 == 12
    assert result["unknown"] == ["ö"]


def test_the_tokens_of_a_text(charlm: Tokenize, corpus: Path, tmp_path: Path) -> None:
    ended = charlm(corpus, "--unit", "word", "--text", "the [bold], ox")
    words = [line.split(maxsplit=1)[-1].strip() for line in ended.stdout.decode().splitlines()[3:] if line.strip()]
    assert words[:5] == ["the", "[ (no space after)", "bold", "] (no space before)", ", (no space before)"]
    assert ended.stdout.decode().rstrip().endswith("unknown: ox")


@pytest.mark.parametrize("content", ["apple\npear\n", "", '["apple", "pear"]', '{"apple": 1}', "<unk>\t0\n▁a\t-1.5\n"])
def test_a_list_of_words_is_no_tokenizer_and_the_refusal_says_how_to_make_one(
    charlm: Tokenize, corpus: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "words.txt").write_text(content)
    ended = charlm(corpus, "--tokenizer", "words.txt")
    what, where, to_do = ended.stderr.decode().splitlines()
    assert ended.returncode == 4
    assert "damaged" not in what
    assert "words.txt" in where
    assert "charlm tokenize corpus.txt --unit word -o DIR" in to_do


def test_bytes_that_are_no_text_are_shown_and_kept_in_json(charlm: Tokenize, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(b"caf\xe9 noir\n" * 50)
    ended = charlm("corpus.txt", "--unit", "byte", "--text", b"\xe9!".decode(errors="surrogateescape"))
    assert "0xE9" in ended.stdout.decode()
    arguments = ("corpus.txt", "--unit", "byte", "--json", "--text", b"\xe9!".decode(errors="surrogateescape"))
    result = json.loads(charlm(*arguments).stdout)
    assert (result["ids"], result["text"], result["text_hex"]) == ([0xE9, 33], "\ufffd!", "e921")


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["missing.txt"], 3),
        (["one.txt"], 3),
        (["bad.txt"], 3),
        (["good.txt", "--unit", "syllable"], 2),
        (["good.txt", "--vocab-size", "1"], 2),
        (["good.txt", "--split", "whitespace"], 2),
        (["good.txt", "--encoding", "klingon"], 2),
        (["good.txt", "--tokenizer", "good.txt", "--unit", "word"], 2),
        (["--text", "a"], 2),
        (["good.txt", "--tokenizer", "good.txt"], 4),
        (["good.txt", "--run", "none"], 4),
        (["good.txt", "-o", "/proc/none"], 6),
    ],
)
def test_refusals(charlm: Tokenize, tmp_path: Path, arguments: list[str], exit_code: int) -> None:
    (tmp_path / "one.txt").write_text("aaaa")
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    (tmp_path / "good.txt").write_text(TEXT)
    ended = charlm(*arguments, *([] if "-o" in arguments else ["-o", "out"]))
    assert ended.returncode == exit_code, ended.stderr.decode()
    assert ended.stderr
    assert not ended.stdout
    assert not (tmp_path / "out").exists()


def test_settings_from_a_file(charlm: Tokenize, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('unit = "word"\nlowercase = true\n')
    result = json.loads(charlm(corpus, "--config", "run.toml", "--json").stdout)
    assert (result["unit"], result["lossless"]) == ("word", False)
