"""How far back a network's loss reaches: the gradient of the loss at t with respect to the state at t - k.

The state of a layer at t - k is what it passes on after token t - k: all its parts (of an LSTM h and c) as one vector.
The gradient says how much the loss at t would change with each number of it, if the layers above and all later steps
followed. It is computed through the cell's own equation, step by step, in float64, so that it cannot become zero only
because it is small.

Shapes: B places in the text, V vocabulary; each part of a state (B, its size).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.cells.cell import Array, Cell, NetworkState, State, Weights
from charlm.errors import TextError
from charlm.inspection.chart import Chart, Line
from charlm.inspection.inspected import Inspected
from charlm.model.operations import TorchOps
from charlm.network import body, head
from charlm.runs.finding import short_names

MAX_DISTANCE = 100  # tokens, unless another one is asked for
MAX_TOKENS = 10_000  # of the text; the rest is left out
MAX_PLACES = 1024  # at which the loss is taken, evenly spread over those that are far enough from the start
NUMBERS_AT_ONCE = 2**20  # of the states that are kept for one backward pass
TO_DO = "give a longer text, or a smaller --max-distance"


@dataclass(frozen=True)
class GradientNorms:
    """The norms of a run's gradients, in nats for each unit of the state.

    `norms[layer][k]` is the mean, over `num_places` places of the text, of the norm at the distance of k tokens; the
    places are the same for all k. The mean and not the geometric mean, because most losses are close to zero and have
    almost no gradient at any distance; what training learns from are the few places where the network is surprised.
    """

    run: str
    cell: str
    num_places: int
    norms: tuple[tuple[float, ...], ...]

    @property
    def half_lives(self) -> list[float]:
        return list(map(half_life, self.norms))

    @property
    def growing(self) -> list[bool]:
        return [bool(exploding(norms)) for norms in self.norms]

    @property
    def shares_left(self) -> list[float]:
        """For each layer the norm at the largest distance, divided by that at 0."""
        return [norms[-1] / norms[0] if norms[0] else math.nan for norms in self.norms]


def half_life(norms: Sequence[float]) -> float:
    """In how many steps the norm falls to a half: log 2 / -slope of the straight line that fits log(norm) best.

    The line is fitted by least squares to all distances k from 1 on. Distance 0 is left out, because the loss reaches
    the state at t through the head alone, and not through the cell. Norms of zero are left out too; if all are zero,
    the half-life is 0. It is infinite when the norms do not fall, and nan for fewer than three distances.
    """
    found = [k for k, norm in enumerate(norms) if k and norm > 0]
    if len(norms) < 3:
        return math.nan
    if len(found) < 2:
        return 0.0
    slope = float(np.polyfit(found, [math.log(norms[k]) for k in found], 1)[0])
    return math.log(2) / -slope if slope < 0 else math.inf


def in_words(half_life: float) -> str:
    """A half-life in tokens as it is printed."""
    return "does not fall" if math.isinf(half_life) else "-" if math.isnan(half_life) else f"{half_life:.1f}"


def exploding(norms: Sequence[float]) -> list[int]:
    """The distances at which the norm is larger than at distance 1 and still grows: a gradient that explodes."""
    return [k for k in range(2, len(norms)) if norms[k] > norms[1] and norms[k] > norms[k - 1]]


def gradient_norms(runs: Sequence[Inspected], text: str, max_distance: int | None = None) -> list[GradientNorms]:
    """The gradient norms of several runs on one text, up to `max_distance` tokens back.

    By default that is half of the longest piece of the text, but at most MAX_DISTANCE. Raises TextError when no piece
    of the text is longer than the largest distance.
    """
    pieces = [_first(run.sequences(text)) for run in runs]
    longest = min(max(map(len, sequences)) for sequences in pieces)
    distance = max_distance or max(1, min(MAX_DISTANCE, longest // 2))
    if longest <= distance:
        what = f"the text is too short to look back {distance} tokens: its longest piece has {longest}"
        raise TextError(what, "a piece is a line for runs of --mode sentence, else the whole text", TO_DO)
    names = short_names([run.path for run in runs])
    with _one_thread():
        return [
            _Measuring(run, distance).measure(name, ids) for name, run, ids in zip(names, runs, pieces, strict=True)
        ]


def chart(results: Sequence[GradientNorms]) -> Chart:
    """The norms against the distance, one line for each layer of each run."""
    lines: list[Line] = []
    marks: list[Line] = []
    half_lives = []
    for result in results:
        for layer, norms in enumerate(result.norms, 1):
            name, style = result.run + (f", layer {layer}" if len(result.norms) > 1 else ""), len(lines)
            lines.append(Line(name, range(len(norms)), [norm or math.nan for norm in norms], style=style))
            half_lives.append(f"{name} {in_words(half_life(norms))}")
            if found := exploding(norms):
                marks.append(Line(f"{name}: explodes", found, [norms[k] for k in found], is_points=True, style=style))
    places = ", ".join(dict.fromkeys(f"{result.num_places:,}" for result in results))
    return Chart(
        "How much the loss depends on the state k tokens before",
        "distance k (tokens)",
        "gradient norm (nats per unit of the state)",
        (*lines, *marks),
        is_log_y=True,
        notes=(
            f"mean over {places} places of the text; on this scale a straight line is an exponential decay",
            f"half-life in tokens: {'; '.join(half_lives)}",
        ),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: in products as small as these, several would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Measuring:
    """Measures one run, looking back `distance` tokens."""

    def __init__(self, run: Inspected, distance: int) -> None:
        self._run, self._distance = run, distance
        self._weights = {name: torch.from_numpy(weight).double() for name, weight in run.weights.items()}
        self._layers = [
            partial(_step_layer, cell=run.architecture.recurrent_cell, weights=weights)
            for weights in body.weights_by_layer(self._weights, run.architecture.num_layers)
        ]

    def measure(self, name: str, sequences: Sequence[NDArray[np.int64]]) -> GradientNorms:
        starts, ids = self._places(sequences)
        sums = torch.zeros(len(self._layers), self._distance + 1, dtype=torch.float64)
        size = self._rows_at_once()
        for rows in (slice(start, start + size) for start in range(0, len(ids), size)):
            state = tuple(tuple(part[rows] for part in parts) for parts in starts)
            sums += self._norms(ids[rows], state).sum(dim=2)
        means = tuple(tuple(norms) for norms in (sums / len(ids)).tolist())
        return GradientNorms(name, self._run.architecture.cell, len(ids), means)

    @torch.no_grad()
    def _places(self, sequences: Sequence[NDArray[np.int64]]) -> tuple[NetworkState, Tensor]:
        """Where the loss is taken: for each place the state before the token `distance` tokens back, and the ids read.

        The ids (B, distance + 2) are those that are read after that state, and as the last one the target.
        """
        wanted = list(_places(list(map(len, sequences)), self._distance))
        states, ids = [], []
        for number, sequence in enumerate(sequences):
            ends = {end for sequence_number, end in wanted if sequence_number == number}
            if not ends:
                continue
            state = body.initial_state(self._run.architecture, self._weights, 1, TorchOps)
            read = np.concatenate([[self._run.tokenizer.eos_id], sequence])
            for t, id in enumerate(read[: max(ends) - self._distance + 1]):
                if (end := t + self._distance) in ends:
                    states.append(state)
                    ids.append(read[t : end + 2])
                state = self._step(torch.tensor([id]), state)[1]
        joined = tuple(tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*states, strict=True))
        return joined, torch.from_numpy(np.array(ids))

    def _norms(self, ids: Tensor, state: NetworkState) -> Tensor:
        """The norm of each gradient: (layers, distance + 1, B). Ids and state are those of some places."""
        states, hidden = [], None
        for id in ids[:, :-1].T:
            hidden, state = self._step(id, state)
            states.append(state)
        assert hidden is not None
        nats = nn.functional.cross_entropy(head.logits(hidden, self._weights, TorchOps), ids[:, -1], reduction="sum")
        flat = [part for network_state in states for parts in network_state for part in parts]
        gradients = iter(torch.autograd.grad(nats, flat, materialize_grads=True))
        by_step = [
            [torch.cat([next(gradients) for _ in parts], dim=1).norm(dim=1) for parts in network_state]
            for network_state in states
        ]
        return torch.stack([torch.stack(norms) for norms in reversed(by_step)], dim=1)

    def _step(self, ids: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """One token of each place: ids (B,) -> the input of the head (B, H) and the new state."""
        embedded = TorchOps.embed(ids, self._weights["embedding.weight"])
        return body.run_layers(embedded, state, self._layers, self._run.architecture.residual)

    def _rows_at_once(self) -> int:
        architecture = self._run.architecture
        sizes = sum(sum(architecture.recurrent_cell.state_sizes(layer).values()) for layer in architecture.layers())
        return max(1, NUMBERS_AT_ONCE // (sizes * (self._distance + 1)))


def _step_layer(x: Array, state: State, cell: Cell, weights: Weights) -> tuple[Array, State]:
    """One step of a layer. The parts of its new state are copies, so that none is computed from another one.

    Otherwise the gradient of an LSTM's c would count what h owes to c, although h has a gradient of its own.
    """
    new = cell.step(cell.project(x, weights, TorchOps), state, weights, TorchOps)
    copies = tuple(part.clone().requires_grad_() for part in new)
    return copies[0], copies


def _first(sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The first sequences, up to MAX_TOKENS tokens in all."""
    ends = np.cumsum([len(ids) for ids in sequences])
    return [ids[: max(0, MAX_TOKENS - int(end) + len(ids))] for ids, end in zip(sequences, ends, strict=True)]


def _places(lengths: Sequence[int], distance: int) -> Iterator[tuple[int, int]]:
    """The number of a sequence and the place in it, of up to MAX_PLACES places with `distance` tokens before them."""
    possible = [(number, t) for number, length in enumerate(lengths) for t in range(distance, length)]
    num_places = min(MAX_PLACES, len(possible))
    yield from (possible[place * len(possible) // num_places] for place in range(num_places))
