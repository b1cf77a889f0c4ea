"""The tokenizers by unit: learned from a text, or read from files."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charlm.errors import RunError, UsageError
from charlm.settings import TextSettings, Unit, flag
from charlm.system.files import read_file
from charlm.system.json_files import parse_json
from charlm.system.records import read_record
from charlm.text.characters import CharacterTokenizer
from charlm.text.encoded import Encoded
from charlm.text.interface import FORMAT_VERSION, MAX_TOKENIZER, MODEL_FILE, TOKENIZER_FILE, Header, Tokenizer
from charlm.text.octets import ByteTokenizer
from charlm.text.subword_training import MIN_VOCAB_SIZE
from charlm.text.subwords import MAX_MODEL, SubwordTokenizer
from charlm.text.surrogates import text_from_argument
from charlm.text.words import WordTokenizer

__all__ = [
    "TOKENIZERS",
    "Encoded",
    "Tokenizer",
    "build_tokenizer",
    "check_text_settings",
    "load_tokenizer",
    "text_from_argument",
]

TOKENIZERS: dict[Unit, type[Tokenizer]] = {
    "char": CharacterTokenizer,
    "byte": ByteTokenizer,
    "word": WordTokenizer,
    "subword": SubwordTokenizer,
}
UNITS_BY_SETTING: dict[str, tuple[Unit, ...]] = {
    "vocab_size": ("char", "word", "subword"),
    "min_count": ("char", "word"),
    "split": ("word",),
    "punctuation": ("word",),
    "lowercase": ("char", "word", "subword"),
    "subword_model": ("subword",),
}
WHAT_TO_GIVE = "give a run, a tokenizer.json or a sentencepiece .model"
HOW_TO_MAKE = "make one from your text: charlm tokenize corpus.txt --unit word -o DIR, then give --tokenizer DIR"


def check_text_settings(settings: TextSettings) -> None:
    """Raise UsageError for a setting that has no effect on the unit, or that the unit cannot work with."""
    default = TextSettings()
    for name, units in UNITS_BY_SETTING.items():
        if getattr(settings, name) != getattr(default, name) and settings.unit not in units:
            to_do = f"it is for --unit {', '.join(units)}"
            raise UsageError(f"{flag(name)} does nothing with --unit {settings.unit}", to_do=to_do)
    if settings.unit == "subword" and settings.vocab_size is not None and settings.vocab_size < MIN_VOCAB_SIZE:
        to_do = f"give {MIN_VOCAB_SIZE} or more: 256 bytes and two special symbols come first"
        raise UsageError(f"--vocab-size {settings.vocab_size} is too small for subwords", to_do=to_do)


def build_tokenizer(settings: TextSettings, chunks: Iterable[str], notes: list[str] | None = None) -> Tokenizer:
    """Learn a tokenizer from the training part of a text.

    The chunks must end at line ends if the tokenizer `needs_lines`. What the user should know about the learned symbols
    is appended to `notes`. Raises UsageError for settings that contradict each other.
    """
    check_text_settings(settings)
    return TOKENIZERS[settings.unit].build(settings, chunks, [] if notes is None else notes)


def refuse_with_tokenizer(given: Mapping[str, Any], option: str) -> None:
    """Raise UsageError for a given text setting, which a tokenizer from `option` already has."""
    for setting in dataclasses.fields(TextSettings):
        if given.get(setting.name) is not None:
            name = flag(setting.name)
            raise UsageError(f"{name} and {option} contradict each other", to_do=f"leave {name} out")


def load_tokenizer(folder_or_file: Path, prefix: str = "") -> Tokenizer:
    """Read a tokenizer from a run, from a folder of `charlm tokenize -o`, or from a tokenizer.json or `.model` file.

    A `.model` file is a sentencepiece model. In a folder, the names of the tokenizer's files begin with `prefix`.
    Raises RunError if the tokenizer is missing or damaged.
    """
    path = folder_or_file / (prefix + TOKENIZER_FILE) if folder_or_file.is_dir() else folder_or_file
    source = path if path != folder_or_file else path.resolve()  # a file that the user names may be a link
    is_model = path.suffix == ".model"
    try:
        content = read_file(source, MAX_MODEL if is_model else MAX_TOKENIZER)
    except OSError as error:
        raise RunError(f"no tokenizer: {error.strerror or error}", str(path), WHAT_TO_GIVE) from error
    except ValueError as error:
        raise RunError(f"no tokenizer: it {error}", str(path), WHAT_TO_GIVE) from error
    try:
        return SubwordTokenizer(content) if is_model else _from_json(content, path, prefix)
    except ValueError as error:
        raise RunError(f"a damaged tokenizer: {str(error)[:200]}", str(path), WHAT_TO_GIVE) from error


def _from_json(content: bytes, path: Path, prefix: str) -> Tokenizer:
    if not content.lstrip().startswith(b"{"):
        what = "this is not a tokenizer.json of charlm, which lists all symbols and says how text is split"
        raise RunError(what, str(path), HOW_TO_MAKE)
    fields: dict[str, Any] = parse_json(content)
    symbols = fields.pop("symbols", None)
    try:
        header = read_record(Header, fields)
    except ValueError as error:
        raise RunError("not a tokenizer of charlm, but other JSON", str(path), HOW_TO_MAKE) from error
    if header.version != FORMAT_VERSION:
        raise RunError(f"a tokenizer of format version {header.version}", str(path), "use a newer charlm")
    return TOKENIZERS[header.unit].load(fields, symbols, path.parent / (prefix + MODEL_FILE))
