"""The operations of attention in torch, for all time steps of both sides at once.

Shapes: T time of the queries, S time of the keys, B batch, A size of queries and keys, D size of values.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PAIRS_AT_ONCE = 2**20  # numbers: 4 MB in float32, about what a processor's cache holds


def dot_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Queries (T, B, A) times keys (S, B, A) -> (T, B, S)."""
    product = queries.transpose(0, 1) @ keys.permute(1, 2, 0)
    return product.transpose(0, 1).to(keys.dtype)


def softmax_within(scores: Tensor, lengths: Tensor) -> Tensor:
    """Softmax over the first `lengths` (B,) of the last dimension of (T, B, S); the others get 0."""
    is_outside = torch.arange(scores.shape[-1], device=scores.device) >= lengths.unsqueeze(1)
    return scores.masked_fill(is_outside, -torch.inf).softmax(dim=-1)


def weighted_sums(shares: Tensor, values: Tensor) -> Tensor:
    """Shares (T, B, S) of values (S, B, D) -> (T, B, D)."""
    product = shares.transpose(0, 1) @ values.transpose(0, 1)
    return product.transpose(0, 1).to(values.dtype)


class AdditiveScores(torch.autograd.Function):
    """vector . tanh(query + key) for each query and each key of its sequence: (T, B, A), (S, B, A), (A,) -> (T, B, S).

    All T * S * B * A hyperbolic tangents are never in memory at once, but those of a few queries; for the gradient they
    are computed again. Each is 2 s(2x) - 1, with s() the logistic function, which torch computes in a tenth of the time
    on a processor.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        ctx.save_for_backward(queries, keys, vector)
        with torch.autocast(queries.device.type, enabled=False):
            scores = [_logistic(part, 2 * keys) @ (2 * vector) for part in _parts(2 * queries, keys)]
            return torch.cat(scores).transpose(1, 2) - vector.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, vector = ctx.saved_tensors
        gradient = output_gradient.transpose(1, 2)
        doubled_keys, for_queries, for_keys = 2 * keys, list[Tensor](), torch.zeros_like(keys)
        for_vector = torch.zeros_like(vector)
        for part, wanted in zip(_parts(2 * queries, keys), _parts(gradient, keys), strict=True):
            logistic = _logistic(part, doubled_keys)  # (t, S, B, A)
            for_vector += wanted.flatten() @ logistic.flatten(0, 2)
            slope = logistic.addcmul_(logistic, logistic, value=-1).mul_(wanted.unsqueeze(-1))  # tanh' is 4 (s - s^2)
            for_queries.append(slope.sum(dim=1))
            for_keys += slope.sum(dim=0)
        # d/dv is the sum of gradient * tanh, and tanh = 2 s - 1
        return torch.cat(for_queries) * (4 * vector), for_keys * (4 * vector), 2 * for_vector - gradient.sum()


def additive_scores(queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """What `AdditiveScores` gives."""
    return AdditiveScores.apply(queries, keys, vector)  # type: ignore[no-any-return,no-untyped-call]


def _logistic(doubled_queries: Tensor, doubled_keys: Tensor) -> Tensor:
    """s(2 (query + key)) of (t, B, A) and (S, B, A) -> (t, S, B, A)."""
    return (doubled_queries.unsqueeze(1) + doubled_keys).sigmoid_()


def _parts(by_query: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
    """Something (T, ...) for some queries at a time, so that their pairs with all keys are few enough."""
    return torch.split(by_query, max(1, PAIRS_AT_ONCE // max(1, keys.numel())))
