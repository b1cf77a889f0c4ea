"""The manifest of a prepared corpus: it says what each file of the folder must be, so one checksum covers them all."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from charlm.corpus.parts import Division
from charlm.errors import RunError
from charlm.settings import Item, Mode, ValidSplit
from charlm.system.files import MANIFEST, fingerprint, read_file
from charlm.system.json_files import MAX_JSON, parse_json, write_json
from charlm.system.records import NO_OTHER_FIELDS, Count, ShortText, read_record
from charlm.text.interface import MAX_TOKENIZER

DIVISION = "division"  # the only entry of the manifest that does not describe a file


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says about a file of the tokenizer."""

    __pydantic_config__ = NO_OTHER_FIELDS
    size: Count
    sha256: ShortText


@dataclass(frozen=True)
class IdsRecord:
    """What the manifest says about a file of ids, whose header holds the checksum of the ids."""

    __pydantic_config__ = NO_OTHER_FIELDS
    size: Count
    header_sha256: ShortText


@dataclass(frozen=True)
class _DivisionRecord:
    __pydantic_config__ = NO_OTHER_FIELDS
    mode: Mode
    split: ValidSplit
    item: Item = "line"  # older folders do not say


class SealedFile(Protocol):
    """A file of ids or of examples, whose header holds the checksum of the rest."""

    @property
    def num_bytes(self) -> int: ...

    def header_sha256(self) -> str: ...


Records = dict[str, FileRecord | IdsRecord]


@dataclass(frozen=True)
class Manifest:
    """What MANIFEST.json says, and its own sha256, which is the seal of the folder.

    Folders of older versions have no manifest, which is then empty, or a manifest without the division.
    """

    files: Records = field(default_factory=dict)
    division: Division = Division()
    seal: str = ""


def write_manifest(folder: Path, names: Iterable[str], files: Mapping[str, SealedFile], division: Division) -> str:
    """Write MANIFEST.json, the last file of a folder with the tokenizer's files `names` and these files of ids.

    Returns the folder's seal. Raises ResourceError.
    """
    records = {name: asdict(record) for name, record in _records(folder, names, files).items()}
    write_json(folder / MANIFEST, {**records, DIVISION: asdict(division)})
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; an empty one when the folder has none. Raises RunError when it is damaged."""
    try:
        data = read_file(folder / MANIFEST, MAX_JSON)
        value = parse_json(data)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        division = _division(value.pop(DIVISION)) if DIVISION in value else Division()
        files = read_record(Records, value)
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError) as error:
        what = f"damaged corpus: {MANIFEST} cannot be read: {error}"
        raise RunError(what, str(folder / MANIFEST), "make the folder again") from error
    return Manifest(files, division, hashlib.sha256(data).hexdigest())


def check_manifest(folder: Path, manifest: Manifest, names: Iterable[str], files: Mapping[str, SealedFile]) -> None:
    """Raise RunError naming the first file that differs from what the manifest says."""
    found = _records(folder, names, files)
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            what = f"damaged corpus: {name[:100]} is not what {MANIFEST} says"
            to_do = "restore it from a copy, or make it again with charlm tokenize -o DIR"
            raise RunError(what, str(folder / name[:100]), to_do)


def _records(folder: Path, names: Iterable[str], files: Mapping[str, SealedFile]) -> Records:
    records: Records = {name: FileRecord(**fingerprint(_read(folder / name))) for name in names}
    return records | {name: IdsRecord(file.num_bytes, file.header_sha256()) for name, file in files.items()}


def _division(value: object) -> Division:
    record = read_record(dict[str, _DivisionRecord], {DIVISION: value})[DIVISION]
    return Division(record.mode, record.split, record.item)


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_TOKENIZER)
    except (OSError, ValueError) as error:
        raise RunError(f"damaged corpus: {path.name} cannot be read", str(path), "make the folder again") from error
