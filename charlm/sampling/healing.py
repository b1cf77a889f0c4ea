"""Token healing: new text goes on from a prompt where its last token may still go on.

`The ol` may become `The old`, though `ol` is another token than `old`. So the last token is taken back, and only tokens
that agree with what the prompt has there can be sampled until it has been read: those that begin with the rest of the
prompt, and those with which the rest begins. Each has the probability that the model gives it together with all ways to
read what is then left, so that the prompt is given and nothing else is changed: p(token | context, prompt).
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.probability import log_softmax
from charlm.sampling.generate import Ending, Position, SampledToken, Steps, generate_together, prime
from charlm.sampling.strategies import Strategy
from charlm.text.interface import Decoder, Ids, Tokenizer

MAX_READ = 64  # ways into the rest of a prompt that are looked at, the likeliest first
NEGLIGIBLE = 12.0  # nats by which a way is less likely than another that is complete, to be left out


@dataclass(frozen=True)
class Start:
    """What comes before the first new token: `<eos>` and the prompt's ids, the logits (1, V) and state after them.

    The rest of the prompt, `characters` of it, is still to be read from `position` on. `forbidden` is never sampled.
    """

    tokenizer: Tokenizer
    forbidden: int | None
    ids: NDArray[np.int64]
    primed: tuple[NDArray[Any], Any]
    position: Position | None = None
    characters: int = 0


def start_after(tokenizer: Tokenizer, network: Steps, prompt: str, allow_unk: bool) -> Start:
    """Read a prompt as far as its tokens are certain.

    Where no token agrees with the rest of it, the prompt's tokens stay as they are.
    """
    forbidden, end = None if allow_unk else tokenizer.unk_id, tokenizer.open_end(prompt)
    ids = _with_start(tokenizer, end.ids)
    primed = prime(network, ids)
    if not end.rest:
        return Start(tokenizer, forbidden, ids, primed)
    way = _Ways(tokenizer, network, forbidden).first(int(ids[-1]), *primed, end.rest)
    position, logprob = way.position()
    if logprob > -np.inf:
        return Start(tokenizer, forbidden, ids, primed, position, end.characters)
    ids = _with_start(tokenizer, tokenizer.encode(prompt))
    return Start(tokenizer, forbidden, ids, prime(network, ids))


def go_on(
    network: Steps, start: Start, strategy: Strategy, ending: Ending, rngs: Sequence[np.random.Generator]
) -> Iterator[dict[int, SampledToken]]:
    """New texts after a prompt, side by side, each with its own randomness."""
    yield from generate_together(
        network,
        start.primed,
        set(start.ids[1:].tolist()),
        strategy,
        ending,
        rngs,
        [_decoder_after(start) for _ in rngs],
        eos_id=start.tokenizer.eos_id,
        forbidden=start.forbidden,
        position=start.position,
        characters=start.characters,
    )


def unknown_after(tokenizer: Tokenizer, network: Steps, prompt: str) -> tuple[str, ...]:
    """What a prompt has that the vocabulary lacks; its last token may go on as a known one."""
    start = start_after(tokenizer, network, prompt, allow_unk=False)
    read = tokenizer.tokens(prompt)[: len(start.ids) - 1]
    return tuple(token.unknown for token in read if token.unknown)


def _decoder_after(start: Start) -> Decoder:
    """A decoder that has seen the prompt: a word after a word begins with a space."""
    decoder = start.tokenizer.decoder()
    for id in start.ids[1:].tolist():
        decoder.feed(id)
    decoder.finish()  # bytes of a prompt that are no character yet are the prompt's
    return decoder


def _with_start(tokenizer: Tokenizer, ids: Ids) -> NDArray[np.int64]:
    return np.concatenate([[tokenizer.eos_id], ids]).astype(np.int64)


@dataclass
class _Way:
    """Tokens read into the rest of a prompt: `ending` are those that can end it now, `within` those that go on."""

    state: Any
    logprobs: NDArray[np.float64]  # (V,)
    rest: bytes
    texts: Sequence[bytes]
    ending: list[int]
    within: list[int]
    ways: dict[int, "_Way"] = field(default_factory=dict)

    def position(self) -> tuple[Position, float]:
        """The same for sampling, and log p of all that agrees with the rest."""
        bias = np.full(len(self.logprobs), -np.inf)
        bias[self.ending] = 0.0
        positions = {}
        for id, way in self.ways.items():
            positions[id], bias[id] = way.position()
        return Position(bias, positions), float(np.logaddexp.reduce(self.logprobs + bias))


class _Ways:
    """Finds ways through the rest of a prompt, the likeliest first."""

    def __init__(self, tokenizer: Tokenizer, network: Steps, forbidden: int | None) -> None:
        self._tokenizer, self._network, self._forbidden = tokenizer, network, forbidden
        self._waiting: list[tuple[float, int, _Way, int]] = []
        self._number = count()
        self._best = -np.inf  # log p of the likeliest way that is complete

    def first(self, last: int, logits: NDArray[Any], state: Any, rest: bytes) -> _Way:
        """The way of no tokens, after a prompt whose certain part ends in the token `last`; all others lie on it."""
        first = self._look(last, logits, state, rest, 0.0)
        for _ in range(MAX_READ):
            if not self._waiting or -self._waiting[0][0] < self._best - NEGLIGIBLE:
                break
            cost, _, way, id = heapq.heappop(self._waiting)
            logits, state = self._network.step(np.array([id]), way.state)
            way.ways[id] = self._look(id, logits, state, way.rest[len(way.texts[id]) :], -cost)
        return first

    def _look(self, last: int, logits: NDArray[Any], state: Any, rest: bytes, logprob: float) -> _Way:
        texts, logprobs = self._tokenizer.texts_after(last), log_softmax(logits[0])
        usable = [id for id, text in enumerate(texts) if text[:1] == rest[:1] and id != self._forbidden]
        ending = [id for id in usable if texts[id].startswith(rest)]
        within = [id for id in usable if rest.startswith(texts[id]) and texts[id] != rest]
        way = _Way(state, logprobs, rest, texts, ending, within)
        self._best = max([self._best, *(logprob + logprobs[ending])])
        for id in within:
            heapq.heappush(self._waiting, (-(logprob + logprobs[id]), next(self._number), way, id))
        return way
