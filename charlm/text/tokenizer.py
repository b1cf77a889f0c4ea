"""The tokenizers by unit, made from settings and a text or read from files."""

from collections.abc import Iterable
from pathlib import Path

from charlm.errors import RunError, UsageError
from charlm.settings import TextSettings, Unit, flag
from charlm.system.files import read_file
from charlm.system.json_files import parse_json
from charlm.text.characters import CharacterTokenizer
from charlm.text.interface import (
    FORMAT,
    FORMAT_VERSION,
    MAX_TOKENIZER,
    TOKENIZER_FILE,
    Decoder,
    Encoded,
    Tokenizer,
    text_from_argument,
)
from charlm.text.octets import OctetTokenizer
from charlm.text.subword_training import MIN_VOCAB_SIZE
from charlm.text.subwords import MAX_MODEL, SubwordTokenizer
from charlm.text.words import WordTokenizer

__all__ = [
    "TOKENIZERS",
    "Decoder",
    "Encoded",
    "Tokenizer",
    "build_tokenizer",
    "check_text_settings",
    "load_tokenizer",
    "text_from_argument",
]

TOKENIZERS: dict[Unit, type[Tokenizer]] = {
    "char": CharacterTokenizer,
    "byte": OctetTokenizer,
    "word": WordTokenizer,
    "subword": SubwordTokenizer,
}


WHAT_TO_GIVE = "give a run, a tokenizer.json or a sentencepiece .model"
HOW_TO_MAKE = "make one from your text: charlm tokenize corpus.txt --unit word -o DIR, then give --tokenizer DIR"
USES: dict[str, tuple[Unit, ...]] = {
    "vocab_size": ("char", "word", "subword"),
    "min_count": ("char", "word"),
    "split": ("word",),
    "punctuation": ("word",),
    "lowercase": ("char", "word", "subword"),
    "subword_model": ("subword",),
}  # which units have a use for a setting


def check_text_settings(settings: TextSettings) -> None:
    """Raise UsageError for a setting that its unit has no use for, or cannot work with."""
    default = TextSettings()
    for name, units in USES.items():
        if getattr(settings, name) != getattr(default, name) and settings.unit not in units:
            to_do = f"it is for --unit {', '.join(units)}"
            raise UsageError(f"{flag(name)} does nothing with --unit {settings.unit}", to_do=to_do)
    if settings.unit == "subword" and settings.vocab_size is not None and settings.vocab_size < MIN_VOCAB_SIZE:
        to_do = f"give {MIN_VOCAB_SIZE} or more: 256 bytes and two special symbols come first"
        raise UsageError(f"--vocab-size {settings.vocab_size} is too small for subwords", to_do=to_do)


def build_tokenizer(settings: TextSettings, chunks: Iterable[str], notes: list[str] | None = None) -> Tokenizer:
    """Learn a tokenizer from the training part of a text.

    Chunks end at line ends where the unit needs that (words, subwords, anything lowercased). What a person should
    know is appended to `notes`. Raises UsageError for settings that contradict each other.
    """
    check_text_settings(settings)
    return TOKENIZERS[settings.unit].build(settings, chunks, [] if notes is None else notes)


def load_tokenizer(folder_or_file: Path) -> Tokenizer:
    """Read a tokenizer: a run, what `charlm tokenize -o` wrote, a `tokenizer.json` or a sentencepiece `.model`.

    Raises RunError when it is missing or damaged.
    """
    path = folder_or_file / TOKENIZER_FILE if folder_or_file.is_dir() else folder_or_file
    source = path if path != folder_or_file else path.resolve()  # a file that was named may be a link
    try:
        content = read_file(source, MAX_MODEL if path.suffix == ".model" else MAX_TOKENIZER)
    except OSError as error:
        raise RunError(f"no tokenizer: {error.strerror or error}", str(path), WHAT_TO_GIVE) from error
    except ValueError as error:
        raise RunError(f"no tokenizer: it {error}", str(path), WHAT_TO_GIVE) from error
    try:
        if path.suffix == ".model":
            return SubwordTokenizer(content)
        if not content.lstrip().startswith(b"{"):
            what = "this is no tokenizer, which is a tokenizer.json of charlm: all symbols, and how text is split"
            raise RunError(what, str(path), HOW_TO_MAKE)
        return _of_json(parse_json(content), path)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"a damaged tokenizer: {str(error)[:200]}", str(path), WHAT_TO_GIVE) from error


def _of_json(fields: object, path: Path) -> Tokenizer:
    if not isinstance(fields, dict) or fields.get("format") != FORMAT or fields.get("unit") not in TOKENIZERS:
        raise RunError("not a tokenizer of charlm, but other JSON", str(path), HOW_TO_MAKE)
    if fields.get("version") != FORMAT_VERSION:
        raise RunError(
            f"a tokenizer of format version {str(fields.get('version'))[:20]}", str(path), "use a newer charlm"
        )
    return TOKENIZERS[fields["unit"]].load(fields, path.parent)
