"""The result of a cloze network's training: its best weights, measured on fixed masks of both parts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.corpus.store import IdsFile
from charlm.lifecycle.measuring import PartsResult, measure_parts
from charlm.lifecycle.results import Outcome
from charlm.model.cloze import TorchClozePredictor
from charlm.training.cloze import ClozeObjective, fixed_masks, score_masked


@dataclass(frozen=True)
class MaskedFigures:
    """How well masked tokens were found; `tokens` is how many were masked."""

    nats_per_masked_token: float
    accuracy: float
    """The share of them that were the likeliest symbol in their place."""
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ClozeResult(PartsResult[MaskedFigures]):
    """How the training of a cloze network went, and how good its best weights are.

    There are no figures per character: such a network gives no probability of a whole text.
    """

    examples = "lines"

    def figures_as_json(self, part: str, figures: MaskedFigures | None) -> dict[str, object]:
        return {
            f"{part}_nats_per_masked_token": figures.nats_per_masked_token if figures else None,
            f"{part}_masked_accuracy": figures.accuracy if figures else None,
            f"{part}_masked_tokens": figures.tokens if figures else 0,
        }


def measure(outcome: Outcome, show: Callable[[float], None]) -> ClozeResult:
    """Measure the best weights of a cloze network; for the arguments see `measure_parts`."""
    return measure_parts(ClozeResult, _figures, outcome, show)


def _figures(objective: ClozeObjective, part: IdsFile, share: float) -> MaskedFigures | None:
    """The figures of a part, in float32; None if all its lines are empty."""
    mask_id = objective.network.architecture.num_outputs
    lines = fixed_masks(part, objective.corpus.tokenizer.eos_id, mask_id)
    if not len(lines):
        return None
    found = list(score_masked(TorchClozePredictor(objective.network), lines, share))
    logprobs, is_right = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return MaskedFigures(-float(logprobs.mean()), float(is_right.mean()), len(logprobs))
