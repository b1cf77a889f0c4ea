"""Initial weights of a network: each is drawn as its cell or the architecture specifies."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from charlm.cells.cell import Start
from charlm.network.architecture import Architecture


def draw_weights(architecture: Architecture, generator: torch.Generator) -> dict[str, Tensor]:
    """All initial weights of a network by name, in float32, drawn in the order of `architecture.weights`."""
    weights = {}
    for name, new in architecture.weights().items():
        weights[name] = torch.zeros(new.size)
        STARTS[new.start](weights[name], architecture.part_of(name), generator)
    return weights


def _glorot(weight: Tensor, architecture: Architecture, generator: torch.Generator) -> None:
    """Uniform as in Glorot & Bengio 2010."""
    nn.init.xavier_uniform_(weight, generator=generator)


def _glorot_by_gate(weight: Tensor, architecture: Architecture, generator: torch.Generator) -> None:
    """Uniform as in Glorot & Bengio 2010, each gate's block separately."""
    for block in torch.split(weight, architecture.hidden_size):
        nn.init.xavier_uniform_(block, generator=generator)


def _orthogonal_by_gate(weight: Tensor, architecture: Architecture, generator: torch.Generator) -> None:
    """Orthogonal as in Saxe et al. 2014, arXiv 1312.6120, each gate's block separately."""
    for block in torch.split(weight, architecture.hidden_size):
        nn.init.orthogonal_(block, generator=generator)


def _forget_open(weight: Tensor, architecture: Architecture, generator: torch.Generator) -> None:
    """Biases of 0, except 1 for the forget gate (Gers et al. 2000; Jozefowicz et al. 2015)."""
    blocks = torch.split(weight, architecture.hidden_size)
    for gate, block in zip(architecture.recurrent_cell.gates, blocks, strict=True):
        nn.init.constant_(block, 1.0 if gate == "f" else 0.0)


STARTS: dict[Start, Callable[[Tensor, Architecture, torch.Generator], object]] = {
    "glorot": _glorot,
    "glorot_by_gate": _glorot_by_gate,
    "orthogonal_by_gate": _orthogonal_by_gate,
    "forget_open": _forget_open,
    "zero": lambda weight, architecture, generator: nn.init.zeros_(weight),
    "one": lambda weight, architecture, generator: nn.init.ones_(weight),
    "uniform": lambda weight, architecture, generator: nn.init.uniform_(weight, generator=generator),
    "normal": lambda weight, architecture, generator: nn.init.normal_(weight, generator=generator),
    "normal_rows": lambda weight, architecture, generator: nn.init.normal_(
        weight, std=weight.shape[1] ** -0.5, generator=generator
    ),
}
