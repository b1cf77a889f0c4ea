"""The operations of a cell's equation in torch: plain, or with each weight's gradient gathered over all time steps."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charlm.cells.cell import Array
from charlm.model import attention

SMALL = 2**16  # numbers; smaller matrices gain nothing from autocast's type or from packing
MIN_PACKED_PRODUCTS = 12  # packing a matrix takes about as long as it saves in this many products


class TorchOps:
    """The operations of `cells.cell.Ops` in torch. Under autocast, products are computed in its type, then widened."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    relu = staticmethod(torch.relu)
    softplus = staticmethod(nn.functional.softplus)
    embed = staticmethod(nn.functional.embedding)
    dot_scores = staticmethod(attention.dot_scores)
    additive_scores = staticmethod(attention.additive_scores)
    softmax_within = staticmethod(attention.softmax_within)
    weighted_sums = staticmethod(attention.weighted_sums)

    @staticmethod
    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        return nn.functional.linear(x, weight, bias).to(weight.dtype)

    @staticmethod
    def low_rank(x: Array, right: Array, left: Array) -> Array:
        return TorchOps.linear(TorchOps.linear(x, right), left)

    @staticmethod
    def zeros(size: tuple[int, ...], like: Array) -> Array:
        return like.new_zeros(size)

    @staticmethod
    def standardise(x: Array) -> Array:
        return nn.functional.layer_norm(x, x.shape[-1:])

    @staticmethod
    def reverse(x: Array, lengths: Array) -> Array:
        time = torch.arange(len(x), device=x.device).unsqueeze(1)
        index = torch.where(time < lengths, lengths - 1 - time, time)
        return _Reversed.apply(x, index)  # type: ignore[no-untyped-call]

    @staticmethod
    def side_by_side(x: Array, y: Array) -> Array:
        return torch.cat([x, y], dim=-1)

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        return tuple(x.chunk(parts, dim=-1))

    @staticmethod
    def at(x: Array, times: Array) -> Array:
        return x[times, torch.arange(x.shape[1], device=x.device)]

    @staticmethod
    def max_over_time(x: Array, lengths: Array) -> Array:
        return torch.where(_is_inside(x, lengths), x, -torch.inf).amax(dim=0)

    @staticmethod
    def mean_over_time(x: Array, lengths: Array) -> Array:
        return TorchOps.sum_over_time(x, lengths) / lengths.unsqueeze(1).to(x.dtype)

    @staticmethod
    def sum_over_time(x: Array, lengths: Array) -> Array:
        return torch.where(_is_inside(x, lengths), x, 0.0).sum(dim=0)

    @staticmethod
    def logsumexp(x: Array, axis: int) -> Array:
        return x.logsumexp(axis)

    @staticmethod
    def largest(x: Array, axis: int) -> Array:
        return x.amax(axis)

    @staticmethod
    def stack(parts: Sequence[Array]) -> Array:
        return torch.stack(list(parts))

    @staticmethod
    def where(condition: Array, x: Array, y: Array) -> Array:
        return torch.where(condition, x, y)


def _is_inside(x: Tensor, lengths: Tensor) -> Tensor:
    """Whether a row of x (T, B, D) belongs to its sequence and not to the padding -> (T, B, 1)."""
    return (torch.arange(len(x), device=x.device).unsqueeze(1) < lengths).unsqueeze(-1)


class _Reversed(torch.autograd.Function):
    """x (T, B, ...) with the rows of each column in the order `index` (T, B), which undoes itself.

    So the gradient is read in this order too, while autograd would add it up row by row.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return x[index, torch.arange(x.shape[1], device=x.device)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return output_gradient[index, torch.arange(index.shape[1], device=index.device)], None


class GatheringOps(TorchOps):
    """The operations in torch for the steps of one pass through time, with weights from `shared_by_steps`."""

    @staticmethod
    def linear(x: Array, weight: Any, bias: Array | None = None) -> Array:
        product = _Product.apply(x, (weight,), weight.matrix)  # type: ignore[no-untyped-call]
        return product if bias is None else product + bias

    @staticmethod
    def low_rank(x: Array, right: Any, left: Any) -> Array:
        return _Product.apply(x, (right, left), right.matrix, left.matrix)  # type: ignore[no-untyped-call]


def shared_by_steps(weight: Tensor, num_steps: int, batch_size: int) -> Any:
    """A weight in the form that `GatheringOps` takes, which leaves little work for its gradient at each step.

    A matrix becomes a GatheredWeight. A vector is expanded to the batch, so that its gradient is summed over the batch
    only once, after the last step.
    """
    return weight.expand(batch_size, -1) if weight.ndim == 1 else GatheredWeight(weight, num_steps, batch_size)


class GatheredWeight:
    """A matrix that is used once in each step of a pass through time, and whose gradient is one product over all steps.

    Plain autograd would compute a small product for the gradient at each step, read and write the whole gradient each
    time, and convert the matrix to autocast's type at each step. Here this is done once, and so is packing for oneDNN.
    After a backward pass that did not reach the weight (`torch.autograd.grad` for the input alone), the next backward
    pass must visit at least the same steps.
    """

    def __init__(self, weight: Tensor, num_steps: int, batch_size: int) -> None:
        kind = weight.device.type
        use_autocast = torch.is_autocast_enabled(kind) and weight.numel() >= SMALL
        self._dtype = torch.get_autocast_dtype(kind) if use_autocast else weight.dtype
        self._weight, self._num_steps, self._batch_size = weight, num_steps, batch_size
        self.steps = iter(range(num_steps))

    @cached_property
    def deferred(self) -> "_DeferredGradient | None":
        """What the gradient is computed from; None if no gradients are wanted."""
        if not torch.is_grad_enabled():
            return None
        return _DeferredGradient(self._weight, self._dtype, self._num_steps, self._batch_size)

    @cached_property
    def matrix(self) -> Tensor:
        """The weight in the type for products."""
        matrix: Tensor = _Gather.apply(self._weight, self._dtype, self.deferred)  # type: ignore[no-untyped-call]
        return matrix

    def multiply(self, x: Tensor, step: int) -> Tensor:
        """x @ matrix.T; x is kept for the gradient."""
        return self._forward(x.to(self._dtype) if self.deferred is None else self.deferred.inputs[step].copy_(x))

    def multiply_back(self, gradient: Tensor, step: int) -> Tensor:
        """The gradient of the input, from that of the output, which is kept for the weight's gradient."""
        assert self.deferred is not None
        self.deferred.visited.add(step)
        return self._backward(self.deferred.output_gradients[step].copy_(gradient))

    @cached_property
    def _forward(self) -> Callable[[Tensor], Tensor]:
        return _multiplication(self.matrix.detach(), self._num_steps)

    @cached_property
    def _backward(self) -> Callable[[Tensor], Tensor]:
        return _multiplication(self.matrix.detach().T, self._num_steps)


