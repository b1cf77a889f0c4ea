"""A translator in torch, for training and for many texts at once.

Shapes: S time of the source, T time of the target, B batch, V symbols of the target.
"""

from collections.abc import Sequence
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
from charlm.network import head, translator
from charlm.network.snapshot import under
from charlm.network.translator import DECODER, Encoded, Translator, Writing


def total_nats(
    network: TorchNetwork,
    sources: Tensor,
    lengths: Tensor,
    inputs: Tensor,
    targets: Tensor,
    dropout_generator: torch.Generator | None = None,
    state_generator: torch.Generator | None = None,
) -> Tensor:
    """-log p in nats, summed over the targets that are not IGNORED.

    Sources (B, S) have these lengths (B,); inputs and targets are (B, T). Dropout and random initial states of the
    encoder need a generator, in training.
    """
    means = Means.of(network, dropout_generator, state_generator)
    encoded = _encode(network, sources, lengths, means)
    found, _ = _hidden(network, inputs, encoded, means)
    wanted = targets.T.flatten()
    rows = (wanted != IGNORED).nonzero().squeeze(1)
    own = under(DECODER, network.weights)
    features = head.features(found.flatten(0, 1)[rows], own, TorchOps)
    return SoftmaxLoss.apply(features, *head.output_layer(own), wanted[rows])  # type: ignore[no-any-return,no-untyped-call]


def _encode(network: TorchNetwork, sources: Tensor, lengths: Tensor, means: Means) -> Encoded:
    """Read sources (B, S) of these lengths (B,)."""
    architecture = network.architecture
    assert isinstance(architecture, Translator)
    return translator.encode(
        sources.T, lengths, network.weights, architecture, TorchOps, means.scan, means.start, means.drop
    )


def _hidden(network: TorchNetwork, inputs: Tensor, encoded: Encoded, means: Means) -> tuple[Tensor, Tensor | None]:
    """All steps of targets, inputs (B, T): the head's input (T, B, its size) and attention's shares (T, B, S)."""
    architecture = network.architecture
    assert isinstance(architecture, Translator)
    return translator.hidden(inputs.T, encoded, network.weights, architecture, TorchOps, means.scan, means.drop)


class TorchTranslatorPredictor:
    """A `tasks.translation.TranslatorPredictor` for many texts at once, with the current weights of a network."""

    def __init__(self, network: TorchNetwork, bfloat16: bool = False) -> None:
        self._network, self._bfloat16 = network, bfloat16

    @torch.no_grad()
    def begin(self, ids: NDArray[Any], lengths: NDArray[Any]) -> Writing:
        """Read sources with their ends, ids (B, S) of these lengths (B,); a target of each is then to be written."""
        with self._autocast():
            encoded = _encode(self._network, self._tensor(ids), self._tensor(lengths), Means.of(self._network))
        return Writing(encoded.state, torch.arange(len(ids), device=self._network.device), encoded.memory)

    @torch.no_grad()
    def step(self, ids: NDArray[Any], writing: Writing) -> tuple[NDArray[Any], Writing]:
        """One token of each target: ids (B,) -> logits (B, V) of the next ones, and the new state."""
        architecture = self._network.architecture
        assert isinstance(architecture, Translator)
        with self._autocast():
            logits, writing = translator.step(self._tensor(ids), writing, self._network.weights, architecture, TorchOps)
        return logits.cpu().numpy(), writing

    def select(self, writing: Writing, rows: Sequence[int]) -> Writing:
        """Some of the targets, in the order of `rows`; one may be repeated."""
        return writing.select(self._tensor(np.asarray(rows, np.int64)))

    @torch.no_grad()
    def logprobs(
        self, ids: NDArray[Any], lengths: NDArray[Any], inputs: NDArray[Any], targets: NDArray[Any]
    ) -> NDArray[np.float64]:
        """log p in nats of each symbol of known targets: inputs and targets (B, T) -> (B, T).

        Targets below 0 are padding; the results for them are meaningless.
        """
        means = Means.of(self._network)
        with self._autocast():
            encoded = _encode(self._network, self._tensor(ids), self._tensor(lengths), means)
            found, _ = _hidden(self._network, self._tensor(inputs), encoded, means)
            logits = head.logits(found, under(DECODER, self._network.weights), TorchOps)
        wanted = self._tensor(targets).T.clamp(min=0).unsqueeze(-1)
        logprobs = logits.gather(-1, wanted).squeeze(-1) - logits.logsumexp(dim=-1)
        as_rows: NDArray[np.float64] = logprobs.T.cpu().double().numpy()
        return as_rows

    @torch.no_grad()
    def attention(self, ids: NDArray[Any], inputs: NDArray[Any]) -> NDArray[np.float64] | None:
        """How much of each place of one source (S,) each step of its target (T,) gets -> (T, S).

        None if the network has no attention.
        """
        means = Means.of(self._network)
        encoded = _encode(self._network, self._tensor(ids[None]), self._tensor(np.array([len(ids)])), means)
        _, shares = _hidden(self._network, self._tensor(inputs[None]), encoded, means)
        return None if shares is None else shares[:, 0].cpu().double().numpy()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._network.device.type, torch.bfloat16, enabled=self._bfloat16)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array).astype(np.int64)).to(self._network.device)
