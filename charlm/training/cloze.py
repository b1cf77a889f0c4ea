"""The objective of a cloze network: find masked tokens from what stands on both sides of them.

Taylor 1953 (the cloze procedure); the share of masked tokens is that of Devlin et al. 2019, all of them replaced by
`<mask>`. Shapes: B batch, T time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import spread
from charlm.corpus.masking import FIXED_MASKS, LineMasks, MaskedBatches, MaskedLines
from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.store import IdsFile
from charlm.corpus.windows import IGNORED, RareTypes
from charlm.model.cloze import TorchClozePredictor, total_nats
from charlm.network.architecture import Architecture
from charlm.scoring.cloze import ClozePredictor
from charlm.settings import TrainingSettings
from charlm.training.example_objective import ExampleObjective
from charlm.training.objective import Batch, Check, Generators

MAX_PIECE_TOKENS = 1024  # of a line that is measured; longer ones are cut
BATCH_TOKENS = 2**13  # measured at once, with padding
MASK_SEED = 1  # of the validation masks, the same for all trainings


class ClozeObjective(ExampleObjective):
    """A `training.objective.Objective`: the loss is -log p of the masked tokens of lines (`corpus/masking.py`)."""

    corpus: PreparedCorpus
    _batches: MaskedBatches

    def __init__(
        self, architecture: Architecture, corpus: PreparedCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        super().__init__(architecture, corpus, settings, device)
        ids, tokenizer, mask_id = corpus.train.ids, corpus.tokenizer, architecture.num_outputs
        assert settings.batch_size is not None
        assert settings.bptt is not None
        rare = RareTypes(ids, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id, settings.seed)
        self._batches = MaskedBatches(
            ids, tokenizer.eos_id, mask_id, settings.batch_size, settings.bptt, settings.seed, rare
        )
        self._valid = fixed_masks(corpus.valid, tokenizer.eos_id, mask_id) if corpus.valid else None

    @property
    def targets_per_batch(self) -> float:
        return self._batches.masked_per_batch

    def next_batch(self) -> Batch:
        lines = self._batches.next()
        size_of_one = f"{lines.inputs.shape[1]:,} tokens in the longest line"
        to_do = "give a smaller model or a smaller --bptt"
        return Batch(lines, (), lines.num_masked, lines.num_tokens, size_of_one, to_do)

    def loss(
        self, examples: MaskedLines, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, None]:
        """-log p of the masked tokens in nats, summed; how many they are; no state."""
        tensors = (examples.inputs, examples.targets, examples.lengths)
        inputs, targets, lengths = (torch.from_numpy(array).to(self.network.device) for array in tensors)
        drawn = generators["dropout"], generators.get("initial_state")
        return total_nats(self.network, inputs, targets, lengths, *drawn), examples.num_masked, None

    @property
    def has_check(self) -> bool:
        return self._valid is not None and len(self._valid) > 0

    def check(self) -> Check:
        """Nats per masked token on lines spread over the validation part, in the precision of the training."""
        assert self._valid is not None
        share = self.share_to_check(self._valid.num_tokens)
        predictor = TorchClozePredictor(self.network, self.is_bfloat16)
        found = [logprobs for logprobs, _ in score_masked(predictor, self._valid, share)]
        return Check(-float(np.concatenate(found).mean()))

    def try_measuring(self) -> int:
        lines: MaskedLines = self.upcoming()
        score_batch(TorchClozePredictor(self.network), lines)
        return lines.num_tokens


def fixed_masks(part: IdsFile, eos_id: int, mask_id: int) -> LineMasks:
    """A part of a corpus, whose masks are then those of FIXED_MASKS."""
    return LineMasks(part.ids, eos_id, mask_id, MAX_PIECE_TOKENS, MASK_SEED, None)


def score_masked(
    predictor: ClozePredictor, lines: LineMasks, share: float = 1.0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """log p in nats of each masked token, and whether it is the likeliest symbol there, batch by batch.

    With a `share` below 1 only about that share of the lines is read, spread evenly over the text.
    """
    for numbers in lines.batches(spread(len(lines), share), BATCH_TOKENS):
        yield score_batch(predictor, lines.masked(numbers, FIXED_MASKS))


def score_batch(predictor: ClozePredictor, batch: MaskedLines) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """log p in nats of each masked token of a batch, and whether it is the likeliest symbol there."""
    rows, positions = np.nonzero(batch.targets != IGNORED)
    wanted: NDArray[Any] = batch.targets[rows, positions]
    logprobs = predictor.logprobs(batch.inputs, batch.lengths, rows, positions)
    own = logprobs[np.arange(len(rows)), wanted]
    return own, own >= logprobs.max(axis=1)
