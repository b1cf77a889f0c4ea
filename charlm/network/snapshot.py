"""What a saved state of training holds: the name and the size of each tensor, and how large its file can be.

Beside these tensors a state has the position in the data and the random generators, which are small.
"""

import math
from collections.abc import Mapping

from charlm.network.architecture import Architecture
from charlm.network.weights import FLOAT32_BYTES, MAX_HEADER_BYTES
from charlm.settings import OptimizerName

Sizes = dict[str, tuple[int, ...]]

NETWORK, OPTIMIZER, CARRIED = "network.", "optimizer.", "state."
AVERAGES: dict[OptimizerName, tuple[str, ...]] = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ()}
"""What an optimizer keeps of each weight, by torch's names."""


def is_decayed(name: str, num_dimensions: int) -> bool:
    """Whether weight decay acts on a weight: on matrices, not on biases, initial states or the rows of embeddings."""
    return num_dimensions == 2 and "embedding" not in name


def network_sizes(weights: Mapping[str, tuple[int, ...]]) -> Sizes:
    """The weights themselves."""
    return {NETWORK + name: size for name, size in weights.items()}


def optimizer_sizes(weights: Mapping[str, tuple[int, ...]], optimizer: OptimizerName) -> Sizes:
    """What the optimizer keeps once it has taken a step, by the number that torch gives to each weight."""
    ordered = sorted(weights.items(), key=lambda named: not is_decayed(named[0], len(named[1])))
    sizes = {
        f"{OPTIMIZER}{number}.{kind}": size for number, (_, size) in enumerate(ordered) for kind in AVERAGES[optimizer]
    }
    return sizes | {f"{OPTIMIZER}{number}.step": () for number in range(len(ordered)) if AVERAGES[optimizer]}


def carried_sizes(architecture: Architecture, batch_size: int) -> Sizes:
    """The state that is carried from one batch to the next."""
    cell = architecture.recurrent_cell
    return {
        f"{CARRIED}{layer}.{part}": (batch_size, size)
        for layer, sizes in enumerate(architecture.layers())
        for part, size in enumerate(cell.state_sizes(sizes).values())
    }


def state_bytes(architecture: Architecture, optimizer: OptimizerName, batch_size: int) -> int:
    """The bytes of all these tensors."""
    weights = {name: weight.size for name, weight in architecture.weights().items()}
    sizes = network_sizes(weights) | optimizer_sizes(weights, optimizer) | carried_sizes(architecture, batch_size)
    return FLOAT32_BYTES * sum(map(math.prod, sizes.values()))


def max_state_bytes(architecture: Architecture, optimizer: OptimizerName, batch_size: int) -> int:
    """The size that the file of a state cannot exceed."""
    return state_bytes(architecture, optimizer, batch_size) + MAX_HEADER_BYTES
