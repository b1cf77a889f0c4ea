"""Output layer and loss in one function, which never holds more than LOGITS_AT_ONCE logits in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlm.corpus.windows import IGNORED

LOGITS_AT_ONCE = 2**24  # numbers in memory: 64 MB in float32, 32 MB in bfloat16
MIN_LOG_SOFTMAX = -80.0  # nats; below e^-87 softmax loses digits in float32
SOFTMAX_AT_ONCE = {"cpu": 2**19}  # logits: 2 MB in float32, which fit into a CPU's cache; on other devices all at once


class SoftmaxLoss(torch.autograd.Function):
    """-log softmax(hidden @ weight.T + bias)[target] in nats, summed over all targets that are not IGNORED.

    hidden (N, I), weight (V, I), bias (V), targets (N) -> a scalar in float32 or float64. Under autocast, products are
    computed in its type. The forward pass computes all gradients too: that of the logits, softmax minus one-hot target,
    overwrites them, so that they are never stored for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        with torch.autocast(kind, enabled=False):
            total, gradients = _loss_and_gradients(hidden.to(dtype), weight.to(dtype), bias.to(dtype), targets)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = (hidden.dtype, weight.dtype, bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*(gradient.to(dtype) * output_gradient for gradient, dtype in pairs), None)


def _loss_and_gradients(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The sum of the losses, and its gradients with respect to hidden, weight and bias."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    total = torch.zeros((), dtype=wide, device=hidden.device)
    for_hidden, for_bias = torch.empty_like(hidden), torch.zeros_like(bias, dtype=wide)
    for_weight: Tensor | None = None
    rows = max(1, LOGITS_AT_ONCE // len(weight))
    parts = zip(*(torch.split(whole, rows) for whole in (hidden, targets, for_hidden)), strict=True)
    for part, wanted, gradient in parts:
        logits = torch.nn.functional.linear(part, weight, bias)
        total += _to_gradient(logits, wanted)
        torch.mm(logits, weight, out=gradient)
        for_bias += logits.sum(dim=0, dtype=wide)
        product = logits.T @ part
        for_weight = product if for_weight is None else for_weight.to(wide).add_(product)
    return total, (for_hidden, torch.zeros_like(weight) if for_weight is None else for_weight, for_bias)


def _to_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """The summed loss of logits (N, V), which are overwritten with their gradient."""
    rows = max(1, SOFTMAX_AT_ONCE.get(logits.device.type, LOGITS_AT_ONCE) // logits.shape[1])
    parts = zip(torch.split(logits, rows), torch.split(targets, rows), strict=True)
    return torch.stack([_rows_to_gradient(*part) for part in parts]).sum()


def _rows_to_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """The summed loss of a few rows of logits (n, V), which are overwritten with their gradient."""
    ignored, index = (targets == IGNORED).unsqueeze(1), targets.clamp(min=0).unsqueeze(1)
    softmax = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
    logprobs = softmax.gather(1, index).log()
    if bool((logprobs < MIN_LOG_SOFTMAX).any()):  # too small for softmax
        logprobs = logits.log_softmax(dim=1, dtype=softmax.dtype).gather(1, index)
    softmax.scatter_add_(1, index, torch.full_like(logprobs, -1.0))
    if bool(ignored.any()):
        softmax.masked_fill_(ignored, 0.0)
    logits.copy_(softmax)
    return -logprobs.masked_fill(ignored, 0.0).sum()
