"""A network's shape with every size decided, and the weights that follow from it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.errors import RunError
from charlm.settings import InitialState, ModelSettings

MAX_PARAMS = 1 << 32
MAX_TYPES = 1 << 24
MAX_OTHER_BYTES = 1 << 24  # of a file of weights: its header


@dataclass(frozen=True)
class Shape:
    """What is needed to build a network, in torch or in NumPy. The sizes that default to 0 are of parts left out."""

    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    tie_embeddings: bool
    dropout: float
    initial_state: str
    vocab_size: int
    residual: bool = False
    head_layers: int = 0
    head_size: int = 0
    proj_size: int = 0
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0

    @property
    def output_size(self) -> int:
        """Of each recurrent layer."""
        return CELLS[self.cell].output_size(self._sizes(self.embedding_size))

    def layers(self) -> Iterator[Sizes]:
        """Each recurrent layer's sizes, the lowest first."""
        for layer in range(self.num_layers):
            yield self._sizes(self.output_size if layer else self.embedding_size)

    def _sizes(self, input_size: int) -> Sizes:
        return Sizes(input_size, self.hidden_size, self.proj_size, self.mogrifier_rounds, self.mogrifier_rank)


def cell_sizes(cell: str, hidden_size: int, wanted: Mapping[str, int | None]) -> dict[str, int]:
    """The sizes that only this cell has, by their settings' names: as wanted, or what suits `hidden_size`."""
    suitable = {
        "proj_size": max(1, hidden_size // 2),
        "mogrifier_rounds": 5,
        "mogrifier_rank": max(1, hidden_size // 16),
    }
    return {name: wanted.get(name) or suitable[name] for name in CELLS[cell].settings}


def shape_from(config: Mapping[str, Any], where: str) -> Shape:
    """The shape in a run's configuration, whose older versions lack the newer parts.

    Raises RunError when a size is missing, of a wrong type, out of range, or when all together are too many.
    """
    model = config.get("model")
    try:
        if not isinstance(model, dict):
            raise TypeError("it has no model")
        shape = Shape(**model)
        _check_parts(shape)
    except (TypeError, ValueError) as error:
        what = "damaged run: its configuration has no model that this charlm knows"
        raise RunError(what, f"{where}: {str(error)[:200]}", "train again, or restore it from a copy") from error
    return shape


def check_weights(shape: Shape, tensors: Mapping[str, Any], where: str) -> None:
    """Raise RunError, naming `where`, unless these are the weights of a network of this shape, all float32."""
    expected = weight_shapes(shape)
    if tensors.keys() != expected.keys():
        odd = next(iter(sorted(tensors.keys() ^ expected.keys())))
        raise _wrong_weights(f"{odd[:100]} is {'missing' if odd in expected else 'not one of them'}", where)
    for name, size in expected.items():
        if tuple(tensors[name].shape) != size or str(tensors[name].dtype) != "float32":
            found = f"{tensors[name].dtype} {tuple(tensors[name].shape)}"
            raise _wrong_weights(f"{name} is {found[:100]}, not float32 {size}", where)


def check_finite(tensors: Mapping[str, Any], where: str) -> None:
    """Raise RunError, naming `where`, when a number of these arrays is not finite."""
    import numpy as np

    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise _wrong_weights(f"{name[:100]} has numbers that are not finite", where)


def most_weight_bytes(shape: Shape) -> int:
    """The size that a file of these weights, and no more, cannot exceed."""
    return 4 * num_params(shape) + MAX_OTHER_BYTES


def most_state_bytes(shape: Shape, rows: int) -> int:
    """The same for a state of training: weights, two averages of each, and the carried state of `rows` sequences."""
    state_sizes = CELLS[shape.cell].state_sizes
    carried = sum(size for sizes in shape.layers() for size in state_sizes(sizes).values())
    return 4 * (3 * num_params(shape) + rows * carried) + MAX_OTHER_BYTES


def _wrong_weights(what: str, where: str) -> RunError:
    return RunError(f"damaged run: wrong weights: {what}", where, "train again, or restore it from a copy")


def _check_parts(shape: Shape) -> None:
    """Raise TypeError or ValueError for what no settings could have made."""
    for one in dataclasses.fields(Shape):
        value = getattr(shape, one.name)
        if type(value) is not one.type and not (one.type is float and type(value) is int):
            raise TypeError(f"{one.name} is not a {getattr(one.type, '__name__', one.type)}")
        low, high = _range(one.name)
        left_out = one.default == 0 and value == 0
        if low is not None and not left_out and not low <= value <= high:
            raise ValueError(f"{one.name} is out of range")
    if shape.cell not in CELLS or shape.initial_state not in get_args(InitialState):
        raise ValueError("its cell or initial state is unknown")
    if (
        any(not getattr(shape, name) for name in CELLS[shape.cell].settings)
        or (shape.head_layers > 0) > shape.head_size
    ):
        raise ValueError("a size is missing")
    if num_params(shape) > MAX_PARAMS:
        raise ValueError(f"more than {MAX_PARAMS:,} parameters")


def _range(name: str) -> tuple[Any, Any]:
    """The settings' own ranges."""
    if name == "vocab_size":
        return 1, MAX_TYPES
    metadata = next(one.metadata for one in dataclasses.fields(ModelSettings) if one.name == name)
    return metadata["low"], metadata["high"]


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a network: the contract between `model/`, `engine/` and the files."""
    cell = CELLS[shape.cell]
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (shape.vocab_size, shape.embedding_size)}
    for layer, sizes in enumerate(shape.layers()):
        shapes |= {f"layers.{layer}.{name}": weight.size for name, weight in cell.weights(sizes).items()}
        if shape.initial_state == "learned":
            shapes |= {f"layers.{layer}.initial_{part}": (size,) for part, size in cell.state_sizes(sizes).items()}
    return {**shapes, **_head_shapes(shape)}


def _head_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The feed-forward layers, and the output layer on the last of them."""
    shapes: dict[str, tuple[int, ...]] = {}
    size = shape.output_size
    for layer in range(shape.head_layers):
        shapes[f"head.layers.{layer}.weight"] = (shape.head_size, size)
        shapes[f"head.layers.{layer}.bias"] = (shape.head_size,)
        size = shape.head_size
    if shape.tie_embeddings and shape.embedding_size != size:
        shapes["head.projection"] = (shape.embedding_size, size)
    if not shape.tie_embeddings:
        shapes["head.weight"] = (shape.vocab_size, size)
    shapes["head.bias"] = (shape.vocab_size,)
    return shapes


def num_params(shape: Shape) -> int:
    return sum(math.prod(size) for size in weight_shapes(shape).values())
