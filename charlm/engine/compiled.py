"""LSTM networks run by compiled code (`lstm.c`), where it could be built; otherwise `predictor.py` is used.

Shapes: B batch, T time, V vocabulary, H hidden.
"""

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.cells.cell import Array
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.predictor import MAX_TABLE_TYPES
from charlm.network import body
from charlm.network.architecture import Architecture
from charlm.network.head import output_layer
from charlm.probability import Measured
from charlm.system.libraries import address, load_library

LIBRARY = Path(__file__).with_name("lstm.so")
SOURCES = ("lstm.c", "kernels.h")


class _Matrix(ctypes.Structure):
    """`matrix` in lstm.c."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("packed", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class _Layer(ctypes.Structure):
    """`layer` in lstm.c."""

    _fields_ = (
        ("input_size", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("weights", _Matrix),
    )


class _Network(ctypes.Structure):
    """`network` in lstm.c."""

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


class _Types(ctypes.Structure):
    """`types` in lstm.c: the embeddings of some types, and the lowest layer's products with them."""

    _fields_ = (("count", ctypes.c_int64), ("embedding", ctypes.c_void_p), ("table", ctypes.c_void_p))

    def __init__(self, embedding: Array, table: Array) -> None:
        self.arrays = [np.array(array, np.float32, order="C") for array in (embedding, table)]
        super().__init__(len(embedding), *map(address, self.arrays))


