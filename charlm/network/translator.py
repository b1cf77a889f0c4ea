"""The network of a translator: an encoder reads the source in both directions, a decoder writes the target.

The plain encoder-decoder is that of Sutskever et al. 2014 and Cho et al. 2014: the decoder begins with what the encoder
knows at the ends of its reading. With attention (`attention.py`), it also looks back at each place of the source.
The encoder's weights have the names of a network's body after "encoder.", those of the decoder and the head the names
of a language model after "decoder.". A source ends with `<eos>`; a target's first input is `<eos>`.

Shapes: S time of the source, T time of the target, B batch, K size of what the encoder finds at each place, D output
size of the decoder, V symbols of the target.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, get_args

from charlm.cells.cell import Array, NetworkState, NewWeight, Ops, State, Weights
from charlm.network import attention, bidirectional, body, head
from charlm.network.architecture import Architecture
from charlm.network.attention import Memory
from charlm.network.bidirectional import Scan, Start, unchanged
from charlm.network.encoder import ends
from charlm.network.snapshot import under
from charlm.settings import Attention, Direction

ENCODER, DECODER = "encoder.", "decoder."  # what the names of their weights begin with
MAX_LENGTH_FACTOR = 2  # times as long as expected, a target is cut
MIN_ROOM = 20  # tokens that any target may have


@dataclass(frozen=True)
class Translator(Architecture):
    """The architecture of a translator. Its own layers are the encoder's; `decoder` has those of the decoder.

    Raises ValueError as `Architecture` does, and for a size of its own that is missing or out of range.
    """

    kind: str = "translate"
    direction: Direction = "both"
    target_vocab_size: int = 0
    attention: Attention = "additive"
    length_ratio: float = 1.0
    """Tokens of the targets per token of the sources in the training data. How long a target may become follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction != "both":
            raise ValueError("the encoder of a translator reads in both directions")
        if self.attention not in get_args(Attention):
            raise ValueError(f"attention {str(self.attention)[:40]!r} is not known to this charlm")
        if not self.target_vocab_size:
            raise ValueError("target_vocab_size is missing")
        if not (math.isfinite(self.length_ratio) and self.length_ratio > 0):
            raise ValueError("length_ratio is out of range")

    @property
    def is_bidirectional(self) -> bool:
        return True

    @property
    def num_outputs(self) -> int:
        return self.target_vocab_size

    @cached_property
    def decoder(self) -> Architecture:
        """The network that writes the target, without what it gets from the encoder."""
        return Architecture(
            cell=self.cell,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            tie_embeddings=self.tie_embeddings,
            initial_state="zero",
            vocab_size=self.target_vocab_size,
            residual=self.residual,
            proj_size=self.proj_size,
            mogrifier_rounds=self.mogrifier_rounds,
            mogrifier_rank=self.mogrifier_rank,
        )

    @property
    def head_input_size(self) -> int:
        """With attention, what is combined has the size that the output layer needs."""
        if self.attention != "none" and self.tie_embeddings and not self.head_layers:
            return self.embedding_size
        return self.decoder.output_size

    def max_lengths(self, lengths: Array) -> Array:
        """How long the targets of sources of these lengths may become, all with their ends."""
        return (MIN_ROOM + MAX_LENGTH_FACTOR * self.length_ratio * lengths).astype(int)

    def weights(self) -> dict[str, NewWeight]:
        encoder, decoder = self.body_weights(), self.decoder.body_weights() | self.head_weights()
        named = {ENCODER + name: weight for name, weight in encoder.items()}
        named |= self._bridge_weights() | self._attention_weights()
        return named | {DECODER + name: weight for name, weight in decoder.items()}

    def _bridge_weights(self) -> dict[str, NewWeight]:
        """From what the encoder knows at both ends to each part of each layer's state of the decoder."""
        weights = {}
        for layer, sizes in enumerate(self.decoder.layers()):
            for part, size in self.recurrent_cell.state_sizes(sizes).items():
                weights[f"bridge.{layer}.{part}.weight"] = NewWeight((size, self.output_size), "glorot")
                weights[f"bridge.{layer}.{part}.bias"] = NewWeight((size,), "zero")
        return weights

    def _attention_weights(self) -> dict[str, NewWeight]:
        if self.attention == "none":
            return {}
        found, size = self.output_size, self.decoder.output_size
        weights = {
            "attention.key.weight": NewWeight((size, found), "glorot"),
            "attention.combine.weight": NewWeight((self.head_input_size, found + size), "glorot"),
        }
        if self.attention == "additive":
            weights["attention.key.bias"] = NewWeight((size,), "zero")
            weights["attention.query.weight"] = NewWeight((size, size), "glorot")
            weights["attention.score.weight"] = NewWeight((1, size), "normal_rows")
        return weights


