"""The manifest of a prepared corpus: what each file of the folder has to be, so that one checksum covers them all."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from charlm.corpus.parts import Division
from charlm.corpus.store import IdsFile
from charlm.errors import RunError
from charlm.settings import Mode, ValidSplit
from charlm.system.files import MAX_JSON, fingerprint, parse_json, read_file, write_json
from charlm.text.interface import MAX_TOKENIZER

MANIFEST = "MANIFEST.json"
DIVISION = "division"  # its entry that is of no file


def write_manifest(folder: Path, names: Iterable[str], files: Mapping[str, IdsFile], division: Division) -> str:
    """Write MANIFEST.json, the last file of a folder with these files of a tokenizer and these ids.

    Its sha256, which it gives back, is the folder's seal. Raises ResourceError.
    """
    write_json(folder / MANIFEST, {**_manifest(folder, names, files), DIVISION: asdict(division)})
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def read_manifest(folder: Path) -> tuple[dict[str, Any], Division, str]:
    """What MANIFEST.json says of files and of the division, and its sha256; an older folder may have nothing of these.

    Raises RunError.
    """
    try:
        data = read_file(folder / MANIFEST, MAX_JSON)
        manifest = parse_json(data)
    except FileNotFoundError:
        return {}, Division(), ""
    except (OSError, ValueError) as error:
        raise _damaged(folder, "cannot be read") from error
    if not isinstance(manifest, dict):
        raise _damaged(folder, "is not a JSON object")
    division = _division(folder, manifest.pop(DIVISION)) if DIVISION in manifest else Division()
    return manifest, division, hashlib.sha256(data).hexdigest()


def check_manifest(
    folder: Path, manifest: Mapping[str, Any], names: Iterable[str], files: Mapping[str, IdsFile]
) -> None:
    """Raise RunError naming the first file that is not what the manifest says."""
    found = _manifest(folder, names, files)
    for name in sorted(manifest.keys() | found.keys()):
        if manifest.get(name) != found.get(name):
            what = f"damaged corpus: {name[:100]} is not what {MANIFEST} says"
            raise RunError(
                what, str(folder / name[:100]), "restore it from a copy, or make it again with charlm tokenize -o DIR"
            )


def _manifest(folder: Path, names: Iterable[str], files: Mapping[str, IdsFile]) -> dict[str, Any]:
    """Of the tokenizer's files size and sha256; of ids the sha256 of the header, which holds the ids' own checksum."""
    content = {name: fingerprint(_read(folder / name)) for name in names}
    ids = {name: {"size": file.num_bytes, "header_sha256": file.header_sha256()} for name, file in files.items()}
    return {**content, **ids}


def _division(folder: Path, value: object) -> Division:
    match value:
        case {"mode": str(mode), "split": str(split)} if mode in get_args(Mode) and split in get_args(ValidSplit):
            return Division(mode, split)  # type: ignore[arg-type]  # just checked
    raise _damaged(folder, "says of the text's parts what charlm never wrote")


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_TOKENIZER)
    except (OSError, ValueError) as error:
        raise RunError(f"damaged corpus: {path.name} cannot be read", str(path), "make the folder again") from error


def _damaged(folder: Path, how: str) -> RunError:
    return RunError(f"damaged corpus: {MANIFEST} {how}", str(folder / MANIFEST), "make the folder again")
