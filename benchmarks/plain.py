"""What a user would otherwise do: the loops of the well-known examples, in float32, with torch's own layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class PlainModel(nn.Module):
    """Embedding, nn.LSTM, linear layer."""

    def __init__(self, vocab_size: int, embedding_size: int, hidden_size: int, num_layers: int, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.lstm = nn.LSTM(embedding_size, hidden_size, num_layers, batch_first=True)
        self.output = nn.Linear(hidden_size, vocab_size)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        hidden, state = self.lstm(self.embedding(ids), state)
        return self.output(hidden), state


def training_step(
    vocab_size: int, embedding_size: int, hidden_size: int, num_layers: int, tied: bool, batch: int, bptt: int
) -> Callable[[], None]:
    """nn.LSTM, cross_entropy, AdamW; the state carried from window to window."""
    model = PlainModel(vocab_size, embedding_size, hidden_size, num_layers, tied)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(vocab_size, (batch, bptt + 1), generator=torch.Generator().manual_seed(1))
    state: State | None = None

    def step() -> None:
        nonlocal state
        logits, new_state = model(ids[:, :-1], state)
        loss = nn.functional.cross_entropy(logits.reshape(-1, vocab_size), ids[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = (new_state[0].detach(), new_state[1].detach())

    return step


def sampling(vocab_size: int, hidden_size: int, num_layers: int, tokens: int) -> Callable[[], None]:
    """nn.LSTM one step at a time under no_grad, at temperature 0.8."""
    model = PlainModel(vocab_size, hidden_size, hidden_size, num_layers, tied=False)

    @torch.no_grad()
    def sample() -> None:
        ids, state = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(tokens):
            logits, state = model(ids, state)
            ids = torch.multinomial(torch.softmax(logits[:, -1] / 0.8, dim=-1), 1)
            ids.item()

    return sample
