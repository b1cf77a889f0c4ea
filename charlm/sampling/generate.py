"""New text, token by token: prime with the prompt, step, stop."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

    def select(self, state: Any, rows: list[int]) -> Any: ...


class Decoding(Protocol):
    """Ids to text as it becomes certain: `text.Decoder`."""

    def feed(self, id: int) -> str: ...

    def finish(self) -> str: ...


@dataclass(frozen=True)
class Position:
    """A place within the end of a prompt that is read while sampling (see `healing.py`).

    `bias` (V,) is added to the logits there; a token that is not in `after` ends the prompt.
    """

    bias: NDArray[np.float64]
    after: "Mapping[int, Position]"


@dataclass(frozen=True)
class SampledToken:
    """A sampled id, its log-probability in nats under the model itself (temperature 1), the text it made certain."""

    id: int
    logprob_nats: float
    text: str
    stopped_by: StoppedBy | None


@dataclass(frozen=True)
class Sample:
    """New text. `text` is without the prompt, which it goes on from as it stands.

    `ids` and `logprob_nats` are of the tokens that end in the new text: one that begins in the prompt is among them, as
    a whole; those that only read the prompt's end are not, nor do they count for the length.
    """

    text: str
    prompt: str
    ids: list[int]
    logprob_nats: float
    stopped_by: str
    per_token: list[SampledToken]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a sample ends: after `length` tokens, at an `<eos>`, or before the text `stop`, the first of several."""

    length: int = 500
    until_eos: bool = False
    stop: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if "" in stop_texts(self.stop):
            raise UsageError("--stop is empty", to_do="give the text to stop before, or leave --stop out")
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
    primed, seen = prime(network, start), set(start[1:].tolist())
    together = generate_together(
        network, primed, seen, strategy, ending, [rng], [decoder], eos_id=eos_id, forbidden=forbidden
    )
    for tokens in together:
        yield from tokens.values()


def prime(network: Steps, start: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    """Read the start: the logits after it (1, V), and the state."""
    state = network.initial_state()
    for id in start[:-1]:
        _, state = network.step(np.array([id]), state)
    return network.step(start[-1:], state)


def generate_together(
    network: Steps,
    primed: tuple[NDArray[Any], Any],
    seen: Collection[int],
    strategy: Strategy,
    ending: Ending,
    rngs: Sequence[np.random.Generator],
    decoders: Sequence[Decoding],
    *,
    eos_id: int,
    forbidden: int | None = None,
    position: Position | None = None,
    characters: int = 0,
) -> Iterator[dict[int, SampledToken]]:
    """The same for several texts side by side, each with its own randomness: step by step, by number, their tokens.

    `primed` is what `prime` made of the start that they share, `seen` its different ids but for the leading `<eos>`.
    Before anything new comes, `characters` of the prompt may still have to be read from a `position` on.
    """
    logits, state = primed
    texts = [_Text(ending, decoder, set(seen), eos_id, position, characters) for decoder in decoders]
    going = list(range(len(texts)))
    logits, state = np.repeat(logits, len(texts), axis=0), network.select(state, [0] * len(texts))
    while going:
        allowed = logits.astype(np.float64)
        if forbidden is not None:
            allowed[:, forbidden] = -np.inf
        for row, number in enumerate(going):
            if (place := texts[number].position) is not None:
                allowed[row] += place.bias
        draws = np.array([rngs[number].random() for number in going])
        chosen = choose(allowed, strategy, [texts[number].seen for number in going], draws)
        logprobs = log_softmax(logits)
        tokens = [
            texts[number].add(id, float(row[id]))
            for number, id, row in zip(going, chosen.tolist(), logprobs, strict=True)
        ]
        yield {number: token for number, token in zip(going, tokens, strict=True) if token is not None}
        rows = [row for row, token in enumerate(tokens) if token is None or token.stopped_by is None]
        if len(rows) < len(going):
            going, chosen, state = [going[row] for row in rows], chosen[rows], network.select(state, rows)
        if going:
            logits, state = network.step(chosen, state)


class _Text:
    """One text on its way."""

    def __init__(
        self,
        ending: Ending,
        decoder: Decoding,
        seen: set[int],
        eos_id: int,
        position: Position | None,
        characters: int,
    ) -> None:
        self.seen = seen
        self.position, self._in_prompt = position, characters
        self._ending, self._decoder, self._eos_id = ending, decoder, eos_id
        self._held, self._length = HeldText(ending.stop), 0

    def add(self, id: int, logprob_nats: float) -> SampledToken | None:
        """Take the next token: the text that it makes certain, and what stops it now; None if it ends in the prompt."""
        self.seen.add(id)
        ended, held = self._ending.until_eos and id == self._eos_id, self._held
        decoded = "" if ended else self._decoder.feed(id)
        if self.position is not None:
            self.position = self.position.after.get(id)
            decoded, self._in_prompt = decoded[self._in_prompt :], max(0, self._in_prompt - len(decoded))
            if not decoded:
                return None
        self._length += 1
        text = held.add(decoded)
        stopped: StoppedBy | None = "eos" if ended else "stop" if held.found else None
        stopped = stopped or ("length" if self._length == self._ending.length else None)
        if stopped is not None and not held.found:
            text += held.add(self._decoder.finish()) + held.rest()
        return SampledToken(id, logprob_nats, text, stopped)


class HeldText:
    """Keeps back what may turn out to be the beginning of a stop text."""

    def __init__(self, stop: str | Sequence[str] | None) -> None:
        self._stops = stop_texts(stop)
        self._pending = ""
        self.found = False

    def add(self, text: str) -> str:
        """Take new text; give what surely stands before any stop text.

        Of several stop texts the one that is complete first counts, of those complete at once the one begun first.
        """
        if not self._stops:
            return text
        self._pending += text
        found = [(start + len(stop), start) for stop in self._stops if (start := self._pending.find(stop)) >= 0]
        if found:
            self.found = True
            text, self._pending = self._pending[: min(found)[1]], ""
            return text
        begun = (n for stop in self._stops for n in range(len(stop)) if self._pending.endswith(stop[:n]))
        cut = len(self._pending) - max(begun)
        text, self._pending = self._pending[:cut], self._pending[cut:]
        return text

    def rest(self) -> str:
        text, self._pending = self._pending, ""
        return text


def stop_texts(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """One stop text, or several, as a tuple."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def collect(prompt: str, tokens: Iterable[SampledToken]) -> Sample:
    """A whole sample out of its tokens."""
    per_token = list(tokens)
    return Sample(
        text="".join(token.text for token in per_token),
        prompt=prompt,
        ids=[token.id for token in per_token],
        logprob_nats=sum(token.logprob_nats for token in per_token),
        stopped_by=per_token[-1].stopped_by or "length",
        per_token=per_token,
    )
