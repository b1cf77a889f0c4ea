"""What objectives have in common that read whole examples, such as texts with their labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.batching import ExampleBatches, Numbers
from charlm.corpus.corpora import Corpus
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.network.snapshot import POSITION
from charlm.settings import TrainingSettings
from charlm.training.defaults import MAX_PASSES
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.objective import Batch, Check, Generators


class Batches(Protocol):
    """An endless source of batches of training examples."""

    batches_per_pass: int

    def next(self) -> Any:
        """What the batch at the current position is made from; moves the position to the next one."""

    def position(self) -> NDArray[Any]:
        """The position in the training data."""

    def restore(self, position: NDArray[Any]) -> None:
        """Move to a position from `position`. Raises ValueError for one that this data does not have."""


class ExampleObjective(ABC):
    """A `training.objective.Objective` whose batches are examples of similar length; no state is carried over.

    What derives from it sets `_batches` and says what a batch is, its loss, and how examples are measured.
    """

    network_type: type[TorchNetwork] = TorchNetwork
    max_examples_factor: int | None = 4
    """A batch of short examples has up to this many times as many as one of mean length; None: as many as fit in."""
    max_passes = MAX_PASSES
    state_sizes: tuple[tuple[int, ...], ...] = ()

    network: TorchNetwork
    architecture: Architecture
    corpus: Corpus
    _batches: Batches

    def __init__(
        self, architecture: Architecture, corpus: Corpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        self.network = self.network_type(architecture, settings.dropout or 0.0).to(device)
        self.architecture, self.corpus, self._settings = architecture, corpus, settings
        self.check_tokens = CHECK_TOKENS
        self.generators = ("dropout", *(["initial_state"] if architecture.initial_state == "random" else []))

    def example_batches(self, lengths: Numbers, alike: Numbers | None = None) -> ExampleBatches:
        """Batches of up to `--batch-size` times `--bptt` tokens of the training examples, which have these lengths.

        For `alike` see `ExampleBatches`.
        """
        settings = self._settings
        assert settings.batch_size is not None
        assert settings.bptt is not None
        max_tokens, factor = settings.batch_size * settings.bptt, self.max_examples_factor
        max_examples = max_tokens if factor is None else factor * settings.batch_size
        return ExampleBatches(lengths, max_tokens, max_examples, settings.seed, alike)

    @property
    def batches_per_pass(self) -> int:
        return self._batches.batches_per_pass

    @property
    @abstractmethod
    def targets_per_batch(self) -> float:
        """The mean number of targets."""

    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @abstractmethod
    def next_batch(self) -> Batch:
        """The batch at the current position; moves the position to the next batch."""

    @abstractmethod
    def loss(self, examples: Any, state: NetworkState | None, generators: Generators) -> tuple[Tensor, int, None]:
        """The total loss of some examples in nats, as a differentiable scalar; the number of targets; no state."""

    def after_update(self) -> None:
        self.network.keep_bounds()

    def position(self) -> dict[str, Tensor]:
        return {POSITION: torch.from_numpy(self._batches.position())}

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        self._batches.restore(tensors[POSITION].numpy())

    @property
    def has_check(self) -> bool:
        return self.corpus.valid is not None

    @abstractmethod
    def check(self) -> Check:
        """A quick check on `share_to_check` of the validation part, in the precision of the training."""

    def share_to_check(self, num_tokens: int) -> float:
        """The share (0 to 1) of a part of so many tokens that a quick check reads."""
        return min(1.0, self.check_tokens / max(1, num_tokens))

    @property
    def is_bfloat16(self) -> bool:
        """Whether the training, and so its quick checks, compute in bfloat16."""
        return self._settings.precision == "bfloat16"

    @abstractmethod
    def try_measuring(self) -> int:
        """Measure a few examples as the final figures are, to see how long that takes; returns how many tokens."""

    def upcoming(self) -> Any:
        """What the next batch is made from; the position stays as it is."""
        before = self._batches.position()
        found = self._batches.next()
        self._batches.restore(before)
        return found

    def sample(self) -> str:
        """Nothing, unless the network writes text."""
        return ""
