"""The gradients of one window, computed as a whole or, where memory is short, a few sequences at a time."""

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.windows import Window
from charlm.model.network import LanguageModelNetwork, reset_state


class Gradients:
    """Adds up a window's gradients in the network. Dropout and random initial states each have their generator.

    Each window's loss is divided by the same `tokens_per_window`, whatever it holds, so each token has the same weight.
    """

    def __init__(self, network: LanguageModelNetwork, bfloat16: bool, seed: int, tokens_per_window: float) -> None:
        self._network, self._bfloat16, self._tokens_per_window = network, bfloat16, tokens_per_window
        self._device = network.head.bias.device
        self.dropout = torch.Generator(self._device).manual_seed(seed)
        self.initial_state = torch.Generator(self._device).manual_seed(seed)

    def of(self, window: Window, state: NetworkState | None, micro_batches: int) -> tuple[float, NetworkState]:
        """Add the window's gradient; its loss in nats per token of its own, and the state after it.

        The batch is divided into `micro_batches` parts. The sum of their gradients is the whole one's, but for
        rounding and for what is drawn: dropout and random initial states. Raises what torch raises when it is out of
        memory; gradients are then in part there, and generators and `state` as they were.
        """
        drawn = self.dropout.get_state(), self.initial_state.get_state()
        try:
            nats, state = self._of(window, state, micro_batches)
            if window.beside:
                nats += self._of(window.beside, None, micro_batches)[0]
            return nats / window.num_tokens, state
        except Exception:
            self.dropout.set_state(drawn[0])
            self.initial_state.set_state(drawn[1])
            raise

    def _of(self, window: Window, state: NetworkState | None, micro_batches: int) -> tuple[float, NetworkState]:
        """The same for a window but for what stands beside it; its nats in all."""
        total, states = 0.0, []
        if state is not None and len(state[0][0]) != len(window.inputs):
            state = None
        for rows in rows_of(len(window.inputs), micro_batches):
            inputs, targets, reset = (self._tensor(one[rows]) for one in (window.inputs, window.targets, window.reset))
            start = self.state_for(len(inputs), None if state is None else _rows(state, rows), reset)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                nats, new_state = self._network.total_nats(inputs, targets, start, self.dropout)
            (nats / self._tokens_per_window).backward()  # type: ignore[no-untyped-call]
            total += float(nats.detach())
            states.append(_detached(new_state))
        return total, _joined(states)

    def state_for(self, batch_size: int, state: NetworkState | None, reset: Tensor) -> NetworkState:
        """The state that some sequences begin with: what was carried over, or the initial one where `reset` (B,)."""
        initial = self._network.initial_state(batch_size, self.initial_state)
        return initial if state is None else reset_state(state, initial, reset)

    def _tensor(self, array: object) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def rows_of(batch_size: int, micro_batches: int) -> list[slice]:
    """The rows of each part of a batch."""
    size = -(-batch_size // micro_batches)
    return [slice(start, start + size) for start in range(0, batch_size, size)]


def _rows(state: NetworkState, rows: slice) -> NetworkState:
    return tuple(tuple(part[rows] for part in parts) for parts in state)


def _detached(state: NetworkState) -> NetworkState:
    return tuple(tuple(part.detach() for part in parts) for parts in state)


def _joined(states: list[NetworkState]) -> NetworkState:
    if len(states) == 1:
        return states[0]
    return tuple(tuple(torch.cat(parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True))
