"""The machine: where to compute, in which precision, with how many threads."""

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass

from charlm.config import Device, TrainingSettings
from charlm.errors import UsageError


@dataclass(frozen=True)
class Machine:
    """What decides a default: the kind of device, its threads, and whether it multiplies bfloat16 natively."""

    device: str
    threads: int
    bfloat16: bool


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread_for_numpy(threads: int | None) -> None:
    """Let NumPy's BLAS use one thread, unless told otherwise, before NumPy is imported.

    For one token at a time a second thread costs more than it gives.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if threads is not None:
            os.environ[name] = str(threads)
        else:
            os.environ.setdefault(name, "1")


def keep_freed_memory() -> None:
    """Let the C library keep what a training step frees, for the next one, where it has that setting (glibc).

    By default large pieces go back to the system at once, and each comes back a page at a time: on a virtual machine
    that cost a third of a step's time. It holds for the whole process; a user's own MALLOC_ or GLIBC_TUNABLES
    variables go before.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    keep_at_the_end, own_mapping_from = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(own_mapping_from, 1 << 30)
        set_option(keep_at_the_end, (1 << 31) - 1)


def find_machine(settings: TrainingSettings) -> Machine:
    """The machine as torch sees it, the user's choices applied. Raises UsageError for a device that is not there."""
    import torch

    torch.set_num_threads(settings.threads or cores())
    device = find_device(settings.device)
    native = torch.cuda.is_bf16_supported() if device == "cuda" else device == "cpu" and _processor_has_bfloat16()
    return Machine(device, torch.get_num_threads(), native)


def may_have_gpu() -> bool:
    """Whether there may be a GPU that torch would use by itself; torch, which knows, takes long to ask."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")
    return os.name == "nt" or any(os.path.exists(path) for path in drivers)


def find_device(wanted: Device) -> str:
    """The device's name in torch; "auto" is a GPU of CUDA's where there is one. Raises UsageError."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = wanted if wanted != "auto" else "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        raise UsageError(f"--device {device}: torch finds no such device here", to_do="leave --device out, or give cpu")
    return device


def _processor_has_bfloat16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
