"""Damage as a hostile author would do it: mutated files of a run, every checksum made right again."""

import copy
import hashlib
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charlm.corpus.store import HEADER_SIZE, MAGIC

Mutation = Callable[[random.Random, bytes], bytes]

# What stands in for any value of a JSON file.
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 7, 63, 65, 255, 65537, 2**24 + 1, 2**31, 2**63, 10**12, 10**30, -(10**30)),
    *(0.5, -0.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *(
        "",
        "a",
        "lstm",
        "gru",
        "rnn_relu",
        "zero",
        "learned",
        "word",
        "\ud800",
        "\n",
        "../../x",
        "/etc/passwd",
        "\x1b[2J",
    ),
    *("x" * 5000, "1" * 400, [], [1], [[]], {}, {"a": 1}, ["a"] * 300),
)
TOKENS = (b"[" * 3000, b"{", b"}", b'"', b"\\ud800", b"\\", b"\0", b"\xff", b"1e999", b"9" * 4000, b"NaN", b"-", b",")


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Some bits flipped, or some bytes lost, doubled, moved or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, end = rng.randrange(len(changed) + 1), rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.choice((1, 4, 50, len(changed)))]
            case 2:
                changed[at:at] = changed[end : end + rng.choice((1, 8, 100))]
            case 3:
                changed[at:at] = rng.choice(TOKENS)
            case _:
                changed[at : at + 1] = rng.randbytes(1)
    return bytes(changed)


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Some values of other types or sizes, some names gone, doubled or new; else some bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder, key = _somewhere(rng, value)
        match rng.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("extra", "\ud800", "", "__proto__", "step"))] = copy.deepcopy(rng.choice(VALUES))
            case 2 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
        if not value:
            break
    text = json.dumps(value)
    if rng.random() < 0.1:
        text = text.replace('{"', '{"model": 1, "format": 2, "', 1)
    return text.encode() + b"\n"


def _somewhere(rng: random.Random, value: Any) -> tuple[Any, Any]:
    """A place in a JSON value: its container, and its key there."""
    while True:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.2:
            return value, key
        value = inner


def mutate_weights(rng: random.Random, data: bytes) -> bytes:
    """The header and metadata of a safetensors file, or its arrays; its checksum is right again."""
    size = int.from_bytes(data[:8], "little")
    header, arrays = data[8 : 8 + size], data[8 + size :]
    kind = rng.randrange(4)
    if kind == 0:
        arrays = mutate_bytes(rng, arrays) if rng.random() < 0.5 else _other_numbers(rng, arrays)
    elif kind == 1:
        fields = json.loads(header)
        metadata = fields["__metadata__"]
        metadata[rng.choice(list(metadata))] = rng.choice(
            ("", "-1", "1" * 5000, "1e5", "null", "[]", "{", "[" * 10**5, '{"nats_per_token": "x"}', "NaN", "\ud800")
        )
        header = json.dumps(fields).encode()
    else:
        header = mutate_json(rng, header) if kind == 2 else mutate_bytes(rng, header)
    length = len(header) if rng.random() < 0.95 else rng.choice((0, 1, len(header) + 1, 2**31, 2**63, 2**64 - 1))
    return sealed_weights(length.to_bytes(8, "little") + header + arrays)


def mutate_state(rng: random.Random, data: bytes) -> bytes:
    """The numbers that a state of training has besides its tensors, one of these tensors, or as `mutate_weights`."""
    size = int.from_bytes(data[:8], "little")
    fields, arrays = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.6:
        scalars = mutate_json(rng, fields["__metadata__"]["scalars"].encode())
        fields["__metadata__"]["scalars"] = scalars.decode("utf-8", "surrogateescape")
    elif rng.random() < 0.5:
        one, other = rng.sample([name for name in fields if name != "__metadata__"], 2)
        fields[one], fields[other] = fields[other], fields[one]
    else:
        return mutate_weights(rng, data)
    header = json.dumps(fields).encode()
    return sealed_weights(len(header).to_bytes(8, "little") + header + arrays)


