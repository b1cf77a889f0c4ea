"""Faults within the computation, put into the child's process: what a device or a text would do."""

import time
from collections.abc import Callable
from typing import Any

import torch

Decide = Callable[[int], bool]  # by the number of the training step, from 1


def slow_steps(seconds: float, after: int) -> None:
    """Steps that take long, from one on."""

    def wait(call: int, *_: Any) -> None:
        if call > after:
            time.sleep(seconds)

    _around_the_loss(before=wait)


def poison_loss(when: Decide) -> None:
    """The loss is not a number, and so are the gradients."""
    _around_the_loss(after=lambda call, loss: loss * float("nan") if when(call) else loss)


def poison_gradients(when: Decide) -> None:
    """The loss is a number; the gradients are infinite."""

    def spoil(call: int, loss: torch.Tensor) -> torch.Tensor:
        if when(call):
            loss.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
        return loss

    _around_the_loss(after=spoil)


def little_memory(most: int) -> None:
    """There is room for so many sequences, and no more."""

    def fill(call: int, inputs: torch.Tensor) -> None:
        if len(inputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    _around_the_loss(before=fill)


def _around_the_loss(
    before: Callable[[int, torch.Tensor], object] | None = None,
    after: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Call these around each computation of the training loss, with its number; evaluation is left alone."""
    from charlm.model.network import TorchNetwork

    original, calls = TorchNetwork.total_nats, 0

    def total_nats(self: Any, inputs: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if not torch.is_grad_enabled():
            return original(self, inputs, *arguments, **options)
        calls += 1
        if before is not None:
            before(calls, inputs)
        loss, state = original(self, inputs, *arguments, **options)
        return (loss if after is None else after(calls, loss)), state

    TorchNetwork.total_nats = total_nats  # type: ignore[method-assign]
