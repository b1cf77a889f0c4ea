"""The tensors in a saved training state: the name and size of each, and how large the file can be.

A state also holds the position in the data and the random generators, which are small.
"""

import math
from collections.abc import Mapping
from typing import TypeVar

from charlm.network.architecture import BACKWARD, Architecture
from charlm.network.weights import FLOAT32_BYTES, MAX_HEADER_BYTES
from charlm.settings import OptimizerName

Sizes = dict[str, tuple[int, ...]]
Tensor = TypeVar("Tensor")

NETWORK, OPTIMIZER, CARRIED = "network.", "optimizer.", "state."
AVERAGES: dict[OptimizerName, tuple[str, ...]] = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ()}
"""The running averages that an optimizer keeps for each weight, by torch's names."""


def is_decayed(name: str, num_dimensions: int) -> bool:
    """Whether weight decay applies to a weight: to matrices, but not to biases, initial states and embeddings."""
    return num_dimensions == 2 and "embedding" not in name


def network_sizes(weights: Mapping[str, tuple[int, ...]]) -> Sizes:
    """The names and sizes of the network's weights in a saved state."""
    return {NETWORK + name: size for name, size in weights.items()}


def optimizer_sizes(weights: Mapping[str, tuple[int, ...]], optimizer: OptimizerName) -> Sizes:
    """Names and sizes of the optimizer's tensors after its first step; the weights are numbered, decayed ones first."""
    ordered = sorted(weights.items(), key=lambda item: not is_decayed(item[0], len(item[1])))
    sizes = {
        f"{OPTIMIZER}{number}.{kind}": size for number, (_, size) in enumerate(ordered) for kind in AVERAGES[optimizer]
    }
    return sizes | {f"{OPTIMIZER}{number}.step": () for number in range(len(ordered)) if AVERAGES[optimizer]}


def carried_sizes(architecture: Architecture, batch_size: int) -> Sizes:
    """The names and sizes of the state that is carried from one batch to the next."""
    cell = architecture.recurrent_cell
    return {
        f"{CARRIED}{layer}.{part}": (batch_size, size)
        for layer, sizes in enumerate(architecture.layers())
        for part, size in enumerate(cell.state_sizes(sizes).values())
    }


def state_bytes(architecture: Architecture, optimizer: OptimizerName, batch_size: int) -> int:
    """The size in bytes of all tensors of a state, with the carried state of `batch_size` sequences."""
    total = 0
    for network in architecture.networks.values():
        weights = {name: weight.size for name, weight in network.weights().items()}
        sizes = network_sizes(weights) | optimizer_sizes(weights, optimizer) | carried_sizes(network, batch_size)
        total += sum(map(math.prod, sizes.values()))
    return FLOAT32_BYTES * total


def of_network(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """From a state's tensors those of one network, without the prefix that `Architecture.networks` gives it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(BACKWARD) == (prefix == BACKWARD)
    }


def max_state_bytes(architecture: Architecture, optimizer: OptimizerName, batch_size: int) -> int:
    """The largest size in bytes that the file of a state can have."""
    return state_bytes(architecture, optimizer, batch_size) + MAX_HEADER_BYTES
