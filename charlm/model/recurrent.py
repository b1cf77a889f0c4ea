"""A recurrent layer in torch: by the kernel that torch has for the cell, or by the cell's own equation, unrolled.

Shapes: T time, B batch, I input, H hidden, G gates.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from charlm.cells import CELLS, Array, State, Weights

# Arguments after input, state and weights: has_biases, num_layers, dropout, train, bidirectional, batch_first.
KERNELS: dict[str, Callable[..., Any]] = {
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
    "gru": torch.gru,
    "lstm": torch.lstm,
}


class TorchOps:
    """The operations of `cells.py` in torch."""

    linear = staticmethod(nn.functional.linear)
    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    relu = staticmethod(torch.relu)

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        return tuple(x.chunk(parts, dim=-1))


class RecurrentLayer(nn.Module):
    """One layer of `cell`: (T, B, I) and a state -> (T, B, H) and the new state. It holds no state itself."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, learned_initial_state: bool) -> None:
        super().__init__()
        self.cell_name, self.cell = cell, CELLS[cell]
        rows = len(self.cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows))
        self.hidden_size = hidden_size
        if learned_initial_state:
            for part in self.cell.state_parts:
                self.register_parameter(f"initial_{part}", nn.Parameter(torch.zeros(hidden_size)))

    def initialise(self, generator: torch.Generator) -> None:
        """Glorot-uniform input weights, orthogonal recurrent ones (Saxe et al. 2014), each gate's block on its own.

        The LSTM's forget gate starts with bias 1 (Gers et al. 2000; Jozefowicz et al. 2015).
        """
        with torch.no_grad():
            for block in self.weight_ih.chunk(len(self.cell.gates)):
                nn.init.xavier_uniform_(block, generator=generator)
            for block in self.weight_hh.chunk(len(self.cell.gates)):
                nn.init.orthogonal_(block, generator=generator)
            if "f" in self.cell.gates:
                self.bias_ih.chunk(len(self.cell.gates))[self.cell.gates.index("f")].fill_(1.0)

    def weights(self) -> Weights:
        return dict(self.named_parameters())

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, each part (B, H): zero, or what was learned."""
        zero = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        weights = self.weights()
        return tuple(zero + weights.get(f"initial_{part}", 0.0) for part in self.cell.state_parts)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """By torch's kernel: oneDNN or native on a processor, cuDNN on a GPU."""
        flat = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        parts = [part.unsqueeze(0) for part in state]
        hx = parts if len(parts) > 1 else parts[0]
        output, *new = KERNELS[self.cell_name](x, hx, flat, True, 1, 0.0, self.training, False, False)
        return output, tuple(part.squeeze(0) for part in new)

    def unrolled(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The same by the cell's equation, step by step: the slow twin that every kernel is held against."""
        projected, outputs = self.cell.project(x, self.weights(), TorchOps), []
        for t in range(len(x)):
            output, state = self.cell.step(projected[t], state, self.weights(), TorchOps)
            outputs.append(output)
        return torch.stack(outputs), state