class Encoded(NamedTuple):
    """What the decoder gets from the encoder: its initial state, and with attention a memory of each place."""

    state: NetworkState
    memory: Memory | None


@dataclass(frozen=True)
class Writing:
    """Targets that are being written, B of them: the decoder's state, and which source of a memory each belongs to."""

    state: NetworkState
    sources: Array
    """(B,) numbers of sources."""
    memory: Memory | None

    def select(self, rows: Sequence[int] | Array) -> "Writing":
        """Some of the targets, in the order of `rows`; one may be repeated."""
        state = tuple(tuple(part[rows] for part in parts) for parts in self.state)
        return Writing(state, self.sources[rows], self.memory)


def encode(
    ids: Array,
    lengths: Array,
    weights: Weights,
    architecture: Translator,
    ops: Ops,
    scan: Scan,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Encoded:
    """Read sources, ids (S, B) of these lengths (B,). `start` and `drop` are for training."""
    found = bidirectional.hidden(ids, lengths, under(ENCODER, weights), architecture, ops, scan, start, drop)
    state = _first_state(ends(found, lengths, architecture.direction, ops), weights, architecture, ops)
    has_attention = architecture.attention != "none"
    return Encoded(state, attention.memory_of(found, lengths, weights, ops) if has_attention else None)


def _first_state(at_ends: Array, weights: Weights, architecture: Translator, ops: Ops) -> NetworkState:
    """The decoder's state before its first token: tanh(W ends + b) for each part of each layer."""

    def part(name: str) -> Array:
        return ops.tanh(ops.linear(at_ends, weights[f"{name}.weight"], weights[f"{name}.bias"]))

    return tuple(
        tuple(part(f"bridge.{layer}.{name}") for name in architecture.recurrent_cell.state_sizes(sizes))
        for layer, sizes in enumerate(architecture.decoder.layers())
    )


def hidden(
    ids: Array,
    encoded: Encoded,
    weights: Weights,
    architecture: Translator,
    ops: Ops,
    scan: Scan,
    drop: Callable[[Array], Array] = lambda x: x,
) -> tuple[Array, Array | None]:
    """All steps of known targets at once: inputs (T, B) -> the input of the head (T, B, its size).

    The second result is attention's shares (T, B, S), None without attention.
    """
    own = under(DECODER, weights)
    layers = [partial(_run_layer, weights=of_layer, scan=scan) for of_layer in _layers(own, architecture)]
    x = ops.embed(ids, own["embedding.weight"])
    found, _ = body.run_layers(x, encoded.state, layers, architecture.residual, drop)
    if encoded.memory is None:
        return found, None
    shares, both = _attend(found, encoded.memory, weights, architecture, ops)
    return drop(both), shares


def step(ids: Array, writing: Writing, weights: Weights, architecture: Translator, ops: Ops) -> tuple[Array, Writing]:
    """One token of each target: ids (B,) -> logits (B, V) of the next ones."""
    own = under(DECODER, weights)
    layers = [
        partial(body.step_layer, weights=of_layer, architecture=architecture.decoder, ops=ops)
        for of_layer in _layers(own, architecture)
    ]
    x = ops.embed(ids, own["embedding.weight"])
    found, state = body.run_layers(x, writing.state, layers, architecture.residual)
    if writing.memory is not None:
        _, both = _attend(found[None], writing.memory.select(writing.sources), weights, architecture, ops)
        found = both[0]
    return head.logits(found, own, ops), Writing(state, writing.sources, writing.memory)


def _attend(found: Array, memory: Memory, weights: Weights, architecture: Translator, ops: Ops) -> tuple[Array, Array]:
    """The decoder's output (T, B, D) -> attention's shares (T, B, S), and the input of the head."""
    shares = attention.shares(found, memory, weights, architecture.attention, ops)
    return shares, attention.combined(found, ops.weighted_sums(shares, memory.values), weights, ops)


def _layers(own: Weights, architecture: Translator) -> list[Weights]:
    return body.weights_by_layer(own, architecture.num_layers)


def _run_layer(x: Array, state: State, weights: Weights, scan: Scan) -> tuple[Array, State]:
    """A layer over all time steps; its new state is not needed."""
    return scan(x, state, weights), state
