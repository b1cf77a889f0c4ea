"""The network of a generator: a language model whose initial state and whose every input see the label of the text.

A label has an embedding g. At each step the first layer reads e(token) + g, and each part of a layer's initial state is
b + W g. So for any one label this is a plain language model: each row of its embedding is e(token) + g, and its initial
state is always the same. `language_model_of` gives that model, which every engine runs.
Shapes: B batch, V vocabulary, E embedding, H a part of the state, L labels.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from charlm.cells.cell import Array, NetworkState, NewWeight, Weights
from charlm.network.architecture import Architecture

LABELS = "label_embedding.weight"  # (L, E)
BY_LABEL = "_by_label"  # W of a part of an initial state (H, E) is named like b, with this behind it


@dataclass(frozen=True)
class Generator(Architecture):
    """The architecture of a generator. Raises ValueError as `Architecture` does, and for what no generator has."""

    kind: str = "generate"
    num_labels: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_labels < 2:
            raise ValueError("a generator needs two labels")
        if self.direction != "forward" or self.initial_state != "learned":
            raise ValueError("a generator reads forward, from learned initial states")

    @classmethod
    def like(cls, plain: Architecture, num_labels: int) -> Self:
        """The generator that is otherwise like this language model."""
        shared = {**_values(plain), "kind": "generate", "initial_state": "learned"}
        return cls(**shared, num_labels=num_labels)

    @property
    def plain(self) -> Architecture:
        """The language model that this is for any one label."""
        return Architecture(**{**_values(self), "kind": "language-model", "tie_embeddings": False})

    def body_weights(self) -> dict[str, NewWeight]:
        """The weights below the head."""
        weights = super().body_weights()
        weights[LABELS] = NewWeight((self.num_labels, self.embedding_size), weights["embedding.weight"].start)
        for layer, sizes in enumerate(self.layers()):
            for part, size in self.recurrent_cell.state_sizes(sizes).items():
                weights[_initial(layer, part) + BY_LABEL] = NewWeight((size, self.embedding_size), "glorot")
        return weights


def initial_state(g: Array, weights: Weights, architecture: Generator) -> NetworkState:
    """The state before the first token of texts whose labels have these embeddings (..., E): each part (..., H)."""

    def initial(name: str) -> Array:
        return weights[name] + g @ weights[name + BY_LABEL].T

    return tuple(
        tuple(initial(_initial(layer, part)) for part in architecture.recurrent_cell.state_sizes(sizes))
        for layer, sizes in enumerate(architecture.layers())
    )


def untied(weights: Weights, architecture: Generator) -> Weights:
    """The weights of the same network with an output layer of its own, in place of one that is the embedding."""
    if not architecture.tie_embeddings:
        return weights
    head: Array = weights["embedding.weight"]
    if "head.projection" in weights:
        head = head @ weights["head.projection"]
    return {**{name: weight for name, weight in weights.items() if name != "head.projection"}, "head.weight": head}


def language_model_of(weights: Weights, architecture: Generator, label: int) -> dict[str, Array]:
    """The weights of the plain language model (`Generator.plain`) that the network is for the label of this number.

    `weights` are those of `untied`.
    """
    g = weights[LABELS][label]
    states = initial_state(g, weights, architecture)
    own = {
        _initial(layer, part): states[layer][number]
        for layer, sizes in enumerate(architecture.layers())
        for number, part in enumerate(architecture.recurrent_cell.state_sizes(sizes))
    }
    own["embedding.weight"] = weights["embedding.weight"] + g
    return {name: own.get(name, weights[name]) for name in architecture.plain.weights()}


def _initial(layer: int, part: str) -> str:
    """The name of b of a part of a layer's initial state."""
    return f"layers.{layer}.initial_{part}"


def _values(architecture: Architecture) -> dict[str, Any]:
    """The values of the fields that all architectures have."""
    return {field.name: getattr(architecture, field.name) for field in dataclasses.fields(Architecture)}
