"""An n-gram model on disk: a safetensors file, which is read by memory-mapping.

For each length of contexts it has the arrays of `Branches`; those with the widest numbers come first, so that all are
aligned. Where each stands follows from how many n-grams of each length there are; any other place is refused.
"""

import json
import mmap
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from charlm.errors import RunError
from charlm.ngram.gate import Gate
from charlm.ngram.trie import Branches, Trie, id_type
from charlm.runs.weights import checksum, checksum_of, data_start, header_of
from charlm.settings import Mode
from charlm.system.files import open_file, replacing
from charlm.system.json_files import parse_json
from charlm.system.records import Count, ShortText, read_record

FORMAT = 1
ALIGNMENT = 8  # bytes
ROUNDED_NS = 10**9  # file systems and archives may have no finer times
MAX_ORDER, MAX_TYPES, MAX_NGRAMS = 64, 1 << 31, (1 << 32) - 1
TOLERANCE = 1e-3  # of a sum of probabilities
TO_DO = "restore them from a copy, or train again"
TYPE_NAMES = {"uint8": "U8", "uint16": "U16", "uint32": "U32", "float32": "F32"}


@dataclass(frozen=True)
class Origin:
    """How the text was read, the run that the model belongs to, and the step of the weights that it was mixed with."""

    mode: Mode
    run_id: ShortText
    step: Count = 0


@dataclass(frozen=True)
class Description:
    """What a file says about its model."""

    vocab_size: Annotated[int, Ge(1), Le(MAX_TYPES)]
    num_ngrams: tuple[Annotated[int, Ge(1), Le(MAX_NGRAMS)], ...]
    """Of each length from 1 to the order of the model."""
    origin: Origin
    gate: Gate | None
    """How much it counts beside the run's network; None: that was not found out."""
    written_ns: Annotated[int, Ge(0)]
    """The time of the file's last change, as the file system has it. Another time means that it was changed since."""
    format: Annotated[int, Ge(1)] = FORMAT


def write_trie(path: Path, trie: Trie, origin: Origin, gate: Gate | None = None) -> None:
    """Write a model; the file appears when it is complete. Raises ResourceError."""
    numbers = tuple(len(branches.ids) for branches in trie.branches)
    now_ns = time.time_ns() // ROUNDED_NS * ROUNDED_NS
    described = asdict(Description(trie.vocab_size, numbers, origin, gate, now_ns))
    arrays = [np.ascontiguousarray(trie.branches[length]._asdict()[name]) for name, length in _order(trie.order)]
    header: dict[str, Any] = {"__metadata__": {"ngrams": json.dumps(described)}, **_layout(trie.vocab_size, numbers)}
    header["__metadata__"]["sha256"] = checksum_of(header, arrays)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    with replacing(path, 8 + len(head) + trie.num_bytes) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for array in arrays:
            file.write(array.data)
    with suppress(OSError):  # then it is read as a whole each time
        os.utime(path, ns=(now_ns, now_ns))


def read_trie(path: Path, run_id: str, verify: bool = False) -> tuple[Trie, Description]:
    """The model in a file, whose arrays are mapped, and what the file says about it.

    With `verify`, and where the file was changed after it was written, all of it is read and checked. Otherwise only
    its header and its size are; what is looked up in arrays that hold anything else may be wrong, or raise IndexError.
    Raises RunError if the file is missing, damaged, or of another run.
    """
    data, changed_ns = _map(path)
    try:
        trie, described = _parse(data)
        if verify or changed_ns != described.written_ns:
            _verify(data, trie)
    except ValueError as error:
        raise _damaged(path, str(error)[:100]) from error
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, "the header is not that of n-grams") from error
    if described.origin.run_id != run_id:
        raise _damaged(path, "they belong to another run")
    return trie, described


def _map(path: Path) -> tuple[Any, int]:
    """The bytes of a file, mapped, and the time of its last change in nanoseconds. Raises RunError."""
    try:
        with open_file(path) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), os.fstat(file.fileno()).st_mtime_ns
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise RunError(f"cannot read the n-grams: {reason}", str(path), TO_DO) from error


