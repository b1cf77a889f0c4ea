"""A state of training: all that the next step depends on. A state that does not fit is refused, not tried."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.network.snapshot import CARRIED, NETWORK, OPTIMIZER, Sizes, network_sizes, optimizer_sizes
from charlm.settings import OptimizerName
from charlm.training.budget import StepBudget
from charlm.training.objective import Generators, Objective
from charlm.training.optimizer import Optimizer, optimizer_tensors, restore_optimizer, trained_weights


@dataclass
class Progress:
    """How far a training has come: all of it that is a number."""

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


@dataclass(frozen=True)
class TrainingState:
    """What is saved, and gone back to: `tensors` as `collect` names them, progress, and how many steps are planned."""

    tensors: dict[str, Tensor]
    progress: Progress
    budget: StepBudget


def collect(
    objective: Objective, optimizer: Optimizer, generators: Generators, carried: NetworkState | None
) -> dict[str, Tensor]:
    """Weights, the optimizer's averages, the position in the data, random generators and the state carried over."""
    tensors = {NETWORK + name: value for name, value in objective.network.state_dict().items()}
    tensors |= {OPTIMIZER + name: value for name, value in optimizer_tensors(optimizer).items()}
    tensors |= _position(objective, generators)
    for layer, parts in enumerate(carried or ()):
        tensors |= {f"{CARRIED}{layer}.{n}": part.detach().float() for n, part in enumerate(parts)}
    return tensors


def put_back(
    tensors: dict[str, Tensor],
    objective: Objective,
    optimizer: Optimizer,
    optimizer_name: OptimizerName,
    generators: Generators,
) -> NetworkState | None:
    """Put collected tensors back where they were; the state that was carried over.

    Raises ValueError for tensors that are not those of such a training.
    """
    _check(tensors, objective, optimizer_name, _position(objective, generators))
    objective.network.load_state_dict(_under(NETWORK, tensors))
    restore_optimizer(optimizer, _under(OPTIMIZER, tensors))
    objective.restore_position({name: tensors[name] for name in objective.position()})
    for name, generator in generators.items():
        try:
            generator.set_state(tensors[f"{name}_generator"])
        except RuntimeError as error:
            raise ValueError("has a random generator that is none") from error
    if f"{CARRIED}0.0" not in tensors:
        return None
    device = next(objective.network.parameters()).device
    return tuple(
        tuple(tensors[f"{CARRIED}{layer}.{n}"].to(device) for n in range(len(sizes)))
        for layer, sizes in enumerate(objective.state_sizes)
    )


def _position(objective: Objective, generators: Generators) -> dict[str, Tensor]:
    """Where the training is: a state always has these, of just these sizes and types."""
    return objective.position() | {f"{name}_generator": one.get_state() for name, one in generators.items()}


def _check(
    tensors: Mapping[str, Tensor], objective: Objective, optimizer: OptimizerName, position: Mapping[str, Tensor]
) -> None:
    """Raise ValueError unless these are the tensors of such a training, in size and type."""
    weights = {name: tuple(value.shape) for name, value in objective.network.state_dict().items()}
    trained = {name: tuple(value.shape) for name, value in trained_weights(objective.network).items()}
    needed, averages = network_sizes(weights), optimizer_sizes(trained, optimizer)
    carried = _carried_sizes(tensors, objective)
    for name, value in tensors.items():
        if name in position:
            fits = value.shape == position[name].shape and value.dtype == position[name].dtype
        else:
            size = {**needed, **averages, **carried}.get(name)
            found = () if size == () and value.numel() == 1 else tuple(value.shape)  # older charlm made numbers (1,)
            fits = found == size and value.dtype == torch.float32
        if not fits:
            raise ValueError(f"has a tensor {name!r} of {value.dtype}, {list(value.shape)}, that does not belong to it")
    # Before the first step there are no averages, and no state is carried: all of them are there, or none.
    together = [set(sizes) for sizes in (averages, carried) if sizes.keys() & tensors.keys()]
    missing = set(needed).union(position, *together) - tensors.keys()
    if missing:
        raise ValueError(f"lacks the tensor {min(missing)!r}")


def _carried_sizes(tensors: Mapping[str, Tensor], objective: Objective) -> Sizes:
    first = tensors.get(f"{CARRIED}0.0")
    batch_size = len(first) if first is not None and first.ndim else 0
    return {
        f"{CARRIED}{layer}.{n}": (batch_size, size)
        for layer, sizes in enumerate(objective.state_sizes)
        for n, size in enumerate(sizes)
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
