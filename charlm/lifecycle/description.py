"""A run's settings, its best weights and its measurements, read without torch."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from charlm.network.weights import max_weight_bytes
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import BEST, RunDirectory


@dataclass(frozen=True)
class Description:
    """A run: how it was made, which step its best weights are of, and what was measured at its end, if anything."""

    config: RunConfig
    best_step: int | None
    best_check_nats_per_token: Any
    """The quick check of the best weights, as the file has it."""
    measured: dict[str, Any] | None
    saved_at: datetime | None


def describe_run(path: Path) -> Description:
    """Read a run's folder. Raises RunError when it is damaged."""
    run = RunDirectory(path)
    config = read_config(run)
    best = run.load(BEST, max_weight_bytes(config.architecture)) if run.has(BEST) else None
    measured = run.log.newest("Measured")
    best_check = best.scalars.get("nats_per_token") if best else None
    return Description(config, best.step if best else None, best_check, measured, run.saved_at)
