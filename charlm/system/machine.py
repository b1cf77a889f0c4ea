"""The machine: which device computes, whether it has bfloat16, and how many threads are used."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import UsageError
from charlm.settings import Device, TrainingSettings

GROUPS_ROOT = Path("/sys/fs/cgroup")  # control groups, which limit a container
OWN_GROUPS = Path("/proc/self/cgroup")  # lists the control groups that this process is in


@dataclass(frozen=True)
class Machine:
    """What defaults depend on: the device, the number of threads, and whether it multiplies bfloat16 natively."""

    device: str
    threads: int
    bfloat16: bool


def cores(groups: Path = GROUPS_ROOT, own: Path = OWN_GROUPS) -> int:
    """The number of processors that this process may use: those it may run on, limited by its container's quota.

    The quota is that of its control groups and of the groups around them, whose folders are below `groups`; the file
    `own` lists the groups.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(groups, own), default=math.inf)
    return available if quota >= available else max(1, math.ceil(quota))


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """How many processors' time each control group allows, for the groups that set a limit."""
    for folder in _group_folders(groups, own):
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 2; "max" is not a number
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 1; -1 means that there is no limit
            quota_us, period_us = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota_us > 0:
                yield quota_us / period_us


def _group_folders(groups: Path, own: Path) -> Iterator[Path]:
    """The folders with the limits of this process's groups, and of the groups around them.

    A line of `own` is `0::/path` in version 2, `4:cpu,cpuacct:/path` in version 1. In a container it can be a path of
    the host, which does not exist there: the folder of the container's own group is then `groups` itself.
    """
    lines = []
    with suppress(OSError):
        lines = [line.split(":", 2) for line in own.read_text().splitlines() if line.count(":") >= 2]
    for _, controllers, path in [*lines, ["", "", "/"], ["", "cpu", "/"]]:
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in dict.fromkeys([controllers, "cpu"]) if controllers else [""]:
            group = Path(path.lstrip("/"))
            yield from (groups / root / folder for folder in (group, *group.parents))


def one_thread_for_numpy(threads: int | None) -> None:
    """Let NumPy's BLAS use one thread, or the number given; this must be called before NumPy is imported.

    For one token at a time, a second thread costs more time than it saves. Variables that the user has set stay as they
    are unless `threads` is given.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if threads is not None:
            os.environ[name] = str(threads)
        else:
            os.environ.setdefault(name, "1")


def find_machine(settings: TrainingSettings) -> Machine:
    """The machine as torch sees it, with the user's choices applied. Raises UsageError for a device that is missing."""
    import torch

    torch.set_num_threads(settings.threads or cores())
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True)
    device = find_device(settings.device)
    return Machine(device, torch.get_num_threads(), _has_bfloat16(device))


def may_have_gpu() -> bool:
    """Whether there may be a GPU that torch would use; this is a guess, because importing torch takes seconds."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")
    return os.name == "nt" or any(os.path.exists(path) for path in drivers)


def find_device(wanted: Device) -> str:
    """The name of a device in torch; "auto" is the GPU of CUDA, or the processor where there is none.

    Raises UsageError for a device that is missing.
    """
    import torch

    is_available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = wanted if wanted != "auto" else "cuda" if is_available["cuda"] else "cpu"
    if not is_available[device]:
        raise UsageError(f"--device {device}: torch finds no such device here", to_do="leave --device out, or give cpu")
    return device


def _has_bfloat16(device: str) -> bool:
    """Whether the device itself multiplies in bfloat16; where torch emulates that, it is slower than float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and _processor_has_bfloat16()


def _processor_has_bfloat16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