def _parse(data: Any) -> tuple[Trie, Description]:
    """The model in a file's bytes. Raises ValueError and what a header of the wrong form leads to."""
    header = header_of(data)
    described = read_record(Description, parse_json(header.pop("__metadata__")["ngrams"]))
    if described.format != FORMAT:
        raise ValueError(f"they have format {described.format}, and this version of charlm reads format {FORMAT}")
    if not 1 <= len(described.num_ngrams) <= MAX_ORDER or described.num_ngrams[0] != described.vocab_size:
        raise ValueError("the numbers of n-grams are wrong")
    layout = _layout(described.vocab_size, described.num_ngrams)
    end = max(entry["data_offsets"][1] for entry in layout.values())
    if header != layout or data_start(data) % ALIGNMENT or data_start(data) + end != len(data):
        raise ValueError("the arrays are not where they should be")
    order = len(described.num_ngrams)
    if described.gate and len(described.gate.bias) != order:
        raise ValueError("the gate is that of another order")
    branches = [
        Branches(*(_array(data, layout[f"{name}.{length}"]) for name in Branches._fields)) for length in range(order)
    ]
    return Trie(described.vocab_size, tuple(branches)), described


def _order(order: int) -> list[tuple[str, int]]:
    """The arrays in the order in which they stand in a file: the name of each, and the length of its contexts."""
    return [(name, length) for name in ("first", "gamma", "alpha", "ids") for length in range(order)]


def _layout(vocab_size: int, num_ngrams: Sequence[int]) -> dict[str, Any]:
    """What a header says about the arrays of a model with this many n-grams of each length from 1 on."""
    layout, offset = {}, 0
    types = {"first": np.dtype(np.uint32), "ids": id_type(vocab_size)}
    for name, length in _order(len(num_ngrams)):
        num_contexts = num_ngrams[length - 1] if length else 1
        sizes = {"first": num_contexts + 1, "gamma": num_contexts}
        size, dtype = sizes.get(name, num_ngrams[length]), types.get(name, np.dtype(np.float32))
        end = offset + size * dtype.itemsize
        layout[f"{name}.{length}"] = {"dtype": TYPE_NAMES[dtype.name], "shape": [size], "data_offsets": [offset, end]}
        offset = end
    return layout


def _array(data: Any, entry: Mapping[str, Any]) -> NDArray[Any]:
    """An array in a file's bytes, which are not copied."""
    dtype = next(name for name, stored in TYPE_NAMES.items() if stored == entry["dtype"])
    return np.frombuffer(data, dtype, entry["shape"][0], data_start(data) + entry["data_offsets"][0])


def _verify(data: Any, trie: Trie) -> None:
    """Raise ValueError where the arrays are not those of a model."""
    if checksum(data) != header_of(data)["__metadata__"]["sha256"]:
        raise ValueError("the checksum differs")
    for length, branches in enumerate(trie.branches):
        for fault, is_wrong in _faults(branches, trie.vocab_size):
            if is_wrong:
                raise ValueError(f"after contexts of {length} tokens {fault}")


def _faults(branches: Branches, vocab_size: int) -> Iterator[tuple[str, bool]]:
    """What can be wrong with the branches of the contexts of one length, and whether it is."""
    first, gamma, ids, alpha = branches
    in_order = first[0] == 0 and first[-1] == len(ids) and bool((first[1:] >= first[:-1]).all())
    yield "the n-grams are not in order", not in_order
    yield "some ids stand for nothing", bool(ids.max() >= vocab_size)
    begins = np.zeros(len(ids) + 1, np.bool_)
    begins[first] = True
    yield "the ids are not in order", not ((ids[1:] > ids[:-1]) | begins[1:-1]).all()
    in_range = all(bool(((weights >= 0) & (weights <= 1)).all()) for weights in (gamma, alpha))  # false for nan
    yield "some weights are no probabilities", not in_range
    sums = np.append(0, np.cumsum(alpha, dtype=np.float64))[first]
    yield "the probabilities do not sum to 1", bool((np.abs(np.diff(sums) + gamma - 1) > TOLERANCE).any())


def _damaged(path: Path, how: str) -> RunError:
    return RunError(f"damaged n-grams: {how}", str(path), TO_DO)
