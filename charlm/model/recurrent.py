"""A recurrent layer in torch: a cell's weights, how they start, and the cell run over time.

Shapes: T time, B batch, I input, G gates.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from charlm.cells import CELLS
from charlm.cells.cell import Sizes, Start, State, Weights
from charlm.model.kernels import kernel_for

INITIAL_STATE_STD = 0.1  # of a random initial state: a tenth of what a state's parts can reach


class RecurrentLayer(nn.Module):
    """One layer of `cell`: (T, B, I) and a state -> (T, B, output size) and the new state. It holds no state itself."""

    def __init__(self, cell: str, sizes: Sizes, initial_state: str = "zero") -> None:
        super().__init__()
        self.cell_name, self.cell, self.sizes, self.initial_state_kind = cell, CELLS[cell], sizes, initial_state
        for name, weight in self.cell.weights(sizes).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(weight.size)))
        if initial_state == "learned":
            for part, size in self.cell.state_sizes(sizes).items():
                self.register_parameter(f"initial_{part}", nn.Parameter(torch.zeros(size)))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the starting weights, as the cell says."""
        with torch.no_grad():
            for name, weight in self.cell.weights(self.sizes).items():
                STARTS[weight.start](self.get_parameter(name), self, generator)

    def weights(self) -> Weights:
        return dict(self.named_parameters())

    def initial_state(self, batch_size: int, generator: torch.Generator | None = None) -> State:
        """The state before the first token, each part (B, size): zero, what was learned, or drawn.

        It is drawn only with a generator: that is how a network is trained, as opposed to used.
        """
        weights, like = self.weights(), next(self.parameters())
        state = []
        for part, size in self.cell.state_sizes(self.sizes).items():
            start = like.new_zeros(batch_size, size) + weights.get(f"initial_{part}", 0.0)
            if self.initial_state_kind == "random" and generator is not None:
                start = start.normal_(std=INITIAL_STATE_STD, generator=generator)
            state.append(start)
        return tuple(state)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        kernel = kernel_for(self.cell_name, x.device.type, self.sizes.hidden_size)
        return kernel(self.cell, x, state, self.weights())

    def keep_bounds(self) -> None:
        """Put the weights back between the bounds that the cell sets."""
        with torch.no_grad():
            for name, bound in self.cell.bounds.items():
                self.get_parameter(name).clamp_(-bound, bound)


def _glorot(weight: Tensor, layer: RecurrentLayer, generator: torch.Generator) -> None:
    """Glorot & Bengio 2010, uniform."""
    nn.init.xavier_uniform_(weight, generator=generator)


def _glorot_by_gate(weight: Tensor, layer: RecurrentLayer, generator: torch.Generator) -> None:
    """The same, each gate's block on its own."""
    for block in torch.split(weight, layer.sizes.hidden_size):
        nn.init.xavier_uniform_(block, generator=generator)


def _orthogonal_by_gate(weight: Tensor, layer: RecurrentLayer, generator: torch.Generator) -> None:
    """Saxe et al. 2014, arXiv 1312.6120, each gate's block on its own."""
    for block in torch.split(weight, layer.sizes.hidden_size):
        nn.init.orthogonal_(block, generator=generator)


def _forget_open(weight: Tensor, layer: RecurrentLayer, generator: torch.Generator) -> None:
    """Biases of zero, but one for the forget gate (Gers et al. 2000; Jozefowicz et al. 2015)."""
    for gate, block in zip(layer.cell.gates, torch.split(weight, layer.sizes.hidden_size), strict=True):
        nn.init.constant_(block, 1.0 if gate == "f" else 0.0)


STARTS: dict[Start, Callable[[Tensor, RecurrentLayer, torch.Generator], object]] = {
    "glorot": _glorot,
    "glorot_by_gate": _glorot_by_gate,
    "orthogonal_by_gate": _orthogonal_by_gate,
    "forget_open": _forget_open,
    "zero": lambda weight, layer, generator: nn.init.zeros_(weight),
    "one": lambda weight, layer, generator: nn.init.ones_(weight),
    "uniform": lambda weight, layer, generator: nn.init.uniform_(weight, generator=generator),
}
