"""What can be trained: an objective makes batches and says what each one costs. `Trainer` knows no more than this.

Shapes: B batch; every part of a carried state is (B, its size).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from charlm.cells.cell import NetworkState

Generators = Mapping[str, torch.Generator]
"""The sources of randomness of a training, by what each is for."""


class Examples(Protocol):
    """Sequences that are computed side by side."""

    def __len__(self) -> int: ...

    def rows(self, rows: slice) -> Self:
        """Some of the sequences."""


@dataclass(frozen=True)
class Batch:
    """What one update is computed from.

    `examples` go on with the state that the batch before left behind; `others` start anew and leave no state.
    `num_targets` counts what the loss is a sum over; `num_seen` leaves out what other batches of the pass have, too.
    """

    examples: Examples
    others: tuple[Examples, ...]
    num_targets: int
    num_seen: int


class Objective(Protocol):
    """A network with its training data, and what it is trained for."""

    @property
    def network(self) -> nn.Module:
        """Its parameters are what is trained."""

    @property
    def batches_per_pass(self) -> int: ...

    @property
    def targets_per_batch(self) -> float:
        """The mean. Every batch's loss is divided by it, whatever it holds, so each target has the same weight."""

    @property
    def generators(self) -> tuple[str, ...]:
        """What `loss` needs randomness for. Each use has a generator of its own."""

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of the parts of each layer's carried state; empty where no state is carried."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights that training starts with."""

    def next_batch(self) -> Batch:
        """The batch at the current position, which moves on."""

    def loss(
        self, examples: Any, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, NetworkState | None]:
        """The nats of some Examples in all, as a differentiable number, how many targets that is, and the new state.

        A `state` of None is that of a beginning.
        """

    def after_update(self) -> None:
        """Called after each update of the weights, as to keep them within bounds."""

    def position(self) -> dict[str, Tensor]:
        """Where in the data the next batch is, as tensors that a saved state holds, by name."""

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        """Go to a position that `position` gave. Raises ValueError for one that the data does not have."""

    check_tokens: int
    """How many targets a quick check has, at most; set before training begins, and the same throughout."""

    @property
    def has_check(self) -> bool:
        """Whether there is a validation part to check the network on."""

    def check(self) -> float:
        """A quick check on the validation part, in nats per target: lower is better."""

    def sample(self) -> str:
        """A short sample of what the network does now, for people; empty where it has none to give."""
