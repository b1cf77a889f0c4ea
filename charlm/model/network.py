"""The network in torch: embedding, recurrent layers, feed-forward layers if any, softmax. It knows ids, never text.

Shapes: B batch, T time, V vocabulary, E embedding, H hidden.
"""

import torch
from torch import Tensor, nn

from charlm.cells.cell import NetworkState
from charlm.model.dropout import variational_dropout
from charlm.model.loss import SoftmaxLoss
from charlm.model.recurrent import RecurrentLayer
from charlm.network.architecture import Shape, weight_shapes


class Head(nn.Module):
    """Hidden state to logits: feed-forward layers, then the output's own weights or the embeddings' (tied)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        shapes = weight_shapes(shape)
        sizes = [shapes[f"head.layers.{layer}.weight"] for layer in range(shape.head_layers)]
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for outputs, inputs in sizes)
        self.bias = nn.Parameter(torch.zeros(shape.vocab_size))
        self.projection: nn.Parameter | None = _parameter(shapes.get("head.projection"))
        self.weight: nn.Parameter | None = _parameter(shapes.get("head.weight"))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        return nn.functional.linear(self.features(hidden), *self.output(embedding))

    def features(self, hidden: Tensor) -> Tensor:
        """What the output layer sees: hidden (..., H) -> (..., its inputs)"""
        for layer in self.layers:
            hidden = layer(hidden).relu()
        return hidden if self.projection is None else nn.functional.linear(hidden, self.projection)

    def output(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The output layer's weight (V, its inputs) and bias (V)."""
        return embedding if self.weight is None else self.weight, self.bias


class LanguageModelNetwork(nn.Module):
    """Predicts each next token. State is an argument and a result; randomness is passed in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab_size, shape.embedding_size)
        self.layers = nn.ModuleList(RecurrentLayer(shape.cell, sizes, shape.initial_state) for sizes in shape.layers())
        self.head = Head(shape)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the starting weights."""
        # Tied embeddings are output weights too: with rows of length 1 the logits start near zero.
        std = self.shape.embedding_size**-0.5 if self.shape.tie_embeddings else 1.0
        nn.init.normal_(self.embedding.weight, std=std, generator=generator)
        for layer in self.layers:
            layer.initialise(generator)  # type: ignore[operator]
        for weight in self.head.parameters():
            if weight.ndim == 2:
                nn.init.xavier_uniform_(weight, generator=generator)
            else:
                nn.init.zeros_(weight)

    def initial_state(self, batch_size: int, generator: torch.Generator | None = None) -> NetworkState:
        """The state before the first token. With a generator, as in training, a random one is drawn."""
        return tuple(layer.initial_state(batch_size, generator) for layer in self.layers)  # type: ignore[operator]

    def keep_bounds(self) -> None:
        """Put weights back between the bounds that their cell sets, after an update."""
        for layer in self.layers:
            layer.keep_bounds()  # type: ignore[operator]

    def hidden(
        self, ids: Tensor, state: NetworkState, dropout_generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """ids (T, B) -> the last layer's output (T, B, H) and the new state. Dropout only with a generator."""
        rate = self.shape.dropout
        x, new_state = self.embedding(ids), []
        for layer, old in zip(self.layers, state, strict=True):
            output, new = layer(variational_dropout(x, rate, dropout_generator), old)
            x = x + output if self.shape.residual and x.shape == output.shape else output
            new_state.append(new)
        return variational_dropout(x, rate, dropout_generator), tuple(new_state)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., V)"""
        return self.head(hidden, self.embedding.weight)  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """ids (B, T) -> logits (B, T, V) and the new state."""
        hidden, new_state = self.hidden(ids.T, state)
        return self.logits(hidden).transpose(0, 1), new_state

    def total_nats(
        self, inputs: Tensor, targets: Tensor, state: NetworkState, dropout_generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """-log p of the targets (B, T), summed over all that are not IGNORED, and the new state."""
        hidden, new_state = self.hidden(inputs.T, state, dropout_generator)
        features, output = self.head.features(hidden), self.head.output(self.embedding.weight)
        loss = SoftmaxLoss.apply(features.flatten(0, 1), *output, targets.T.flatten())  # type: ignore[no-untyped-call]
        return loss, new_state


def reset_state(state: NetworkState, initial: NetworkState, reset: Tensor) -> NetworkState:
    """`initial` for the sequences where `reset` (B,) is true, the old state, cut from its graph, elsewhere."""
    where = reset.unsqueeze(-1)
    return tuple(
        tuple(torch.where(where, start, old.detach().to(start.dtype)) for old, start in zip(*parts, strict=True))
        for parts in zip(state, initial, strict=True)
    )


def _parameter(size: tuple[int, ...] | None) -> nn.Parameter | None:
    return None if size is None else nn.Parameter(torch.zeros(size))
