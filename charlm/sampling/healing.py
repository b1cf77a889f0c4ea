"""Token healing: new text continues the prompt as a text, so that the last word of the prompt can become longer.

A model of words may continue `The ol` as `The old`, although `old` and `ol` are different tokens. So the prompt is
read without its last token, and then only tokens that agree with the rest of the prompt can be sampled, until that has
been read: those that begin with the rest, and those with which the rest begins. Each has the probability that the model
gives it and all ways to read what is then left of the rest together. So tokens are sampled from exactly
p(token | context, prompt), the model's own distribution given that the text begins with the prompt.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.probability import log_softmax
from charlm.sampling.generate import Ending, Position, SampledToken, Steps, TextInProgress, generate, prime
from charlm.sampling.strategies import Strategy
from charlm.settings import Item
from charlm.text.encoded import Ids
from charlm.text.interface import Decoder, Tokenizer

MAX_STEPS = 64  # of the model, to find ways to read the rest of a prompt, the likeliest first
NEGLIGIBLE_NATS = 12.0  # a way is left out if it is less likely than a complete one by more than this


@dataclass(frozen=True)
class Start:
    """What has been read before the first token is sampled: `<eos>` and ids of the prompt.

    `primed` has the logits (1, V) and the state after the ids. The last `characters` of the prompt have not been read
    yet if there is a `position`, at which reading them begins. The id `forbidden` is never sampled.
    """

    tokenizer: Tokenizer
    forbidden: int | None
    ids: NDArray[np.int64]
    primed: tuple[NDArray[Any], Any]
    position: Position | None = None
    characters: int = 0
    item: Item = "line"


def start_after(tokenizer: Tokenizer, network: Steps, prompt: str, allow_unk: bool, item: Item = "line") -> Start:
    """Read a prompt as far as its tokens are certain; or to its end, if no token agrees with the rest of it.

    Of paragraphs, only the last one's beginning may be in the prompt.
    """
    forbidden, end = None if allow_unk else tokenizer.unk_id, tokenizer.open_end(prompt)
    ids = _after_eos(tokenizer, end.ids)
    primed = prime(network, ids)
    if not end.rest:
        return Start(tokenizer, forbidden, ids, primed, item=item)
    root = _Search(tokenizer, network, forbidden).tree(int(ids[-1]), *primed, end.rest)
    position, logprob = root.position()
    if logprob > -np.inf:
        return Start(tokenizer, forbidden, ids, primed, position, end.characters, item)
    ids = _after_eos(tokenizer, tokenizer.encode(prompt))
    return Start(tokenizer, forbidden, ids, prime(network, ids), item=item)


def go_on(
    network: Steps,
    starts: Sequence[Start],
    strategy: Strategy,
    ending: Ending,
    rngs: "Sequence[np.random.Generator]",
    num_alternatives: int = 0,
) -> Iterator[dict[int, SampledToken]]:
    """Sample texts side by side, each after its own start and with its own generator; yields their tokens by number."""
    texts = [
        TextInProgress(
            number,
            rng,
            _decoder_after(start),
            ending,
            start.tokenizer.eos_id,
            read=start.ids[1:].tolist(),
            position=start.position,
            prompt_characters=start.characters,
            item=start.item,
        )
        for number, (start, rng) in enumerate(zip(starts, rngs, strict=True))
    ]
    primed = [start.primed for start in starts]
    return generate(network, primed, texts, strategy, starts[0].forbidden, num_alternatives)


def unknown_after(tokenizer: Tokenizer, network: Steps, prompt: str) -> tuple[str, ...]:
    """The symbols of a prompt that are not in the vocabulary.

    A last word that could be completed to a known one does not count.
    """
    start = start_after(tokenizer, network, prompt, allow_unk=False)
    read = tokenizer.tokens(prompt)[: len(start.ids) - 1]
    return tuple(token.unknown for token in read if token.unknown)


def _decoder_after(start: Start) -> Decoder:
    """A decoder that has seen the ids of the start, so that a word after a word begins with a space."""
    decoder = start.tokenizer.decoder()
    for id in start.ids[1:].tolist():
        decoder.feed(id)
    decoder.finish()  # the bytes of an incomplete character at the end belong to the prompt
    return decoder


def _after_eos(tokenizer: Tokenizer, ids: Ids) -> NDArray[np.int64]:
    return np.concatenate([[tokenizer.eos_id], ids]).astype(np.int64)


@dataclass
class _Node:
    """A node in the tree of ways to read the rest of a prompt: some tokens have been read, `rest` is left.

    The tokens `ending` can end the rest here. Others continue it, those in `children` to a node that has been searched.
    """

    state: Any
    logprobs: NDArray[np.float64]  # (V,)
    rest: bytes
    texts: Sequence[bytes]  # by id, what each token adds here
    ending: list[int]
    children: dict[int, "_Node"] = field(default_factory=dict)

    def position(self) -> tuple[Position, float]:
        """The node as a position for sampling, and the log-probability of all ways to read the rest from here."""
        bias = np.full(len(self.logprobs), -np.inf)
        bias[self.ending] = 0.0
        positions = {}
        for id, child in self.children.items():
            positions[id], bias[id] = child.position()
        return Position(bias, positions), float(np.logaddexp.reduce(self.logprobs + bias))


class _Search:
    """A best-first search for ways to read the rest of a prompt."""

    def __init__(self, tokenizer: Tokenizer, network: Steps, forbidden: int | None) -> None:
        self._tokenizer, self._network, self._forbidden = tokenizer, network, forbidden
        # A heap of the tokens that continue: their way's -log p, a number that breaks ties, their parent, their id.
        self._waiting: list[tuple[float, int, _Node, int]] = []
        self._numbers = count()
        self._best = -np.inf  # log p of the likeliest complete way

    def tree(self, last: int, logits: NDArray[Any], state: Any, rest: bytes) -> _Node:
        """The root of the tree. `logits` (1, V) and `state` are those after the certain part, which ends in `last`."""
        root = self._node(last, logits, state, rest, 0.0)
        for _ in range(MAX_STEPS):
            if not self._waiting or -self._waiting[0][0] < self._best - NEGLIGIBLE_NATS:
                break
            cost, _, parent, id = heapq.heappop(self._waiting)
            logits, state = self._network.step(np.array([id]), parent.state)
            rest = parent.rest[len(parent.texts[id]) :]
            parent.children[id] = self._node(id, logits, state, rest, -cost)
        return root

    def _node(self, last: int, logits: NDArray[Any], state: Any, rest: bytes, logprob: float) -> _Node:
        """A new node, which the token `last` reaches with `logprob`; tokens that continue from it wait to be read."""
        texts, logprobs = self._tokenizer.texts_after(last), log_softmax(logits[0])
        usable = [id for id, text in enumerate(texts) if text[:1] == rest[:1] and id != self._forbidden]
        ending = [id for id in usable if texts[id].startswith(rest)]
        node = _Node(state, logprobs, rest, texts, ending)
        self._best = max([self._best, *(logprob + logprobs[ending])])
        for id in usable:
            if rest.startswith(texts[id]) and texts[id] != rest:
                heapq.heappush(self._waiting, (-(logprob + logprobs[id]), next(self._numbers), node, id))
        return node
