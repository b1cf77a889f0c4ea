"""New text, token by token: prime with the prompt, step, stop."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.probability import log_softmax
from charlm.sampling.strategies import Strategy, choose

StoppedBy = Literal["length", "eos", "stop"]


class Steps(Protocol):
    """Something that steps one token at a time: `engine.Stepper`."""

    def initial_state(self, batch_size: int = 1) -> Any: ...

    def step(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]: ...


class Decoding(Protocol):
    """Ids to text as it becomes certain: `text.Decoder`."""

    def feed(self, id: int) -> str: ...

    def finish(self) -> str: ...


@dataclass(frozen=True)
class SampledToken:
    """A sampled id, its log-probability in nats under the model itself (temperature 1), the text it made certain."""

    id: int
    logprob_nats: float
    text: str
    stopped_by: StoppedBy | None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a sample ends: after `length` tokens, at an `<eos>`, or before the text `stop`."""

    length: int = 500
    until_eos: bool = False
    stop: str | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"--length {self.length} is out of range", to_do="give a number of 1 or more")


def generate(
    network: Steps,
    start: NDArray[Any],
    strategy: Strategy,
    ending: Ending,
    rng: np.random.Generator,
    decoder: Decoding,
    *,
    eos_id: int,
    forbidden: int | None = None,
) -> Iterator[SampledToken]:
    """Sample tokens after `start`, which begins with `<eos>`; the last one says what stopped it.

    The `<eos>` or the stop text that ends a sample is not part of its text. `forbidden` is an id never sampled.
    """
    logits, state = _prime(network, start)
    seen, held = set(start[1:].tolist()), HeldText(ending.stop)
    for position in range(ending.length):
        allowed = logits.copy()
        if forbidden is not None:
            allowed[forbidden] = -np.inf
        chosen = choose(allowed, strategy, seen, rng)
        seen.add(chosen)
        ended = ending.until_eos and chosen == eos_id
        text = held.add("" if ended else decoder.feed(chosen))
        stopped: StoppedBy | None = "eos" if ended else "stop" if held.found else None
        stopped = stopped or ("length" if position == ending.length - 1 else None)
        if stopped is not None and not held.found:
            text += held.add(decoder.finish()) + held.rest()
        yield SampledToken(chosen, float(log_softmax(logits)[chosen]), text, stopped)
        if stopped is not None:
            return
        logits, state = _step(network, chosen, state)


class HeldText:
    """Keeps back what may turn out to be the beginning of the stop text."""

    def __init__(self, stop: str | None) -> None:
        self._stop = stop or ""
        self._pending = ""
        self.found = False

    def add(self, text: str) -> str:
        """Take new text; give what surely stands before any stop text."""
        self._pending += text
        if self._stop and self._stop in self._pending:
            self.found = True
            text, self._pending = self._pending.split(self._stop)[0], ""
            return text
        keep = max((n for n in range(len(self._stop)) if self._pending.endswith(self._stop[:n])), default=0)
        cut = len(self._pending) - keep
        text, self._pending = self._pending[:cut], self._pending[cut:]
        return text

    def rest(self) -> str:
        text, self._pending = self._pending, ""
        return text


def _prime(network: Steps, start: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    state = network.initial_state()
    for id in start[:-1].tolist():
        _, state = _step(network, id, state)
    return _step(network, int(start[-1]), state)


def _step(network: Steps, id: int, state: Any) -> tuple[NDArray[Any], Any]:
    logits, state = network.step(np.array([id]), state)
    return logits[0], state
