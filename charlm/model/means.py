"""How torch runs the layers of a network over whole texts: the fastest kernel, random initial states and dropout."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from charlm.cells.cell import State, Weights
from charlm.model.dropout import variational_dropout
from charlm.model.kernels import kernel_for
from charlm.model.network import INITIAL_STATE_STD, TorchNetwork
from charlm.network.architecture import Architecture


@dataclass(frozen=True)
class Means:
    """The functions that `network/encoder.py` and `network/bidirectional.py` are given, for one pass."""

    architecture: Architecture
    dropout: float
    dropout_generator: torch.Generator | None
    state_generator: torch.Generator | None

    @classmethod
    def of(
        cls,
        network: TorchNetwork,
        dropout_generator: torch.Generator | None = None,
        state_generator: torch.Generator | None = None,
    ) -> Self:
        """For a network; dropout and random initial states need a generator, in training."""
        return cls(network.architecture, network.dropout, dropout_generator, state_generator)

    def scan(self, x: Tensor, state: State, weights: Weights) -> Tensor:
        """A layer over all time steps: x (T, B, its size) -> output (T, B, H)."""
        kernel = kernel_for(self.architecture.cell, x.device.type, self.architecture.hidden_size)
        return kernel(self.architecture.recurrent_cell, x, state, weights)[0]

    def start(self, weights: Weights, layer: int, state: State) -> State:
        """The initial state, drawn in training if the architecture says so."""
        if self.architecture.initial_state != "random" or self.state_generator is None:
            return state
        return tuple(part.normal_(std=INITIAL_STATE_STD, generator=self.state_generator) for part in state)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout with one mask for all time steps of x (T, B, size)."""
        return variational_dropout(x, self.dropout, self.dropout_generator)
