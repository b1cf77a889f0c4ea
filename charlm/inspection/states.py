"""What the units and gates of a network do while it reads a text.

Runs without torch: the equations are computed with NumPy, one token at a time. Shapes: T tokens; H units of a layer.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.cells.cell import Array, NetworkState, Ops, State
from charlm.engine.numpy_ops import NumpyOps
from charlm.errors import DivergedError, UsageError
from charlm.inspection.inspected import Ids, Inspected
from charlm.inspection.shading import Shaded
from charlm.network import body
from charlm.probability import NOT_FINITE
from charlm.text.items import EndOfItem

Values = NDArray[np.float64]


def shade(run: Inspected, text: str, layer: int | None, neuron: int | None, gate: str | None) -> Shaded:
    """The text with one number for each token: what a unit or a gate is after reading it.

    Layers and neurons count from 1; without a layer it is the uppermost one. Without a gate, the neuron is one of the
    layer's output. A gate without a neuron is the mean over its units. Raises UsageError for what the network lacks.
    """
    if neuron is None and gate is None:
        raise UsageError("--states needs a unit to look at", to_do="give --neuron N or --gate NAME, or --find")
    read = run.tokens(text)
    values = unit_values(run, read.ids, layer, gate)
    what = f"layer {layer or run.architecture.num_layers}, {gate_name(run, gate)}"
    if neuron is None:
        return _shaded(read.pieces, values.mean(axis=1), f"{what}, mean of {values.shape[1]} units")
    if neuron > values.shape[1]:
        to_do = f"its units are 1 to {values.shape[1]}"
        raise UsageError(f"--neuron {neuron}: there is no such unit in {what}", str(run.path), to_do)
    return _shaded(read.pieces, values[:, neuron - 1], f"{what}, unit {neuron}")


def gate_name(run: Inspected, gate: str | None) -> str:
    """What is looked at, in words: a gate, a part of the state, or the output, which is the state's first part."""
    parts = _parts(run)
    name = parts[0] if gate is None else gate
    return f"output {name}" if name == parts[0] else f"state {name}" if name in parts else f"gate {name}"


def unit_values(run: Inspected, ids: Ids, layer: int | None, gate: str | None) -> Values:
    """The units of one gate, or of one part of a layer's state, after each token: ids (T,) -> (T, H).

    Without a gate it is the layer's output. Layers count from 1; without one it is the uppermost. Raises UsageError for
    a layer or a gate that the network does not have, and DivergedError for values that are not finite.
    """
    num_layers = run.architecture.num_layers
    if layer is not None and layer > num_layers:
        to_do = f"its layers are 1 to {num_layers}" if num_layers > 1 else "it has one layer"
        raise UsageError(f"--layer {layer}: there is no such layer", str(run.path), to_do)
    name, place = gate or _parts(run)[0], (layer or num_layers) - 1
    known = [*_parts(run), *sorted(filter(None, run.architecture.recurrent_cell.activations))]
    if name not in known:
        to_do = f"a layer of {run.architecture.cell} has {', '.join(known)}"
        raise UsageError(f"--gate {name}: there is no such gate", str(run.path), to_do)
    reader = _Reader(run, place)
    values = np.array([reader.read(int(id))[name] for id in ids], np.float64)
    if not np.isfinite(values).all():
        raise DivergedError(NOT_FINITE, str(run.path), "train it longer or again, or give a shorter text")
    return values


class _Reader:
    """Reads a text token by token, and keeps what one layer does."""

    def __init__(self, run: Inspected, layer: int) -> None:
        architecture = run.architecture
        self._run = run
        self._end = EndOfItem(run.tokenizer.eos_id, run.reading.settings.item)
        self._heard: list[Array] = []
        self._listening = _listening(self._heard)
        self._layers: list[body.Layer] = [
            partial(self._watched, weights)
            if place == layer
            else partial(body.step_layer, weights=weights, architecture=architecture, ops=NumpyOps)
            for place, weights in enumerate(body.weights_by_layer(run.weights, architecture.num_layers))
        ]
        self._seen: dict[str, Array] = {}
        self._state = self._initial_state()
        self._step(run.tokenizer.eos_id)

    def read(self, id: int) -> Mapping[str, Any]:
        """Read one token: the parts of the layer's state and its gates by name, each (H,)."""
        if self._end.is_at(id) and self._run.is_by_line:
            self._state = self._initial_state()
        self._step(id)
        return self._seen

    def _step(self, id: int) -> None:
        embedded = NumpyOps.embed(np.array([id]), self._run.weights["embedding.weight"])
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging state; `unit_values` checks what comes of it
            _, self._state = body.run_layers(embedded, self._state, self._layers, self._run.architecture.residual)

    def _watched(self, weights: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
        """A step of the layer that is looked at."""
        cell = self._run.architecture.recurrent_cell
        self._heard.clear()
        output, new = body.step_layer(x, state, weights, self._run.architecture, self._listening)
        seen = {**dict(zip(_parts(self._run), new, strict=True)), **cell.gate_values(self._heard)}
        self._seen = {name: value[0] for name, value in seen.items()}
        return output, new

    def _initial_state(self) -> NetworkState:
        return body.initial_state(self._run.architecture, self._run.weights, 1, NumpyOps)


def _listening(heard: list[Array]) -> Ops:
    """NumPy's operations, with the results of `sigmoid` and `tanh` appended to a list, in their order."""

    class Listening(NumpyOps):
        @staticmethod
        def sigmoid(x: Array) -> Array:
            heard.append(NumpyOps.sigmoid(x))
            return heard[-1]

        @staticmethod
        def tanh(x: Array) -> Array:
            heard.append(NumpyOps.tanh(x))
            return heard[-1]

    return Listening


def _parts(run: Inspected) -> list[str]:
    """The names of the parts of a layer's state; the first one is its output."""
    sizes = next(run.architecture.layers())
    return list(run.architecture.recurrent_cell.state_sizes(sizes))


def _shaded(pieces: list[str], values: Values, what: str) -> Shaded:
    """The values with the ends of their scale: 0 to 1, -1 to 1, or what they need."""
    largest = max(1.0, float(np.abs(values).max()))
    return Shaded(tuple(pieces), tuple(values.tolist()), what, 0.0 if values.min() >= 0 else -largest, largest)
