"""A tagger in torch, for training and for many sentences at once.

Shapes: T time in words, B batch, K tags.
"""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from charlm.corpus.sentences import Sentences
from charlm.corpus.windows import IGNORED
from charlm.model.crf import LogPartition
from charlm.model.means import Means
from charlm.model.network import TorchNetwork
from charlm.model.operations import TorchOps
from charlm.network import crf, tagger
from charlm.network.architecture import Architecture
from charlm.network.bidirectional import Scan
from charlm.network.tagger import FEATURES, Tagger


def freeze_features(network: TorchNetwork) -> None:
    """Leave the weights of the character models as they are in training."""
    for name, weight in network.named_parameters():
        weight.requires_grad_(not name.startswith(FEATURES))


def total_nats(
    network: TorchNetwork,
    sentences: Sentences,
    exclusions: Tensor,
    dropout_generator: torch.Generator | None = None,
    state_generator: torch.Generator | None = None,
) -> Tensor:
    """-log p of the sentences' tags in nats, summed; everything is given as tensors."""
    means = Means.of(network, dropout_generator, state_generator)
    emissions, tags = _emissions(network, sentences, means), sentences.tags
    assert tags is not None
    if _architecture(network).decoder == "softmax":
        return cross_entropy(emissions.flatten(0, 1), tags.flatten(), ignore_index=IGNORED, reduction="sum")
    scores = tagger.transitions(network.weights, exclusions, _architecture(network))
    whole: Tensor = LogPartition.apply(emissions, scores, sentences.lengths)  # type: ignore[no-untyped-call]
    paths: Tensor = crf.path_scores(emissions, tags.clamp(min=0), sentences.lengths, scores, TorchOps)
    return (whole - paths).sum()


@torch.no_grad()
def read_characters(network: TorchNetwork, sentences: Sentences) -> Tensor:
    """`tagger.read_characters` without gradients."""
    scan_of = partial(_scan_of, Means.of(network))
    found: Tensor = tagger.read_characters(sentences, network.weights, _architecture(network), TorchOps, scan_of)
    return found


class TorchTaggerPredictor:
    """A `tasks.tagging.TaggerPredictor` for many sentences at once, with the current weights of a network."""

    def __init__(self, network: TorchNetwork, exclusions: NDArray[Any], bfloat16: bool = False) -> None:
        self._network, self._exclusions, self._bfloat16 = network, exclusions, bfloat16

    @property
    def transitions(self) -> NDArray[np.float64]:
        """The scores of all transitions (K + 1, K + 1), as in `network/crf.py`."""
        weights = {name: weight.detach().cpu().double().numpy() for name, weight in self._network.named_parameters()}
        found: NDArray[np.float64] = tagger.transitions(weights, self._exclusions, _architecture(self._network))
        return found

    @torch.no_grad()
    def emissions(self, sentences: Sentences) -> NDArray[np.float64]:
        """The score of each tag at each word (T, B, K)."""
        network = self._network
        tensors = to_tensors(sentences, network.device)
        with torch.autocast(network.device.type, torch.bfloat16, enabled=self._bfloat16):
            found = _emissions(network, tensors, Means.of(network))
        return found.float().cpu().double().numpy()


def to_tensors(sentences: Sentences, device: torch.device) -> Sentences:
    """Sentences of NumPy arrays, as tensors on a device."""
    return sentences.mapped(lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device))


def _emissions(network: TorchNetwork, sentences: Sentences, means: Means) -> Tensor:
    if sentences.characters and sentences.features is None:
        sentences = dataclasses.replace(sentences, features=read_characters(network, sentences))
    x: Tensor = tagger.emissions(
        sentences,
        network.weights,
        _architecture(network),
        TorchOps,
        partial(_scan_of, means),
        means.start,
        means.drop,
    )
    return x


def _scan_of(means: Means, part: Architecture) -> Scan:
    return dataclasses.replace(means, architecture=part).scan


def _architecture(network: TorchNetwork) -> Tagger:
    assert isinstance(network.architecture, Tagger)
    return network.architecture
