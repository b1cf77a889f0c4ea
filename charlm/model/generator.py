"""A generator in torch. The label of a text is one more part of its state, so a batch can have texts of all labels.

Shapes: B batch, T time, H the output size of a recurrent layer.
"""

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.model.network import TorchNetwork
from charlm.model.operations import TorchOps
from charlm.network import generator
from charlm.network.generator import LABELS, Generator


class TorchGenerator(TorchNetwork):
    """A trainable generator. Behind the states of its layers, its state has the numbers of the labels, ((B,),)."""

    architecture: Generator

    def state_of(self, labels: Tensor) -> NetworkState:
        """The state before the first token of texts with these labels (B,)."""
        return (*generator.initial_state(self._embedded(labels), self.weights, self.architecture), (labels,))

    def hidden(
        self, ids: Tensor, state: NetworkState, dropout_generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """ids (T, B) -> the input of the head (T, B, H) and the new state. Dropout needs a generator."""
        *of_layers, (labels,) = state
        x = TorchOps.embed(ids, self.weights["embedding.weight"]) + self._embedded(labels)
        found, new = self.run_layers(x, tuple(of_layers), dropout_generator)
        return found, (*new, (labels,))

    def _embedded(self, labels: Tensor) -> Tensor:
        """The embeddings of labels (B,): (B, E)."""
        g: Tensor = TorchOps.embed(labels, self.weights[LABELS])
        return g
