"""A trained network for scoring in batches: NumPy in, NumPy out, no gradient."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.cells.cell import NetworkState
from charlm.model.network import LanguageModelNetwork

LOGITS_AT_ONCE = 2**24  # numbers of the softmax in memory at a time: 64 MB in float32


class Runner:
    """Scores ids with a torch network, in float32 unless a quick check asks for bfloat16. Shapes: B batch, T time."""

    def __init__(self, network: LanguageModelNetwork, bfloat16: bool = False) -> None:
        self._network = network
        self._device = network.head.bias.device
        self._bfloat16 = bfloat16

    @torch.no_grad()
    def initial_state(self, batch_size: int = 1) -> NetworkState:
        return self._network.initial_state(batch_size)

    @torch.no_grad()
    def logprobs(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: NetworkState
    ) -> tuple[NDArray[np.float64], NetworkState]:
        """log p(target) in nats of each target: inputs and targets (B, T) -> (B, T), and the new state.

        Targets below 0 are padding: what comes of them means nothing.
        """
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            hidden, state = self._network.hidden(self._tensor(inputs), state)
            flat, wanted = hidden.flatten(0, 1), self._tensor(targets).flatten()
            rows = max(1, LOGITS_AT_ONCE // self._network.shape.vocab_size)
            pieces = [self._pick(flat[i : i + rows], wanted[i : i + rows]) for i in range(0, len(flat), rows)]
        logprobs = torch.cat(pieces).view(inputs.shape[1], inputs.shape[0]).T
        return logprobs.cpu().double().numpy(), state  # in this order: not every device has float64

    def _pick(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self._network.logits(hidden).float()
        return logits.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1)

    def _tensor(self, ids: NDArray[Any]) -> torch.Tensor:
        """(B, T) in NumPy -> (T, B) in torch"""
        return torch.from_numpy(np.ascontiguousarray(ids.T).astype(np.int64)).to(self._device)
