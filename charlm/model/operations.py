"""The operations of a cell's equation in torch, plain or with each weight's gradient gathered over the time steps."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charlm.cells.cell import Array

SMALL = 2**16  # numbers; a matrix of fewer gains nothing by autocast's type, nor by being packed
FEWEST_PACKED = 12  # products; packing a matrix takes about as long as it saves in so many


class TorchOps:
    """The operations of `cells/` in torch. Under autocast products are taken in its type and widened at once."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    relu = staticmethod(torch.relu)
    softplus = staticmethod(nn.functional.softplus)

    @staticmethod
    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        return nn.functional.linear(x, weight, bias).to(weight.dtype)

    @staticmethod
    def low_rank(x: Array, right: Array, left: Array) -> Array:
        return TorchOps.linear(TorchOps.linear(x, right), left)

    @staticmethod
    def standardise(x: Array) -> Array:
        return nn.functional.layer_norm(x, x.shape[-1:])

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        return tuple(x.chunk(parts, dim=-1))


class GatheringOps(TorchOps):
    """The same for the steps of one pass through time, with weights from `shared_by_steps`."""

    @staticmethod
    def linear(x: Array, weight: Any, bias: Array | None = None) -> Array:
        product = _Product.apply(x, (weight,), weight.matrix)  # type: ignore[no-untyped-call]
        return product if bias is None else product + bias

    @staticmethod
    def low_rank(x: Array, right: Any, left: Any) -> Array:
        return _Product.apply(x, (right, left), right.matrix, left.matrix)  # type: ignore[no-untyped-call]


def shared_by_steps(weight: Tensor, num_steps: int, batch_size: int) -> Any:
    """A weight as the steps of one pass see it, so that little is left to do for its gradient at each of them.

    A vector is widened to the batch: its gradient is summed over the batch once, after the last step.
    """
    return weight.expand(batch_size, -1) if weight.ndim == 1 else GatheredWeight(weight, num_steps, batch_size)


class GatheredWeight:
    """A matrix for the products of one pass through time, one a step, whose gradient is one product over all of them.

    Autograd alone takes a small product a step for it, reads and writes the whole gradient each time, and converts the
    matrix to autocast's type at every step; here that is done once, as is the packing that oneDNN wants.
    After a backward pass that was kept from the weight (`torch.autograd.grad` to the input alone), the next one must
    come to at least the same steps.
    """

    def __init__(self, weight: Tensor, num_steps: int, batch_size: int) -> None:
        kind = weight.device.type
        narrow = torch.is_autocast_enabled(kind) and weight.numel() >= SMALL
        dtype = torch.get_autocast_dtype(kind) if narrow else weight.dtype
        self._num_steps = num_steps
        self.steps = iter(range(num_steps))
        self.debt = _Debt(weight, dtype, num_steps, batch_size) if torch.is_grad_enabled() else None
        self.matrix: Tensor = _Gather.apply(weight, dtype, self.debt)  # type: ignore[no-untyped-call]

    def multiply(self, x: Tensor, step: int) -> Tensor:
        """x @ matrix.T, with x kept for the gradient."""
        return self._forward(x.to(self.matrix.dtype) if self.debt is None else self.debt.inputs[step].copy_(x))

    def multiply_back(self, gradient: Tensor, step: int) -> Tensor:
        """The gradient of the input, from that of the output, which is left owing to the weight."""
        assert self.debt is not None
        self.debt.owed.add(step)
        return self._backward(self.debt.gradients[step].copy_(gradient))

    @cached_property
    def _forward(self) -> Callable[[Tensor], Tensor]:
        return _multiplication(self.matrix.detach(), self._num_steps)

    @cached_property
    def _backward(self) -> Callable[[Tensor], Tensor]:
        return _multiplication(self.matrix.detach().T, self._num_steps)


class _Debt:
    """What a weight's gradient will be made of: each step's input and its product's gradient, as they come."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, num_steps: int, batch_size: int) -> None:
        outputs, inputs = weight.shape
        self._inputs = weight.new_empty(num_steps, batch_size, inputs, dtype=dtype)
        self._gradients = weight.new_empty(num_steps, batch_size, outputs, dtype=dtype)
        self.inputs, self.gradients = self._inputs.unbind(), self._gradients.unbind()
        self.owed: set[int] = set()

    def paid(self) -> Tensor:
        """The weight's gradient; steps that the backward pass did not come to add nothing to it."""
        for step in set(range(len(self.gradients))) - self.owed:
            self.gradients[step].zero_()
        self.owed.clear()
        return self._gradients.flatten(0, 1).T @ self._inputs.flatten(0, 1)


class _Gather(torch.autograd.Function):
    """The weight in the products' type; on the way back, which autograd takes after all products, its gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype, debt: _Debt | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.debt, ctx.dtype = debt, weight.dtype
        return weight.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor, None, None]:
        return ctx.debt.paid().to(ctx.dtype), None, None


class _Product(torch.autograd.Function):
    """x (B, I) times one matrix (O, I) transposed, or several in a row, whose weights' gradients are left owing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: tuple[GatheredWeight, ...], *matrices: Tensor) -> Tensor:
        ctx.weights, ctx.step = weights, next(weights[0].steps)
        product = x
        for weight in weights:
            product = weight.multiply(product, ctx.step)
        return product.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = output_gradient
        for weight in reversed(ctx.weights):
            gradient = weight.multiply_back(gradient, ctx.step)
        return gradient.to(output_gradient.dtype), None, *(None for _ in ctx.weights)


def _multiplication(matrix: Tensor, num_products: int) -> Callable[[Tensor], Tensor]:
    """x -> x @ matrix.T for many x (B, I) of few rows."""
    worthwhile = matrix.device.type == "cpu" and num_products >= FEWEST_PACKED and matrix.numel() >= SMALL
    if worthwhile and _can_pack(matrix.dtype):
        return _packed_multiplication(matrix)
    transposed = matrix.T
    return lambda x: x @ transposed


def _packed_multiplication(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """By oneDNN, whose products with few rows pack their matrix each time unless they are given it packed.

    In float32, 32 x 512 by 512 x 2048 on two cores, that halves a product's time; in bfloat16 it saves a fifth. torch
    has these operations for its own compiler: `_can_pack` finds out whether they are there.
    """
    operations = torch.ops.mkldnn
    packed = operations._reorder_linear_weight(matrix.contiguous())
    return lambda x: operations._linear_pointwise(x, packed, None, "none", [], "")


@cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch on this machine multiplies by a packed matrix, and rightly."""
    if dtype == torch.float64:
        return False
    x, matrix = (torch.arange(float(rows * 8), dtype=dtype).view(rows, 8) for rows in (3, 5))
    try:
        return torch.allclose(_packed_multiplication(matrix)(x), x @ matrix.T, rtol=1e-2)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
