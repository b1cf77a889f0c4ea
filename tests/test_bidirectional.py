"""Networks whose layers read in both directions, held against torch.nn, NumPy, and themselves without padding."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from charlm.cells import CELLS
from charlm.corpus.windows import IGNORED
from charlm.engine.cloze import NumpyClozePredictor
from charlm.engine.numpy_ops import NumpyOps
from charlm.model.cloze import TorchClozePredictor, hidden, total_nats
from charlm.model.operations import TorchOps
from charlm.network.architecture import Architecture, cell_sizes
from tests.networks import network_of

SYMBOLS, EMBEDDING, HIDDEN = 11, 5, 7
LENGTHS = torch.tensor([6, 3, 9, 4])
MORE: dict[str, Any] = {
    "residual": True,
    "num_layers": 3,
    "initial_state": "learned",
    "head_layers": 1,
    "head_size": 6,
    "tie_embeddings": True,
}
TORCH_LAYERS: dict[str, type[nn.RNNBase]] = {"rnn_tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def architecture(cell: str = "lstm", **changes: Any) -> Architecture:
    sizes: dict[str, Any] = {
        "cell": cell,
        "num_layers": 2,
        "hidden_size": HIDDEN,
        "embedding_size": EMBEDDING,
        "tie_embeddings": False,
        "initial_state": "zero",
        "vocab_size": SYMBOLS + 1,
        "kind": "cloze",
        "direction": "both",
        **cell_sizes(cell, HIDDEN, {}),
    }
    return Architecture(**{**sizes, **changes})


def padded_ids(seed: int = 2) -> Tensor:
    """Ids (T, B) with anything at all in the padding."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, SYMBOLS + 1, (int(LENGTHS.max()), len(LENGTHS))))


@pytest.mark.parametrize("cell", list(TORCH_LAYERS))
@pytest.mark.parametrize("num_layers", [1, 3])
def test_it_is_torch_s_bidirectional_layer(cell: str, num_layers: int) -> None:
    network, ids = network_of(architecture(cell, num_layers=num_layers)), padded_ids()
    layers = TORCH_LAYERS[cell](EMBEDDING, HIDDEN, num_layers, bidirectional=True).double()
    with torch.no_grad():
        for layer in range(num_layers):
            for recurrence, suffix in {"from_start": "", "from_end": "_reverse"}.items():
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    own = network.get_parameter(f"layers.{layer}.{recurrence}.{name}")
                    layers.get_parameter(f"{name}_l{layer}{suffix}").copy_(own)
        packed = pack_padded_sequence(network.weights["embedding.weight"][ids], LENGTHS, enforce_sorted=False)
        expected, _ = pad_packed_sequence(layers(packed)[0])
        found = hidden(network, ids, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(found[:length, row], expected[:length, row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize(
    "changes", [{}, {"residual": True, "num_layers": 3, "initial_state": "learned", "head_layers": 1}]
)
def test_padded_is_unpadded_and_numpy_is_torch(cell: str, changes: dict[str, Any]) -> None:
    sizes = {"head_size": 6} if "head_layers" in changes else {}
    shape = architecture(cell, tie_embeddings=bool(changes), **changes, **sizes)
    network, ids = network_of(shape), padded_ids()
    rows, positions = np.array([0, 0, 1, 2, 2, 3]), np.array([1, 5, 2, 0, 8, 3])
    in_torch, in_numpy = TorchClozePredictor(network), NumpyClozePredictor(shape, network.arrays())
    lengths = LENGTHS.numpy()
    together = in_torch.logprobs(ids.T.numpy(), lengths, rows, positions)
    assert together.shape == (len(rows), SYMBOLS)
    np.testing.assert_allclose(np.exp(together).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(in_numpy.logprobs(ids.T.numpy(), lengths, rows, positions), together, atol=2e-5)
    for number, (row, position) in enumerate(zip(rows, positions, strict=True)):
        length = int(lengths[row])
        alone = in_numpy.logprobs(
            ids.T.numpy()[row : row + 1, :length], lengths[row : row + 1], np.array([0]), np.array([position])
        )
        np.testing.assert_allclose(alone[0], together[number], atol=2e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_relu", "mingru", "lstm_projected"])
def test_the_gradient_is_that_of_finite_differences(cell: str) -> None:
    shape = architecture(
        cell, num_layers=2, residual=True, hidden_size=3, initial_state="learned", **cell_sizes(cell, 3, {})
    )
    network, ids = network_of(shape), padded_ids()
    targets = torch.full_like(ids, IGNORED)
    targets[0, 0], targets[4, 2], targets[2, 1] = 3, 1, 7
    names, weights = zip(*network.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        replaced = dict(zip(names, values, strict=True))
        return torch.func.functional_call(network, replaced, (ids.T, targets.T))

    network.forward = lambda inputs, targets: total_nats(network, inputs, targets, LENGTHS)  # type: ignore[assignment]
    values = tuple(weight.detach().requires_grad_() for weight in weights)
    assert torch.autograd.gradcheck(loss, values, nondet_tol=0.0, fast_mode=True)  # in random directions


def test_reversing_undoes_itself_and_leaves_padding_in_place() -> None:
    x = torch.arange(9 * 4 * 2, dtype=torch.float64).reshape(9, 4, 2).requires_grad_()
    once = TorchOps.reverse(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.equal(once[:length, row], x[:length, row].flip(0))
        assert torch.equal(once[length:, row], x[length:, row])
    assert torch.equal(TorchOps.reverse(once, LENGTHS), x)
    np.testing.assert_array_equal(NumpyOps.reverse(x.detach().numpy(), LENGTHS.numpy()), once.detach().numpy())
    factors = torch.randn(9, 4, 2, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((once * factors).sum(), x)
    assert torch.equal(gradient, TorchOps.reverse(factors, LENGTHS))


def test_a_position_sees_both_sides_of_it() -> None:
    network, ids = network_of(architecture()), padded_ids()
    before = hidden(network, ids, LENGTHS)
    for place in (0, 8):
        changed = ids.clone()
        changed[place, 2] = (changed[place, 2] + 1) % SYMBOLS
        difference = (hidden(network, changed, LENGTHS) - before).abs().amax(dim=2)
        assert (difference[:, 2] > 0).all()
        assert difference[:, [0, 1, 3]].max() == 0


def test_a_cloze_network_reads_in_both_directions_only() -> None:
    with pytest.raises(ValueError, match="both directions"):
        architecture(direction="forward")