class CompiledPredictor:
    """A `scoring.predictor.Predictor` for LSTM networks, in float32 or with products in bfloat16.

    The state is one array (2 * layers, B, H). The results for a sequence do not depend on the rest of its batch.
    `step` may be called from several threads; `logprobs` uses up to `threads` threads. Raises ValueError for weights
    that do not belong to this architecture.
    """

    can_run_in_segments = True

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, Array], bfloat16: bool = False, threads: int = 1
    ) -> None:
        if architecture.cell != "lstm":
            raise ValueError(f"the compiled code is for the cell lstm, not {architecture.cell}")
        for name, weight in architecture.weights().items():
            if weights[name].shape != weight.size:
                raise ValueError(f"{name} is {weights[name].shape}, not {weight.size}")
        self.architecture, self.vocab_size = architecture, architecture.vocab_size
        self._weights, self._bfloat16, self._threads = weights, bfloat16, threads
        self._library = _library()
        self._panel = int(self._library.charlm_panel())
        self._kept: list[Any] = []  # arrays that the library points to
        self._layers = body.weights_by_layer(weights, architecture.num_layers)
        self._known = None
        with np.errstate(over="ignore", invalid="ignore"):  # weights of any size; callers check the logits
            self._network = self._make_network()
            if self.vocab_size <= MAX_TABLE_TYPES:
                (table,) = architecture.recurrent_cell.project(self._embedding, self._layers[0], NumpyOps)
                self._known = _Types(self._embedding, self._padded(table, axis=1))

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledPredictor, (self.architecture, dict(self._weights), self._bfloat16, self._threads)

    def initial_state(self, batch_size: int = 1) -> Array:
        """The state before the first token: zero, or the learned initial state."""
        state = body.initial_state(self.architecture, self._weights, batch_size, NumpyOps)
        return np.ascontiguousarray(np.stack([part for parts in state for part in parts]), np.float32)

    def step(self, ids: Array, state: Any) -> tuple[Array, Any]:
        """One token of each sequence: ids (B,) -> logits (B, V) and the new state. Raises IndexError."""
        known, rows = self._look_up(ids)
        rows, state, batch = np.array(rows, np.int64), np.array(state, np.float32, order="C"), len(ids)
        logits = np.empty((batch, self._logits_size), np.float32)
        room = np.empty(4 * batch * self._network.widest, np.float32)
        addresses = map(address, (rows, state, logits, room))
        if not self._library.charlm_step(self._network, known, batch, *addresses):
            raise IndexError("no such id")
        return logits[:, : self.vocab_size], state

    def logprobs(self, inputs: Array, targets: Array, state: Any) -> tuple[NDArray[np.float64], Any]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding, which costs no time if longer sequences come first. Raises IndexError for an
        unknown id.
        """
        measured, state = self.measure(inputs, targets, state)
        return measured.logprobs, state

    def measure(self, inputs: Array, targets: Array, state: Any) -> tuple[Measured, Any]:
        """`logprobs` with the entropies of the distributions, and the new state."""
        threads = min(self._threads, len(inputs))
        if threads <= 1:
            return self._score(inputs, targets, state)
        from concurrent.futures import ThreadPoolExecutor  # here, since one thread does not need it

        parts = [slice(first, None, threads) for first in range(threads)]  # each with long and short sequences
        logprobs, entropies, new_state = np.empty(inputs.shape), np.empty(inputs.shape), np.empty_like(state)
        with ThreadPoolExecutor(threads) as pool:
            scored = pool.map(lambda rows: self._score(inputs[rows], targets[rows], state[:, rows]), parts)
            for rows, (of_part, part) in zip(parts, scored, strict=True):
                (logprobs[rows], entropies[rows]), new_state[:, rows] = of_part, part
        return Measured(logprobs, entropies), new_state

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return state[:, list(rows)]

    def join(self, states: Sequence[Any]) -> Any:
        """The states of several batches joined into the state of one batch."""
        return np.concatenate(states, axis=1)

    @property
    def _embedding(self) -> Array:
        return self._weights["embedding.weight"]

    def _score(self, inputs: Array, targets: Array, state: Any) -> tuple[Measured, Any]:
        """`measure` in a single thread."""
        known, rows = self._look_up(inputs)
        rows, targets = (np.array(ids.T, np.int64, order="C") for ids in (rows, targets))
        (steps, batch), state = rows.shape, np.array(state, np.float32, order="C")
        logprobs, entropies = np.zeros((steps, batch)), np.zeros((steps, batch))
        room = np.empty(self._library.charlm_scoring_room(self._network, batch), np.float32)
        addresses = map(address, (rows, targets, state, logprobs, entropies, room))
        if not self._library.charlm_score(self._network, known, batch, steps, *addresses):
            raise IndexError("no such id")
        return Measured(logprobs.T, entropies.T), state

    def _look_up(self, ids: Array) -> tuple[_Types, Array]:
        """The table of all types, if there is one, else a new table of the types in `ids`; the row of each id in it."""
        if self._known is not None:
            return self._known, ids
        types, rows = np.unique(ids, return_inverse=True)
        known = _Types(self._embedding[types], np.empty((len(types), self._network.input.outputs), np.float32))
        room = np.empty(2 * len(types) * self._network.widest, np.float32)
        self._library.charlm_project(self._network, known, address(room))
        return known, rows.reshape(ids.shape)

    def _make_network(self) -> _Network:
        architecture = self.architecture
        lowest, layers = self._lowest(), [self._layer(number) for number in range(architecture.num_layers)]
        head, head_sizes, head_relu = self._head_parts()
        inner = (lowest, *(layer.weights for layer in layers), *head[:-1])  # all but the output layer
        sizes = [size for matrix in inner for size in (matrix.inputs, matrix.outputs)]
        self._logits_size = head[-1].outputs
        return _Network(
            num_layers=architecture.num_layers,
            num_head_layers=len(head),
            vocab_size=architecture.vocab_size,
            embedding_size=architecture.embedding_size,
            widest=max(architecture.embedding_size, head[-1].inputs, *sizes),
            residual=architecture.residual,
            bfloat16=self._bfloat16,
            input=lowest,
            layers=self._array(_Layer, layers),
            head=self._array(_Matrix, head),
            head_sizes=self._pointer(np.array(head_sizes, np.int64)),
            head_relu=self._pointer(np.array(head_relu, np.int64)),
        )

    def _lowest(self) -> _Matrix:
        """The weights of the lowest layer for its input, with its bias."""
        weights = self._layers[0]
        return self._matrix(weights["weight_ih"], weights["bias_ih"] + weights["bias_hh"])

    def _layer(self, number: int) -> _Layer:
        """The weights of one layer, for input and h together; in the lowest layer for h alone."""
        sizes, weights = list(self.architecture.layers())[number], self._layers[number]
        if number == 0:
            return _Layer(sizes.input_size, sizes.hidden_size, self._matrix(weights["weight_hh"], None))
        joined = np.concatenate([weights["weight_ih"], weights["weight_hh"]], axis=1)
        bias = weights["bias_ih"] + weights["bias_hh"]
        return _Layer(sizes.input_size, sizes.hidden_size, self._matrix(joined, bias))

    def _head_parts(self) -> tuple[list[_Matrix], list[int], list[bool]]:
        """The products after the recurrent layers: their matrices, their output sizes, and which have a ReLU."""
        weights, names = self._weights, [f"head.layers.{layer}" for layer in range(self.architecture.head_layers)]
        parts = [(weights[f"{name}.weight"], weights[f"{name}.bias"], True) for name in names]
        if (projection := weights.get("head.projection")) is not None:
            parts.append((projection, np.zeros(len(projection)), False))
        parts.append((*output_layer(weights), False))
        matrices = [self._matrix(weight, bias) for weight, bias, _ in parts]
        return matrices, [len(weight) for weight, _, _ in parts], [relu for _, _, relu in parts]

    def _matrix(self, weight: Array, bias: Array | None) -> _Matrix:
        """A weight (N, K) and its bias (N) as the library reads them."""
        packed = self._packed(weight)
        pointer = None if bias is None else self._pointer(np.array(self._padded(bias, axis=0), np.float32))
        inputs = packed.shape[1] * packed.shape[3]
        return _Matrix(inputs, packed.shape[0] * self._panel, self._pointer(packed), pointer)

    def _packed(self, weight: Array) -> Array:
        """(N, K) -> (panels, K, outputs of each, 1); in bfloat16, with pairs of inputs, (panels, K / 2, outputs, 2)."""
        pair = 2 if self._bfloat16 else 1
        whole = self._padded(weight, axis=0).astype(np.float32)
        whole = np.pad(whole, ((0, 0), (0, -whole.shape[1] % pair)))
        panels = whole.reshape(-1, self._panel, whole.shape[1] // pair, pair).transpose(0, 2, 1, 3)
        return _to_bfloat16(panels) if self._bfloat16 else np.array(panels, order="C")

    def _padded(self, array: Array, axis: int) -> Array:
        """The array with zeros appended along an axis, up to whole panels."""
        missing = -array.shape[axis] % self._panel
        return np.pad(array, [(0, missing if n == axis else 0) for n in range(array.ndim)])

    def _pointer(self, array: Array) -> int | None:
        """The address of an array, which is kept alive as long as this predictor."""
        self._kept.append(array)
        return address(array)

    def _array(self, kind: Any, items: list[Any]) -> Any:
        """A C array of structures, which is kept alive as long as this predictor."""
        kept = (kind * len(items))(*items)
        self._kept.append(kept)
        return kept


def can_compile(architecture: Architecture) -> bool:
    """Whether compiled code can run this network: it must be an LSTM, and the code must have been built."""
    return architecture.cell == "lstm" and _library() is not None


def has_bfloat16() -> bool:
    """Whether the compiled code can multiply in bfloat16 on this processor."""
    return _library() is not None and bool(_library().charlm_has_bfloat16())


@cache
def _library() -> Any:
    """The compiled code; None unless it was built from the current sources."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    network, types = ctypes.POINTER(_Network), ctypes.POINTER(_Types)
    arguments: dict[str, tuple[Any, ...]] = {
        "charlm_panel": (),
        "charlm_has_bfloat16": (),
        "charlm_scoring_room": (network, number),
        "charlm_project": (network, types, pointer),
        "charlm_step": (network, types, number, *[pointer] * 4),
        "charlm_score": (network, types, number, number, *[pointer] * 6),
    }
    return load_library(LIBRARY, [Path(__file__).with_name(name) for name in SOURCES], arguments)


def _to_bfloat16(values: Array) -> Array:
    """Round to bfloat16, to nearest with ties to even: the upper 16 bits of each float32, as uint16."""
    bits = np.array(values, np.float32, order="C").view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, np.uint16(0x7FC0), rounded)
