"""A training state as a weights file: its tensors, and further numbers. Files of all formats can be read."""

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

from charlm.errors import RunError, UsageError
from charlm.network.architecture import BACKWARD
from charlm.network.snapshot import generator_name, is_generator, of_network
from charlm.runs.weights import Weights
from charlm.settings import LENGTHS, TrainingSettings, check, seconds
from charlm.system.records import Count, ShortText, read_record
from charlm.training.budget import StepBudget
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.objective import DataOrder
from charlm.training.state import Progress, TrainingState

GIVEN_ANEW = (*LENGTHS, "patience", "threads", "device", "ngram")
"""Settings that may be changed each time a run is resumed. The newest saved state holds their values."""
MAX_MICRO_BATCHES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class SecondNetwork:
    """Progress and plan of the second network of a pair, at a time between two of its steps."""

    progress: dict[str, Any]
    plan: StepBudget


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """What a saved state holds in addition to its tensors. Fields with a default are missing in older formats."""

    progress: dict[str, Any]
    metrics_length: Count
    """Length of the log in bytes when the state was saved."""
    plan: StepBudget
    backward: SecondNetwork | None = None
    """Progress and plan of the second network of a pair."""
    length: dict[str, Any] = field(default_factory=dict)
    """The values of the settings in GIVEN_ANEW."""
    device: ShortText | None = None
    check_tokens: int = CHECK_TOKENS
    """How many tokens a quick check reads."""
    ended: ShortText = ""
    """Why training ended; empty if it did not."""
    layout: int | None = None
    """The version of the objective's DataOrder; the position is valid only under the same one."""


@dataclass(frozen=True)
class SavedState:
    """A training state that was read from a run's folder."""

    weights: Weights
    scalars: Scalars
    training: TrainingSettings
    """The run's settings, with those that were changed when the run was resumed."""
    order: DataOrder
    """How the run's objective goes through its data now."""
    where: str
    """The path of the file, for messages."""

    @property
    def step(self) -> int:
        return self.weights.step

    @property
    def has_valid_position(self) -> bool:
        """Whether its position is still valid: up to format 3 another rule was followed."""
        return self.scalars.layout == self.order.version

    def states(self, micro_batches: int = 1) -> dict[str, TrainingState]:
        """The state of each network to continue from, by the prefixes of `Architecture.networks`.

        It is at the start of its pass if its position is not valid any more. Each batch is computed in at least
        `micro_batches` parts, as free memory requires. Raises RunError.
        """
        with refusing(self.where):
            states = {"": self._state("", self.scalars.progress, self.scalars.plan, micro_batches)}
            if (second := self.scalars.backward) is not None:
                states[BACKWARD] = self._state(BACKWARD, second.progress, second.plan, micro_batches)
            if states[""].progress.step != self.step:
                raise ValueError("has a training state that contradicts itself")
            return states

    def is_of_another_device(self, device: str, fresh: TrainingState) -> bool:
        """Whether it was saved on another kind of device than `device`.

        States of older versions do not record the device. For these the length of a random generator's state is
        compared with that in `fresh`, a new training's state on `device`: it depends on the kind of device alone.
        """
        if self.scalars.device is not None:
            return self.scalars.device != device
        name = generator_name("dropout")  # every training of those versions had it
        generator = self.weights.tensors.get(name)
        if generator is None or generator.ndim != 1 or generator.dtype != np.uint8:
            return False  # not the state of a generator; refused later
        return len(generator) != len(fresh.tensors[name])

    def _state(self, prefix: str, progress: Mapping[str, Any], plan: StepBudget, micro_batches: int) -> TrainingState:
        """The state of one network."""
        arrays = of_network(self.weights.tensors, prefix)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        if not self.has_valid_position:
            tensors = self.order.restarted(tensors)
        return TrainingState(tensors, self._progress(progress, micro_batches), plan)

    def _progress(self, stored: Mapping[str, Any], micro_batches: int) -> Progress:
        numbers = {name: math.inf if value is None else value for name, value in stored.items()}
        if "evaluated_at" not in numbers:  # formats 1 and 2 saved a state only after its evaluation
            numbers["evaluated_at"] = self.step
            numbers.pop("best_step", None)
        progress = read_record(Progress, numbers)
        if min(progress.step, progress.tokens_seen, progress.seconds) < 0:
            raise ValueError("has a training state that contradicts itself")
        if not (1 <= progress.micro_batches <= MAX_MICRO_BATCHES and 0 < progress.learning_rate_scale <= 1):
            raise ValueError("has a training state that is impossible")
        progress.micro_batches = max(progress.micro_batches, micro_batches)
        return progress


def read_state(weights: Weights, training: TrainingSettings, order: DataOrder, where: Path) -> SavedState:
    """The state in `weights`, read from the file `where` (`last` or `previous`). Raises RunError naming the file."""
    with refusing(str(where)):
        values = dict(weights.scalars)
        plan = dict(values.get("plan") or {name: values.get(name) for name in ("total_steps", "decisions")})
        if "most_seconds" in plan:  # its name in formats up to 4
            plan["max_seconds"] = plan.pop("most_seconds")
        values["plan"] = plan
        scalars = read_record(Scalars, values)
        if not 0 < scalars.check_tokens <= CHECK_TOKENS:
            scalars = dataclasses.replace(scalars, check_tokens=CHECK_TOKENS)
        try:
            own = _settings_given_anew(scalars.length)
        except (ValueError, UsageError) as error:
            raise ValueError(f"has a length that is impossible: {str(error)[:100]}") from error
        return SavedState(weights, scalars, dataclasses.replace(training, **own), order, str(where))


def _settings_given_anew(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a saved state's `length`, checked. Raises ValueError or UsageError."""
    unknown = values.keys() - set(GIVEN_ANEW)
    if unknown:
        raise ValueError(min(unknown))
    settings = read_record(TrainingSettings, values)
    check(settings)
    if settings.time is not None:
        seconds(settings.time)
    return {name: getattr(settings, name) for name in values}


def weights_of(states: Mapping[str, TrainingState], order: DataOrder, **facts: Any) -> Weights:
    """The states of all networks as the content of a weights file; `facts` are the remaining fields of Scalars."""
    tensors = {prefix + name: value for prefix, state in states.items() for name, value in state.tensors.items()}
    of_each = {
        prefix: {"progress": finite(dataclasses.asdict(state.progress)), "plan": state.budget.plan()}
        for prefix, state in states.items()
    }
    scalars = {**of_each[""], **facts, "layout": order.version}
    if BACKWARD in of_each:
        scalars["backward"] = of_each[BACKWARD]
    return Weights(arrays_of(tensors), states[""].progress.step, scalars)


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Torch tensors as contiguous NumPy arrays."""
    return {name: np.asarray(tensor.detach().cpu().numpy(), order="C") for name, tensor in tensors.items()}


def with_generators_of(state: TrainingState, fresh: TrainingState) -> TrainingState:
    """A state that was saved on another device, with the random generators of `fresh`, a new one on this device."""
    own = {name: tensor for name, tensor in fresh.tensors.items() if is_generator(name)}
    tensors = {name: own.get(name, tensor) for name, tensor in state.tensors.items()}
    return dataclasses.replace(state, tensors=tensors)


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record for JSON, with None for every number that is not finite, which JSON cannot express."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Turn errors about a malformed state in the block into a RunError naming its file, `where`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        what = f"damaged run: {Path(where).name} {reason}"
        raise RunError(what, where, "train again, or restore it from a copy") from error
