"""The state of a training: everything that its next step depends on. A state is checked before it is restored."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.network.snapshot import (
    NETWORK,
    OPTIMIZER,
    Sizes,
    carried_name,
    carried_sizes,
    generator_name,
    network_sizes,
    optimizer_sizes,
    under,
)
from charlm.settings import OptimizerName
from charlm.training.budget import StepBudget
from charlm.training.objective import Generators, Objective
from charlm.training.optimizer import Optimizer, optimizer_tensors, restore_optimizer, trained_weights


@dataclass
class Progress:
    """How far a training has come: the numbers in its state."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    best_nats_per_token: float = math.inf
    evaluations_without_improvement: int = 0
    evaluated_at: int = 0
    """The step of the last evaluation."""
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    learning_rate_scale: float = 1.0
    micro_batches: int = 1
    best_cost: float = math.inf
    """What the best weights were chosen by; infinite where that is their loss."""

    @property
    def best(self) -> float:
        """How good the best weights are; lower is better."""
        return self.best_cost if math.isfinite(self.best_cost) else self.best_nats_per_token


@dataclass(frozen=True)
class TrainingState:
    """What is saved and restored: tensors named as by `collect`, progress, and the plan for the number of steps."""

    tensors: dict[str, Tensor]
    progress: Progress
    budget: StepBudget


def collect(
    objective: Objective, optimizer: Optimizer, generators: Generators, carried: NetworkState | None
) -> dict[str, Tensor]:
    """All tensors of a training by name: weights, optimizer, position in the data, random generators, carried state."""
    tensors = {NETWORK + name: value for name, value in objective.network.state_dict().items()}
    tensors |= {OPTIMIZER + name: value for name, value in optimizer_tensors(optimizer).items()}
    tensors |= _position(objective, generators)
    for layer, parts in enumerate(carried or ()):
        tensors |= {carried_name(layer, n): part.detach().float() for n, part in enumerate(parts)}
    return tensors


def put_back(
    tensors: dict[str, Tensor],
    objective: Objective,
    optimizer: Optimizer,
    optimizer_name: OptimizerName,
    generators: Generators,
) -> NetworkState | None:
    """Restore tensors from `collect`, and return the carried state.

    Raises ValueError for tensors that are not those of such a training.
    """
    _check(tensors, objective, optimizer_name, _position(objective, generators))
    objective.network.load_state_dict(under(NETWORK, tensors))
    restore_optimizer(optimizer, under(OPTIMIZER, tensors))
    objective.restore_position({name: tensors[name] for name in objective.position()})
    for name, generator in generators.items():
        try:
            generator.set_state(tensors[generator_name(name)])
        except RuntimeError as error:
            raise ValueError("has an invalid random generator state") from error
    if carried_name(0, 0) not in tensors:
        return None
    device = next(objective.network.parameters()).device
    return tuple(
        tuple(tensors[carried_name(layer, n)].to(device) for n in range(len(sizes)))
        for layer, sizes in enumerate(objective.state_sizes)
    )


def _position(objective: Objective, generators: Generators) -> dict[str, Tensor]:
    """The tensors for the position in the data and the random generators, which every state has."""
    states = {generator_name(name): generator.get_state() for name, generator in generators.items()}
    return objective.position() | states


def _check(
    tensors: Mapping[str, Tensor], objective: Objective, optimizer: OptimizerName, position: Mapping[str, Tensor]
) -> None:
    """Raise ValueError unless these are all tensors of such a training, with the right sizes and types."""
    weights = {name: tuple(value.shape) for name, value in objective.network.state_dict().items()}
    trained = {name: tuple(value.shape) for name, value in trained_weights(objective.network).items()}
    needed, averages = network_sizes(weights), optimizer_sizes(trained, optimizer)
    carried = _carried_sizes(tensors, objective)
    for name, value in tensors.items():
        if name in position:
            fits = value.shape == position[name].shape and value.dtype == position[name].dtype
        else:
            size = {**needed, **averages, **carried}.get(name)
            shape = () if size == () and value.numel() == 1 else tuple(value.shape)  # old formats saved numbers as (1,)
            fits = shape == size and value.dtype == torch.float32
        if not fits:
            raise ValueError(f"has a tensor {name!r} of {value.dtype}, {list(value.shape)}, that does not belong to it")
    # Optimizer averages and carried state do not exist before the first step; otherwise each must be complete.
    present = [sizes for sizes in (averages, carried) if sizes.keys() & tensors.keys()]
    missing = set(needed).union(position, *present) - tensors.keys()
    if missing:
        raise ValueError(f"lacks the tensor {min(missing)!r}")


def _carried_sizes(tensors: Mapping[str, Tensor], objective: Objective) -> Sizes:
    """The sizes that the carried state must have, for the batch size of its first tensor."""
    first = tensors.get(carried_name(0, 0))
    batch_size = len(first) if first is not None and first.ndim else 0
    return carried_sizes(objective.state_sizes, batch_size)