class _DeferredGradient:
    """Collects what a weight's gradient is computed from: each step's input, and the gradient of its product."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, num_steps: int, batch_size: int) -> None:
        outputs, inputs = weight.shape
        self._inputs = weight.new_empty(num_steps, batch_size, inputs, dtype=dtype)
        self._output_gradients = weight.new_empty(num_steps, batch_size, outputs, dtype=dtype)
        self.inputs, self.output_gradients = self._inputs.unbind(), self._output_gradients.unbind()
        self.visited: set[int] = set()

    def gradient(self) -> Tensor:
        """The weight's gradient. Steps that the backward pass did not visit add nothing to it."""
        for step in set(range(len(self.inputs))) - self.visited:
            self.output_gradients[step].zero_()
        self.visited.clear()
        return self._output_gradients.flatten(0, 1).T @ self._inputs.flatten(0, 1)


class _Gather(torch.autograd.Function):
    """Converts the weight to the type for products. Its backward, called after all products', gives the gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype, deferred: _DeferredGradient | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.deferred, ctx.dtype = deferred, weight.dtype
        return weight.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor, None, None]:
        return ctx.deferred.gradient().to(ctx.dtype), None, None


class _Product(torch.autograd.Function):
    """x (B, I) times one transposed matrix (O, I), or several in turn; the weights' gradients are deferred."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: tuple[GatheredWeight, ...], *matrices: Tensor) -> Tensor:
        ctx.weights, ctx.step = weights, next(weights[0].steps, None)
        assert ctx.step is not None, "a cell's step may use each of its matrices once"
        ctx.save_for_backward(*matrices)
        product = x
        for weight in weights:
            product = weight.multiply(product, ctx.step)
        return product.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors  # reading them raises an error if a matrix has been changed
        gradient = output_gradient
        for weight in reversed(ctx.weights):
            gradient = weight.multiply_back(gradient, ctx.step)
        return gradient.to(output_gradient.dtype), None, *(None for _ in ctx.weights)


def _multiplication(matrix: Tensor, num_products: int) -> Callable[[Tensor], Tensor]:
    """The function x -> x @ matrix.T, as fast as possible for `num_products` small x (B, I)."""
    is_worthwhile = matrix.device.type == "cpu" and num_products >= MIN_PACKED_PRODUCTS and matrix.numel() >= SMALL
    if is_worthwhile and _can_pack(matrix.dtype, matrix.shape):
        return _packed_multiplication(matrix)
    transposed = matrix.T
    return lambda x: x @ transposed


def _packed_multiplication(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """The function x -> x @ matrix.T by oneDNN, with the matrix packed once instead of at every product.

    For 32 x 512 by 512 x 2048 on two cores this halves the time in float32, and saves a fifth in bfloat16. torch has
    these operations for its own compiler; `_can_pack` finds out whether they exist.
    """
    operations = torch.ops.mkldnn
    packed = operations._reorder_linear_weight(matrix.contiguous())
    return lambda x: operations._linear_pointwise(x, packed, None, "none", [], "")


@cache
def _can_pack(dtype: torch.dtype, size: torch.Size) -> bool:
    """Whether this torch, on this machine, multiplies correctly by a packed matrix of this size."""
    if dtype == torch.float64:
        return False
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, size[1], generator=generator).to(dtype)
    matrix = torch.randn(size, generator=generator).to(dtype)
    expected, tolerance = (x @ matrix.T).float(), 1e-2 if dtype == torch.bfloat16 else 1e-4
    try:
        found = _packed_multiplication(matrix)(x).float()
    except Exception:  # missing, or not supported here: torch raises many kinds of errors
        return False
    return bool((found - expected).norm() <= tolerance * expected.norm())
