"""A network's shape with every size decided, and the weights that follow from it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.errors import RunError


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
    """The shape in a run's configuration, whose older versions lack the newer parts. Raises RunError."""
    try:
        return Shape(**config["model"])
    except (KeyError, TypeError) as error:
        raise RunError("damaged run: its configuration has no model that this charlm knows", where) from error


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
