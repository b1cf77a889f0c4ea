"""The protocol of everything that gives probabilities: a network in torch, NumPy or C, a mixture, an n-gram model.

`LanguageModel`, scoring, sampling, the final figures and the samples during training use only this protocol. The state
is an argument and a result; only the predictor knows what it consists of. Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.probability import Measured
from charlm.sampling.generate import Steps

Ids = NDArray[Any]


class Predictor(Steps, Protocol):
    """Gives the probability of each next token, for B sequences side by side. `Steps` has the other half of it."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def can_run_in_segments(self) -> bool:
        """Whether a long text may be cut into segments that run side by side, each warmed up on the text before it.

        It may not if the state depends on the whole text, as in a model that learns while it reads.
        """

    def logprobs(self, inputs: Ids, targets: Ids, state: Any) -> tuple[NDArray[np.float64], Any]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """


class MeasuringPredictor(Predictor, Protocol):
    """A predictor that can also say how sure it is."""

    def measure(self, inputs: Ids, targets: Ids, state: Any) -> tuple[Measured, Any]:
        """`logprobs` with the entropies of the distributions, and the new state."""


class DeferredPredictor:
    """A network's predictor that is built when it is first used. A copy, also in another process, is built again."""

    def __init__(self, vocab_size: int, build: Callable[[], MeasuringPredictor]) -> None:
        self.vocab_size, self._build = vocab_size, build

    @cached_property
    def built(self) -> MeasuringPredictor:
        """The predictor itself."""
        return self._build()

    @property
    def can_run_in_segments(self) -> bool:
        return self.built.can_run_in_segments

    def initial_state(self, batch_size: int = 1) -> Any:
        return self.built.initial_state(batch_size)

    def step(self, ids: Ids, state: Any) -> tuple[NDArray[Any], Any]:
        return self.built.step(ids, state)

    def logprobs(self, inputs: Ids, targets: Ids, state: Any) -> tuple[NDArray[np.float64], Any]:
        return self.built.logprobs(inputs, targets, state)

    def measure(self, inputs: Ids, targets: Ids, state: Any) -> tuple[Measured, Any]:
        return self.built.measure(inputs, targets, state)

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        return self.built.select(state, rows)

    def join(self, states: Sequence[Any]) -> Any:
        return self.built.join(states)

    def __getstate__(self) -> dict[str, Any]:
        return {"vocab_size": self.vocab_size, "_build": self._build}
