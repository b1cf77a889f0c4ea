"""What happened in a training. Everything that an event reports is done, and saved, when it is handed out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepDone:
    """One update. The loss is the window's own, with dropout; the gradient's norm is that before clipping."""

    step: int
    total_steps: int
    nats_per_token: float
    gradient_norm: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class Skipped:
    """A step whose loss or gradient is not finite: nothing was applied."""

    step: int
    nats_per_token: float
    gradient_norm: float


@dataclass(frozen=True)
class RolledBack:
    """Training goes on from the last good state, at the step given, with a lower learning rate."""

    step: int
    diverged_at: int
    learning_rate_scale: float


@dataclass(frozen=True)
class BatchSplit:
    """Memory was short: each batch is worked on in so many parts from now on, for the same updates."""

    step: int
    micro_batches: int


@dataclass(frozen=True)
class Evaluated:
    """A quick check on a slice of the validation part."""

    step: int
    nats_per_token: float
    improved: bool


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
    """The number of steps that `--time` comes to was decided, or corrected."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Finished:
    """The loop has ended: after all its steps, for lack of improvement, or by a signal."""

    step: int
    seconds: float
    reason: str
    signal: int | None = None


Event = StepDone | Skipped | RolledBack | BatchSplit | Evaluated | Sampled | Saved | Planned | Finished
