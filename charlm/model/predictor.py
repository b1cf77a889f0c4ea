"""A network in torch as a predictor: NumPy arrays in and out, no gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.cells.cell import NetworkState
from charlm.model.loss import LOGITS_AT_ONCE
from charlm.model.network import TorchNetwork
from charlm.probability import Measured

Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TorchPredictor:
    """A `scoring.predictor.Predictor` for large batches and GPUs. Shapes: B batch, T time, V vocabulary.

    It computes in float32, or with products in bfloat16, and always uses the current weights of the network.
    """

    can_run_in_segments = True

    def __init__(self, network: TorchNetwork, bfloat16: bool = False) -> None:
        self.vocab_size = network.architecture.vocab_size
        self._network, self._bfloat16 = network, bfloat16

    @torch.no_grad()
    def initial_state(self, batch_size: int = 1) -> NetworkState:
        """The state before the first token."""
        return self._network.initial_state(batch_size)

    @torch.no_grad()
    def step(self, ids: NDArray[Any], state: NetworkState) -> tuple[NDArray[Any], NetworkState]:
        """One token of each sequence: ids (B,) -> logits (B, V) and the new state."""
        with self._autocast():
            logits, state = self._network(self._tensor(ids[:, None]).T, state)
        return logits[:, 0].float().cpu().numpy(), state

    def logprobs(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[NDArray[np.float64], NetworkState]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding; the results for them are meaningless.
        """
        logprobs, state = self._computed(self._logprobs_of, inputs, targets, state)
        return logprobs[0], state

    def measure(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[Measured, NetworkState]:
        """`logprobs` with the entropies of the distributions, and the new state."""
        measured, state = self._computed(self._measured, inputs, targets, state)
        return Measured(*measured), state

    @torch.no_grad()
    def _computed(
        self, compute: Compute, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[NDArray[np.float64], NetworkState]:
        """What `compute` makes of all logits and targets (K, B, T), and the new state."""
        with self._autocast():
            hidden, state = self._network.hidden(self._tensor(inputs), state)
            flat, wanted = hidden.flatten(0, 1), self._tensor(targets).flatten()
            rows = max(1, LOGITS_AT_ONCE // self.vocab_size)
            pieces = [
                compute(self._network.logits(flat[i : i + rows]).float(), wanted[i : i + rows].clamp(min=0)[:, None])
                for i in range(0, len(flat), rows)
            ]
        found = torch.cat(pieces, dim=1).view(-1, inputs.shape[1], inputs.shape[0]).transpose(1, 2)
        return found.cpu().double().numpy(), state  # in this order, since some devices lack float64

    def select(self, state: NetworkState, rows: Sequence[int]) -> NetworkState:
        """The state of some of the sequences, in the order of `rows`; a row may be repeated."""
        return tuple(tuple(part[list(rows)] for part in parts) for parts in state)

    def join(self, states: Sequence[NetworkState]) -> NetworkState:
        """The states of several batches joined into the state of one batch."""
        return tuple(tuple(map(torch.cat, zip(*layers, strict=True))) for layers in zip(*states, strict=True))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._network.device.type, torch.bfloat16, enabled=self._bfloat16)

    @staticmethod
    def _logprobs_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """logits (N, V) and targets (N, 1) -> log p of each target (1, N)."""
        return (logits.gather(1, targets) - logits.logsumexp(dim=1, keepdim=True)).T

    @staticmethod
    def _measured(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """logits (N, V) and targets (N, 1) -> log p of each target, and the entropies (2, N)."""
        logprobs = logits.log_softmax(dim=1)
        return torch.stack([logprobs.gather(1, targets)[:, 0], -(logprobs.exp() * logprobs).sum(dim=1)])

    def _tensor(self, ids: NDArray[Any]) -> torch.Tensor:
        """ids (B, T) in NumPy -> (T, B) in torch, on the network's device."""
        return torch.from_numpy(np.ascontiguousarray(ids.T).astype(np.int64)).to(self._network.device)
