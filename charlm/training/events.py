"""What happens in a training. When an event is yielded, what it reports is already done and saved."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepDone:
    """One update. The loss is that of the batch, with dropout; the gradient norm is measured before clipping."""

    step: int
    total_steps: int
    nats_per_token: float
    gradient_norm: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class Skipped:
    """A step whose loss or gradient is not finite: the weights were not changed."""

    step: int
    nats_per_token: float
    gradient_norm: float


@dataclass(frozen=True)
class RolledBack:
    """Training continues from the last good state, at `step`, with a lower learning rate."""

    step: int
    diverged_at: int
    learning_rate_scale: float


@dataclass(frozen=True)
class BatchSplit:
    """Memory was short: from now on each batch is computed in `micro_batches` parts, for the same updates."""

    step: int
    micro_batches: int


@dataclass(frozen=True)
class Evaluated:
    """A quick check on a slice of the validation part."""

    step: int
    nats_per_token: float
    improved: bool
    cost: float | None = None
    """What the best weights are chosen by, where that is not the loss."""


@dataclass(frozen=True)
class Sampled:
    """A short sample of the network as it is now."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """The newest state is on disk."""

    step: int


@dataclass(frozen=True)
class Planned:
    """The number of steps that fit into `--time` was decided or corrected."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Finished:
    """Training has ended: after all its steps or its time, for lack of improvement, or by a signal."""

    step: int
    seconds: float
    reason: str
    signal: int | None = None


Event = StepDone | Skipped | RolledBack | BatchSplit | Evaluated | Sampled | Saved | Planned | Finished
