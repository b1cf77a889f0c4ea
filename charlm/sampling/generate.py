"""New text, token by token: read the prompt, then sample a token, decode it and step, until something stops it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.probability import log_softmax
from charlm.sampling.strategies import Strategy, choose
from charlm.settings import Item
from charlm.text.interface import Decoder
from charlm.text.items import EndOfItem

StoppedBy = Literal["length", "eos", "stop"]
Alternatives = tuple[tuple[int, float], ...]
"""Ids and their log-probabilities in nats under the model at temperature 1, the likeliest first."""


class Steps(Protocol):
    """The part of a predictor (`scoring/predictor.py`) that sampling needs: one token at a time of B sequences."""

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first token of `batch_size` sequences."""

    def step(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        """Read one token of each sequence: ids (B,) -> logits (B, V) of the next one, and the new state."""

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""

    def join(self, states: Sequence[Any]) -> Any:
        """The states of several batches joined into the state of one batch. It is needed to sample several texts."""


@dataclass(frozen=True)
class Position:
    """A place within the end of a prompt, while that is read by sampling (see `healing.py`).

    `bias` (V,) is added to the logits here. `after` has the next position for each token that does not reach the end of
    the prompt.
    """

    bias: NDArray[np.float64]
    after: "Mapping[int, Position]"


class InProgress(Protocol):
    """A text that is being sampled; `TextInProgress` is one."""

    number: int
    rng: "np.random.Generator"
    seen: set[int]
    stopped_by: StoppedBy | None
    begins_anew: bool
    """Whether what follows is read from the initial state."""

    @property
    def position(self) -> Position | None:
        """The position in the end of a prompt that is still being read."""

    def add(self, id: int, logprob_nats: float, alternatives: Alternatives) -> "SampledToken | None":
        """Take the next token. Returns None if it is not part of the sample."""


@dataclass(frozen=True)
class SampledToken:
    """A sampled id, its log-probability in nats under the model at temperature 1, and the text that is now certain."""

    id: int
    logprob_nats: float
    text: str
    stopped_by: StoppedBy | None
    alternatives: Alternatives = ()
    """The likeliest ids here, of which the sampled one may be one, as many as were asked for."""


@dataclass(frozen=True)
class Sample:
    """New text that continues `prompt`, or one that a backward model wrote before `suffix`; `text` includes neither.

    `ids` and `logprob_nats` are those of all tokens that end in the new text, including one that begins in the prompt.
    Tokens that end in the prompt are not among them and do not count towards the length.
    """

    text: str
    prompt: str
    ids: list[int]
    logprob_nats: float
    stopped_by: str
    per_token: list[SampledToken]
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a sample ends: after `length` tokens; with `until_eos`, at the end of an item; before the first text `stop`.

    Raises UsageError for a length below 1 and for an empty stop text.
    """

    length: int = 500
    until_eos: bool = False
    stop: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if "" in stop_texts(self.stop):
            raise UsageError("--stop is empty", to_do="give the text to stop before, or leave --stop out")
        if self.length < 1:
            raise UsageError(f"--length {self.length} is out of range", to_do="give a number of 1 or more")


class TextInProgress:
    """A text that is being sampled: what has been seen in it, and what stopped it.

    `read` are the ids of its prompt, from the start of an item on. If `position` is given, the last `prompt_characters`
    of the prompt are read from there first; tokens that end within it are not part of the sample.
    """

    def __init__(
        self,
        number: int,
        rng: "np.random.Generator",
        decoder: Decoder,
        ending: Ending,
        eos_id: int,
        read: Sequence[int] = (),
        position: Position | None = None,
        prompt_characters: int = 0,
        item: Item = "line",
    ) -> None:
        self.number, self.rng, self.seen, self.position = number, rng, set(read), position
        self.stopped_by: StoppedBy | None = None
        self.begins_anew = False
        self._decoder, self._ending, self._eos_id, self._item = decoder, ending, eos_id, item
        self._end = EndOfItem(eos_id, item)
        for id in read:
            self._end.is_at(id)
        self._line_end = ""  # held back, since it may be the first half of a paragraph's end
        self._prompt_characters = prompt_characters  # still to be read
        self._filter, self._length = StopFilter(ending.stop), 0

    def add(self, id: int, logprob_nats: float, alternatives: Alternatives) -> SampledToken | None:
        """Take the next token. Returns None if it ends within the prompt."""
        self.seen.add(id)
        has_ended = self._end.is_at(id)
        is_end, self.begins_anew = self._ending.until_eos and has_ended, has_ended and self._item != "line"
        decoded = "" if is_end else self._decoder.feed(id)
        if self.position is not None:
            decoded = self._without_prompt(id, decoded)
            if not decoded:
                return None
        self._length += 1
        text = self._filter.feed(self._without_line_end(id, decoded, is_end))
        self.stopped_by = self._what_stops(is_end)
        if self.stopped_by is not None and not self._filter.found:
            text += self._filter.feed(self._line_end + self._decoder.finish()) + self._filter.finish()
        return SampledToken(id, logprob_nats, text, self.stopped_by, alternatives)

    def _without_prompt(self, id: int, decoded: str) -> str:
        """Read the prompt's end with this token: what the token writes beyond it."""
        assert self.position is not None
        self.position = self.position.after.get(id)
        new = decoded[self._prompt_characters :]
        self._prompt_characters = max(0, self._prompt_characters - len(decoded))
        return new

    def _without_line_end(self, id: int, decoded: str, is_end: bool) -> str:
        """Hold back a line end that may belong to the end of the sample: the text that certainly does not."""
        held, self._line_end = "" if is_end else self._line_end, ""
        if self._ending.until_eos and id == self._eos_id:
            self._line_end, decoded = decoded, ""
        return held + decoded

    def _what_stops(self, is_end: bool) -> StoppedBy | None:
        if is_end:
            return "eos"
        if self._filter.found:
            return "stop"
        return "length" if self._length == self._ending.length else None


def prime(network: Steps, start: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    """Read the ids `start`: the logits after them (1, V), and the state."""
    state = network.initial_state()
    for id in start[:-1]:
        _, state = network.step(np.array([id]), state)
    return network.step(start[-1:], state)


def generate(
    network: Steps,
    primed: Sequence[tuple[NDArray[Any], Any]],
    texts: Sequence[InProgress],
    strategy: Strategy,
    forbidden: int | None = None,
    num_alternatives: int = 0,
) -> Iterator[dict[int, SampledToken]]:
    """Sample several texts side by side until each is stopped; yields each step's tokens by the text's number.

    `primed` has what `prime` made of each text's start. The `<eos>` or the stop text at the end of a sample is not part
    of it. The id `forbidden` is never sampled.
    """
    texts = list(texts)
    logits, states = np.concatenate([logits for logits, _ in primed]), [state for _, state in primed]
    state = states[0] if len(states) == 1 else network.join(states)
    while texts:
        draws = np.array([text.rng.random() for text in texts])
        chosen = choose(_allowed(logits, texts, forbidden), strategy, [text.seen for text in texts], draws)
        logprobs = log_softmax(logits)
        alternatives = [likeliest(row, num_alternatives) for row in logprobs]
        of_chosen = logprobs[np.arange(len(texts)), chosen].tolist()
        found = zip(texts, chosen.tolist(), of_chosen, alternatives, strict=True)
        tokens = [text.add(id, logprob, others) for text, id, logprob, others in found]
        yield {text.number: token for text, token in zip(texts, tokens, strict=True) if token is not None}
        rows = [row for row, text in enumerate(texts) if text.stopped_by is None]
        if not rows:
            return
        if len(rows) < len(texts):
            texts, chosen, state = [texts[row] for row in rows], chosen[rows], network.select(state, rows)
        if any(text.begins_anew for text in texts):
            state = _begun_anew(network, state, texts)
        logits, state = network.step(chosen, state)


def _begun_anew(network: Steps, state: Any, texts: Sequence[InProgress]) -> Any:
    """The state of the texts, with the initial one for those in which an item has just ended."""
    states = network.join([state, network.initial_state()])
    return network.select(states, [len(texts) if text.begins_anew else row for row, text in enumerate(texts)])


def _allowed(logits: NDArray[Any], texts: Sequence[InProgress], forbidden: int | None) -> NDArray[np.float64]:
    """The logits (B, V), with -inf for what may not be sampled."""
    allowed = logits.astype(np.float64)
    if forbidden is not None:
        allowed[:, forbidden] = -np.inf
    for row, text in zip(allowed, texts, strict=True):
        if text.position is not None:
            row += text.position.bias
    return allowed


def likeliest(logprobs: NDArray[np.float64], count: int) -> Alternatives:
    """The likeliest ids of (V,) log-probabilities and their log-probabilities, the likeliest first."""
    if count == 0:
        return ()
    ids = np.argsort(-logprobs, kind="stable")[:count]
    return tuple(zip(ids.tolist(), logprobs[ids].tolist(), strict=True))


class StopFilter:
    """Passes text on as it comes, up to a stop text, and holds back what could be the beginning of one."""

    def __init__(self, stop: str | Sequence[str] | None) -> None:
        self._stops = stop_texts(stop)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Take new text. Returns the text that is certain to stand before any stop text.

        Of several stop texts the one that is complete first counts; of those complete at once, the one begun first.
        """
        if not self._stops:
            return text
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self.found, self._held = True, ""
            return text[: min(found)[1]]
        cut = len(text) - max(size for stop in self._stops for size in range(len(stop)) if text.endswith(stop[:size]))
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """The text that is still held back, given that no more text follows."""
        text, self._held = self._held, ""
        return text


def stop_texts(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stop texts as a tuple, whether there is one, several or none."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def collect(prompt: str, tokens: Iterable[SampledToken]) -> Sample:
    """The sample that consists of these tokens, of which there must be at least one."""
    per_token = list(tokens)
    return Sample(
        text="".join(token.text for token in per_token),
        prompt=prompt,
        ids=[token.id for token in per_token],
        logprob_nats=sum(token.logprob_nats for token in per_token),
        stopped_by=per_token[-1].stopped_by or "length",
        per_token=per_token,
    )
