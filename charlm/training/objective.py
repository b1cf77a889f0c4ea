"""What can be trained: an objective makes batches and computes the loss of each. `Trainer` knows only this protocol.

Shapes: B batch; every part of a carried state is (B, its size).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from charlm.cells.cell import NetworkState

Generators = Mapping[str, torch.Generator]
"""The random generators of a training, by what each is used for."""


class Examples(Protocol):
    """Sequences that are computed together, side by side."""

    def __len__(self) -> int: ...

    def rows(self, rows: slice) -> Self:
        """Some of the sequences."""


@dataclass(frozen=True)
class Batch:
    """The examples for one update.

    `examples` continue from the state carried over from the previous batch; `others` start from an initial state and
    leave no state behind. `num_targets` is the number of targets in the loss. `num_seen` counts only those that no
    other batch of the same pass has. `size_of_one` and `to_do` are for the error when not even one sequence fits into
    memory: how large it is, and what to do.
    """

    examples: Examples
    others: tuple[Examples, ...]
    num_targets: int
    num_seen: int
    size_of_one: str = ""
    to_do: str = "give a smaller model"


@dataclass(frozen=True)
class DataOrder:
    """The rule by which an objective goes through its training data. A saved position is valid under its rule only."""

    version: int
    restarted: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """The tensors of a state that was saved under another version, moved to the start of its pass."""


@dataclass(frozen=True)
class Check:
    """A quick check on the validation part: the loss in nats per target, and what the best weights are chosen by.

    The lowest `cost` is the best; None where that is the loss itself.
    """

    nats: float
    cost: float | None = None


class Objective(Protocol):
    """A network, its training data, and the loss that it is trained with."""

    @property
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""

    @property
    def batches_per_pass(self) -> int:
        """The number of batches in one pass over the training data."""

    @property
    def max_passes(self) -> int:
        """How often the training data is read at most, even if there is time for more."""

    @property
    def targets_per_batch(self) -> float:
        """The mean number of targets. Every batch's loss is divided by it, so that all targets have the same weight."""

    @property
    def generators(self) -> tuple[str, ...]:
        """The names of the random generators that `loss` uses, one for each purpose."""

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        """For each layer, the sizes of the parts of its carried state; empty if no state is carried."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights that training starts with."""

    def next_batch(self) -> Batch:
        """The batch at the current position; moves the position to the next batch."""

    def loss(
        self, examples: Any, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, NetworkState | None]:
        """The total loss of some Examples in nats, as a differentiable scalar; the number of targets; the new state.

        With a `state` of None the examples start from an initial state.
        """

    def after_update(self) -> None:
        """Called after each update of the weights, for example to clamp them to a range."""

    def position(self) -> dict[str, Tensor]:
        """The position in the training data, as named tensors for a saved state."""

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        """Go to a position from `position`. Raises ValueError if the data has no such position."""

    check_tokens: int
    """The largest number of targets in a quick check. Set before training starts, and not changed afterwards."""

    @property
    def has_check(self) -> bool:
        """Whether there is a validation part for quick checks."""

    def check(self) -> Check:
        """A quick check on the validation part."""

    def sample(self) -> str:
        """A short sample of the network's output, for people to read; empty if there is none."""
