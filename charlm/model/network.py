"""A network in torch: its weights are parameters, and fast kernels compute its equations.

It knows ids, never text. State is an argument and a result; randomness is passed in.
Shapes: B batch, T time, V vocabulary, E embedding, H the output size of a recurrent layer.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.cells.cell import NetworkState, State, Weights
from charlm.model.dropout import variational_dropout
from charlm.model.initialisation import draw_weights
from charlm.model.kernels import kernel_for
from charlm.model.loss import SoftmaxLoss
from charlm.model.operations import TorchOps
from charlm.network import body, head
from charlm.network.architecture import Architecture
from charlm.settings import Device
from charlm.system.machine import cores, find_device

INITIAL_STATE_STD = 0.1  # a tenth of the range of a bounded state


class TorchNetwork(nn.Module):
    """A trainable network. Its parameters have the names of `Architecture.weights`.

    In training, `dropout` is the rate at which units are dropped from the inputs of each layer and of the head.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture, self.dropout = architecture, dropout
        for name, weight in architecture.weights().items():
            *modules, own_name = name.split(".")
            module: nn.Module = self
            for module_name in modules:
                if module_name not in module._modules:
                    module.add_module(module_name, nn.Module())
                module = module.get_submodule(module_name)
            module.register_parameter(own_name, nn.Parameter(torch.zeros(weight.size)))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights that training starts from."""
        self.load_state_dict(draw_weights(self.architecture, generator))

    @property
    def weights(self) -> dict[str, Tensor]:
        """All parameters by name."""
        return dict(self.named_parameters())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of the weights as NumPy arrays, by name."""
        return {name: np.array(weight.detach().cpu().numpy(), order="C") for name, weight in self.named_parameters()}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights from NumPy arrays by name."""
        self.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})

    def initial_state(self, batch_size: int, generator: torch.Generator | None = None) -> NetworkState:
        """The state before the first token. A random one is drawn only with a generator, in training."""
        state = body.initial_state(self.architecture, self.weights, batch_size, TorchOps)
        if self.architecture.initial_state != "random" or generator is None:
            return state
        return tuple(
            tuple(part.normal_(std=INITIAL_STATE_STD, generator=generator) for part in parts) for parts in state
        )

    def keep_bounds(self) -> None:
        """Clamp the weights to the bounds of their cell, after an update."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                bounds = self.architecture.part_of(name).recurrent_cell.bounds
                if "layers." in name and (bound := bounds.get(name.rpartition(".")[2])) is not None:
                    weight.clamp_(-bound, bound)

    def hidden(
        self, ids: Tensor, state: NetworkState, dropout_generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """ids (T, B) -> the input of the head (T, B, H) and the new state. Dropout needs a generator."""
        return self.run_layers(TorchOps.embed(ids, self.weights["embedding.weight"]), state, dropout_generator)

    def run_layers(
        self, embedded: Tensor, state: NetworkState, dropout_generator: torch.Generator | None
    ) -> tuple[Tensor, NetworkState]:
        """Embeddings (T, B, E) through the recurrent layers -> the input of the head (T, B, H) and the new state."""
        layers = [
            partial(self._run_layer, weights=layer_weights)
            for layer_weights in body.weights_by_layer(self.weights, self.architecture.num_layers)
        ]
        drop = partial(variational_dropout, rate=self.dropout, generator=dropout_generator)
        return body.run_layers(embedded, state, layers, self.architecture.residual, drop)

    def logits(self, hidden: Tensor) -> Tensor:
        """The output of `hidden` (..., H) -> logits (..., V)."""
        return head.logits(hidden, self.weights, TorchOps)  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """ids (B, T) -> logits (B, T, V) and the new state."""
        hidden, new_state = self.hidden(ids.T, state)
        return self.logits(hidden).transpose(0, 1), new_state

    def total_nats(
        self, inputs: Tensor, targets: Tensor, state: NetworkState, dropout_generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """inputs, targets (B, T) -> -log p in nats, summed over the targets that are not IGNORED, and the new state."""
        hidden, new_state = self.hidden(inputs.T, state, dropout_generator)
        weights = self.weights
        features, output_layer = head.features(hidden, weights, TorchOps), head.output_layer(weights)
        loss = SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
            features.flatten(0, 1), *output_layer, targets.T.flatten()
        )
        return loss, new_state

    def _run_layer(self, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """One recurrent layer over all time steps: x (T, B, its inputs) -> output (T, B, H) and the new state."""
        kernel = kernel_for(self.architecture.cell, x.device.type, self.architecture.hidden_size)
        return kernel(self.architecture.recurrent_cell, x, state, weights)


def load_network(
    architecture: Architecture, weights: Mapping[str, NDArray[Any]], threads: int | None, device: Device = "auto"
) -> TorchNetwork:
    """A network with these weights; on a processor it uses `threads` (default: all cores).

    The device "auto" is a GPU if there is one. Raises UsageError for a device that is missing.
    """
    torch.set_num_threads(threads or cores())
    network = TorchNetwork(architecture)
    network.load_arrays(weights)
    return network.to(find_device(device))
