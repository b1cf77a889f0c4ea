"""What a run can fill blanks with."""

from pathlib import Path
from typing import get_args

from charlm.errors import RunError, UsageError
from charlm.network.architecture import Architecture
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from charlm.scoring.loading import load_cloze_model, load_model
from charlm.settings import FillBy, OneDirection
from charlm.tasks.fill import CausalFiller, Filler, MeanFiller
from charlm.tasks.fill_cloze import ClozeFiller


def load_filler(run: RunDirectory, by: FillBy | None, threads: int | None) -> tuple[Filler, FillBy, Path]:
    """What fills blanks, what it goes by, and the run's folder. Raises UsageError, and RunError if the run lacks it."""
    architecture = read_config(run).architecture
    best: FillBy = "cloze" if architecture.kind == "cloze" else _best_direction(architecture)
    by = by or best
    if by not in get_args(FillBy):
        raise UsageError(f"--by {by}: no such way to fill", to_do=f"choose from {', '.join(get_args(FillBy))}")
    if (by == "cloze") != (best == "cloze"):
        to_do = f"leave --by out to fill by {best}, or train such a run"
        raise RunError(
            f"--by {by} needs a {'cloze network' if by == 'cloze' else 'language model'}", str(run.path), to_do
        )
    if by == "mean" and not architecture.is_pair:
        what = f"--by mean needs a pair of models; this run only reads {best}"
        raise RunError(what, str(run.path), "train one: charlm train --direction both")
    if by == "cloze":
        model = load_cloze_model(run)
        return ClozeFiller(model.predictor, model.tokenizer, model.reading), by, run.path
    if by == "mean":
        return MeanFiller(_causal(run, "forward", threads), _causal(run, "backward", threads)), by, run.path
    return _causal(run, by, threads), by, run.path


def _causal(run: RunDirectory, direction: OneDirection, threads: int | None) -> CausalFiller:
    return CausalFiller(load_model(run, device="cpu", threads=threads, direction=direction))


def _best_direction(architecture: Architecture) -> FillBy:
    """What a run of language models fills by: both directions if it has them, else the one that it has."""
    if architecture.is_pair:
        return "mean"
    return "backward" if architecture.direction == "backward" else "forward"
