"""N-grams looked up by compiled code (`ngram.c`), where it could be built; otherwise `trie.py` does it, slower."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.ngram.gate import MIN_WEIGHT, Gate
from charlm.ngram.trie import Contexts, Ids, Lookup, Probabilities, Trie
from charlm.system.libraries import address, load_library

LIBRARY = Path(__file__).with_name("ngram.so")
SOURCES = ("ngram.c",)


class _Branches(ctypes.Structure):
    """`branches` in ngram.c."""

    _fields_ = (
        ("num_contexts", ctypes.c_int64),
        ("num_ngrams", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("gamma", ctypes.c_void_p),
        ("ids", ctypes.c_void_p),
        ("alpha", ctypes.c_void_p),
    )


class _Trie(ctypes.Structure):
    """`trie` in ngram.c."""

    _fields_ = (
        ("order", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("id_bytes", ctypes.c_int64),
        ("branches", ctypes.POINTER(_Branches)),
    )


class _Gate(ctypes.Structure):
    """`gate` in ngram.c."""

    _fields_ = (("bias", ctypes.c_void_p), ("slopes", ctypes.c_void_p), ("min_weight", ctypes.c_double))


class CompiledLookup:
    """A `Lookup` in compiled code. What its arguments are and what it returns, `Lookup` says."""

    def __init__(self, trie: Trie) -> None:
        self._trie, self._library = trie, _library()
        branches = (_Branches * trie.order)(*map(_branches, trie.branches))
        self._in_c = _Trie(trie.order, trie.vocab_size, trie.branches[0].ids.itemsize, branches)
        self._known_gate: Any = (None, None)  # a gate, and the same in C

    def __reduce__(self) -> tuple[Any, ...]:
        return fastest, (self._trie,)

    def contexts(self, ids: Ids, state: Contexts) -> Contexts:
        ids, state = _integers(ids), _integers(state)
        result = np.empty((*ids.shape, self._trie.order - 1), np.int64)
        if state.shape != (len(ids), self._trie.order - 1):
            raise ValueError(f"a state of {state.shape} for ids of {ids.shape}")
        self._library.charlm_ngram_contexts(self._in_c, *ids.shape, *map(address, (ids, state, result)))
        return result

    def probabilities(self, contexts: Contexts, ids: Ids) -> Probabilities:
        contexts, ids = _integers(contexts), _integers(ids)
        result = np.empty(ids.shape)
        if contexts.shape != (*ids.shape, self._trie.order - 1):
            raise ValueError(f"contexts of {contexts.shape} for ids of {ids.shape}")
        self._library.charlm_ngram_probabilities(self._in_c, ids.size, *map(address, (contexts, ids, result)))
        return result

    def distributions(self, contexts: Contexts) -> Probabilities:
        contexts = _integers(contexts)
        result = np.empty((len(contexts), self._trie.vocab_size))
        if contexts.shape[1:] != (self._trie.order - 1,):
            raise ValueError(f"contexts of {contexts.shape}")
        self._library.charlm_ngram_distributions(self._in_c, len(contexts), *map(address, (contexts, result)))
        return result

    def mixed_step(self, ids: Ids, state: Contexts, logits: NDArray[Any], gate: Gate) -> tuple[Probabilities, Contexts]:
        ids, state, logits = _integers(ids), _integers(state), np.array(logits, np.float32, order="C")
        batch, contexts, mixed = len(ids), np.empty_like(state), np.empty(logits.shape)
        room = np.empty(self._trie.vocab_size)
        if (state.shape, logits.shape) != ((batch, self._trie.order - 1), (batch, self._trie.vocab_size)):
            raise ValueError(f"a state of {state.shape} and logits of {logits.shape} for {batch} ids")
        addresses = map(address, (ids, state, logits, contexts, mixed, room))
        self._library.charlm_ngram_mixed_step(self._in_c, self._gate(gate), batch, *addresses)
        return mixed, contexts

    def _gate(self, gate: Gate) -> Any:
        known, in_c = self._known_gate
        if gate is not known:
            if len(gate.bias) != self._trie.order:
                raise ValueError(f"a gate for {len(gate.bias)} lengths, not {self._trie.order}")
            bias, slopes = np.array(gate.bias), np.array(gate.slopes)
            in_c = _Gate(address(bias), address(slopes), MIN_WEIGHT)
            in_c.arrays = (bias, slopes)  # they live as long as what points to them
            self._known_gate = gate, in_c
        return in_c


def fastest(trie: Trie) -> Lookup:
    """The fastest way to look n-grams up that there is here."""
    return CompiledLookup(trie) if is_built() else trie


def is_built() -> bool:
    """Whether the compiled code can be used."""
    return _library() is not None


def _branches(branches: Any) -> _Branches:
    addresses = [array.ctypes.data for array in branches]  # also of arrays that cannot be written to
    return _Branches(len(branches.gamma), len(branches.ids), *addresses)


def _integers(array: Ids) -> Any:
    """A copy of the array as the library takes it; for a few numbers that is faster than to ask whether it is one."""
    return np.array(array, np.int64, order="C")


@cache
def _library() -> Any:
    """The compiled code; None unless it was built from the current source."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    trie = ctypes.POINTER(_Trie)
    arguments = {
        "charlm_ngram_contexts": (trie, number, number, pointer, pointer, pointer),
        "charlm_ngram_probabilities": (trie, number, pointer, pointer, pointer),
        "charlm_ngram_distributions": (trie, number, pointer, pointer),
        "charlm_ngram_mixed_step": (trie, ctypes.POINTER(_Gate), number, *[pointer] * 6),
    }
    return load_library(LIBRARY, [Path(__file__).with_name(name) for name in SOURCES], arguments)
