"""The operations of a cell's equation in torch, plain or with each weight's gradient gathered over the time steps."""

from collections.abc import Callable
from functools import cache, cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charlm.cells.cell import Array

SMALL = 2**16  # numbers; a matrix of fewer gains nothing by autocast's type, nor by being packed
FEWEST_PACKED = 12  # products; packing a matrix takes about as long as it saves in so many


Owed = dict[int, tuple[Tensor, Tensor]]  # for each product, by number: gradient of its output, and its input


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
    def standardise(x: Array) -> Array:
        return nn.functional.layer_norm(x, x.shape[-1:])

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        return tuple(x.chunk(parts, dim=-1))


class GatheringOps(TorchOps):
    """The same for the steps of one pass through a layer, whose matrices are `GatheredWeight`s."""

    @staticmethod
    def linear(x: Array, weight: Any, bias: Array | None = None) -> Array:
        product = _Product.apply(x, weight.matrix, weight)  # type: ignore[no-untyped-call]
        return product if bias is None else product + bias


class GatheredWeight:
    """A matrix for many products in a row, whose gradient is one product over all of them.

    Autograd alone takes a small product a step for it, reads and writes the whole gradient each time, and converts the
    matrix to autocast's type at every step; here that is done once, as is the packing that oneDNN wants.
    After a backward pass that was kept from the weight (`torch.autograd.grad` to the input alone), the next one must
    come to at least the same products.
    """

    def __init__(self, weight: Tensor, num_products: int) -> None:
        self._num_products = num_products
        self.numbers = count()
        self.owed: Owed = {}
        self.matrix: Tensor = _Gather.apply(weight, self.owed)  # type: ignore[no-untyped-call]

    @cached_property
    def multiply(self) -> Callable[[Tensor], Tensor]:
        """x -> x @ matrix.T"""
        return _multiplication(self.matrix.detach(), self._num_products)

    @cached_property
    def multiply_back(self) -> Callable[[Tensor], Tensor]:
        """y -> y @ matrix"""
        return _multiplication(self.matrix.detach().T, self._num_products)


class _Gather(torch.autograd.Function):
    """The weight in the products' type; on the way back, which autograd takes after all products, its gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, owed: Owed) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.owed, ctx.dtype = owed, weight.dtype
        kind = weight.device.type
        narrow = torch.is_autocast_enabled(kind) and weight.numel() >= SMALL
        return weight.to(torch.get_autocast_dtype(kind) if narrow else weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor, None]:
        output_gradients, inputs = (torch.cat(part) for part in zip(*ctx.owed.values(), strict=True))
        ctx.owed.clear()
        return (output_gradients.T @ inputs).to(ctx.dtype), None


class _Product(torch.autograd.Function):
    """x @ matrix.T, x (B, I) and matrix (O, I), for which the weight's gradient is left owing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, weight: GatheredWeight) -> Tensor:
        ctx.weight, ctx.number = weight, next(weight.numbers)
        ctx.input = x.detach().to(matrix.dtype)  # without its graph, which would keep itself alive by way of `owed`
        return weight.multiply(ctx.input).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, None, None]:
        narrow = output_gradient.to(ctx.input.dtype)
        if ctx.needs_input_grad[1]:
            ctx.weight.owed[ctx.number] = narrow, ctx.input
        return ctx.weight.multiply_back(narrow).to(output_gradient.dtype), None, None


def _multiplication(matrix: Tensor, num_products: int) -> Callable[[Tensor], Tensor]:
    """x -> x @ matrix.T for many x (B, I) of few rows."""
    worthwhile = matrix.device.type == "cpu" and num_products >= FEWEST_PACKED and matrix.numel() >= SMALL
    if worthwhile and _can_pack(matrix.dtype):
        return _packed_multiplication(matrix)
    return lambda x: x @ matrix.T


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
