"""Memory: how much is free, which errors mean that there is no more, and how freed memory is kept for reuse."""

import os
from contextlib import suppress
from pathlib import Path

from charlm.system.machine import GROUPS_ROOT

OUT_OF_MEMORY_SIGNS = ("out of memory", "alloc_cpu", "can't allocate memory", "not enough memory", "bad_alloc")


def keep_freed_memory() -> None:
    """Let the C library keep what a training step frees, for the next step, where it has that setting (glibc).

    By default, large blocks are returned to the system at once, and are then obtained again page by page: on a virtual
    machine that took a third of a step's time. The setting applies to the whole process. It is not changed where the
    user has set MALLOC_ or GLIBC_TUNABLES variables.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    import ctypes  # here, since most commands do not need it

    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(mmap_threshold, 1 << 30)
        set_option(trim_threshold, (1 << 31) - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or CUDA means that there is no more memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in OUT_OF_MEMORY_SIGNS)


def free_memory(device: str) -> int | None:
    """Bytes that this process can still allocate on the device; None where the system does not say."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    limits = [num_bytes for num_bytes in (_available_memory(), _left_to_group()) if num_bytes is not None]
    return min(limits, default=None)


def _available_memory() -> int | None:
    """Bytes that the system can give without swapping."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_to_group() -> int | None:
    """Bytes that this process's control group (version 2) can still allocate; its file cache counts as free."""
    with suppress(OSError, ValueError):
        limit, used = (int((GROUPS_ROOT / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (GROUPS_ROOT / "memory.stat").read_text().splitlines())
        return limit - used + int(facts.get("inactive_file", 0))
    return None
