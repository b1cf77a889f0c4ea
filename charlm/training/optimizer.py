"""Optimizers, gradient clipping, and the optimizer's state as named tensors."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from charlm.network.snapshot import is_decayed
from charlm.settings import TrainingSettings

Optimizer = torch.optim.Optimizer


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The optimizer of all weights that are trained. AdamW decays matrices (see `is_decayed`), SGD decays nothing."""
    rate = settings.learning_rate
    assert rate is not None
    weights = trained_weights(network)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(weights.values(), lr=rate)
    decayed = [weight for name, weight in weights.items() if is_decayed(name, weight.ndim)]
    others = [weight for name, weight in weights.items() if not is_decayed(name, weight.ndim)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def trained_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that training changes, by name: all that are not frozen."""
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> Tensor:
    """Clip gradients by their total norm, or each component (`clip_value`). Returns the total norm before clipping."""
    parameters = list(parameters)
    if settings.clip_value is not None:
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        nn.utils.clip_grad_value_(parameters, settings.clip_value)
        return norm
    assert settings.clip_norm is not None
    return nn.utils.clip_grad_norm_(parameters, settings.clip_norm)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors, named PARAMETER_NUMBER.KIND such as "0.exp_avg"."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{kind}": value
        for number, kinds in state.items()
        for kind, value in kinds.items()
        if torch.is_tensor(value)
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put tensors from `optimizer_tensors` back into an optimizer of the same network."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        number, kind = name.split(".", 1)
        state.setdefault(int(number), {})[kind] = value.reshape(()) if kind == "step" else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
