"""A state of training as a weights file: its tensors, and the scalars that belong to it. All formats are read."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.windows import LAYOUT
from charlm.errors import RunError, UsageError
from charlm.runs.weights import Weights
from charlm.settings import LENGTHS, TrainingSettings, check, seconds
from charlm.system.records import Count, ShortText, read_record
from charlm.training.budget import StepBudget
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.language_model import at_start_of_pass
from charlm.training.state import Progress, TrainingState

GIVEN_ANEW = (*LENGTHS, "patience", "threads", "device")
"""Settings that may differ each time a run goes on; the newest state has them."""
MAX_MICRO_BATCHES = 1 << 16
GENERATOR = "dropout_generator"


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """What a saved state has beside its tensors. Older formats lack what has a default."""

    progress: dict[str, Any]
    metrics_length: Count
    """Bytes of the log that belong to the state."""
    plan: StepBudget
    length: dict[str, Any] = field(default_factory=dict)
    """The settings GIVEN_ANEW, as they were last."""
    device: ShortText | None = None
    check_tokens: int = CHECK_TOKENS
    """How many tokens the quick checks have."""
    ended: ShortText = ""
    """Why training came to its end, where it did."""
    layout: int | None = None
    """How windows follow from the text; a position is of no use where that has changed."""


@dataclass(frozen=True)
class SavedState:
    """A state that was read from a run's folder."""

    weights: Weights
    scalars: Scalars
    training: TrainingSettings
    """The run's settings, with what was given anew when the run went on."""
    where: str
    """The file, for messages."""

    @property
    def step(self) -> int:
        return self.weights.step

    @property
    def has_todays_windows(self) -> bool:
        """Whether its position means the same today: runs of formats up to 3 laid their windows otherwise."""
        return self.scalars.layout == LAYOUT

    def state(self, micro_batches: int = 1) -> TrainingState:
        """The state to go on with; where windows were laid in another way, that is at the start of its pass.

        A batch has at least `micro_batches` parts, where memory is short now. Raises RunError.
        """
        with refusing(self.where):
            tensors = {name: torch.from_numpy(np.array(value)) for name, value in self.weights.tensors.items()}
            if not self.has_todays_windows:
                tensors = at_start_of_pass(tensors)
            return TrainingState(tensors, self._progress(micro_batches), self.scalars.plan)

    def is_of_another_device(self, device: str, fresh: TrainingState) -> bool:
        """Whether it was saved on another kind of device than `device`, on which a training has the `fresh` state.

        Older states do not say, but the generators of one kind of device are of one length.
        """
        if self.scalars.device is not None:
            return self.scalars.device != device
        generator = self.weights.tensors.get(GENERATOR)
        if generator is None or generator.ndim != 1 or generator.dtype != np.uint8:
            return False  # which is no generator of any device
        return len(generator) != len(fresh.tensors[GENERATOR])

    def _progress(self, micro_batches: int) -> Progress:
        numbers = {name: math.inf if value is None else value for name, value in self.scalars.progress.items()}
        if "evaluated_at" not in numbers:  # of format 2 or 1: no state was saved with an evaluation left to do
            numbers["evaluated_at"] = self.step
        progress = read_record(Progress, numbers)
        if progress.step != self.step or min(progress.step, progress.tokens_seen, progress.seconds) < 0:
            raise ValueError("has a state of training that contradicts itself")
        if not (1 <= progress.micro_batches <= MAX_MICRO_BATCHES and 0 < progress.learning_rate_scale <= 1):
            raise ValueError("has a state of training that cannot be")
        progress.micro_batches = max(progress.micro_batches, micro_batches)
        return progress


def read_state(weights: Weights, training: TrainingSettings, where: Path) -> SavedState:
    """What a weights file of `last` or `previous` holds. Raises RunError naming the file."""
    with refusing(str(where)):
        values = dict(weights.scalars)
        if "plan" not in values:  # of format 1
            values["plan"] = {name: values.get(name) for name in ("total_steps", "decisions")}
        scalars = read_record(Scalars, values)
        if not 0 < scalars.check_tokens <= CHECK_TOKENS:
            scalars = dataclasses.replace(scalars, check_tokens=CHECK_TOKENS)
        unknown = scalars.length.keys() - set(GIVEN_ANEW)
        if unknown:
            raise ValueError(f"has a length that cannot be: {min(unknown)[:100]}")
        try:
            length = read_record(TrainingSettings, scalars.length)
            check(length)
            if length.time is not None:
                seconds(length.time)
        except (ValueError, UsageError) as error:
            raise ValueError(f"has a length that cannot be: {str(error)[:100]}") from error
        own = {name: getattr(length, name) for name in scalars.length}
        return SavedState(weights, scalars, dataclasses.replace(training, **own), str(where))


def weights_of(state: TrainingState, **facts: Any) -> Weights:
    """A state as the content of a weights file; `facts` are the other fields of Scalars."""
    scalars = {"progress": finite(dataclasses.asdict(state.progress)), "plan": state.budget.plan(), **facts}
    return Weights(arrays_of(state.tensors), state.progress.step, scalars | {"layout": LAYOUT})


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(tensor.detach().cpu().numpy(), order="C") for name, tensor in tensors.items()}


def with_generators_of(state: TrainingState, fresh: TrainingState) -> TrainingState:
    """A state of another device with the random generators of one that was begun on this device."""
    own = {name: tensor for name, tensor in fresh.tensors.items() if name.endswith("_generator")}
    tensors = {name: own.get(name, tensor) for name, tensor in state.tensors.items()}
    return dataclasses.replace(state, tensors=tensors)


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """A state that cannot be is a RunError naming its file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        what = f"damaged run: {Path(where).name} {reason}"
        raise RunError(what, where, "train again, or restore it from a copy") from error
