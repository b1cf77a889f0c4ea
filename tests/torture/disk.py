"""A small model of a disk: what a sudden loss of power may leave of the files that a program wrote.

POSIX promises little: the bytes of a file are there after an fsync of the file, a name after an fsync of its folder.
Until then each may be there or not, the names in any order, a file short of its end.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Union

from tests.torture.watching import Operation

Tree = dict[str, bytes | None]  # files by path; None is a folder


@dataclass(eq=False)
class File:
    """Its bytes, and those of its last fsync."""

    data: bytearray = field(default_factory=bytearray)
    safe: bytes = b""

    def torn(self) -> bytes:
        """What was written since the last fsync, half of it there."""
        same = self.data.startswith(self.safe)
        new = len(self.data) - len(self.safe) if same else len(self.data)
        return bytes(self.data[: len(self.data) - new + new // 2])


@dataclass(eq=False)
class Folder:
    """Its names, those of its last fsync, and what was done to them since."""

    names: dict[str, "Node"] = field(default_factory=dict)
    safe: dict[str, "Node"] = field(default_factory=dict)
    pending: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, change: dict[str, "Node | None"]) -> None:
        self.names = _changed(self.names, change)
        self.pending.append(change)

    def sync(self) -> None:
        self.safe, self.pending = dict(self.names), []


Node = Union[File, Folder]  # noqa: UP007 (they name each other)
Names = Callable[[Folder], dict[str, Node]]  # what a folder has


class Disk:
    """What a program sees; and what is left of it when the power goes."""

    def __init__(self) -> None:
        self.root = Folder()

    def apply(self, operation: Operation) -> None:
        folder, name = self._place(operation.path)
        if operation.kind in ("create", "mkdir"):
            folder.change({name: File() if operation.kind == "create" else Folder()})
        elif operation.kind in ("unlink", "rmdir"):
            folder.change({name: None})
        elif operation.kind in ("rename", "link"):
            self._move(operation)
        elif operation.kind == "fsync":
            node = self._node(operation.path)
            if isinstance(node, Folder):
                node.sync()
            else:
                node.safe = bytes(node.data)
        else:
            _write(self._node(operation.path), operation)

    def now(self) -> Tree:
        """What the program sees."""
        return dict(_walk(self.root, _all, lambda file: bytes(file.data)))

    def after_power_loss(self) -> Iterator[Tree]:
        """What may be there of the changes since the last fsync.

        Of names all, none, all of one folder, or one change alone; of bytes none or half.
        """
        changed = [folder for folder in _folders(self.root) if folder.pending]
        most = max((len(folder.pending) for folder in changed), default=0)
        choices: list[Names] = [_all, _safe]
        choices += [partial(_all_of, kept) for kept in changed]
        choices += [partial(_one, number) for number in range(most if most > 1 else 0)]
        for names in choices:
            yield dict(_walk(self.root, names, lambda file: file.safe))
            yield dict(_walk(self.root, names, File.torn))

    def _move(self, operation: Operation) -> None:
        folder, name = self._place(operation.path)
        target, new = self._place(operation.target)
        node, gone = self._node(operation.path), operation.kind == "rename"
        if folder is target:
            folder.change({name: None, new: node} if gone else {new: node})
            return
        target.change({new: node})
        if gone:
            folder.change({name: None})

    def _place(self, path: str) -> tuple[Folder, str]:
        parts = PurePosixPath(path)
        node = self._node(str(parts.parent))
        assert isinstance(node, Folder), path
        return node, parts.name

    def _node(self, path: str) -> Node:
        node: Node = self.root
        for name in PurePosixPath(path).parts:
            assert isinstance(node, Folder), path
            node = node.names[name]
        return node


def tree_number(tree: Tree) -> str:
    """A number that only equal trees share."""
    return hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest()


def build(tree: Tree, place: Path) -> None:
    """Put a tree where there is nothing yet."""
    place.mkdir(parents=True)
    for name, data in sorted(tree.items()):
        if data is None:
            (place / name).mkdir()
        else:
            (place / name).write_bytes(data)


def read_tree(place: Path) -> Tree:
    found = sorted(place.rglob("*"))
    return {path.relative_to(place).as_posix(): None if path.is_dir() else path.read_bytes() for path in found}


def _changed(names: dict[str, Node], change: dict[str, Node | None]) -> dict[str, Node]:
    return {name: node for name, node in {**names, **change}.items() if node is not None}


def _all(folder: Folder) -> dict[str, Node]:
    return folder.names


def _safe(folder: Folder) -> dict[str, Node]:
    return folder.safe


def _all_of(kept: Folder, folder: Folder) -> dict[str, Node]:
    return folder.names if folder is kept else folder.safe


def _one(number: int, folder: Folder) -> dict[str, Node]:
    """The folder as it was at its last fsync, with one later change done alone."""
    return _changed(folder.safe, folder.pending[number]) if number < len(folder.pending) else folder.safe


def _write(node: Node, operation: Operation) -> None:
    assert isinstance(node, File), operation
    if operation.kind == "truncate":
        del node.data[operation.offset :]
        return
    node.data.extend(bytes(max(0, operation.offset - len(node.data))))
    node.data[operation.offset : operation.offset + len(operation.data)] = operation.data


def _folders(root: Folder) -> Iterable[Folder]:
    yield root
    for node in root.names.values():
        if isinstance(node, Folder):
            yield from _folders(node)


def _walk(
    folder: Folder, names: Names, content: Callable[[File], bytes], prefix: str = ""
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in names(folder).items():
        if isinstance(node, Folder):
            yield prefix + name, None
            yield from _walk(node, names, content, f"{prefix}{name}/")
        else:
            yield prefix + name, content(node)
