"""The objective of a cloze network: find masked tokens from what stands on both sides of them.

Taylor 1953 (the cloze procedure); the share of masked tokens is that of Devlin et al. 2019, all of them replaced by
`<mask>`. Shapes: B batch, T time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.masking import FIXED_MASKS, LineMasks, MaskedBatches, MaskedLines
from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.store import IdsFile
from charlm.corpus.windows import IGNORED, RareTypes
from charlm.model.cloze import TorchClozePredictor, total_nats
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.network.snapshot import POSITION
from charlm.scoring.cloze import ClozePredictor
from charlm.settings import TrainingSettings
from charlm.training.defaults import MAX_PASSES
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.objective import Batch, Check, Generators

MAX_PIECE_TOKENS = 1024  # of a line that is measured; longer ones are cut
BATCH_TOKENS = 2**13  # measured at once, with padding
MASK_SEED = 1  # of the validation masks, the same for all trainings


class ClozeObjective:
    """A `training.objective.Objective`: the loss is -log p of the masked tokens of lines (`corpus/masking.py`)."""

    network: TorchNetwork
    max_passes = MAX_PASSES

    def __init__(
        self, architecture: Architecture, corpus: PreparedCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        self.network = TorchNetwork(architecture, settings.dropout or 0.0).to(device)
        self.corpus, self._settings = corpus, settings
        ids, tokenizer, mask_id = corpus.train.ids, corpus.tokenizer, architecture.num_outputs
        assert settings.batch_size is not None
        assert settings.bptt is not None
        rare = RareTypes(ids, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id, settings.seed)
        self._batches = MaskedBatches(
            ids, tokenizer.eos_id, mask_id, settings.batch_size, settings.bptt, settings.seed, rare
        )
        self._valid = fixed_masks(corpus.valid, tokenizer.eos_id, mask_id) if corpus.valid else None
        self.check_tokens = CHECK_TOKENS
        self.generators = ("dropout", *(["initial_state"] if architecture.initial_state == "random" else []))
        self.state_sizes: tuple[tuple[int, ...], ...] = ()

    @property
    def batches_per_pass(self) -> int:
        return self._batches.batches_per_pass

    @property
    def targets_per_batch(self) -> float:
        return self._batches.masked_per_batch

    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

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

    def after_update(self) -> None:
        self.network.keep_bounds()

    def position(self) -> dict[str, Tensor]:
        return {POSITION: torch.from_numpy(self._batches.position())}

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        self._batches.restore(tensors[POSITION].numpy())

    @property
    def has_check(self) -> bool:
        return self._valid is not None and len(self._valid) > 0

    def check(self) -> Check:
        """Nats per masked token on lines spread over the validation part, in the precision of the training."""
        assert self._valid is not None
        predictor = TorchClozePredictor(self.network, bfloat16=self._settings.precision == "bfloat16")
        share = min(1.0, self.check_tokens / self._valid.num_tokens)
        found = [logprobs for logprobs, _ in score_masked(predictor, self._valid, share)]
        return Check(-float(np.concatenate(found).mean()))

    def sample(self) -> str:
        """Nothing: a cloze network writes no text."""
        return ""


def fixed_masks(part: IdsFile, eos_id: int, mask_id: int) -> LineMasks:
    """A part of a corpus, whose masks are then those of FIXED_MASKS."""
    return LineMasks(part.ids, eos_id, mask_id, MAX_PIECE_TOKENS, MASK_SEED, None)


def score_masked(
    predictor: ClozePredictor, lines: LineMasks, share: float = 1.0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """log p in nats of each masked token, and whether it is the likeliest symbol there, batch by batch.

    With a `share` below 1 only about that share of the lines is read, spread evenly over the text.
    """
    every = np.unique(np.linspace(0, len(lines) - 1, max(1, round(share * len(lines)))).astype(np.int64))
    for numbers in lines.batches(every, BATCH_TOKENS):
        yield score_batch(predictor, lines.masked(numbers, FIXED_MASKS))


def score_batch(predictor: ClozePredictor, batch: MaskedLines) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """log p in nats of each masked token of a batch, and whether it is the likeliest symbol there."""
    rows, positions = np.nonzero(batch.targets != IGNORED)
    wanted: NDArray[Any] = batch.targets[rows, positions]
    logprobs = predictor.logprobs(batch.inputs, batch.lengths, rows, positions)
    own = logprobs[np.arange(len(rows)), wanted]
    return own, own >= logprobs.max(axis=1)
