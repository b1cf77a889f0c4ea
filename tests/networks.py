"""Networks for tests."""

from typing import TypeVar

import torch
from torch import nn

from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture

AnyNetwork = TypeVar("AnyNetwork", bound=TorchNetwork)


def network_of(
    shape: Architecture, dtype: torch.dtype = torch.float64, kind: type[AnyNetwork] = TorchNetwork
) -> AnyNetwork:
    """A network of this kind with random weights, none of which is as it starts; those with bounds are within them."""
    network, generator = kind(shape), torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    network.keep_bounds()
    return network.to(dtype)
