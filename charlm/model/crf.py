"""The log partition of a conditional random field in torch, with its gradient in closed form.

The derivatives of a log partition are probabilities: those of each tag for the emissions, those of each pair of
neighbouring tags for the transitions. Both follow from the forward and the backward algorithm, which is faster than
going back through every step.
Shapes: T time, B batch, K tags.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlm.model.operations import TorchOps
from charlm.network import crf

PAIRS_AT_ONCE = 2**22  # numbers in memory: 16 MB in float32


class LogPartition(torch.autograd.Function):
    """`crf.log_partition`: emissions (T, B, K), transitions (K + 1, K + 1), lengths (B,) -> (B,)."""

    @staticmethod
    def forward(ctx: Any, emissions: Tensor, transitions: Tensor, lengths: Tensor) -> Tensor:
        prefixes, totals = crf.all_prefixes(emissions, transitions, TorchOps)
        ctx.save_for_backward(emissions, transitions, lengths, prefixes)
        result: Tensor = crf.log_partition_of(prefixes, totals, lengths, transitions, TorchOps)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        emissions, transitions, lengths, prefixes = ctx.saved_tensors
        suffixes = crf.all_suffixes(emissions, lengths, transitions, TorchOps)
        is_inside = torch.arange(len(emissions), device=lengths.device).unsqueeze(1) < lengths
        factors = torch.where(is_inside, output_gradient, 0.0)
        tags = crf.log_marginals_of(prefixes, suffixes, emissions, TorchOps).exp() * factors.unsqueeze(2)
        for_transitions = torch.zeros_like(transitions)
        for_transitions[:-1, :-1] = _pairs(prefixes[:-1], suffixes[1:], transitions[:-1, :-1], factors[1:])
        for_transitions[-1, :-1] = tags[0].sum(0)
        for_transitions[:-1, -1] = TorchOps.at(tags, lengths - 1).sum(0)
        return tags, for_transitions, None


def _pairs(prefixes: Tensor, suffixes: Tensor, between: Tensor, factors: Tensor) -> Tensor:
    """The weighted sum of the probabilities of each pair of neighbouring tags, over all places: -> (K, K)."""
    total, num_tags = torch.zeros_like(between), len(between)
    at_once = max(1, PAIRS_AT_ONCE // max(1, prefixes.shape[1] * num_tags**2))
    for before, after, weights in zip(*(torch.split(x, at_once) for x in (prefixes, suffixes, factors)), strict=True):
        scores = before.unsqueeze(3) + between + after.unsqueeze(2)
        probabilities = scores.flatten(2).softmax(2).view_as(scores)
        total += torch.einsum("tbij,tb->ij", probabilities, weights)
    return total
