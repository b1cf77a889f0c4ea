"""Attention: the shares, held against the equations written out, the gradients, and the picture of it."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm.engine.numpy_ops import NumpyOps
from charlm.inspection.attention_map import to_svg
from charlm.model.attention import PAIRS_AT_ONCE, additive_scores
from charlm.model.operations import TorchOps
from charlm.network import attention
from charlm.network.attention import memory_of
from charlm.settings import Attention as AttentionName
from charlm.tasks.translation import Attention

WRITTEN, READ, BATCH, QUERY, FOUND = 4, 6, 3, 5, 8
LENGTHS = torch.tensor([6, 2, 5])
KINDS: tuple[AttentionName, ...] = ("additive", "dot")


def drawn(*size: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weights() -> dict[str, Tensor]:
    return {
        "attention.key.weight": drawn(QUERY, FOUND, seed=2),
        "attention.key.bias": drawn(QUERY, seed=3),
        "attention.query.weight": drawn(QUERY, QUERY, seed=4),
        "attention.score.weight": drawn(1, QUERY, seed=5),
        "attention.combine.weight": drawn(7, FOUND + QUERY, seed=6),
    }


def written_out(hidden: Tensor, found: Tensor, kind: AttentionName) -> Tensor:
    """The shares of each step, with one place of the source after the other."""
    own, shares = weights(), torch.zeros(WRITTEN, BATCH, READ, dtype=hidden.dtype)
    for step in range(WRITTEN):
        for row, length in enumerate(LENGTHS.tolist()):
            scores = []
            for place in range(length):
                key = own["attention.key.weight"] @ found[place, row] + own["attention.key.bias"]
                if kind == "additive":
                    query = own["attention.query.weight"] @ hidden[step, row]
                    scores.append(own["attention.score.weight"][0] @ torch.tanh(query + key))
                else:
                    scores.append(hidden[step, row] @ key / QUERY**0.5)
            shares[step, row, :length] = torch.stack(scores).softmax(0)
    return shares


@pytest.mark.parametrize("kind", KINDS)
def test_the_shares_are_those_of_the_equation_and_padding_gets_none(kind: AttentionName) -> None:
    hidden, found = drawn(WRITTEN, BATCH, QUERY, seed=7), drawn(READ, BATCH, FOUND, seed=8)
    expected = written_out(hidden, found, kind)
    shares = attention.shares(hidden, memory_of(found, LENGTHS, weights(), TorchOps), weights(), kind, TorchOps)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(shares.sum(-1), torch.ones(WRITTEN, BATCH, dtype=torch.float64))
    for row, length in enumerate(LENGTHS.tolist()):
        assert (shares[:, row, length:] == 0).all()
    arrays: dict[str, Any] = {name: weight.numpy() for name, weight in weights().items()}
    memory = memory_of(found.numpy(), LENGTHS.numpy(), arrays, NumpyOps)
    in_numpy = attention.shares(hidden.numpy(), memory, arrays, kind, NumpyOps)
    np.testing.assert_allclose(in_numpy, expected, atol=1e-12)


def test_contexts_are_means_of_what_was_found() -> None:
    shares, values = drawn(WRITTEN, BATCH, READ).softmax(-1), drawn(READ, BATCH, FOUND)
    expected = torch.einsum("tbs,sbd->tbd", shares, values)
    torch.testing.assert_close(TorchOps.weighted_sums(shares, values), expected)
    np.testing.assert_allclose(NumpyOps.weighted_sums(shares.numpy(), values.numpy()), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: AttentionName) -> None:
    names = [name for name in weights() if kind == "additive" or name.startswith(("attention.key", "attention.comb"))]
    own = [weights()[name].requires_grad_() for name in names]

    def head_input(hidden: Tensor, found: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        memory = memory_of(found, LENGTHS, given, TorchOps)
        shares = attention.shares(hidden, memory, given, kind, TorchOps)
        x: Tensor = attention.combined(hidden, TorchOps.weighted_sums(shares, memory.values), given, TorchOps)
        return x

    sides = drawn(WRITTEN, BATCH, QUERY).requires_grad_(), drawn(READ, BATCH, FOUND).requires_grad_()
    assert torch.autograd.gradcheck(head_input, (*sides, *own))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_pairs_are_scored_a_part_at_a_time_with_the_same_result(dtype: torch.dtype) -> None:
    """The tangents of a few queries fill the room, so that the last part is a smaller one."""
    read, batch, size = 40, 64, 129
    queries, keys, vector = (drawn(*shape, dtype=dtype) for shape in ((5, batch, size), (read, batch, size), (size,)))
    assert 1 < PAIRS_AT_ONCE // keys.numel() < len(queries)
    found, expected = ([part.clone().requires_grad_() for part in (queries, keys, vector)] for _ in range(2))
    plain = torch.einsum("tbsa,a->tbs", torch.tanh(expected[0].unsqueeze(2) + expected[1].transpose(0, 1)), expected[2])
    scores = additive_scores(*found)
    tolerance = {"rtol": 0, "atol": 1e-10 if dtype == torch.float64 else 1e-4}
    torch.testing.assert_close(scores, plain, **tolerance)
    wanted = drawn(*scores.shape, seed=9, dtype=dtype)
    gradients = torch.autograd.grad(scores, found, wanted), torch.autograd.grad(plain, expected, wanted)
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=10 * tolerance["atol"])


def test_the_products_of_autocast_change_the_shares_only_a_little() -> None:
    hidden, found = (drawn(*size, dtype=torch.float32) for size in ((WRITTEN, BATCH, QUERY), (READ, BATCH, FOUND)))
    own = {name: weight.float() for name, weight in weights().items()}
    for kind in KINDS:
        exact, rounded = (_shares_within(hidden, found, own, kind, enabled) for enabled in (False, True))
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, exact, rtol=0, atol=0.1)


def _shares_within(
    hidden: Tensor, found: Tensor, own: dict[str, Tensor], kind: AttentionName, in_bfloat16: bool
) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        memory = memory_of(found, LENGTHS, own, TorchOps)
        shares: Tensor = attention.shares(hidden, memory, own, kind, TorchOps)
        return shares


# The picture


HOSTILE = Attention(
    ("<a>", "\x1b[2J", " ", "\ud800"), ("&", "x" * 60), np.array([[0.5, 0.3, 0.2, 0], [0, 0, 0.003, 1]])
)


def test_a_map_shows_the_tokens_of_both_sides_and_their_shares() -> None:
    svg = to_svg(HOSTILE, "<t>")
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"50", "30", "20", "100", "&", "<a>", "read", "written"} <= set(texts)
    told = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "& looks at <a>: 50.0%" in told
    assert len(told) == 1 + 4  # the title of the picture, and the shares that are large enough
    assert "\x1b" not in svg
    svg.encode()
