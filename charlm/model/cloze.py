"""A cloze network in torch: predict masked symbols from both sides, for many sequences at once.

Shapes: B batch, T time, V outputs, H the output size of one recurrence, N masked positions.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.windows import IGNORED
from charlm.model.loss import SoftmaxLoss
from charlm.model.means import Means
from charlm.model.network import TorchNetwork
from charlm.model.operations import TorchOps
from charlm.network import bidirectional, head


def hidden(
    network: TorchNetwork,
    ids: Tensor,
    lengths: Tensor,
    dropout_generator: torch.Generator | None = None,
    state_generator: torch.Generator | None = None,
) -> Tensor:
    """ids (T, B) of sequences of these lengths (B,) -> the input of the head at each position (T, B, 2 H).

    Dropout and random initial states need a generator, in training.
    """
    means = Means.of(network, dropout_generator, state_generator)
    x: Tensor = bidirectional.hidden(
        ids, lengths, network.weights, network.architecture, TorchOps, means.scan, means.start, means.drop
    )
    return x


def total_nats(
    network: TorchNetwork,
    inputs: Tensor,
    targets: Tensor,
    lengths: Tensor,
    dropout_generator: torch.Generator | None = None,
    state_generator: torch.Generator | None = None,
) -> Tensor:
    """inputs and targets (B, T) -> -log p in nats, summed over the targets that are not IGNORED."""
    found = hidden(network, inputs.T, lengths, dropout_generator, state_generator)
    wanted = targets.T.flatten()
    rows = (wanted != IGNORED).nonzero().squeeze(1)
    weights = network.weights
    features = head.features(found.flatten(0, 1)[rows], weights, TorchOps)
    return SoftmaxLoss.apply(features, *head.output_layer(weights), wanted[rows])  # type: ignore[no-any-return,no-untyped-call]


class TorchClozePredictor:
    """A `scoring.cloze.ClozePredictor` for large batches and GPUs, with the current weights of a network."""

    def __init__(self, network: TorchNetwork, bfloat16: bool = False) -> None:
        self.num_outputs, self.mask_id = network.architecture.num_outputs, network.architecture.num_outputs
        self._network, self._bfloat16 = network, bfloat16

    @torch.no_grad()
    def logprobs(
        self, ids: NDArray[Any], lengths: NDArray[Any], rows: NDArray[Any], positions: NDArray[Any]
    ) -> NDArray[np.float64]:
        """log p of each symbol at N places: ids (B, T), lengths (B,), rows and positions (N,) -> (N, V)."""
        network, device = self._network, self._network.device
        inputs = torch.from_numpy(np.ascontiguousarray(ids.T).astype(np.int64)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bfloat16):
            found = hidden(network, inputs, torch.from_numpy(np.asarray(lengths, np.int64)).to(device))
            logits = network.logits(found[torch.from_numpy(positions), torch.from_numpy(rows)])
        return logits.float().log_softmax(1).cpu().double().numpy()
