"""What the training loop reports; progress bar, log, saving and stopping are made of these."""

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
class SaveDue:
    """Everything about this step is settled: the moment to save."""

    step: int


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


Event = StepDone | Evaluated | Sampled | SaveDue | Saved | Planned | Finished
