"""The architecture of a network: its kind, direction, cell, layers and sizes, and the weights that follow from them.

What exists only in training, such as dropout, is not part of it. The equations are in `body.py` and `head.py`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

from charlm.cells import CELLS
from charlm.cells.cell import Cell, NewWeight, Sizes
from charlm.settings import Direction, InitialState, ModelSettings, ObjectiveName, TaskName, range_of, task_of

MAX_TYPES = 1 << 24
COUNTS = ("vocab_size", "num_labels", "feature_size", "target_vocab_size", "ngram_order", "ngram_rows")
"""Sizes that follow from the data, or from another network."""
KINDS: dict[ObjectiveName, str] = {"causal": "language-model", "cloze": "cloze"}
"""The kind of network that is trained on plain text with each objective. On labelled data it is named like the task."""
RECURRENCES = ("from_start", "from_end")  # the two of a layer that reads in both directions
BACKWARD = "backward_"  # the names of files and tensors of the second network of a pair begin with this


@dataclass(frozen=True)
class Architecture:
    """A network with every size decided. A size of 0 means that the network does not have that part.

    Raises ValueError for a size out of range, or an unknown name.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    tie_embeddings: bool
    initial_state: InitialState
    vocab_size: int
    residual: bool = False
    head_layers: int = 0
    head_size: int = 0
    proj_size: int = 0
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0
    kind: str = "language-model"
    """What it is trained for, one of KINDS in `lifecycle/kinds.py`."""
    direction: Direction = "forward"
    """In which order it reads. A language model of "both" is a pair of networks, one for each direction (`networks`);
    a cloze network of "both" is one network, each of whose layers reads in both."""

    def __post_init__(self) -> None:
        for name, allowed in _NAMES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {str(getattr(self, name))[:40]!r} is not known to this charlm")
        for field in dataclasses.fields(self):
            if field.type is int:
                _check_size(field, getattr(self, field.name))
        if self.kind == "cloze" and self.direction != "both":
            raise ValueError("a cloze network reads in both directions")
        missing = [name for name in self.recurrent_cell.settings if not getattr(self, name)]
        if missing or (self.head_layers and not self.head_size):
            raise ValueError(f"{(missing or ['head_size'])[0]} is missing")

    @property
    def objective(self) -> str:
        """The objective that it is trained with; for a kind that this charlm does not know, that kind."""
        return {kind: objective for objective, kind in KINDS.items()}.get(self.kind, self.kind)

    @property
    def task(self) -> TaskName | None:
        """What it does with labelled data; None if it is trained on plain text."""
        return task_of(self.kind)

    @property
    def is_pair(self) -> bool:
        """Whether these are two language models, one for each direction."""
        return self.kind == "language-model" and self.direction == "both"

    @property
    def is_bidirectional(self) -> bool:
        """Whether each layer of this network reads in both directions."""
        return self.kind == "cloze"

    @property
    def num_symbols(self) -> int:
        """The number of symbols that its tokenizer has: all but `<mask>`, the last one, which a cloze network reads."""
        return self.vocab_size - (self.kind == "cloze")

    @property
    def num_outputs(self) -> int:
        """Between how many outcomes the network decides. Of a model of text it is the number of symbols."""
        return self.num_symbols

    @property
    def num_kept(self) -> int:
        """Numbers kept for each token until the backward pass, beside those of the recurrent layers."""
        return self.embedding_size + 3 * self.num_outputs + 2 * self.head_layers * self.head_size

    @property
    def networks(self) -> "dict[str, Architecture]":
        """The networks of a run, by what the names of their files and tensors begin with: one, or a pair."""
        if not self.is_pair:
            return {"": self}
        forward, backward = (dataclasses.replace(self, direction=each) for each in ("forward", "backward"))
        return {"": forward, BACKWARD: backward}

    @property
    def parts(self) -> "dict[str, Architecture]":
        """Networks of their own that it has within it, by what the names of their weights begin with."""
        return {}

    def part_of(self, name: str) -> "Architecture":
        """The part that the weight with this name belongs to: one of `parts`, or this network itself."""
        return next((part for prefix, part in self.parts.items() if name.startswith(prefix)), self)

    @property
    def recurrent_cell(self) -> Cell:
        """The cell, which has the equation of each recurrent layer."""
        return CELLS[self.cell]

    @property
    def output_size(self) -> int:
        """The output size of each recurrent layer: H, or 2 H where it reads in both directions."""
        size = self.recurrent_cell.output_size(self._sizes(self.embedding_size))
        return 2 * size if self.is_bidirectional else size

    @property
    def input_size(self) -> int:
        """The input size of the first recurrent layer."""
        return self.embedding_size

    @property
    def head_input_size(self) -> int:
        """The size of what the head gets."""
        return self.output_size

    def layers(self) -> Iterator[Sizes]:
        """The sizes of each recurrent layer, the lowest first."""
        for layer in range(self.num_layers):
            yield self._sizes(self.output_size if layer else self.input_size)

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        """For each layer, the sizes of the parts of its state."""
        return tuple(tuple(self.recurrent_cell.state_sizes(sizes).values()) for sizes in self.layers())

    def weights(self) -> dict[str, NewWeight]:
        """Every weight of one network by name, in the order of drawing.

        Torch, NumPy and weights files share the names.
        """
        return self.body_weights() | self.head_weights()

    def body_weights(self) -> dict[str, NewWeight]:
        """The weights below the head: the embedding, and those of the recurrent layers."""
        # Tied embeddings are output weights too; with rows of length 1 the logits start near zero.
        start: Literal["normal", "normal_rows"] = "normal_rows" if self.tie_embeddings else "normal"
        weights = {"embedding.weight": NewWeight((self.vocab_size, self.embedding_size), start)}
        for layer, sizes in enumerate(self.layers()):
            for recurrence in RECURRENCES if self.is_bidirectional else ("",):
                prefix = f"layers.{layer}.{recurrence}".rstrip(".") + "."
                parts = self._recurrence_weights(sizes)
                weights |= {prefix + name: weight for name, weight in parts.items()}
        return weights

    def _recurrence_weights(self, sizes: Sizes) -> dict[str, NewWeight]:
        """The weights of one recurrence: a layer's, or one of the two that it has where it reads in both directions."""
        parts = self.recurrent_cell.weights(sizes)
        if self.initial_state == "learned":
            state_sizes = self.recurrent_cell.state_sizes(sizes)
            parts |= {f"initial_{part}": NewWeight((size,), "zero") for part, size in state_sizes.items()}
        return parts

    @property
    def num_params(self) -> int:
        """The number of weights, for a pair those of both networks."""
        networks = self.networks.values()
        return sum(math.prod(weight.size) for network in networks for weight in network.weights().values())

    def head_weights(self) -> dict[str, NewWeight]:
        """The weights of the head: the output layer, and feed-forward layers below it if there are any."""
        sizes = [self.head_input_size, *[self.head_size] * self.head_layers]
        head = {"head.bias": NewWeight((self.num_outputs,), "zero")}
        if self.tie_embeddings and self.embedding_size != sizes[-1]:
            head["head.projection"] = NewWeight((self.embedding_size, sizes[-1]), "glorot")
        if not self.tie_embeddings:
            head["head.weight"] = NewWeight((self.num_outputs, sizes[-1]), "glorot")
        for layer, (num_inputs, num_outputs) in enumerate(pairwise(sizes)):
            head[f"head.layers.{layer}.weight"] = NewWeight((num_outputs, num_inputs), "glorot")
            head[f"head.layers.{layer}.bias"] = NewWeight((num_outputs,), "zero")
        return head

    def _sizes(self, input_size: int) -> Sizes:
        return Sizes(input_size, self.hidden_size, self.proj_size, self.mogrifier_rounds, self.mogrifier_rank)


_NAMES: dict[str, tuple[str, ...]] = {
    "direction": get_args(Direction),
    "cell": tuple(CELLS),
    "initial_state": get_args(InitialState),
}


def cell_sizes(cell: str, hidden_size: int, wanted: Mapping[str, int | None]) -> dict[str, Any]:
    """The sizes that this cell has in addition, by setting: from `wanted`, or a default for `hidden_size`."""
    defaults = {
        "proj_size": max(1, hidden_size // 2),
        "mogrifier_rounds": 5,
        "mogrifier_rank": max(1, hidden_size // 16),
    }
    return {name: wanted.get(name) or defaults[name] for name in CELLS[cell].settings}


def _check_size(field: "dataclasses.Field[int]", value: int) -> None:
    """Raise ValueError for a size out of the range that the settings allow."""
    low, high = (1, MAX_TYPES) if field.name in COUNTS else range_of(ModelSettings, field.name)
    is_left_out = field.default == 0 and value == 0
    if not is_left_out and not low <= value <= high:
        raise ValueError(f"{field.name} is out of range")
