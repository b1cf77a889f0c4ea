"""The tensors in a saved training state: the name and size of each, and how large the file can be.

A state also holds the position in the data and the random generators, which are small. All names are written here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from charlm.network.architecture import BACKWARD, Architecture
from charlm.network.weights import FLOAT32_BYTES, MAX_HEADER_BYTES
from charlm.settings import OptimizerName

Sizes = dict[str, tuple[int, ...]]
Tensor = TypeVar("Tensor")

NETWORK, OPTIMIZER = "network.", "optimizer."
POSITION = "windows.pass_and_step"
"""The position in the training data: the pass and the step in it. Older formats had further tensors of its prefix."""
CARRIED = "state."
_POSITIONS, _GENERATOR = "windows.", "_generator"
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


def carried_name(layer: int, part: int) -> str:
    """The name of one part of the state that is carried from one batch to the next."""
    return f"{CARRIED}{layer}.{part}"


def carried_sizes(state_sizes: Sequence[Sequence[int]], batch_size: int) -> Sizes:
    """The names and sizes of the carried state, given the sizes of each layer's parts."""
    return {
        carried_name(layer, part): (batch_size, size)
        for layer, sizes in enumerate(state_sizes)
        for part, size in enumerate(sizes)
    }


def generator_name(purpose: str) -> str:
    """The name of the state of the random generator that is used for this purpose, such as "dropout"."""
    return purpose + _GENERATOR


def is_generator(name: str) -> bool:
    """Whether this is the name of a random generator's state."""
    return name.endswith(_GENERATOR)


def without_position(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state's tensors without the position in the data and the state that is carried along with it."""
    return {name: value for name, value in tensors.items() if not name.startswith((_POSITIONS, CARRIED))}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def state_bytes(architecture: Architecture, optimizer: OptimizerName, batch_size: int) -> int:
    """The size in bytes of all tensors of a state, with the carried state of `batch_size` sequences."""
    total = 0
    for network in architecture.networks.values():
        weights = {name: weight.size for name, weight in network.weights().items()}
        sizes = network_sizes(weights) | optimizer_sizes(weights, optimizer)
        sizes |= carried_sizes(network.state_sizes, batch_size)
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
