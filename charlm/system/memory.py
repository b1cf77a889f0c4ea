"""Memory: how much is free, how torch and the system say that it is at its end, and keeping what was freed."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from charlm.system.machine import MEMORY_GROUP

OUT_OF_MEMORY = ("out of memory", "alloc_cpu", "can't allocate memory", "not enough memory", "bad_alloc")


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python, torch, or CUDA say that memory is at its end."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in OUT_OF_MEMORY)


def free_memory(device: str) -> int | None:
    """Bytes that this process may still take on the device; None where the system does not say."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    found = [number for number in (_available_memory(), _left_to_group()) if number is not None]
    return min(found, default=None)


def _available_memory() -> int | None:
    """What the system could give without taking memory from others."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_to_group() -> int | None:
    """What this process's control group may still take (version 2); what it only caches counts as free."""
    with suppress(OSError, ValueError):
        limit, used = (int((MEMORY_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (MEMORY_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(facts.get("inactive_file", 0))
    return None
