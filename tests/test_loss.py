"""The loss by rows is torch's cross-entropy, and so is its gradient."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from charlm.corpus.windows import IGNORED
from charlm.model import loss
from charlm.model.loss import CrossEntropy

N, V = 13, 7


def case(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = (5 * torch.randn(N, V, generator=generator)).to(dtype).requires_grad_()
    targets = torch.randint(V, (N,), generator=generator)
    targets[3] = targets[12] = IGNORED
    return logits, targets


@pytest.mark.parametrize("at_once", [1, 2 * V, 10**6])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)]
)
def test_loss_and_gradient_equal_torch(
    monkeypatch: pytest.MonkeyPatch, at_once: int, dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(loss, "NUMBERS_AT_ONCE", at_once)
    logits, targets = case(dtype)
    own = CrossEntropy.apply(logits, targets)
    (own_gradient,) = torch.autograd.grad(own / 11, logits)
    wide = logits.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    expected = cross_entropy(wide, targets, ignore_index=IGNORED, reduction="sum")
    (gradient,) = torch.autograd.grad(expected / 11, wide)
    assert own.dtype == wide.dtype
    assert float(own.detach()) == pytest.approx(float(expected.detach()), rel=min(tolerance, 1e-5))
    assert torch.allclose(own_gradient.to(wide.dtype), gradient, atol=tolerance, rtol=tolerance)


def test_gradient_in_float64() -> None:
    logits, targets = case(torch.float64)
    assert torch.autograd.gradcheck(lambda x: CrossEntropy.apply(x, targets), (logits,))


def test_logits_of_any_size_are_finite() -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    total = CrossEntropy.apply(logits, torch.tensor([0]))
    total.backward()
    assert float(total.detach()) == 0.0
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
