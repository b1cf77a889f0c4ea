"""Check arrays from a weights file against an architecture; how large such a file can be."""

from collections.abc import Mapping
from typing import Any

from charlm.errors import RunError
from charlm.network.architecture import Architecture

FLOAT32_BYTES = 4
MAX_HEADER_BYTES = 1 << 24  # of a weights file: everything except its arrays


def check_weights(architecture: Architecture, tensors: Mapping[str, Any], where: str) -> None:
    """Raise RunError, naming the file `where`, unless these are exactly the weights of this network."""
    expected = {name: weight.size for name, weight in architecture.weights().items()}
    for name in sorted(tensors.keys() ^ expected.keys()):
        raise _wrong(f"{name[:100]} is {'missing' if name in expected else 'not one of them'}", where)
    for name, size in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != size or str(tensor.dtype) != "float32":
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise _wrong(f"{name} is {found[:100]}, not float32 {size}", where)


def check_finite(tensors: Mapping[str, Any], where: str) -> None:
    """Raise RunError, naming the file `where`, when a number of these arrays is not finite."""
    import numpy as np

    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise _wrong(f"{name[:100]} has numbers that are not finite", where)


def max_weight_bytes(architecture: Architecture) -> int:
    """The largest size in bytes that a file with only these weights can have."""
    return FLOAT32_BYTES * architecture.num_params + MAX_HEADER_BYTES


def _wrong(what: str, where: str) -> RunError:
    return RunError(f"damaged run: wrong weights: {what}", where, "train again, or restore it from a copy")
