"""Ways to run a layer's cell over all time steps. All compute the cell's equation; they differ only in speed.

`unroll` is the equation itself, step by step, and the slow twin that tests compare all others with.
Shapes: T time, B batch, I input, H hidden; each part of the state (B, size).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlm.cells.cell import Cell, Ops, Projected, State, Weights
from charlm.model.operations import GatheringOps, TorchOps, shared_by_steps

Kernel = Callable[[Cell, Tensor, State, Weights], tuple[Tensor, State]]


def unroll(cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """The equation step by step, differentiated by autograd: x (T, B, I) -> output (T, B, its size) and new state."""
    return _steps(cell, cell.project(x, weights, TorchOps), state, weights, TorchOps)


def unroll_gathered(cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """The equation step by step, as in `unroll`, but each matrix's gradient is one product over all steps."""
    shared = {name: shared_by_steps(weight, len(x), x.shape[1]) for name, weight in weights.items()}
    projected = cell.project(x, weights, TorchOps)
    with torch.autocast(x.device.type, enabled=False):  # the weights already have the type for products
        return _steps(cell, projected, state, shared, GatheringOps)


def run_linear(cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """For cells with the step h' = keep * h + new: that line in a bare loop, everything else for all steps at once."""
    keep, new = cell.project(x, weights, TorchOps)
    output = LinearRecurrence.apply(keep, new, state[0])  # type: ignore[no-untyped-call]
    return output, (output[-1].clone(),)  # a copy: a view would keep the whole output in memory


class LinearRecurrence(torch.autograd.Function):
    """h[t] = keep[t] * h[t-1] + new[t], with its gradient: keep and new (T, B, H), h[-1] (B, H) -> h (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor, h: Tensor) -> Tensor:
        result = torch.empty_like(new)
        ctx.save_for_backward(keep, h, result)
        for keep_t, new_t, out in zip(keep.unbind(), new.unbind(), result.unbind(), strict=True):
            h = torch.addcmul(new_t, keep_t, h, out=out)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, h, result = ctx.saved_tensors
        gradient = output_gradient.clone(memory_format=torch.contiguous_format)
        steps, factors = gradient.unbind(), keep.unbind()
        for t in range(len(steps) - 1, 0, -1):
            steps[t - 1].addcmul_(factors[t], steps[t])
        before = torch.cat([h.unsqueeze(0), result[:-1]])
        return gradient * before, gradient, factors[0] * steps[0]


def torch_kernel(function: Callable[..., Any]) -> Kernel:
    """A kernel from a function of torch such as `torch.lstm`: oneDNN or native code on a CPU, cuDNN on a GPU."""

    def run(cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        flat = [weights[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        parts = [part.unsqueeze(0) for part in state]
        hx = parts if len(parts) > 1 else parts[0]
        # After the weights: has_biases, num_layers, dropout, train, bidirectional, batch_first.
        output, *new = function(x, hx, flat, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return output, tuple(part.squeeze(0) for part in new)

    return run


def run_lstm(cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """torch's LSTM; `unroll_gathered` in bfloat16 on a CPU without bfloat16, where torch's (by oneDNN) fails."""
    in_bfloat16 = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if in_bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return unroll_gathered(cell, x, state, weights)
    return TORCH_LSTM(cell, x, state, weights)


TORCH_LSTM = torch_kernel(torch.lstm)
KERNELS: dict[str, Kernel] = {"lstm": run_lstm, "mingru": run_linear, "minlstm": run_linear}
TORCH_LOOPS: dict[str, Kernel] = {
    "rnn_tanh": torch_kernel(torch.rnn_tanh),
    "rnn_relu": torch_kernel(torch.rnn_relu),
    "gru": torch_kernel(torch.gru),
}
MIN_GATHERED_UNITS = 512  # units; from here on `unroll_gathered` trains faster on a CPU than torch's loops


def kernel_for(cell_name: str, device: str, hidden_size: int) -> Kernel:
    """The kernel that was measured to be the fastest for a cell. Without gradients torch's loops always win."""
    if cell_name in KERNELS:
        return KERNELS[cell_name]
    is_gathered = device == "cpu" and hidden_size >= MIN_GATHERED_UNITS and torch.is_grad_enabled()
    return unroll_gathered if is_gathered else TORCH_LOOPS.get(cell_name, unroll_gathered)


def _steps(cell: Cell, projected: Projected, state: State, weights: Weights, ops: Ops) -> tuple[Tensor, State]:
    """Run a cell's step over all T steps of its projected input -> output (T, B, its size) and the new state."""
    outputs = []
    for projected_t in zip(*(part.unbind() for part in projected), strict=True):
        state = cell.step(projected_t, state, weights, ops)
        outputs.append(state[0])
    return torch.stack(outputs), state
