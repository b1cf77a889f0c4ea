"""What the columns of labelled data are made of: a tokenizer, for some tasks a second one, and the labels."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import RunError
from charlm.system.files import read_file
from charlm.system.json_files import MAX_JSON, parse_json
from charlm.system.records import NO_OTHER_FIELDS, Count, read_record
from charlm.text.interface import TOKENIZER_FILE
from charlm.text.tag_schemes import PLAIN, SCHEMES, Scheme
from charlm.text.tokenizer import Tokenizer, load_tokenizer

SECOND = "second_"  # the names of the second tokenizer's files begin with this
LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class LabelsRecord:
    """The content of labels.json; for `counts` see `Vocabularies`.

    `scheme` says how tags mark spans; it is empty where there are no tags.
    """

    __pydantic_config__ = NO_OTHER_FIELDS
    format: Literal["charlm-labels"]
    version: Literal[1]
    labels: tuple[str, ...]
    scheme: str = ""
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Vocabularies:
    """The tokenizer of the texts, for some tasks a second one (of targets, or of the spelling), and the labels."""

    tokenizer: Tokenizer
    second: Tokenizer | None = None
    labels: tuple[str, ...] = ()
    scheme: str = ""
    counts: tuple[int, ...] = ()
    """How many training texts have each label, where texts are generated from them."""

    def files(self) -> dict[str, bytes]:
        """The content by name of the files from which `load` makes them, the same bytes each time."""
        files = self.tokenizer.files()
        if self.second:
            files |= {SECOND + name: content for name, content in self.second.files().items()}
        record = LabelsRecord("charlm-labels", 1, self.labels, self.scheme, self.counts)
        return {**files, LABELS_FILE: (json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them from a run's folder, or from its corpus. Raises RunError when something is missing or damaged."""
        path = folder / LABELS_FILE
        try:
            record = read_record(LabelsRecord, parse_json(read_file(path, MAX_JSON)))
            if len(set(record.labels)) != len(record.labels):
                raise ValueError("a label occurs twice")
            if record.counts and len(record.counts) != len(record.labels):
                raise ValueError("not each label has its count")
            if record.scheme and record.scheme not in SCHEMES:
                raise ValueError("its tagging scheme is not known to this charlm")
        except (OSError, ValueError) as error:
            raise RunError(f"damaged labels: {str(error)[:200]}", str(path), "restore them from a copy") from error
        has_second = (folder / (SECOND + TOKENIZER_FILE)).exists()
        second = load_tokenizer(folder, SECOND) if has_second else None
        return cls(load_tokenizer(folder), second, record.labels, record.scheme, record.counts)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    @property
    def tagging_scheme(self) -> Scheme:
        """How tags mark spans."""
        return SCHEMES[self.scheme] if self.scheme else PLAIN

    def number_of(self, label: str) -> int:
        """The number of a label or tag; one that no training row has gets the number after the last."""
        return self._numbers.get(label, len(self.labels))

    def log_priors(self) -> NDArray[np.float64]:
        """log p of each label (L,), as frequent as in the training part; each is counted once more than it occurs."""
        smoothed = np.array(self.counts, np.float64) + 1
        logprobs: NDArray[np.float64] = np.log(smoothed / smoothed.sum())
        return logprobs

    def sha256(self) -> str:
        """A fingerprint of the files: vocabularies with the same fingerprint give the same ids."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files().items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()


def word_id(word: str, tokenizer: Tokenizer) -> int:
    """The id of a word that is a symbol as a whole, `<unk>` if it is none."""
    ids = tokenizer.encode(word)
    assert tokenizer.unk_id is not None
    return int(ids[0]) if len(ids) == 1 else tokenizer.unk_id