def _other_numbers(rng: random.Random, arrays: bytes) -> bytes:
    """Some float32 that are huge, infinite or not numbers."""
    changed = bytearray(arrays)
    for _ in range(rng.choice((1, 50))):
        at = 4 * rng.randrange(len(arrays) // 4)
        changed[at : at + 4] = rng.choice((b"\xff\xff\x7f\x7f", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\x01\0\0\0"))
    return bytes(changed)


def sealed_weights(data: bytes) -> bytes:
    """A weights file with the checksum that charlm would give it; unchanged if its header cannot be read."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
        digest = hashlib.sha256(json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode())
        digest.update(data[8 + size :])
        header["__metadata__"] = {**metadata, "sha256": digest.hexdigest()}
        changed = json.dumps(header).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return data
    return len(changed).to_bytes(8, "little") + changed + data[8 + size :]


def mutate_ids(rng: random.Random, data: bytes) -> bytes:
    """The header of a file of ids, or the ids; their checksum is right again."""
    head, ids = data[len(MAGIC) : HEADER_SIZE], data[HEADER_SIZE:]
    if rng.random() < 0.4:
        ids = mutate_bytes(rng, ids)
        fields = {**json.loads(head), "crc32": zlib.crc32(ids)}
        width = {"uint8": 1, "uint16": 2, "uint32": 4}[fields["dtype"]]
        head = json.dumps({**fields, "count": len(ids) // width, "num_tokens": len(ids) // width - 1}).encode()
    else:
        head = mutate_json(rng, head)
    return (MAGIC + head).ljust(HEADER_SIZE)[:HEADER_SIZE] + ids


def reseal(run: Path) -> None:
    """Make the manifests of a run and of its corpus say what its files are now, and the configuration what they are."""
    corpus, config = run / "corpus" / "MANIFEST.json", run / "config.json"
    before = _sha256(corpus)
    _rewrite(corpus)
    config.write_bytes(config.read_bytes().replace(before, _sha256(corpus)))
    _rewrite(run / "MANIFEST.json")


def _rewrite(manifest: Path) -> None:
    said = json.loads(manifest.read_bytes())
    found = {name: said[name] for name in said if name == "division"}  # of no file
    for name in (name for name in said if name not in found):
        data = (manifest.parent / name).read_bytes()
        is_ids = name.endswith(".ids")
        digest = hashlib.sha256(data[:HEADER_SIZE] if is_ids else data).hexdigest()
        found[name] = {"size": len(data), "header_sha256" if is_ids else "sha256": digest}
    if found != said:
        manifest.write_text(json.dumps(found) + "\n")


def _sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


class Forgery:
    """A copy of a run in which one file after the other is mutated."""

    def __init__(self, run: Path, folder: Path) -> None:
        self.run = Path(shutil.copytree(run, folder))

    def with_file(self, name: str, data: bytes) -> Path:
        """The run with this file in place of its own, all checksums right. It is put back by `restore`."""
        self.name, self.whole = name, (self.run / name).read_bytes()
        (self.run / name).write_bytes(data)
        reseal(self.run)
        return self.run

    def restore(self) -> None:
        (self.run / self.name).write_bytes(self.whole)
        reseal(self.run)


# A sentencepiece model is a protocol buffer: mutated field by field, for sentencepiece refuses nearly all else.

Field = list[Any]  # number, kind of content, content
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 10, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
SCORES = (0.0, -1e38, 1e38, float("nan"), float("inf"), float("-inf"))
PIECES = (
    *(b"", b"a", b"<unk>", b"\xff", b"\n", b"\0", b"<0x41>", b"<0xZZ>", b"a" * 10**5, b"\xed\xa0\x80", b"The"),
    *(text.encode() for text in ("▁", "▁▁", "ééé", "\x1b[2J")),
)
PIECE, TRAINER, NORMALISER, DENORMALISER = 1, 2, 3, 5


def mutate_model(rng: random.Random, data: bytes) -> bytes:
    """Some pieces, or some settings of training and normalising; else some bytes."""
    if rng.random() < 0.1:
        return mutate_bytes(rng, data)
    model = fields_of(data)
    for _ in range(rng.choice((1, 1, 2, 3, 10))):
        kinds = (PIECE,) if rng.random() < 0.6 else (TRAINER, NORMALISER, DENORMALISER)
        part = rng.choice([field for field in model if field[0] in kinds])
        fields = fields_of(part[2])
        if part[0] == TRAINER and rng.random() < 0.5:
            fields.append([rng.choice((3, 4, 24, 35, 40, 41, 42, 43)), 0, rng.choice(NUMBERS)])
        elif part[0] == NORMALISER and rng.random() < 0.7:
            fields.append([2, 2, _characters(rng)])
        elif part[0] == PIECE and rng.random() < 0.5:
            fields.append([3, 0, rng.randrange(7)])
        else:
            _mutate_fields(rng, fields)
        part[2] = joined(fields)
    return joined(model)


def _characters(rng: random.Random) -> bytes:
    """A map of characters that nobody made: the size of its trie, and what may be one."""
    size = rng.choice((0, 4, 8, 1024, 2**31, 2**32 - 1))
    return size.to_bytes(4, "little") + rng.randbytes(rng.randrange(4, 3000))


def _mutate_fields(rng: random.Random, fields: list[Field]) -> None:
    if not fields:
        return
    field = rng.choice(fields)
    match rng.randrange(4), field[1]:
        case 0, _:
            fields.remove(field)
        case 1, _:
            fields.append(list(field))
        case _, 0:
            field[2] = rng.choice(NUMBERS)
        case _, 2:
            field[2] = rng.choice(PIECES) if rng.random() < 0.6 else mutate_bytes(rng, field[2])
        case _, 5:
            field[2] = struct.pack("<f", rng.choice(SCORES))


def fields_of(data: bytes) -> list[Field]:
    fields, at = [], 0
    try:
        while at < len(data):
            key, at = _number(data, at)
            content: Any
            if key & 7 == 0:
                content, at = _number(data, at)
            else:
                size, at = (4, at) if key & 7 == 5 else _number(data, at)
                content, at = data[at : at + size], at + size
            fields.append([key >> 3, key & 7, content])
    except IndexError:  # of a part that was mutated before
        pass
    return fields


def joined(fields: list[Field]) -> bytes:
    joined = bytearray()
    for number, kind, content in fields:
        joined += _digits(number << 3 | kind)
        if kind == 0:
            joined += _digits(content)
        else:
            joined += (_digits(len(content)) if kind == 2 else b"") + content
    return bytes(joined)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def _digits(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
