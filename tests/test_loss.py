"""The output layer with its loss, part by part, is torch's layer and cross-entropy, and so are its gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from charlm.corpus.windows import IGNORED
from charlm.model import loss
from charlm.model.loss import SoftmaxLoss

N, V, SIZE = 13, 7, 5
Case = tuple[Tensor, Tensor, Tensor, Tensor]


def case(dtype: torch.dtype, scale: float = 2.0) -> Case:
    generator = torch.Generator().manual_seed(1)
    shapes = ((N, SIZE), (V, SIZE), (V,))
    hidden, weight, bias = (scale * torch.randn(shape, generator=generator) for shape in shapes)
    targets = torch.randint(V, (N,), generator=generator)
    targets[3] = targets[12] = IGNORED
    return hidden.to(dtype), weight.to(dtype), bias.to(dtype), targets


def loss_and_gradients(total: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return total.detach(), *torch.autograd.grad(total / 11, inputs)


def of_torch(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    inputs = [one.double().requires_grad_() for one in (hidden, weight, bias)]
    total = cross_entropy(linear(*inputs), targets, ignore_index=IGNORED, reduction="sum")
    return loss_and_gradients(total, *inputs)


def own(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    inputs = [one.requires_grad_() for one in (hidden, weight, bias)]
    return loss_and_gradients(SoftmaxLoss.apply(*inputs, targets), *inputs)


sizes = pytest.mark.parametrize("at_once", [(1, 1), (3 * V, V), (10**6, 2 * V), (10**6, 10**6)])


@sizes
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_loss_and_gradients_equal_torch(
    monkeypatch: pytest.MonkeyPatch, at_once: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once[0])
    monkeypatch.setitem(loss.SOFTMAX_AT_ONCE, "cpu", at_once[1])
    inputs = case(dtype)
    for found, expected in zip(own(*inputs), of_torch(*inputs), strict=True):
        assert float((found.double() - expected).norm()) <= tolerance * float(expected.norm())


@sizes
def test_under_autocast_weights_and_gradients_stay_wide(
    monkeypatch: pytest.MonkeyPatch, at_once: tuple[int, int]
) -> None:
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once[0])
    monkeypatch.setitem(loss.SOFTMAX_AT_ONCE, "cpu", at_once[1])
    inputs = case(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = own(*inputs)
    for one, expected in zip(found, of_torch(*inputs), strict=True):
        assert one.dtype == torch.float32
        assert 0 < float((one.double() - expected).norm()) <= 0.02 * float(expected.norm())


def test_gradient_in_float64() -> None:
    *inputs, targets = case(torch.float64)
    inputs = [one.requires_grad_() for one in inputs]
    assert torch.autograd.gradcheck(lambda *inputs: SoftmaxLoss.apply(*inputs, targets), inputs)


@pytest.mark.parametrize("scale", [1e2, 1e15])
def test_logits_of_any_size_have_their_loss(scale: float) -> None:
    inputs = case(torch.float32, scale)
    for found, expected in zip(own(*inputs), of_torch(*inputs), strict=True):
        assert float((found.double() - expected).norm()) <= 1e-5 * float(expected.norm())


def test_an_ignored_row_may_be_anything() -> None:
    hidden, weight, bias, targets = case(torch.float32)
    expected = own(hidden.clone(), weight.clone(), bias.clone(), targets)
    hidden[3] = torch.inf
    found = own(hidden, weight.detach(), bias.detach(), targets)
    assert float(found[0]) == pytest.approx(float(expected[0]))


def test_the_logits_are_never_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []
    through = torch.nn.functional.linear

    def watched(*arguments: Tensor) -> Tensor:
        result = through(*arguments)
        largest.append(result.numel())
        return result

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", 4 * V)
    own(*case(torch.float32))
    assert largest == [4 * V, 4 * V, 4 * V, V]
