"""A classifier in torch, for training and for many texts at once.

Shapes: B batch, T time, L labels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from charlm.model.means import Means
from charlm.model.network import TorchNetwork
from charlm.model.operations import TorchOps
from charlm.network import classifier
from charlm.network.classifier import Classifier


def logits(network: TorchNetwork, ids: Tensor, lengths: Tensor, means: Means) -> Tensor:
    """Texts with both ends, ids (B, T) of these lengths (B,) -> logits (B, L)."""
    assert isinstance(network.architecture, Classifier)
    x: Tensor = classifier.logits(
        ids.T,
        lengths,
        network.weights,
        network.architecture,
        TorchOps,
        means.scan,
        means.start,
        means.drop,
    )
    return x


def total_nats(found: Tensor, targets: Tensor, several_labels: bool, label_weights: Tensor) -> Tensor:
    """-log p of the labels in nats, summed over the texts, each label weighted: logits (B, L), weights (L,).

    `targets` are (B,) numbers of labels, or (B, L) with a 1 for each label that a text has.
    """
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    weight = label_weights.to(found.dtype)
    if several_labels:
        return binary_cross_entropy_with_logits(found, targets.to(found.dtype), weight=weight, reduction="sum")
    return cross_entropy(found, targets, weight=weight, reduction="sum")


class TorchClassifierPredictor:
    """A `tasks.classification.ClassifierPredictor` for many texts at once, with the current weights of a network."""

    def __init__(self, network: TorchNetwork, bfloat16: bool = False) -> None:
        self._network, self._bfloat16 = network, bfloat16

    @torch.no_grad()
    def logits(self, ids: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float64]:
        """Texts with both ends, ids (B, T) of these lengths (B,) -> logits (B, L)."""
        network, device = self._network, self._network.device
        inputs, sizes = (torch.from_numpy(np.asarray(array, np.int64)).to(device) for array in (ids, lengths))
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bfloat16):
            return logits(network, inputs, sizes, Means.of(network)).float().cpu().double().numpy()
