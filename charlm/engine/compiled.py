"""LSTM networks stepped by compiled code (`lstm.c`), where it was built; `stepper.py` is its twin and its stand-in.

Shapes: B batch, T time, V vocabulary, H hidden.
"""

import ctypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engine.stepper import Stepper
from charlm.shape import Shape

LIBRARY = Path(__file__).with_name("lstm.so")
PANEL = 32  # outputs that stand together in a packed matrix
SCORED_AT_ONCE = 16  # as in lstm.c
Array = NDArray[Any]


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("packed", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("input_size", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("weights", _Matrix),
    )


class _Network(ctypes.Structure):
    _fields_ = (
        ("num_layers", ctypes.c_int64),
        ("num_head_layers", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("embedding_size", ctypes.c_int64),
        ("widest", ctypes.c_int64),
        ("residual", ctypes.c_int64),
        ("bfloat16", ctypes.c_int64),
        ("input", _Matrix),
        ("layers", ctypes.POINTER(_Layer)),
        ("head", ctypes.POINTER(_Matrix)),
        ("head_sizes", ctypes.c_void_p),
        ("head_relu", ctypes.c_void_p),
    )


class CompiledStepper(Stepper):
    """Steps an LSTM network in float32, or with products in bfloat16. The state is one array (2 * layers, B, H).

    A sequence's numbers do not depend on the batch that it is in. `step` may be called from several threads;
    `logprobs` uses `threads` by itself.
    """

    def __init__(self, shape: Shape, weights: Mapping[str, Array], bfloat16: bool = False, threads: int = 1) -> None:
        super().__init__(shape, weights)
        self._library, self._bfloat16, self._threads = _library(), bfloat16, threads
        self._kept: list[Any] = []  # what the library's pointers point to
        lowest, layers = self._lowest(), [self._layer(number) for number in range(shape.num_layers)]
        head, sizes, relu = self._head_parts()
        matrices = [lowest, *(layer.weights for layer in layers), *head]
        self._logits_size = head[-1].outputs
        self._widest = max(
            shape.embedding_size, *(max(one.inputs, one.outputs) for one in matrices[:-1]), head[-1].inputs
        )
        self._network = _Network(
            num_layers=shape.num_layers,
            num_head_layers=len(head),
            vocab_size=shape.vocab_size,
            embedding_size=shape.embedding_size,
            widest=self._widest,
            residual=shape.residual,
            bfloat16=bfloat16,
            input=lowest,
            layers=self._array(_Layer, layers),
            head=self._array(_Matrix, head),
            head_sizes=self._pointer(np.array(sizes), np.int64),
            head_relu=self._pointer(np.array(relu), np.int64),
        )
        self._known: tuple[Array, Array] | None = None
        if self._table is not None:
            table = _padded(self._table[0], 1)
            self._known = np.array(self._embedding, np.float32, order="C"), np.array(table, np.float32, order="C")

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first token: zero, or what was learned."""
        parts = [part for layer in super().initial_state(batch_size) for part in layer]
        return np.ascontiguousarray(np.stack(parts), np.float32)

    def step(self, ids: Array, state: Any) -> tuple[Array, Any]:
        """One token for each of B sequences: ids (B,) -> logits (B, V) and the new state."""
        known, places = self._look_up(ids)
        places, state, batch = np.array(places, np.int64), np.array(state, order="C"), len(ids)
        logits = np.empty((batch, self._logits_size), np.float32)
        room = np.empty(4 * batch * self._widest, np.float32)
        addresses = map(_address, (places, state, logits, room))
        self._library.charlm_step(ctypes.byref(self._network), *map(_address, known), batch, *addresses)
        return logits[:, : self.shape.vocab_size], state

    def logprobs(self, inputs: Array, targets: Array, state: Any) -> tuple[NDArray[np.float64], Any]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; it costs nothing if longer sequences come before shorter ones.
        """
        threads = min(self._threads, len(inputs))
        if threads == 1:
            return self._score(inputs, targets, state)
        parts = [slice(first, None, threads) for first in range(threads)]  # each with long and short sequences
        result, new_state = np.empty(inputs.shape), np.empty_like(state)
        with ThreadPoolExecutor(threads) as pool:
            scored = pool.map(lambda rows: self._score(inputs[rows], targets[rows], state[:, rows]), parts)
            for rows, (logprobs, part) in zip(parts, scored, strict=True):
                result[rows], new_state[:, rows] = logprobs, part
        return result, new_state

    def _score(self, inputs: Array, targets: Array, state: Any) -> tuple[NDArray[np.float64], Any]:
        known, places = self._look_up(inputs)
        places, targets = (np.array(ids.T, np.int64, order="C") for ids in (places, targets))
        (steps, batch), state = places.shape, np.array(state, order="C")
        result = np.zeros((steps, batch))
        room = np.empty(4 * batch * self._widest + SCORED_AT_ONCE * self._logits_size, np.float32)
        addresses = map(_address, (places, targets, state, result, room))
        self._library.charlm_score(ctypes.byref(self._network), *map(_address, known), batch, steps, *addresses)
        return result.T, state

    def _look_up(self, ids: Array) -> tuple[tuple[Array, Array], Array]:
        """Embeddings and what the lowest layer makes of them, of all types or these; and the ids' places there."""
        if self._known is not None:
            return self._known, ids
        types, places = np.unique(ids, return_inverse=True)
        embedding = np.array(self._embedding[types], np.float32, order="C")
        table = np.empty((len(types), self._network.input.outputs), np.float32)
        room = np.empty(2 * len(types) * self._widest, np.float32)
        addresses = map(_address, (embedding, table, room))
        self._library.charlm_project(ctypes.byref(self._network), len(types), *addresses)
        return (embedding, table), places.reshape(ids.shape)

    def select(self, state: Any, rows: list[int]) -> Any:
        """The state of some of the sequences, in this order; one may be taken several times."""
        return state[:, rows]

    def _lowest(self) -> _Matrix:
        """The lowest layer's weights for its input, and its bias."""
        weights = self._layers[0]
        return self._matrix(weights["weight_ih"], weights["bias_ih"] + weights["bias_hh"])

    def _layer(self, number: int) -> _Layer:
        sizes, weights = list(self.shape.layers())[number], self._layers[number]
        if number == 0:
            return _Layer(sizes.input_size, sizes.hidden_size, self._matrix(weights["weight_hh"], None))
        joined = np.concatenate([weights["weight_ih"], weights["weight_hh"]], axis=1)
        bias = weights["bias_ih"] + weights["bias_hh"]
        return _Layer(sizes.input_size, sizes.hidden_size, self._matrix(joined, bias))

    def _head_parts(self) -> tuple[list[_Matrix], list[int], list[bool]]:
        """The products after the recurrent layers: their matrices, sizes, and which are cut off below 0."""
        parts = [(layer["weight"], layer["bias"], True) for layer in self._head_layers]
        if self._projection is not None:
            parts.append((self._projection, np.zeros(len(self._projection)), False))
        parts.append((self._output, self._bias, False))
        matrices = [self._matrix(weight, bias) for weight, bias, _ in parts]
        return matrices, [len(weight) for weight, _, _ in parts], [relu for _, _, relu in parts]

    def _matrix(self, weight: Array, bias: Array | None) -> _Matrix:
        packed = _packed(weight, self._bfloat16)
        pointer = None if bias is None else self._pointer(_padded(bias, 0), np.float32)
        inputs = packed.shape[1] * packed.shape[3]
        return _Matrix(inputs, packed.shape[0] * PANEL, self._pointer(packed, packed.dtype), pointer)

    def _pointer(self, array: Array, dtype: Any) -> int:
        kept = np.array(array, dtype, order="C")
        self._kept.append(kept)
        return _address(kept)

    def _array(self, kind: Any, items: list[Any]) -> Any:
        kept = (kind * len(items))(*items)
        self._kept.append(kept)
        return kept


def fastest_stepper(shape: Shape, weights: Mapping[str, Array], threads: int = 1) -> Stepper:
    """The compiled one where there is one for this network."""
    return CompiledStepper(shape, weights, threads=threads) if can_compile(shape) else Stepper(shape, weights)


def can_compile(shape: Shape) -> bool:
    """Whether there is compiled code for this network: it may be for another cell, or not have been built."""
    return shape.cell == "lstm" and _library() is not None


def has_bfloat16() -> bool:
    """Whether the compiled code can multiply in bfloat16 on this processor."""
    return _library() is not None and bool(_library().charlm_has_bfloat16())


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.charlm_project.argtypes = (pointer, number, *[pointer] * 3)
    library.charlm_step.argtypes = (*[pointer] * 3, number, *[pointer] * 4)
    library.charlm_score.argtypes = (*[pointer] * 3, number, number, *[pointer] * 5)
    for function in (library.charlm_project, library.charlm_step, library.charlm_score):
        function.restype = None
    library.charlm_has_bfloat16.restype = ctypes.c_int64
    return library


def _address(array: Array) -> int:
    """Of an array's numbers, which can be written to; five times as fast as `array.ctypes.data`."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]


def _packed(weight: Array, bfloat16: bool) -> Array:
    """(N, K) -> (panels, K, PANEL, 1), or with bfloat16's pairs of inputs (panels, K / 2, PANEL, 2)."""
    pair = 2 if bfloat16 else 1
    outputs, inputs = weight.shape
    whole = np.zeros((-(-outputs // PANEL) * PANEL, -(-inputs // pair) * pair), np.float32)
    whole[:outputs, :inputs] = weight
    panels = whole.reshape(-1, PANEL, whole.shape[1] // pair, pair).transpose(0, 2, 1, 3)
    return _to_bfloat16(panels) if bfloat16 else np.ascontiguousarray(panels)


def _to_bfloat16(values: Array) -> Array:
    """Rounded to the nearest, ties to even: the upper half of each float's bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _padded(array: Array, axis: int) -> Array:
    """Zeros behind, to a multiple of PANEL along the axis."""
    missing = -array.shape[axis] % PANEL
    return np.pad(array, [(0, missing if n == axis else 0) for n in range(array.ndim)])
