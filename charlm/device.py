"""The machine: where to compute, in which precision, with how many threads."""

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charlm.config import Device, TrainingSettings
from charlm.errors import UsageError

OUT_OF_MEMORY = ("out of memory", "alloc_cpu", "can't allocate memory", "not enough memory", "bad_alloc")
MEMORY_GROUP = Path("/sys/fs/cgroup")  # a container's limit, where there is one
OWN_GROUPS = Path("/proc/self/cgroup")  # the control groups that this process is in


@dataclass(frozen=True)
class Machine:
    """What decides a default: the kind of device, its threads, and whether it multiplies bfloat16 natively."""

    device: str
    threads: int
    bfloat16: bool


def cores(groups: Path = MEMORY_GROUP, own: Path = OWN_GROUPS) -> int:
    """Processors that this process may use: those it may run on, but no more than its container's share of time.

    That is the quota of its control groups, below `groups`, and of all that they are in; `own` lists them.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(groups, own), default=math.inf)
    return there if quota >= there else max(1, math.ceil(quota))


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Processors' worth of time that each control group allows, where it sets a limit."""
    for folder in _group_folders(groups, own):
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 2; "max" is no number
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 1; -1 is no limit
            quota_us, period_us = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota_us > 0:
                yield quota_us / period_us


def _group_folders(groups: Path, own: Path) -> Iterator[Path]:
    """Where the limits of this process's groups are, and those of the groups around them.

    A line of `own` is `0::/path` in version 2, `4:cpu,cpuacct:/path` in version 1. Within a container the path can be
    the host's, which is not there: the container's own group is then at the top.
    """
    lines = []
    with suppress(OSError):
        lines = [line.split(":", 2) for line in own.read_text().splitlines() if line.count(":") >= 2]
    for _, controllers, path in [*lines, ["", "", "/"], ["", "cpu", "/"]]:
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in dict.fromkeys([controllers, "cpu"]) if controllers else [""]:
            inner = Path(path.lstrip("/"))
            yield from (groups / root / one for one in (inner, *inner.parents))


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


def find_machine(settings: TrainingSettings) -> Machine:
    """The machine as torch sees it, the user's choices applied. Raises UsageError for a device that is not there."""
    import torch

    torch.set_num_threads(settings.threads or cores())
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True)
    device = find_device(settings.device)
    return Machine(device, torch.get_num_threads(), _has_bfloat16(device))


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


def _has_bfloat16(device: str) -> bool:
    """Whether the device itself multiplies in bfloat16: what torch emulates there is slower than float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and _processor_has_bfloat16()


def _processor_has_bfloat16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


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
